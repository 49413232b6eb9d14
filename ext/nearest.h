// The nearest of many centres, without looking at most of them. The plane is cut into tiles; each keeps the centres
// that can be nearest to some point in it. The result equals brute force in float32, ties included.
#ifndef PANODEEPLAB_NEAREST_H
#define PANODEEPLAB_NEAREST_H

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "arithmetic.h"
#include "centers.h"
#include "compiler.h"

namespace pdl {

struct Box {
    double y0, x0, y1, x1;  // closed
};

// Whether `other` is strictly farther than `center` from every point of the box, also after rounding to float32. The
// difference of the squared distances is linear, so a corner has its minimum; float32 errs by less than 2^-21 of each.
PDL_FORCE_INLINE bool is_farther(const Center &other, const Center &center, const Box &box) {
    const double dy = static_cast<double>(other.y) - center.y, dx = static_cast<double>(other.x) - center.x;
    const double y = dy > 0.0 ? box.y1 : box.y0, x = dx > 0.0 ? box.x1 : box.x0;
    const double least = dy * (static_cast<double>(other.y) + center.y - 2.0 * y) +
                         dx * (static_cast<double>(other.x) + center.x - 2.0 * x);
    const double reach = std::fabs(box.y0 - center.y) + std::fabs(box.y1 - center.y) +
                         std::fabs(box.x0 - center.x) + std::fabs(box.x1 - center.x) + std::fabs(dy) + std::fabs(dx);
    return least > 0x1p-18 * reach * reach;
}

class NearestCenter {
public:
    NearestCenter(const std::vector<Center> &centers, int64_t height, int64_t width, int threads);

    // For the votes that are `wanted` (-1, else 0): index of the nearest centre, the first of several; -1 if the vote is
    // not finite.
    template <int32_t kCount>
    PDL_FORCE_INLINE void find(const float *y, const float *x, const int32_t *wanted, int32_t *found) const {
        constexpr int32_t kUnknown = -2;
        const auto across = static_cast<int32_t>(tiles_across_);
        int32_t tile[kCount];
        for (int32_t q = 0; q < kCount; q++) {
            const bool inside = (y[q] >= -kMargin) & (x[q] >= -kMargin) & (y[q] < bottom_) & (x[q] < right_);
            tile[q] = tile_number(y[q], bottom_) * across + tile_number(x[q], right_);
            found[q] = inside ? 0 : kUnknown;
        }
        int32_t unknown = 0;
        for (int32_t q = 0; q < kCount; q++) {
            const int32_t only = only_[tile[q]];
            found[q] = (found[q] | (only < 0 ? kUnknown : only)) & wanted[q];
            unknown |= found[q] < 0;
        }
        if (!unknown) return;
        for (int32_t q = 0; q < kCount; q++)
            if (found[q] < 0) found[q] = find_one(y[q], x[q]);
    }

    // The one centre that is nearest to every point of the box; -1 if there is none or it is not quickly known.
    int32_t find_for_all(const Box &box) const;

    // Where the votes of a row of cells lie. Entry j of each array is a corner between the cells j - 1 and j: its vote
    // and how far that is from the corner, |dy| + |dx|, all in output pixels.
    struct Votes {
        const float *y, *x, *reach;
    };

    // For the cells between two rows of corners: a key for `find_quickly`; -1 where the votes of a cell's pixels lie too
    // far apart or out. `extent` is the height and width of the output together.
    void locate(const Votes &upper, const Votes &lower, int64_t cells, float extent, int32_t *keys) const;

    // As `find_for_all`, only from a key; -1 more often.
    PDL_FORCE_INLINE int32_t find_quickly(int32_t key) const {
        if (key < 0) return -1;
        const int32_t *tile = only_.data() + (key >> 2);
        const int32_t k = tile[0];
        if ((key & 1) && tile[1] != k) return -1;
        if ((key & 2) && tile[tiles_across_] != k) return -1;
        if ((key & 3) == 3 && tile[tiles_across_ + 1] != k) return -1;
        return k;
    }

private:
    static constexpr int32_t kCapacity = 7;
    static constexpr float kSide = 16.0f;
    static constexpr float kMargin = 128.0f;  // of tiles around the image
    // As `find`.
    PDL_FORCE_INLINE int32_t find_one(float y, float x) const {
        if (!(y >= -kMargin && x >= -kMargin && y < bottom_ && x < right_)) {
            constexpr float most = std::numeric_limits<float>::max();
            return std::fabs(y) <= most && std::fabs(x) <= most ? find_among_all(y, x) : -1;
        }
        const Tile &tile = tiles_[tile_number(y, bottom_) * tiles_across_ + tile_number(x, right_)];
        if (tile.count > kCapacity) return find_among_all(y, x);
        float best = std::numeric_limits<float>::infinity();
        int32_t found = 0;
        for (int32_t i = 0; i < tile.count; i++) {
            const int32_t k = tile.index[i];
            const float distance = squared_distance(y, x, y_[k], x_[k]);
            const bool closer = distance < best;
            best = closer ? distance : best;
            found = closer ? k : found;
        }
        return found;
    }

    static constexpr float kFarthest = 1e9f;  // a vote beyond it is looked at by itself
    static constexpr int64_t kBlock = 4;      // tiles along a block, blocks along a superblock

    struct Tile {
        int32_t count;  // over kCapacity: too many to list
        int32_t index[kCapacity];
    };

    // The tile along an axis of tiles that ends at `end`; of a position beyond them, or NaN, any. Floor of an exact
    // quotient, so a vote never lands beside its tile.
    static PDL_FORCE_INLINE int32_t tile_number(float position, float end) {
        const float after = position > -kMargin ? position : -kMargin;
        const float tiles = (after < end ? after : end - 1.0f) * (1.0f / kSide);
        const auto truncated = static_cast<int32_t>(tiles);
        return truncated - static_cast<int32_t>(static_cast<float>(truncated) > tiles) +
               static_cast<int32_t>(kMargin / kSide);
    }
    void fill(int64_t tile_y, int64_t tile_x, int64_t side, const std::vector<int32_t> &listed);
    int32_t find_among_all(float y, float x) const;

    std::vector<Center> centers_;
    std::vector<float> y_, x_;
    std::vector<Tile> tiles_;
    std::vector<int32_t> only_;  // the centre of a tile that lists one, else -1
    int64_t tiles_down_, tiles_across_;
    float bottom_, right_;
};

}  // namespace pdl

#endif
