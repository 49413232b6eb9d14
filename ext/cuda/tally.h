// Counts of pixels by pair, and the boxes around them. A block counts in a table in shared memory, since a tile has few
// pairs, and adds that to the image's counts once.
#ifndef PANODEEPLAB_CUDA_TALLY_H
#define PANODEEPLAB_CUDA_TALLY_H

#include "cuda/plan.h"

namespace pdl::gpu {

constexpr int32_t kFree = -1;    // a slot without a key
constexpr int32_t kNowhere = -1;  // no slot

// The slot of a key in a table whose size is a power of two; kNowhere if all slots that it tries are taken.
PDL_DEVICE int32_t slot_of(int32_t *keys, int32_t slots, int32_t key) {
    constexpr int32_t kTries = 16;
    const uint32_t hash = static_cast<uint32_t>(key) * 2654435761u;
    for (int32_t i = 0; i < kTries; i++) {
        const auto slot = static_cast<int32_t>(((hash >> 16) + static_cast<uint32_t>(i)) &
                                               static_cast<uint32_t>(slots - 1));
        int32_t found = peek(&keys[slot]);
        if (found == kFree) found = swap_if(&keys[slot], kFree, key);
        if (found == kFree || found == key) return slot;
    }
    return kNowhere;
}

PDL_DEVICE void widen(Extent *extent, const Extent &by) {
    // Most often there is nothing to do, which a look finds out faster than an atomic.
    if (peek(&extent->y0) > by.y0) lower_to(&extent->y0, by.y0);
    if (peek(&extent->x0) > by.x0) lower_to(&extent->x0, by.x0);
    if (peek(&extent->y1) < by.y1) raise_to(&extent->y1, by.y1);
    if (peek(&extent->x1) < by.x1) raise_to(&extent->x1, by.x1);
}

struct Tally {
    static constexpr int32_t kSlots = 512;

    int32_t keys[kSlots], counts[kSlots];
    Extent extents[kSlots];

    PDL_DEVICE void clear(int32_t slot) {
        keys[slot] = kFree;
        counts[slot] = 0;
        extents[slot] = {INT32_MAX, INT32_MAX, 0, 0};
    }

    PDL_DEVICE void count(const Plan &plan, const Image &image, int32_t pair, int32_t pixels, const Extent &extent) {
        const int32_t slot = slot_of(keys, kSlots, pair);
        if (slot == kNowhere) {
            add_to(plan, image, pair, pixels, extent);
            return;
        }
        fetch_add(&counts[slot], pixels);
        widen(&extents[slot], extent);
    }

    PDL_DEVICE void flush(const Plan &plan, const Image &image, int32_t slot) const {
        if (keys[slot] != kFree) add_to(plan, image, keys[slot], counts[slot], extents[slot]);
    }

private:
    static PDL_DEVICE void add_to(const Plan &plan, const Image &image, int32_t pair, int32_t pixels,
                                  const Extent &extent) {
        const int32_t thing = pair / plan.classes;
        fetch_add(&image.pairs[pair], pixels);
        widen(&image.extents[thing == 0 ? pair : plan.classes + thing - 1], extent);
    }
};

}  // namespace pdl::gpu

#endif
