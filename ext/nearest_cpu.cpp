#include "nearest.h"

#include <algorithm>
#include <cstdlib>

#include "threads.h"

namespace pdl {
namespace {

struct Box {
    double y0, x0, y1, x1;  // closed
};

PDL_FORCE_INLINE double larger(double a, double b) { return a > b ? a : b; }

// The centre whose farthest point of the box is nearest: the one to hold others against.
PDL_CLONES size_t closest(const CenterList &centers, const Box &box, double *distances) {
    const double *at_y = centers.y.data(), *at_x = centers.x.data();
    const size_t count = centers.size();
    PDL_INDEPENDENT
    for (size_t n = 0; n < count; n++) {
        const double dy = larger(std::fabs(box.y0 - at_y[n]), std::fabs(box.y1 - at_y[n]));
        const double dx = larger(std::fabs(box.x0 - at_x[n]), std::fabs(box.x1 - at_x[n]));
        distances[n] = dy * dy + dx * dx;
    }
    return static_cast<size_t>(std::min_element(distances, distances + count) - distances);
}

// By how much each centre's lead over the one at (y, x) falls short in the box: one that is above zero is farther from
// every point of the box, by so much that it is also farther from any point within the slack of one, in float32. The
// difference of the squared distances is linear, so a corner has its minimum; float32 errs by less than 2^-21 of each.
PDL_CLONES void lag(const CenterList &centers, double y, double x, const Box &box, double slack, double *lags) {
    const double *at_y = centers.y.data(), *at_x = centers.x.data();
    const size_t count = centers.size();
    const double around = std::fabs(box.y0 - y) + std::fabs(box.y1 - y) + std::fabs(box.x0 - x) + std::fabs(box.x1 - x);
    PDL_INDEPENDENT
    for (size_t n = 0; n < count; n++) {
        const double dy = at_y[n] - y, dx = at_x[n] - x;
        const double corner_y = dy > 0.0 ? box.y1 : box.y0, corner_x = dx > 0.0 ? box.x1 : box.x0;
        const double least = dy * (at_y[n] + y - 2.0 * corner_y) + dx * (at_x[n] + x - 2.0 * corner_x);
        const double apart = std::fabs(dy) + std::fabs(dx);
        const double reach = around + apart;
        lags[n] = least - (0x1p-18 * reach * reach + slack * apart);
    }
}

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
    // The vote of a pixel and the votes of the samples around it are rounded, each by less than 2^-20 of what they can
    // reach; a centre's lead shrinks by twice that for each pixel between it and the other.
    slack_ = 0x1p-18 * static_cast<double>(height + width + 4 * margin);
    if (centers_.empty()) return;
    const auto tiles = static_cast<size_t>(tiles_down_ * tiles_across_);
    tiles_.reset(new Tile[tiles]);
    only_.reset(new int32_t[tiles]);

    CenterList all;
    for (size_t k = 0; k < centers_.size(); k++) all.add(static_cast<int32_t>(k), centers_[k].y, centers_[k].x);
    constexpr int64_t kLargestBlock = kBlock * kBlock;
    const int64_t blocks_across = (tiles_across_ + kLargestBlock - 1) / kLargestBlock;
    const int64_t blocks = (tiles_down_ + kLargestBlock - 1) / kLargestBlock * blocks_across;
    const int used = useful_threads(threads, blocks / 4);
    std::vector<std::vector<double>> rooms(used, std::vector<double>(all.size()));
    parallel_for(used, blocks, 1, [&](int64_t i, int thread) {
        fill(i / blocks_across * kLargestBlock, i % blocks_across * kLargestBlock, kLargestBlock, all, rooms[thread]);
    });
}

// Fills the tiles of a square of `side` tiles; `listed` has every centre that can be nearest to a point in it. `room`
// is for a number for each.
void NearestCenter::fill(int64_t tile_y, int64_t tile_x, int64_t side, const CenterList &listed,
                         std::vector<double> &room) {
    const double size = kSide;
    const double y0 = static_cast<double>(tile_y) * size - kMargin, x0 = static_cast<double>(tile_x) * size - kMargin;
    const Box box = {y0, x0, y0 + static_cast<double>(side) * size, x0 + static_cast<double>(side) * size};
    const size_t best = closest(listed, box, room.data());
    lag(listed, listed.y[best], listed.x[best], box, slack_, room.data());
    const auto is_kept = [&](size_t n) { return n == best || room[n] <= 0.0; };
    if (side == 1) {
        const int64_t number = tile_y * tiles_across_ + tile_x;
        Tile &tile = tiles_[number];
        tile.count = 0;
        for (size_t n = 0; n < listed.size() && tile.count <= kCapacity; n++) {
            if (!is_kept(n)) continue;
            if (tile.count < kCapacity) tile.index[tile.count] = listed.index[n];
            tile.count++;
        }
        only_[number] = tile.count == 1 ? listed.index[best] : kSeveral;
        return;
    }
    CenterList kept;
    for (size_t n = 0; n < listed.size(); n++)
        if (is_kept(n)) kept.add(listed.index[n], listed.y[n], listed.x[n]);
    if (kept.size() == 1) {
        fill_with(tile_y, tile_x, side, kept.index[0]);
        return;
    }
    const int64_t step = side / kBlock;
    const int64_t last_y = std::min(tile_y + side, tiles_down_), last_x = std::min(tile_x + side, tiles_across_);
    for (int64_t y = tile_y; y < last_y; y += step)
        for (int64_t x = tile_x; x < last_x; x += step) fill(y, x, step, kept, room);
}

// Fills the tiles of a square with the one centre that is nearest to every point in it.
void NearestCenter::fill_with(int64_t tile_y, int64_t tile_x, int64_t side, int32_t center) {
    const int64_t last_y = std::min(tile_y + side, tiles_down_), last_x = std::min(tile_x + side, tiles_across_);
    for (int64_t y = tile_y; y < last_y; y++)
        for (int64_t x = tile_x; x < last_x; x++) {
            Tile &tile = tiles_[y * tiles_across_ + x];
            tile.count = 1;
            tile.index[0] = only_[y * tiles_across_ + x] = center;
        }
}

// The votes of pixels are convex combinations of those of the samples around them, and the lead of a centre over
// another is linear: with these leads at all corners it stays one in between. Leads add up, so a centre that the tile
// does not list, for another is nearer, is no exception.
int32_t NearestCenter::find_clearly(float y, float x) const {
    const Tile &tile = tiles_[tile_number(y, bottom_) * tiles_across_ + tile_number(x, right_)];
    if (tile.count > kCapacity) return kNone;
    double distances[kCapacity], least = std::numeric_limits<double>::infinity();
    int32_t best = 0;
    for (int32_t i = 0; i < tile.count; i++) {
        const double dy = static_cast<double>(y) - centers_[tile.index[i]].y;
        const double dx = static_cast<double>(x) - centers_[tile.index[i]].x;
        distances[i] = dy * dy + dx * dx;
        if (distances[i] < least) {
            least = distances[i];
            best = i;
        }
    }
    const Center &center = centers_[tile.index[best]];
    for (int32_t i = 0; i < tile.count; i++) {
        const Center &other = centers_[tile.index[i]];
        const double apart = std::abs(other.y - center.y) + std::abs(other.x - center.x);
        if (i != best && !(distances[i] - least > 0x1p-18 * distances[i] + slack_ * apart)) return kNone;
    }
    return tile.index[best];
}

int32_t NearestCenter::find_among_all(float y, float x) const {
    constexpr float most = std::numeric_limits<float>::max();
    if (!(std::fabs(y) <= most && std::fabs(x) <= most)) return kNone;
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

}  // namespace pdl
