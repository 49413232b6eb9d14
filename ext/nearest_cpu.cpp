#include "nearest.h"

#include <algorithm>

namespace pdl {
namespace {

double squared_far_distance(const Center &center, const Box &box) {
    const double dy = std::max(std::fabs(box.y0 - center.y), std::fabs(box.y1 - center.y));
    const double dx = std::max(std::fabs(box.x0 - center.x), std::fabs(box.x1 - center.x));
    return dy * dy + dx * dx;
}

// The centre whose farthest point of the box is nearest: the one to hold others against.
int32_t closest(const std::vector<Center> &centers, const int32_t *listed, size_t count, const Box &box) {
    int32_t best = listed[0];
    double least = squared_far_distance(centers[best], box);
    for (size_t i = 1; i < count; i++) {
        const double distance = squared_far_distance(centers[listed[i]], box);
        if (distance < least) {
            least = distance;
            best = listed[i];
        }
    }
    return best;
}

PDL_FORCE_INLINE float smaller(float a, float b) { return a < b ? a : b; }
PDL_FORCE_INLINE float larger(float a, float b) { return a > b ? a : b; }

}  // namespace

NearestCenter::NearestCenter(const std::vector<Center> &centers, int64_t height, int64_t width, int threads)
    : centers_(centers) {
    for (const Center &center : centers) {
        y_.push_back(static_cast<float>(center.y));
        x_.push_back(static_cast<float>(center.x));
    }
    const auto side = static_cast<int64_t>(kSide);
    const auto margin = static_cast<int64_t>(kMargin);
    tiles_down_ = (height + 2 * margin + side - 1) / side;
    tiles_across_ = (width + 2 * margin + side - 1) / side;
    bottom_ = static_cast<float>(tiles_down_ * side - margin);
    right_ = static_cast<float>(tiles_across_ * side - margin);
    if (centers_.empty()) return;
    tiles_.resize(static_cast<size_t>(tiles_down_ * tiles_across_));
    only_.resize(tiles_.size());

    std::vector<int32_t> all(centers_.size());
    for (size_t k = 0; k < all.size(); k++) all[k] = static_cast<int32_t>(k);
    constexpr int64_t kLargestBlock = kBlock * kBlock;
    const int64_t blocks_across = (tiles_across_ + kLargestBlock - 1) / kLargestBlock;
    const int64_t blocks = (tiles_down_ + kLargestBlock - 1) / kLargestBlock * blocks_across;
    const int used = useful_threads(threads, blocks / 4);
#pragma omp parallel for num_threads(used) schedule(dynamic, 1)
    for (int64_t i = 0; i < blocks; i++)
        fill(i / blocks_across * kLargestBlock, i % blocks_across * kLargestBlock, kLargestBlock, all);
}

// Fills the tiles of a square of `side` tiles; `listed` has every centre that can be nearest to a point in it.
void NearestCenter::fill(int64_t tile_y, int64_t tile_x, int64_t side, const std::vector<int32_t> &listed) {
    const double size = kSide;
    const double y0 = static_cast<double>(tile_y) * size - kMargin, x0 = static_cast<double>(tile_x) * size - kMargin;
    const Box box = {y0, x0, y0 + static_cast<double>(side) * size, x0 + static_cast<double>(side) * size};
    const int32_t best = listed.size() == 1 ? listed[0] : closest(centers_, listed.data(), listed.size(), box);
    if (side == 1) {
        const int64_t number = tile_y * tiles_across_ + tile_x;
        Tile &tile = tiles_[number];
        tile.count = 0;
        for (size_t n = 0; n < listed.size() && tile.count <= kCapacity; n++) {
            if (listed[n] != best && is_farther(centers_[listed[n]], centers_[best], box)) continue;
            if (tile.count < kCapacity) tile.index[tile.count] = listed[n];
            tile.count++;
        }
        only_[number] = tile.count == 1 ? best : -1;
        return;
    }
    std::vector<int32_t> kept;
    for (const int32_t k : listed)
        if (k == best || !is_farther(centers_[k], centers_[best], box)) kept.push_back(k);
    const int64_t step = side / kBlock;
    const int64_t last_y = std::min(tile_y + side, tiles_down_), last_x = std::min(tile_x + side, tiles_across_);
    if (kept.size() == 1) {
        for (int64_t y = tile_y; y < last_y; y++)
            for (int64_t x = tile_x; x < last_x; x++) {
                Tile &tile = tiles_[y * tiles_across_ + x];
                tile.count = 1;
                tile.index[0] = only_[y * tiles_across_ + x] = best;
            }
        return;
    }
    for (int64_t y = tile_y; y < last_y; y += step)
        for (int64_t x = tile_x; x < last_x; x += step) fill(y, x, step, kept);
}

PDL_CLONES void NearestCenter::locate(const Votes &upper, const Votes &lower, int64_t cells, float extent,
                                      int32_t *keys) const {
    constexpr int64_t kBlock = 128;
    const auto across = static_cast<int32_t>(tiles_across_);
    // Of each pair of corners: the box of their votes, and how far they reach; infinitely where that is not a number.
    float y0[kBlock + 1], y1[kBlock + 1], x0[kBlock + 1], x1[kBlock + 1], farthest[kBlock + 1];
    for (int64_t begin = 0; begin < cells; begin += kBlock) {
        const int64_t count = std::min(kBlock, cells - begin);
        for (int64_t j = 0; j <= count; j++) {
            const float uy = upper.y[begin + j], ly = lower.y[begin + j];
            const float ux = upper.x[begin + j], lx = lower.x[begin + j];
            const float ur = upper.reach[begin + j], lr = lower.reach[begin + j];
            y0[j] = smaller(uy, ly);
            y1[j] = larger(uy, ly);
            x0[j] = smaller(ux, lx);
            x1[j] = larger(ux, lx);
            const bool finite = (ur < kFarthest) & (lr < kFarthest);
            farthest[j] = finite ? larger(ur, lr) : std::numeric_limits<float>::infinity();
        }
        for (int64_t j = 0; j < count; j++) {
            // A bilinear sample of votes is the vote of the pixel there, and none lies outside of those of the corners.
            const float reach = larger(farthest[j], farthest[j + 1]);
            const float margin = (reach + extent) * 0x1p-18f;
            const float top = smaller(y0[j], y0[j + 1]) - margin, bottom = larger(y1[j], y1[j + 1]) + margin;
            const float left = smaller(x0[j], x0[j + 1]) - margin, right = larger(x1[j], x1[j + 1]) + margin;
            const bool inside = (reach < kFarthest) & (top >= -kMargin) & (left >= -kMargin) & (bottom < bottom_) &
                                (right < right_);
            const int32_t i0 = tile_number(top, bottom_), i1 = tile_number(bottom, bottom_);
            const int32_t j0 = tile_number(left, right_), j1 = tile_number(right, right_);
            const int32_t down = i1 - i0, along = j1 - j0;
            // All bits or none, not a branch, or the loop would not be vectorised.
            const int32_t refused = -static_cast<int32_t>(!inside | (down > 1) | (along > 1));
            keys[begin + j] = ((i0 * across + j0) * 4 + down * 2 + along) | refused;
        }
    }
}

int32_t NearestCenter::find_among_all(float y, float x) const {
    float best = std::numeric_limits<float>::infinity();
    int32_t found = 0;
    for (size_t k = 0; k < centers_.size(); k++) {
        const float distance = squared_distance(y, x, y_[k], x_[k]);
        if (distance < best) {
            best = distance;
            found = static_cast<int32_t>(k);
        }
    }
    return found;
}

int32_t NearestCenter::find_for_all(const Box &box) const {
    // Every vote is a float, so the box may be rounded to floats when its tiles are looked up.
    const auto y0 = static_cast<float>(box.y0), y1 = static_cast<float>(box.y1);
    const auto x0 = static_cast<float>(box.x0), x1 = static_cast<float>(box.x1);
    if (!(y0 >= -kMargin && x0 >= -kMargin && y1 < bottom_ && x1 < right_)) return -1;
    const int64_t i0 = tile_number(y0, bottom_), i1 = tile_number(y1, bottom_);
    const int64_t j0 = tile_number(x0, right_), j1 = tile_number(x1, right_);
    if (i1 - i0 > 1 || j1 - j0 > 1) return -1;
    const Tile &first = tiles_[i0 * tiles_across_ + j0];
    if (first.count > kCapacity) return -1;
    const Box middle = {(box.y0 + box.y1) / 2, (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2, (box.x0 + box.x1) / 2};
    const int32_t best = first.count == 1 ? first.index[0] : closest(centers_, first.index, first.count, middle);
    for (int64_t i = i0; i <= i1; i++)
        for (int64_t j = j0; j <= j1; j++) {
            const Tile &tile = tiles_[i * tiles_across_ + j];
            if (tile.count > kCapacity) return -1;
            for (int32_t n = 0; n < tile.count; n++)
                if (tile.index[n] != best && !is_farther(centers_[tile.index[n]], centers_[best], box)) return -1;
        }
    return best;
}

}  // namespace pdl
