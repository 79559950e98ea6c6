// Large pages for what every simulated cycle goes through: the model's code, and its state. Both are larger than what
// the processor remembers of small pages, and to look a page up costs more than what is then done with it. Where the
// system has no large pages to give, or SENTINIC_SMALL_PAGES is set (for tools that look code up by its file), nothing
// changes.
#include <cstdlib>

#if defined(__linux__) && defined(__GLIBC__)

#include <cstdint>
#include <cstring>
#include <link.h>
#include <new>
#include <sys/mman.h>

namespace {

constexpr uintptr_t LARGE = 2u << 20;

constexpr uintptr_t up(uintptr_t address) { return (address + LARGE - 1) & ~(LARGE - 1); }

bool wanted() {
    static const bool large = !std::getenv("SENTINIC_SMALL_PAGES");
    return large;
}

// Puts a copy of the code from `begin` to `end` in its place; `begin` and `room` past it are whole large pages. The same
// bytes are at the same addresses before and after, and the system changes one for the other in one step, so code that
// is running may move itself.
void move(uintptr_t begin, uintptr_t end, uintptr_t room) {
    void* const reserved = mmap(nullptr, room + LARGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (reserved == MAP_FAILED) return;
    const uintptr_t first = reinterpret_cast<uintptr_t>(reserved), copy = up(first);
    void* const there = reinterpret_cast<void*>(copy);
    madvise(there, room, MADV_HUGEPAGE);
    std::memcpy(there, reinterpret_cast<const void*>(begin), end - begin);
    const bool moved = mprotect(there, room, PROT_READ | PROT_EXEC) == 0 &&
                       mremap(there, room, room, MREMAP_MAYMOVE | MREMAP_FIXED,
                              reinterpret_cast<void*>(begin)) != MAP_FAILED;
    if (!moved) {
        munmap(reserved, room + LARGE);
        return;
    }
    if (copy != first) munmap(reserved, copy - first);
    munmap(reinterpret_cast<void*>(copy + room), first + LARGE - copy);
}

// Moves the code that this function is a part of, if the linker has left large pages to it alone.
int move_code(dl_phdr_info* info, size_t, void*) {
    const auto here = reinterpret_cast<uintptr_t>(&move);
    uintptr_t begin = 0, end = 0;
    for (int n = 0; n < info->dlpi_phnum; n++) {
        const auto& part = info->dlpi_phdr[n];
        const uintptr_t first = info->dlpi_addr + part.p_vaddr, last = first + part.p_memsz;
        if (part.p_type == PT_LOAD && (part.p_flags & PF_X) && here >= first && here < last) begin = first, end = last;
    }
    if (!end) return 0;
    uintptr_t next = ~uintptr_t{0};
    for (int n = 0; n < info->dlpi_phnum; n++) {
        const uintptr_t first = info->dlpi_addr + info->dlpi_phdr[n].p_vaddr;
        if (info->dlpi_phdr[n].p_type == PT_LOAD && first >= end && first < next) next = first;
    }
    if (begin == up(begin) && next != ~uintptr_t{0} && up(end) <= next) move(begin, end, up(end) - begin);
    return 1;
}

[[gnu::constructor]] void use_large_pages() {
    if (wanted()) dl_iterate_phdr(move_code, nullptr);
}

}  // namespace

// Verilator allocates a model's state by this one, as it is aligned; nothing else of size does.
void* operator new(size_t size, std::align_val_t alignment) {
    const bool large = size >= LARGE && wanted();
    const auto least = static_cast<uintptr_t>(alignment);
    void* const place = std::aligned_alloc(large ? LARGE : least, large ? up(size) : (size + least - 1) & ~(least - 1));
    if (!place) throw std::bad_alloc{};
    if (large) madvise(place, up(size), MADV_HUGEPAGE);
    return place;
}
void operator delete(void* place, std::align_val_t) noexcept { std::free(place); }
void operator delete(void* place, size_t, std::align_val_t) noexcept { std::free(place); }

#endif
