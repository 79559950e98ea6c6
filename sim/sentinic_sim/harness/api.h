// The harness as Python sees it (ctypes): plain structs of 64-bit words, mirrored field by field in native.py.
#pragma once

#include <cstdint>

struct SnBatch {           // columns of n frames; the caller keeps them until the batch is taken in
    const uint8_t* data;
    uint64_t data_bytes;   // bytes that may be read at `data`
    const int64_t* offset;
    const uint32_t* length;
    const uint32_t* wire_length;
    const uint64_t* timestamp;
    const uint8_t* port;
    const uint8_t* error;
    uint64_t count;
};

struct SnOptions {
    uint64_t parallel;          // 1: each port has its own queue; 0: one frame after the other, in batch order
    uint64_t latency;           // cycles from a burst's last beat to its response
    uint64_t outstanding;       // bursts that the memory accepts before it has answered the first
    uint64_t aw_stall;          // chance that AWREADY is low in a cycle, in 1/65536
    uint64_t w_stall;           // the same for WREADY
    uint64_t rx_idle;           // chance that a MAC pauses before a beat, in 1/65536
    uint64_t seed;              // of these three
    uint64_t error_begin;       // bursts that touch [begin, end) are answered SLVERR and not written
    uint64_t error_end;
    uint64_t error_every;       // every n-th burst too; 0: none
    uint64_t cycle_picoseconds; // wire time of a clock cycle, used by sn_wait
};

struct SnStats {
    uint64_t cycles;
    uint64_t frames;              // last beat accepted
    uint64_t frames_empty;        // frames of no bytes: a MAC cannot present them
    uint64_t rx_beats;
    uint64_t rx_stalled;          // cycles in which a MAC had a beat that the card did not take, summed over ports
    uint64_t bursts;
    uint64_t w_beats;
    uint64_t w_busy;              // cycles with WVALID
    uint64_t w_first, w_last;     // cycle of the first and the last W beat
    uint64_t w_bytes;             // bytes written into regions
    uint64_t responses_error;     // SLVERR and DECERR
    uint64_t decode_errors;       // of these, DECERR
    uint64_t violations;          // of the AXI rules, by the card
    uint64_t interrupts;          // rising edges of irq
    uint64_t pending;             // frames not yet taken in
    uint64_t batches_done;        // batches taken in whole
};

enum SnStop : uint64_t { SN_IDLE = 0, SN_CYCLES = 1, SN_FULL = 2, SN_IRQ = 3, SN_STUCK = 4 };

struct SnStep {
    uint64_t max_cycles;   // in
    uint64_t idle_cycles;  // in: quiet cycles after which the card counts as idle
    uint64_t stuck_cycles; // in: cycles without any transfer, while frames or bursts wait, after which to give up
    uint64_t until_irq;    // in: stop when irq is up
    uint64_t run_time;     // in: let wire time run with the clock
    uint64_t rearm;        // in: count bytes towards the limits of regions from 0 again
    uint64_t cycles;       // out
    uint64_t stop;         // out: SnStop
};

struct SnProbe {           // cycle numbers; `count` is how many there were, of which the first `capacity` are kept
    uint64_t* frame_cycle; uint64_t frame_capacity, frame_count;
    uint64_t* descriptor_cycle; uint64_t descriptor_capacity, descriptor_count;
};

extern "C" {
#pragma GCC visibility push(default)
void* sn_create(void);
void sn_destroy(void*);
uint64_t sn_beat_bytes(void);
void sn_configure(void*, const SnOptions*);
void sn_reset(void*, uint64_t cycles);
// `watch`: its 64-byte groups are descriptors for the probe. `limit`: step stops once so many bytes are written (0: never).
void sn_region_add(void*, uint64_t bus, uint64_t size, uint8_t* host, uint64_t watch, uint64_t limit);
void sn_region_remove(void*, uint64_t bus);
void sn_submit(void*, const SnBatch*);
void sn_step(void*, SnStep*);
// Inputs constant: what the model costs alone. With `length` bytes (at most a beat), port 0 offers them in every cycle.
void sn_clock(void*, uint64_t cycles, const uint8_t* frame, uint64_t length);
uint64_t sn_read(void*, uint64_t address, uint64_t* value);   // 0, the AXI response (1..3), or 255: no answer
uint64_t sn_write(void*, uint64_t address, uint64_t value);
void sn_set_time(void*, uint64_t nanoseconds);                // never backwards
uint64_t sn_time(void*);
uint64_t sn_irq(void*);
void sn_stats(void*, SnStats*);
void sn_probe(void*, SnProbe*);                               // null: off; the struct stays the caller's
uint64_t sn_trace(void*, const char* path);                   // 0: this build has no trace
#pragma GCC visibility pop
}
