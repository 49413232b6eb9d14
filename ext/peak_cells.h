// Which cells of a heatmap can hold a peak, told from the pixels at their corners.
#ifndef PANODEEPLAB_PEAK_CELLS_H
#define PANODEEPLAB_PEAK_CELLS_H

#include <cstdint>
#include <vector>

#include "centers.h"

namespace pdl {

// Where a window covers the whole cell of each of its pixels, a peak is the largest pixel of its cell. That is a corner
// pixel, as samples of a cell are bilinear; if one of the pixels around it in other cells is larger, the cell has no
// peak. Rows have to be asked for in ascending order.
class PeakCells {
public:
    PeakCells(const Heatmap &heatmap, int64_t radius);

    // For each cell of row `i`: 1 if it surely has no peak, else 0.
    void find_without(int64_t i, int32_t *without);

private:
    // The corner pixels of the cells of a row, with a cell of -inf on either side.
    struct Corners {
        int64_t row = -2;
        std::vector<float> top_left, top_right, bottom_left, bottom_right;
        std::vector<float> error;  // more than rounding can change a pixel of the cell
    };

    const Corners &corners_of(int64_t i);
    void sample(int64_t i, Corners &corners);

    const Heatmap &heatmap_;
    int64_t longest_;  // span of pixels
    int64_t radius_, columns_;
    std::vector<int32_t> lower_, upper_;           // samples around the columns
    std::vector<float> first_, last_;              // weights of the first and last pixel of the columns
    std::vector<float> top_, bottom_, magnitude_;  // of the samples of a row
    Corners rows_[3];
};

}  // namespace pdl

#endif
