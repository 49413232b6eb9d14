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

}  // namespace

NearestCenter::NearestCenter(const std::vector<Center> &centers, int64_t height, int64_t width, int threads)
    : centers_(centers) {
    for (const Center &center : centers) {
        y_.push_back(static_cast<float>(center.y));
        x_.push_back(static_cast<float>(center.x));
    }
    const auto block = static_cast<int64_t>(kSide) * kBlock;
    const auto margin = static_cast<int64_t>(kMargin);
    const int64_t blocks_down = (height + 2 * margin + block - 1) / block;
    const int64_t blocks_across = (width + 2 * margin + block - 1) / block;
    tiles_down_ = blocks_down * kBlock;
    tiles_across_ = blocks_across * kBlock;
    bottom_ = static_cast<float>(blocks_down * block - margin);
    right_ = static_cast<float>(blocks_across * block - margin);
    tiles_.resize(static_cast<size_t>(tiles_down_ * tiles_across_));
    if (centers_.empty()) return;

    const int64_t blocks = blocks_down * blocks_across;
    const int used = useful_threads(threads, blocks * static_cast<int64_t>(centers_.size()) / 4096);
    std::vector<std::vector<int32_t>> listed(used, std::vector<int32_t>(centers_.size()));
#pragma omp parallel for num_threads(used) schedule(static)
    for (int64_t i = 0; i < blocks; i++) fill_block(i / blocks_across, i % blocks_across, listed[thread_index()]);
}

void NearestCenter::fill_block(int64_t block_y, int64_t block_x, std::vector<int32_t> &listed) {
    const double side = kSide;
    const double y0 = static_cast<double>(block_y) * kBlock * side - kMargin;
    const double x0 = static_cast<double>(block_x) * kBlock * side - kMargin;
    const Box whole = {y0, x0, y0 + kBlock * side, x0 + kBlock * side};
    for (size_t k = 0; k < centers_.size(); k++) listed[k] = static_cast<int32_t>(k);
    const int32_t block_best = closest(centers_, listed.data(), centers_.size(), whole);
    size_t count = 0;
    for (size_t k = 0; k < centers_.size(); k++)
        if (!is_farther(centers_[k], centers_[block_best], whole)) listed[count++] = static_cast<int32_t>(k);

    for (int64_t i = 0; i < kBlock; i++)
        for (int64_t j = 0; j < kBlock; j++) {
            Tile &tile = tiles_[(block_y * kBlock + i) * tiles_across_ + block_x * kBlock + j];
            const double y = y0 + static_cast<double>(i) * side, x = x0 + static_cast<double>(j) * side;
            const Box box = {y, x, y + side, x + side};
            const int32_t best = count == 1 ? listed[0] : closest(centers_, listed.data(), count, box);
            tile.count = 0;
            for (size_t n = 0; n < count && tile.count <= kCapacity; n++) {
                if (listed[n] != best && is_farther(centers_[listed[n]], centers_[best], box)) continue;
                if (tile.count < kCapacity) tile.index[tile.count] = listed[n];
                tile.count++;
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
    const int64_t i0 = tile_number(y0), i1 = tile_number(y1), j0 = tile_number(x0), j1 = tile_number(x1);
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
