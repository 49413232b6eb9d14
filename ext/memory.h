// What the kernels ask of the memory that they are given.
#ifndef PANODEEPLAB_MEMORY_H
#define PANODEEPLAB_MEMORY_H

#include <cstddef>
#include <cstdint>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace pdl {

// Large memory comes fresh from the system each time, and touching it page by page costs more than the work on it.
// Advice only: it may be refused, and memory that is in use already stays as it is.
inline void prefer_huge_pages(void *memory, size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    constexpr size_t kLarge = size_t{32} << 20;  // smaller memory is used again by the allocator, pages and all
    constexpr uintptr_t kPage = uintptr_t{2} << 20;
    if (bytes < kLarge) return;
    const auto begin = (reinterpret_cast<uintptr_t>(memory) + kPage - 1) / kPage * kPage;
    const auto end = (reinterpret_cast<uintptr_t>(memory) + bytes) / kPage * kPage;
    madvise(reinterpret_cast<void *>(begin), end - begin, MADV_HUGEPAGE);
#else
    (void)memory;
    (void)bytes;
#endif
}

}  // namespace pdl

#endif
