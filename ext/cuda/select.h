// What a block does with many numbers: finds the k-th largest, and sorts.
#ifndef PANODEEPLAB_CUDA_SELECT_H
#define PANODEEPLAB_CUDA_SELECT_H

#include "cuda/block.h"

namespace pdl::gpu {

// In shared memory.
struct Selection {
    int32_t bins[256];
    int32_t remaining;
    uint32_t prefix;
};

// The k-th largest of at least k keys, byte after byte. `each_key(t, use)` runs `use` on the share of thread t.
template <class Block, class EachKey>
PDL_DEVICE uint32_t kth_largest(Block &block, Selection &s, int64_t k, const EachKey &each_key) {
    block.each([&](int32_t t) {
        if (t != 0) return;
        s.remaining = static_cast<int32_t>(k);
        s.prefix = 0;
    });
    uint32_t known = 0;
    for (int32_t shift = 24; shift >= 0; shift -= 8) {
        block.each([&](int32_t t) {
            if (t < 256) s.bins[t] = 0;
        });
        block.each([&](int32_t t) {
            each_key(t, [&](uint32_t key) {
                if ((key & known) == s.prefix) fetch_add(&s.bins[key >> shift & 255u], 1);
            });
        });
        block.each([&](int32_t t) {
            if (t != 0) return;
            int32_t bin = 255;
            for (; bin > 0 && s.bins[bin] < s.remaining; bin--) s.remaining -= s.bins[bin];
            s.prefix |= static_cast<uint32_t>(bin) << shift;
        });
        known |= 255u << shift;
    }
    return s.prefix;
}

// Ascending, in place. Merges of sequences of which one is turned around, so that all exchanges go one way and items
// that would follow the last one may be thought away.
template <int32_t kThreads, class Block, class Item, class Before>
PDL_DEVICE void sort(Block &block, Item *items, int32_t count, const Before &before) {
    for (int64_t size = 2; size / 2 < count; size *= 2)
        for (int64_t step = size / 2; step > 0; step /= 2)
            block.each([&](int32_t t) {
                for (int64_t i = t; i < count; i += kThreads) {
                    const int64_t other = step == size / 2 ? i ^ (size - 1) : i ^ step;
                    if (other <= i || other >= count || !before(items[other], items[i])) continue;
                    const Item smaller = items[other];
                    items[other] = items[i];
                    items[i] = smaller;
                }
            });
}

}  // namespace pdl::gpu

#endif
