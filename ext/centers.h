// Finding the centres of an image: peaks of the upsampled heatmap.
#ifndef PANODEEPLAB_CENTERS_H
#define PANODEEPLAB_CENTERS_H

#include <cstdint>
#include <vector>

#include "grid.h"

namespace pdl {

struct Center {
    int32_t y, x;
    float score;
};

struct Heatmap {
    const float *values;  // (low_height, low_width)
    int64_t low_width;
    const Axis &rows;
    const Axis &columns;
};

// At most top_k - 1 centres in raster order.
std::vector<Center> find_centers(const Heatmap &heatmap, float threshold, int64_t nms_kernel, int64_t top_k,
                                 int threads);

}  // namespace pdl

#endif
