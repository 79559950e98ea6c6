// What Verilator's FST writer asks of LZ4, for machines without its header: valid LZ4 blocks of literals, uncompressed.
// https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md
#pragma once

#include <cstring>

inline int LZ4_compressBound(int size) { return size + size / 255 + 16; }

inline int LZ4_compress_default(const char* from, char* to, int size, int) {
    unsigned char* out = reinterpret_cast<unsigned char*>(to);
    *out++ = static_cast<unsigned char>((size < 15 ? size : 15) << 4);
    if (size >= 15) {
        int left = size - 15;
        for (; left >= 255; left -= 255) *out++ = 255;
        *out++ = static_cast<unsigned char>(left);
    }
    std::memcpy(out, from, static_cast<size_t>(size));
    return static_cast<int>(out + size - reinterpret_cast<unsigned char*>(to));
}
