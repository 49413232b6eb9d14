#include "peak_cells.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <limits>

#include "arithmetic.h"
#include "compiler.h"

namespace pdl {
namespace {

constexpr float kNone = -std::numeric_limits<float>::infinity();

PDL_FORCE_INLINE float larger(float a, float b) { return a > b ? a : b; }

// The samples of two rows, mixed for a cell's first and last row of pixels.
PDL_CLONES void mix_rows(const float *above, const float *below, float first, float last, int64_t count, float *top,
                         float *bottom, float *magnitude) {
    PDL_INDEPENDENT
    for (int64_t x = 0; x < count; x++) {
        top[x] = between(above[x], below[x], first);
        bottom[x] = between(above[x], below[x], last);
        magnitude[x] = larger(std::fabs(above[x]), std::fabs(below[x]));
    }
}

// A row of samples mixed already, and the columns of cells: the samples around each, and two weights.
struct Mixed {
    const float *values;
    const int32_t *lower, *upper;
    const float *first, *last;
    int64_t columns;
};

PDL_CLONES void sample_corners(const Mixed &mixed, float *left, float *right) {
    PDL_INDEPENDENT
    for (int64_t j = 0; j < mixed.columns; j++) {
        const float lower = mixed.values[mixed.lower[j]], upper = mixed.values[mixed.upper[j]];
        left[j] = between(lower, upper, mixed.first[j]);
        right[j] = between(lower, upper, mixed.last[j]);
    }
}

struct Row {
    const float *top_left, *top_right, *bottom_left, *bottom_right;
};

// All arrays have an entry before the first cell and one after the last.
PDL_CLONES void find_dominated(const Row &above, const Row &row, const Row &below, const float *error, int64_t count,
                               int32_t *dominated) {
    PDL_INDEPENDENT
    for (int64_t j = 0; j < count; j++) {
        const float a = row.top_left[j], b = row.top_right[j], c = row.bottom_left[j], d = row.bottom_right[j];
        const float most = larger(larger(a, b), larger(c, d)), close = most - error[j];
        // One of them, by more than rounding; not so where the error is NaN or infinite.
        const int32_t leaders = (a >= close) + (b >= close) + (c >= close) + (d >= close);
        const bool is_clear = (leaders == 1) & (close < most);
        const float beside_a = larger(row.top_right[j - 1], larger(above.bottom_left[j], above.bottom_right[j - 1]));
        const float beside_b = larger(row.top_left[j + 1], larger(above.bottom_right[j], above.bottom_left[j + 1]));
        const float beside_c = larger(row.bottom_right[j - 1], larger(below.top_left[j], below.top_right[j - 1]));
        const float beside_d = larger(row.bottom_left[j + 1], larger(below.top_right[j], below.top_left[j + 1]));
        const bool exceeded = ((a == most) & (beside_a > most)) | ((b == most) & (beside_b > most)) |
                              ((c == most) & (beside_c > most)) | ((d == most) & (beside_d > most));
        dominated[j] = is_clear & exceeded;
    }
}

}  // namespace

PeakCells::PeakCells(const Heatmap &heatmap, int64_t radius)
    : heatmap_(heatmap),
      longest_(1),
      radius_(radius),
      columns_(static_cast<int64_t>(heatmap.columns.spans.size())) {
    for (const Axis *axis : {&heatmap.rows, &heatmap.columns})
        for (const Span &span : axis->spans) longest_ = std::max<int64_t>(longest_, span.end - span.begin);
    for (const Span &span : heatmap.columns.spans) {
        lower_.push_back(span.lower);
        upper_.push_back(span.upper);
        first_.push_back(heatmap.columns.weight[span.begin]);
        last_.push_back(heatmap.columns.weight[span.end - 1]);
    }
    top_.resize(heatmap.low_width);
    bottom_.resize(heatmap.low_width);
    magnitude_.resize(heatmap.low_width);
    for (Corners &corners : rows_)
        for (std::vector<float> *values : {&corners.top_left, &corners.top_right, &corners.bottom_left,
                                           &corners.bottom_right, &corners.error})
            values->assign(static_cast<size_t>(columns_ + 2), kNone);
}

void PeakCells::sample(int64_t i, Corners &corners) {
    corners.row = i;
    if (i < 0 || i >= static_cast<int64_t>(heatmap_.rows.spans.size())) {
        for (std::vector<float> *values :
             {&corners.top_left, &corners.top_right, &corners.bottom_left, &corners.bottom_right})
            std::fill(values->begin(), values->end(), kNone);
        return;
    }
    const Span &row = heatmap_.rows.spans[i];
    mix_rows(heatmap_.values + row.lower * heatmap_.low_width, heatmap_.values + row.upper * heatmap_.low_width,
             heatmap_.rows.weight[row.begin], heatmap_.rows.weight[row.end - 1], heatmap_.low_width, top_.data(),
             bottom_.data(), magnitude_.data());
    sample_corners({top_.data(), lower_.data(), upper_.data(), first_.data(), last_.data(), columns_},
                   corners.top_left.data() + 1, corners.top_right.data() + 1);
    sample_corners({bottom_.data(), lower_.data(), upper_.data(), first_.data(), last_.data(), columns_},
                   corners.bottom_left.data() + 1, corners.bottom_right.data() + 1);
    // A pixel beside the largest one is smaller by a part of the lead of that over the other corners; each errs by less
    // than 2^-21 of the samples.
    const float scale = static_cast<float>(longest_) * 0x1p-18f;
    for (int64_t j = 0; j < columns_; j++)
        corners.error[j + 1] = larger(magnitude_[lower_[j]], magnitude_[upper_[j]]) * scale + FLT_MIN;
}

const PeakCells::Corners &PeakCells::corners_of(int64_t i) {
    Corners &corners = rows_[(i + 3) % 3];
    if (corners.row != i) sample(i, corners);
    return corners;
}

void PeakCells::find_without(int64_t i, int32_t *without) {
    if (longest_ - 1 > radius_) {
        std::fill(without, without + columns_, 0);
        return;
    }
    const auto row_of = [](const Corners &corners) {
        return Row{corners.top_left.data() + 1, corners.top_right.data() + 1, corners.bottom_left.data() + 1,
                   corners.bottom_right.data() + 1};
    };
    const Corners &above = corners_of(i - 1), &row = corners_of(i), &below = corners_of(i + 1);
    find_dominated(row_of(above), row_of(row), row_of(below), row.error.data() + 1, columns_, without);
}

}  // namespace pdl
