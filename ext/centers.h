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
    int32_t votes = 0;  // where votes are counted
};

struct Heatmap {
    const float *values;  // (low_height, low_width)
    int64_t low_width;
    const Axis &rows;
    const Axis &columns;
};

// The upsampled heatmap at an output pixel.
float sample_heatmap(const Heatmap &heatmap, int32_t y, int32_t x);

// At most top_k - 1 centres in raster order.
std::vector<Center> find_centers(const Heatmap &heatmap, float threshold, int64_t nms_kernel, int64_t top_k,
                                 int threads);

}  // namespace pdl

#endif
