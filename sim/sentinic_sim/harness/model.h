// The Verilated card and its pins. The model registers its inputs (registered.py): what is set before an edge is what
// the card sees in the cycle after it. Until then the pins here hold what the card sees now. So a cycle is: look at
// the outputs and the inputs, know from them what is transferred at the coming edge, set the next inputs, clock.
#pragma once

#include <cstdint>
#include <cstring>

#include "Vcard.h"
#include "Vcard___024root.h"
#include "verilated.h"
#ifdef SN_TRACE
#include "verilated_fst_c.h"
#endif
#ifdef SN_TICKS
void Vcard___024root___eval_nba(Vcard___024root* root);  // Verilator's, in no header of its own
#endif

constexpr unsigned BEAT = SN_BEAT_BYTES;
constexpr unsigned PORTS = 2;

#define SN_PIN(group, name) group##___05F##name

class Model {
public:
    VerilatedContext context;
    Vcard top{&context, "TOP"};
    uint64_t half_picoseconds = 2000;  // of half a cycle, for waveforms; Verilator's unit of time is 1 ps

    ~Model() { stop_trace(); }

    // To the state after reset. A model without a reset is made anew, which it takes for being switched on.
    void reset([[maybe_unused]] uint64_t cycles) {
#ifdef SN_TRACE
        top.rst = 1;
        for (uint64_t n = 0; n < cycles; n++) clock();
        top.rst = 0;
#else
        top.~Vcard();
        new (&top) Vcard{&context, "TOP"};
        top.eval();
#endif
    }

    // The model tells which of its clocks tick at the coming edge. That is all that Verilator would find out by looking
    // for rising edges, before and again after what they bring about: so it is told, and spared the search.
    void clock() {
#ifdef SN_TICKS
        auto& root = *top.rootp;
        static_assert(sizeof top.ticks <= sizeof root.__VnbaTriggered);
        std::memcpy(&root.__VnbaTriggered[0], &top.ticks, sizeof top.ticks);
        Vcard___024root___eval_nba(&root);
#else
        top.clk = 0;
        gate(0);
        top.eval();
        dump();
        gate(awake());
        top.clk = 1;
        top.eval();
        dump();
#endif
    }

    bool trace([[maybe_unused]] const char* path) {
#ifdef SN_TRACE
        stop_trace();
        context.traceEverOn(true);
        writer = new VerilatedFstC;
        top.trace(writer, 99);
        writer->open(path);
        return true;
#else
        return false;
#endif
    }

    bool ready(unsigned port) const { return port ? top.SN_PIN(rx1, tready) : top.SN_PIN(rx0, tready); }
    bool valid(unsigned port) const { return port ? top.SN_PIN(rx1, tvalid) : top.SN_PIN(rx0, tvalid); }
    void set_valid(unsigned port, bool value) { (port ? top.SN_PIN(rx1, tvalid) : top.SN_PIN(rx0, tvalid)) = value; }

    // Presents `length` bytes (1 to BEAT) as the port's beat; bytes past them are 0.
    void set_beat(unsigned port, const uint8_t* bytes, unsigned length, bool last, bool error) {
        if (port) put(top.SN_PIN(rx1, tdata), top.SN_PIN(rx1, tkeep), bytes, length);
        else put(top.SN_PIN(rx0, tdata), top.SN_PIN(rx0, tkeep), bytes, length);
        (port ? top.SN_PIN(rx1, tlast) : top.SN_PIN(rx0, tlast)) = last;
        auto& user = port ? top.SN_PIN(rx1, tuser) : top.SN_PIN(rx0, tuser);
        user[0] = (user[0] & ~1u) | (error && last);
    }

    // tuser is {timestamp: 80..17, wire_length: 16..1, error: 0}.
    void set_user(unsigned port, uint32_t wire_length, uint64_t timestamp) {
        auto& user = port ? top.SN_PIN(rx1, tuser) : top.SN_PIN(rx0, tuser);
        user[0] = (wire_length > 0xffff ? 0xffff : wire_length) << 1 | static_cast<uint32_t>(timestamp << 17);
        user[1] = static_cast<uint32_t>(timestamp >> 15);
        user[2] = static_cast<uint32_t>(timestamp >> 47);
    }

    const uint8_t* wdata() const { return reinterpret_cast<const uint8_t*>(&top.SN_PIN(dma, wdata)); }

private:
    // A block that sleeps has a clock of its own, which stands still.
#ifdef SN_GATES
    uint64_t awake() const { return top.awake; }
    void gate(uint64_t awake) { SN_GATES }
#else
    static uint64_t awake() { return 0; }
    static void gate(uint64_t) {}
#endif

#ifdef SN_TRACE
    VerilatedFstC* writer = nullptr;
    uint64_t time = 0;
    void dump() { if (writer) { writer->dump(time); time += half_picoseconds; } }
    void stop_trace() { if (writer) { writer->close(); delete writer; writer = nullptr; } }
#else
    void dump() {}
    void stop_trace() {}
#endif

    template <class Data, class Keep>
    static void put(Data& data, Keep& keep, const uint8_t* bytes, unsigned length) {
        static_assert(sizeof(Data) == BEAT, "tdata must be as wide as SN_BEAT_BYTES says");
        uint8_t* to = reinterpret_cast<uint8_t*>(&data);
        if (length >= BEAT) {
            std::memcpy(to, bytes, BEAT);
            keep = static_cast<Keep>(~0ull);
        } else {
            std::memset(to, 0, BEAT);
            std::memcpy(to, bytes, length);
            keep = static_cast<Keep>((1ull << length) - 1);
        }
    }
};
