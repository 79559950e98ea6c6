// Feeds beats to a Verilated parser and collects its records, with pauses on both sides.

#include "Vparser.h"
#include "verilated.h"

#include <cstdint>
#include <cstring>

namespace {
VerilatedContext context;
Vparser top{&context};
uint64_t state;

uint32_t random8() {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state >> 40 & 255;
}

void edge() {
    top.clk = 1;
    top.eval();
    top.clk = 0;
}
}  // namespace

extern "C" void reset(const uint32_t* key) {
    for (int n = 0; n < 11; n++) top.hash_key[n] = key[n];
    top.clk = 0;
    top.rst = 1;
    top.i___05Fvalid = 0;
    top.o___05Fready = 0;
    top.quotes___05Fready = 0;
    for (int n = 0; n < 4; n++) {
        top.eval();
        edge();
    }
    top.rst = 0;
}

// Idle and busy are of 256.  Returns the number of records that came within max_cycles.
extern "C" int64_t run(int64_t beats, const uint32_t* beat, int64_t beat_words, int64_t frames, uint32_t* record,
                       int64_t record_words, uint32_t* quote, int64_t quote_words, int64_t* quotes, int64_t idle,
                       int64_t busy, uint64_t seed, int64_t max_cycles) {
    state = seed * 2654435761u + 88172645463325252u;
    int64_t came = 0;
    bool offered = false;
    for (int64_t cycle = 0; cycle < max_cycles && came < frames; cycle++) {
        if (!offered && beats > 0) offered = random8() >= idle;
        top.i___05Fvalid = offered;
        if (offered) std::memcpy(&top.i___05Fpayload[0], beat, 4 * beat_words);
        top.o___05Fready = random8() >= busy;
        top.quotes___05Fready = random8() >= busy;
        top.eval();
        if (top.o___05Fvalid && top.o___05Fready) {
            std::memcpy(record + came * record_words, &top.o___05Fpayload[0], 4 * record_words);
            came++;
        }
        if (top.quotes___05Fvalid && top.quotes___05Fready) {
            std::memcpy(quote + *quotes * quote_words, &top.quotes___05Fpayload[0], 4 * quote_words);
            ++*quotes;
        }
        if (offered && top.i___05Fready) {
            beat += beat_words;
            beats--;
            offered = false;
        }
        edge();
    }
    return came;
}
