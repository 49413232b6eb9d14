// The nearest of many centres, without looking at most of them. The plane is cut into tiles; each keeps the centres
// that can be nearest to some point in it. The result equals brute force in float32, ties included.
#ifndef PANODEEPLAB_NEAREST_H
#define PANODEEPLAB_NEAREST_H

#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "arithmetic.h"
#include "centers.h"
#include "compiler.h"

namespace pdl {

// Some of the centres: their numbers and places, side by side for vectors.
struct CenterList {
    std::vector<int32_t> index;
    std::vector<double> y, x;

    size_t size() const { return index.size(); }
    void add(int32_t number, double at_y, double at_x) {
        index.push_back(number);
        y.push_back(at_y);
        x.push_back(at_x);
    }
};

class NearestCenter {
public:
    NearestCenter(const std::vector<Center> &centers, int64_t height, int64_t width, int threads);

    // For the votes that are `wanted` (-1, else 0): index of the nearest centre, the first of several; kNone if the
    // vote is not finite.
    template <int32_t kCount>
    PDL_FORCE_INLINE void find(const float *y, const float *x, const int32_t *wanted, int32_t *found) const {
        const auto across = static_cast<int32_t>(tiles_across_);
        int32_t tile[kCount];
        PDL_LANES
        for (int32_t q = 0; q < kCount; q++) {
            const bool inside = (y[q] >= -kMargin) & (x[q] >= -kMargin) & (y[q] < bottom_) & (x[q] < right_);
            tile[q] = tile_number(y[q], bottom_) * across + tile_number(x[q], right_);
            found[q] = inside ? 0 : kNone;
        }
        int32_t unknown = 0;
        PDL_LANES
        for (int32_t q = 0; q < kCount; q++) {
            found[q] = (found[q] | only_[tile[q]]) & wanted[q];
            unknown |= found[q] < 0;
        }
        if (!unknown) return;
        for (int32_t first = 0; first < kCount; first++) {
            if (found[first] >= 0) continue;
            const Tile &shared = tiles_[tile[first]];
            if (found[first] == kNone || shared.count > kCapacity) {
                found[first] = find_among_all(y[first], x[first]);
                continue;
            }
            // All of the tile's votes at once.
            float best[kCount];
            int32_t nearest[kCount];
            PDL_LANES
            for (int32_t q = 0; q < kCount; q++) {
                best[q] = std::numeric_limits<float>::infinity();
                nearest[q] = 0;
            }
            for (int32_t i = 0; i < shared.count; i++) {
                const int32_t k = shared.index[i];
                const float center_y = y_[k], center_x = x_[k];
                PDL_LANES
                for (int32_t q = 0; q < kCount; q++) {
                    const float distance = squared_distance(y[q], x[q], center_y, center_x);
                    const bool closer = distance < best[q];
                    best[q] = closer ? distance : best[q];
                    nearest[q] = closer ? k : nearest[q];
                }
            }
            const int32_t number = tile[first];
            PDL_LANES
            for (int32_t q = 0; q < kCount; q++)
                found[q] = ((found[q] == kSeveral) & (tile[q] == number)) ? nearest[q] : found[q];
        }
    }

    // For the votes of samples: the centre that is nearest by so much that it is nearest to every vote in between four
    // samples that share it; else kNone, or kSeveral: `find_clearly` knows.
    PDL_FORCE_INLINE void locate(const float *y, const float *x, int64_t count, int32_t *found) const {
        const auto across = static_cast<int32_t>(tiles_across_);
        const int32_t *only = only_.get();
        PDL_INDEPENDENT
        for (int64_t i = 0; i < count; i++) {
            const bool inside = (y[i] >= -kMargin) & (x[i] >= -kMargin) & (y[i] < bottom_) & (x[i] < right_);
            const int32_t k = only[tile_number(y[i], bottom_) * across + tile_number(x[i], right_)];
            found[i] = inside ? k : kNone;
        }
    }
    int32_t find_clearly(float y, float x) const;

    static constexpr int32_t kNone = -1, kSeveral = -2;

private:
    static constexpr int32_t kCapacity = 15;
    static constexpr float kSide = 16.0f;
    static constexpr float kMargin = 128.0f;  // of tiles around the image
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
    void fill(int64_t tile_y, int64_t tile_x, int64_t side, const CenterList &listed, std::vector<double> &room);
    void fill_with(int64_t tile_y, int64_t tile_x, int64_t side, int32_t center);
    int32_t find_among_all(float y, float x) const;

    std::vector<Center> centers_;
    std::vector<float> y_, x_;
    double slack_;
    std::unique_ptr<Tile[]> tiles_;    // not a vector, which would be cleared first
    std::unique_ptr<int32_t[]> only_;  // the centre of a tile that lists one, else kSeveral
    int64_t tiles_down_, tiles_across_;
    float bottom_, right_;
};

}  // namespace pdl

#endif
