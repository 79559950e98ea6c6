// Host memory behind the card's AXI4 write port: regions of mapped memory, with latency, back-pressure and faults.
#pragma once

#include <algorithm>
#include <cstring>
#include <deque>
#include <vector>

#include "api.h"
#include "mac.h"
#include "model.h"

struct Region {
    uint64_t bus, size;
    uint8_t* host;
    bool watch;
    uint64_t limit, written;
};

class Memory {
public:
    uint64_t bursts = 0, beats = 0, busy = 0, first = 0, last = 0, bytes = 0;
    uint64_t responses_error = 0, decode_errors = 0, violations = 0;
    bool full = false;  // a region reached its limit

    explicit Memory(Model& model) : model(model) {}

    void configure(const SnOptions& wanted) {
        options = wanted;
        random.seed(wanted.seed + 1);
    }

    void add(const Region& region) {
        regions.push_back(region);
        std::sort(regions.begin(), regions.end(), [](const Region& a, const Region& b) { return a.bus < b.bus; });
        recent = 0;
    }
    void remove(uint64_t bus) {
        regions.erase(std::remove_if(regions.begin(), regions.end(), [=](const Region& r) { return r.bus == bus; }),
                      regions.end());
        recent = 0;
    }
    void rearm() {
        full = false;
        for (Region& region : regions) region.written = 0;
    }

    // Reset: the bus is empty.
    void clear() {
        addresses.clear();
        early.clear();
        responses.clear();
        beat = 0;
        aw_waiting = w_waiting = false;
        model.top.SN_PIN(dma, bvalid) = 0;
        model.top.SN_PIN(dma, awready) = 1;
        model.top.SN_PIN(dma, wready) = 1;
    }

    bool quiet() const { return addresses.empty() && early.empty() && responses.empty(); }

    // Before the edge: take what is transferred at it. True if the bus was in use.
    bool take(uint64_t cycle, SnProbe* probe) {
        Vcard& top = model.top;
        const bool aw = top.SN_PIN(dma, awvalid), w = top.SN_PIN(dma, wvalid);
        // AXI4 A3.2.1: VALID stays until READY.
        violations += (aw_waiting && !aw) + (w_waiting && !w);
        aw_waiting = aw && !top.SN_PIN(dma, awready);
        w_waiting = w && !top.SN_PIN(dma, wready);
        b_taken = top.SN_PIN(dma, bvalid) && top.SN_PIN(dma, bready);
        if (!(aw || w)) return b_taken;
        if (aw && !aw_waiting) accept_address();
        if (w) {
            busy++;
            if (!w_waiting) accept_data(cycle, probe);
        }
        while (!early.empty() && !addresses.empty()) {
            const Beat held = early.front();
            early.pop_front();
            write(held.data, held.strobe, held.last, cycle, probe);
        }
        return true;
    }

    // Before the edge, and after take: what the memory drives in the next cycle.
    void drive(uint64_t cycle) {
        Vcard& top = model.top;
        if (b_taken) {
            responses.pop_front();
            top.SN_PIN(dma, bvalid) = 0;
            b_taken = false;
        }
        if (!responses.empty() && !top.SN_PIN(dma, bvalid) && responses.front().due <= cycle) {
            top.SN_PIN(dma, bvalid) = 1;
            top.SN_PIN(dma, bresp) = responses.front().code;
        }
        bool aw_ready = addresses.size() + responses.size() < options.outstanding;
        bool w_ready = early.size() < EARLY_LIMIT;
        if (options.aw_stall) aw_ready &= !random.chance(options.aw_stall);
        if (options.w_stall) w_ready &= !random.chance(options.w_stall);
        top.SN_PIN(dma, awready) = aw_ready;
        top.SN_PIN(dma, wready) = w_ready;
    }

private:
    struct Burst { uint64_t address; unsigned beats; unsigned code; };
    struct Beat { uint8_t data[BEAT]; uint64_t strobe; bool last; };
    struct Response { uint64_t due; unsigned code; };
    static constexpr size_t EARLY_LIMIT = 64;
    static constexpr uint64_t ALL = BEAT == 64 ? ~0ull : (1ull << (BEAT & 63)) - 1;

    Model& model;
    SnOptions options{};
    Random random;
    std::vector<Region> regions;
    size_t recent = 0;
    std::deque<Burst> addresses;
    std::deque<Beat> early;  // data that came before its address
    std::deque<Response> responses;
    unsigned beat = 0;       // in the oldest burst
    bool aw_waiting = false, w_waiting = false, b_taken = false;

    Region* find(uint64_t address) {
        if (recent < regions.size() && address - regions[recent].bus < regions[recent].size) return &regions[recent];
        for (size_t n = 0; n < regions.size(); n++) {
            if (address - regions[n].bus < regions[n].size) {
                recent = n;
                return &regions[n];
            }
        }
        return nullptr;
    }

    void accept_address() {
        const Vcard& top = model.top;
        const uint64_t address = top.SN_PIN(dma, awaddr);
        const unsigned count = top.SN_PIN(dma, awlen) + 1u;
        const uint64_t begin = address & ~uint64_t(BEAT - 1), end = begin + uint64_t(count) * BEAT;
        // AXI4 A3.4.1: a burst stays within 4096 bytes. Narrow and wrapping bursts the card never sends.
        violations += begin >> 12 != (end - 1) >> 12;
        violations += (1u << top.SN_PIN(dma, awsize)) != BEAT || (count > 1 && top.SN_PIN(dma, awburst) != 1);
        bursts++;
        unsigned code = 0;
        if (address < options.error_end && end > options.error_begin) code = 2;
        if (options.error_every && bursts % options.error_every == 0) code = 2;
        addresses.push_back({begin, count, code});
    }

    void accept_data(uint64_t cycle, SnProbe* probe) {
        const Vcard& top = model.top;
        if (!beats++) first = cycle;
        last = cycle;
        const uint64_t strobe = top.SN_PIN(dma, wstrb);
        if (early.empty() && !addresses.empty()) {
            write(model.wdata(), strobe, top.SN_PIN(dma, wlast), cycle, probe);
        } else {
            Beat held;
            std::memcpy(held.data, model.wdata(), BEAT);
            held.strobe = strobe;
            held.last = top.SN_PIN(dma, wlast);
            early.push_back(held);
        }
    }

    void write(const uint8_t* data, uint64_t strobe, bool last_beat, uint64_t cycle, SnProbe* probe) {
        Burst& burst = addresses.front();
        const uint64_t address = burst.address + uint64_t(beat) * BEAT;
        Region* region = find(address);
        if (!region) burst.code = 3;
        if (region && burst.code != 2) {
            store(region->host + (address - region->bus), data, strobe);
            const unsigned count = strobe == ALL ? BEAT : unsigned(__builtin_popcountll(strobe));
            bytes += count;
            region->written += count;
            if (region->limit && region->written >= region->limit) full = true;
            if (probe && region->watch && ((address + BEAT) & 63) == 0) note(probe, cycle);
        }
        beat++;
        violations += last_beat != (beat == burst.beats);
        if (beat < burst.beats) return;
        if (burst.code) {
            responses_error++;
            decode_errors += burst.code == 3;
        }
        responses.push_back({cycle + options.latency, burst.code});
        addresses.pop_front();
        beat = 0;
    }

    static void note(SnProbe* probe, uint64_t cycle) {
        if (probe->descriptor_count < probe->descriptor_capacity) {
            probe->descriptor_cycle[probe->descriptor_count] = cycle;
        }
        probe->descriptor_count++;
    }

    // The last 8 bytes go last and with release order: another process that sees a descriptor's phase sees all of it.
    static void store(uint8_t* to, const uint8_t* data, uint64_t strobe) {
        if (strobe == ALL) {
            uint64_t tail;
            std::memcpy(&tail, data + BEAT - 8, 8);
            if (BEAT > 8) std::memcpy(to, data, BEAT - 8);
            __atomic_store_n(reinterpret_cast<uint64_t*>(to + BEAT - 8), tail, __ATOMIC_RELEASE);
            return;
        }
        for (unsigned n = 0; n < BEAT; n++) if (strobe >> n & 1) to[n] = data[n];
        __atomic_thread_fence(__ATOMIC_RELEASE);
    }
};
