// The MACs: queued frames, presented beat by beat.
#pragma once

#include <deque>

#include "api.h"
#include "model.h"

struct Random {  // xorshift64*
    uint64_t state = 1;
    void seed(uint64_t value) { state = value * 0x9e3779b97f4a7c15ull | 1; }
    bool chance(uint64_t of_65536) {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        return (state * 0x2545f4914f6cdd1dull >> 48) < of_65536;
    }
};

// A queue of frames: the whole of it in serial mode, one port's share of it in parallel mode.
struct Lane {
    uint64_t batch = 0;  // number of the batch since the start
    uint64_t next = 0;   // next frame in it
    const uint8_t* at = nullptr;
    uint32_t left = 0;   // bytes not yet accepted, the presented beat included; 0: between frames
    unsigned port = 0;
    bool error = false;
};

class Macs {
public:
    uint64_t frames = 0, frames_empty = 0, beats = 0, stalled = 0, pending = 0, first_batch = 0;
    uint64_t time = 0;  // the highest time stamp presented, or what the host set

    explicit Macs(Model& model) : model(model) {}

    void configure(bool parallel_, uint64_t idle_, uint64_t seed) {
        idle = idle_;
        random.seed(seed);
        if (parallel_ == parallel) return;
        clear();  // the caller sees to it that no frame waits
        parallel = parallel_;
    }

    bool empty() const { return pending == 0; }

    void submit(const SnBatch& batch) {
        // With nothing pending the host may have let go of what it submitted before: no lane may look there again.
        if (!pending) forget();
        batches.push_back(batch);
        pending += batch.count;
    }

    // Forgets every frame, also those of which the card has seen a part.
    void clear() {
        pending = 0;
        forget();
        for (unsigned port = 0; port < PORTS; port++) model.set_valid(port, false);
    }

    // Which ports hand over a beat at the coming edge, as bits.
    unsigned transfers() {
        unsigned mask = 0;
        for (unsigned port = 0; port < PORTS; port++) {
            if (!model.valid(port)) continue;
            if (model.ready(port)) mask |= 1u << port;
            else stalled++;
        }
        return mask;
    }

    // Before the edge: go on past the beats of `mask`, and present what comes next.
    void advance(unsigned mask, SnProbe* probe, uint64_t cycle) {
        const unsigned count = parallel ? PORTS : 1;
        for (unsigned n = 0; n < count; n++) {
            Lane& lane = lanes[n];
            if (lane.left) {
                if (model.valid(lane.port) && !(mask >> lane.port & 1)) continue;  // held until taken
                if (mask >> lane.port & 1) {
                    beats++;
                    const uint32_t taken = lane.left < BEAT ? lane.left : BEAT;
                    lane.at += taken;
                    lane.left -= taken;
                    if (!lane.left) finish(lane, probe, cycle);
                }
            }
            if (!lane.left && pending) start(lane, n);
            present(lane);
        }
    }

private:
    Model& model;
    std::deque<SnBatch> batches;
    Lane lanes[PORTS];
    bool parallel = false;
    uint64_t idle = 0;
    Random random;

    void forget() {
        first_batch += batches.size();
        batches.clear();
        for (Lane& lane : lanes) {
            lane = Lane();
            lane.batch = first_batch;
        }
    }

    void present(Lane& lane) {
        if (!lane.left) return;
        if (idle && random.chance(idle)) {
            model.set_valid(lane.port, false);
            return;
        }
        const bool last = lane.left <= BEAT;
        model.set_beat(lane.port, lane.at, last ? lane.left : BEAT, last, lane.error);
        model.set_valid(lane.port, true);
    }

    void finish(Lane& lane, SnProbe* probe, uint64_t cycle) {
        model.set_valid(lane.port, false);
        if (probe) {
            if (probe->frame_count < probe->frame_capacity) probe->frame_cycle[probe->frame_count] = cycle;
            probe->frame_count++;
        }
        frames++;
        pending--;
    }

    void start(Lane& lane, unsigned number) {
        while (lane.batch < first_batch + batches.size()) {
            const SnBatch& batch = batches[lane.batch - first_batch];
            uint64_t row = lane.next;
            if (parallel) while (row < batch.count && batch.port[row] != number) row++;
            if (row >= batch.count) {
                lane.batch++;
                lane.next = 0;
                retire();
                continue;
            }
            lane.next = row + 1;
            if (!batch.length[row]) {
                frames_empty++;
                pending--;
                continue;
            }
            lane.at = batch.data + batch.offset[row];
            lane.left = batch.length[row];
            lane.port = batch.port[row];
            lane.error = batch.error[row];
            if (batch.timestamp[row] > time) time = batch.timestamp[row];
            model.set_user(lane.port, batch.wire_length[row], batch.timestamp[row]);
            return;
        }
    }

    // Lets go of batches that every lane is past. The newest stays until another follows, or nothing is pending.
    void retire() {
        const unsigned count = parallel ? PORTS : 1;
        uint64_t oldest = ~0ull;
        for (unsigned n = 0; n < count; n++) if (lanes[n].batch < oldest) oldest = lanes[n].batch;
        while (first_batch < oldest && !batches.empty()) {
            batches.pop_front();
            first_batch++;
        }
    }
};
