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

    // Numbers of the tiles that votes fall into; -1 outside of all.
    PDL_FORCE_INLINE void find_tiles(const float *y, const float *x, int32_t count, int32_t *numbers) const {
        const auto across = static_cast<int32_t>(tiles_across_);
        for (int32_t q = 0; q < count; q++) {
            const bool inside = (y[q] >= -kMargin) & (x[q] >= -kMargin) & (y[q] < bottom_) & (x[q] < right_);
            const int32_t i = tile_number(inside ? y[q] : 0.0f), j = tile_number(inside ? x[q] : 0.0f);
            numbers[q] = inside ? i * across + j : -1;
        }
    }

    // Index of the centre nearest to a vote in tile `number`, the first of several; -1 if the vote is not finite.
    PDL_FORCE_INLINE int32_t find_in_tile(int32_t number, float y, float x) const {
        if (number >= 0 && only_[number] >= 0) return only_[number];
        if (number < 0) {
            constexpr float most = std::numeric_limits<float>::max();
            return std::fabs(y) <= most && std::fabs(x) <= most ? find_among_all(y, x) : -1;
        }
        const Tile &tile = tiles_[number];
        if (tile.count > kCapacity) return find_among_all(y, x);
        float best = std::numeric_limits<float>::infinity();
        int32_t found = 0;
        for (int32_t i = 0; i < tile.count; i++) {
            const int32_t k = tile.index[i];
            const float distance = squared_distance(y, x, y_[k], x_[k]);
            if (distance < best) {
                best = distance;
                found = k;
            }
        }
        return found;
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
    static constexpr float kFarthest = 1e9f;  // a vote beyond it is looked at by itself
    static constexpr int64_t kBlock = 4;      // tiles along a block, blocks along a superblock

    struct Tile {
        int32_t count;  // over kCapacity: too many to list
        int32_t index[kCapacity];
    };

    // Floor of an exact quotient, so a vote never lands beside its tile.
    static PDL_FORCE_INLINE int32_t tile_number(float position) {
        const float tiles = position * (1.0f / kSide);
        const auto truncated = static_cast<int32_t>(tiles);
        return truncated - (static_cast<float>(truncated) > tiles ? 1 : 0) + static_cast<int32_t>(kMargin / kSide);
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
