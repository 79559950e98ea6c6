// The clock loop: MACs, memory and registers around the model, and the functions that Python calls.

#include "api.h"
#include "mac.h"
#include "memory.h"
#include "model.h"

#include <mutex>

namespace {

constexpr uint64_t BUS_TIMEOUT = 100000;  // cycles in which a register access is answered, or never

class Harness {
public:
    Model model;
    Macs macs{model};
    Memory memory{model};
    SnOptions options{};
    SnProbe* probe = nullptr;
    uint64_t cycles = 0, interrupts = 0, picoseconds = 0;
    std::mutex lock;

    Harness() {
        options.outstanding = 64;
        options.latency = 8;
        options.cycle_picoseconds = 4000;
        configure(options);
        reset(16);
    }

    void configure(const SnOptions& wanted) {
        options = wanted;
        model.half_picoseconds = wanted.cycle_picoseconds / 2;
        macs.configure(wanted.parallel, wanted.rx_idle, wanted.seed);
        memory.configure(wanted);
    }

    void reset(uint64_t count) {
        model.reset(count);
        cycles += count;
        macs.clear();
        memory.clear();
        Vcard& top = model.top;
        top.SN_PIN(csr, awvalid) = top.SN_PIN(csr, wvalid) = top.SN_PIN(csr, arvalid) = 0;
        top.SN_PIN(csr, bready) = top.SN_PIN(csr, rready) = 0;
        plain_cycle();
        irq = false;
    }

    void plain_cycle() {
        model.clock();
        cycles++;
    }

    // One cycle. True if anything was transferred at a port or on the DMA bus.
    bool cycle() {
        const unsigned moved = macs.transfers();
        const bool bus = memory.take(cycles, probe);
        macs.advance(moved, probe, cycles);
        memory.drive(cycles + 1);
        model.top.time = macs.time;
        plain_cycle();
        if (model.top.irq != irq) {
            irq = !irq;
            interrupts += irq;
        }
        return moved || bus;
    }

    void step(SnStep& step) {
        const uint64_t begin = cycles;
        uint64_t quiet = 0;
        const uint64_t stuck_cycles = step.stuck_cycles + options.latency;
        step.stop = SN_CYCLES;
        if (step.rearm) memory.rearm();
        while (cycles - begin < step.max_cycles) {
            if (step.run_time) pass_time();
            const bool active = cycle();
            quiet = active ? 0 : quiet + 1;
            if (memory.full) { step.stop = SN_FULL; break; }
            if (step.until_irq && irq) { step.stop = SN_IRQ; break; }
            if (quiet >= step.idle_cycles) {
                const bool waiting = !macs.empty() || !memory.quiet();
                if (!waiting && !step.until_irq) { step.stop = SN_IDLE; break; }
                if (waiting && quiet >= stuck_cycles) { step.stop = SN_STUCK; break; }
            }
        }
        step.cycles = cycles - begin;
    }

    uint64_t read(uint64_t address, uint64_t& value) {
        Vcard& top = model.top;
        top.SN_PIN(csr, araddr) = address;
        top.SN_PIN(csr, arvalid) = 1;
        top.SN_PIN(csr, rready) = 1;
        cycle();
        for (uint64_t n = 0; n < BUS_TIMEOUT; n++) {
            const bool asked = top.SN_PIN(csr, arvalid) && top.SN_PIN(csr, arready);
            const bool answered = top.SN_PIN(csr, rvalid);
            const uint64_t code = top.SN_PIN(csr, rresp);
            if (asked) top.SN_PIN(csr, arvalid) = 0;
            if (answered) {
                value = top.SN_PIN(csr, rdata);
                top.SN_PIN(csr, rready) = 0;
            }
            cycle();
            if (answered) return code;
        }
        top.SN_PIN(csr, arvalid) = top.SN_PIN(csr, rready) = 0;
        return 255;
    }

    uint64_t write(uint64_t address, uint64_t value) {
        Vcard& top = model.top;
        top.SN_PIN(csr, awaddr) = address;
        top.SN_PIN(csr, wdata) = value;
        top.SN_PIN(csr, wstrb) = 15;
        top.SN_PIN(csr, awvalid) = top.SN_PIN(csr, wvalid) = top.SN_PIN(csr, bready) = 1;
        cycle();
        for (uint64_t n = 0; n < BUS_TIMEOUT; n++) {
            const bool asked = top.SN_PIN(csr, awvalid) && top.SN_PIN(csr, awready);
            const bool given = top.SN_PIN(csr, wvalid) && top.SN_PIN(csr, wready);
            const bool answered = top.SN_PIN(csr, bvalid);
            const uint64_t code = top.SN_PIN(csr, bresp);
            if (asked) top.SN_PIN(csr, awvalid) = 0;
            if (given) top.SN_PIN(csr, wvalid) = 0;
            if (answered) top.SN_PIN(csr, bready) = 0;
            cycle();
            if (answered) return code;
        }
        top.SN_PIN(csr, awvalid) = top.SN_PIN(csr, wvalid) = top.SN_PIN(csr, bready) = 0;
        return 255;
    }

    bool interrupt() const { return irq; }

private:
    bool irq = false;

    void pass_time() {
        picoseconds += options.cycle_picoseconds;
        macs.time += picoseconds / 1000;
        picoseconds %= 1000;
    }
};

Harness& of(void* handle) { return *static_cast<Harness*>(handle); }

using Guard = std::lock_guard<std::mutex>;

}  // namespace

// Unused by the model, which has no delays; the runtime wants it.
double sc_time_stamp() { return 0; }

extern "C" {

void* sn_create(void) { return new Harness; }
void sn_destroy(void* handle) { delete &of(handle); }
uint64_t sn_beat_bytes(void) { return BEAT; }

void sn_configure(void* handle, const SnOptions* options) {
    Guard guard(of(handle).lock);
    of(handle).configure(*options);
}

void sn_reset(void* handle, uint64_t cycles) {
    Guard guard(of(handle).lock);
    of(handle).reset(cycles);
}

void sn_region_add(void* handle, uint64_t bus, uint64_t size, uint8_t* host, uint64_t watch, uint64_t limit) {
    Guard guard(of(handle).lock);
    of(handle).memory.add({bus, size, host, watch != 0, limit, 0});
}

void sn_region_remove(void* handle, uint64_t bus) {
    Guard guard(of(handle).lock);
    of(handle).memory.remove(bus);
}

void sn_submit(void* handle, const SnBatch* batch) {
    Guard guard(of(handle).lock);
    of(handle).macs.submit(*batch);
}

void sn_step(void* handle, SnStep* step) {
    Guard guard(of(handle).lock);
    of(handle).step(*step);
}

void sn_clock(void* handle, uint64_t cycles, const uint8_t* frame, uint64_t length) {
    Guard guard(of(handle).lock);
    Harness& harness = of(handle);
    if (length) {
        harness.model.set_user(0, length, harness.macs.time);
        harness.model.set_beat(0, frame, length, true, false);
        harness.model.set_valid(0, true);
    }
    for (uint64_t n = 0; n < cycles; n++) harness.plain_cycle();
    if (length) harness.model.set_valid(0, false);
}

uint64_t sn_read(void* handle, uint64_t address, uint64_t* value) {
    Guard guard(of(handle).lock);
    return of(handle).read(address, *value);
}

uint64_t sn_write(void* handle, uint64_t address, uint64_t value) {
    Guard guard(of(handle).lock);
    return of(handle).write(address, value);
}

void sn_set_time(void* handle, uint64_t nanoseconds) {
    Guard guard(of(handle).lock);
    Harness& harness = of(handle);
    if (nanoseconds > harness.macs.time) harness.macs.time = nanoseconds;
    harness.model.top.time = harness.macs.time;
}

uint64_t sn_time(void* handle) { return of(handle).macs.time; }
uint64_t sn_irq(void* handle) { return of(handle).interrupt(); }

void sn_stats(void* handle, SnStats* stats) {
    Guard guard(of(handle).lock);
    const Harness& h = of(handle);
    const Macs& macs = h.macs;
    const Memory& memory = h.memory;
    *stats = {h.cycles, macs.frames, macs.frames_empty, macs.beats, macs.stalled, memory.bursts, memory.beats,
              memory.busy, memory.first, memory.last, memory.bytes, memory.responses_error, memory.decode_errors,
              memory.violations, h.interrupts, macs.pending, macs.first_batch};
}

void sn_probe(void* handle, SnProbe* probe) {
    Guard guard(of(handle).lock);
    of(handle).probe = probe;
}

uint64_t sn_trace(void* handle, const char* path) {
    Guard guard(of(handle).lock);
    return of(handle).model.trace(path);
}

}
