// Where output pixels lie between input samples. The pixels of one axis fall into spans, all between the same two
// samples; a span of rows and a span of columns make a cell.
#ifndef PANODEEPLAB_GRID_H
#define PANODEEPLAB_GRID_H

#include <algorithm>
#include <cstdint>
#include <vector>

namespace pdl {

struct Span {
    int32_t lower, upper;  // input samples; equal where the position is clamped to the first or last one
    int32_t begin, end;    // output pixels
};

struct Axis {
    std::vector<Span> spans;
    std::vector<float> weight;  // of the upper sample, for each output pixel

    // The first `size` output pixels of an axis of `low` samples.
    Axis(int64_t low, int64_t stride, bool align_corners, int64_t size) : weight(static_cast<size_t>(size)) {
        const int64_t denominator = align_corners ? stride : 2 * stride;
        int64_t previous = -2;
        for (int64_t t = 0; t < size; t++) {
            const int64_t unclamped = align_corners ? t : 2 * t + 1 - stride;
            const int64_t numerator = std::clamp<int64_t>(unclamped, 0, (low - 1) * denominator);
            const int64_t lower = numerator / denominator;
            weight[t] = static_cast<float>(numerator - lower * denominator) / static_cast<float>(denominator);
            const int64_t span = unclamped < 0 ? -1 : lower;
            if (span != previous) {
                const int64_t upper = span < 0 ? 0 : std::min(lower + 1, low - 1);
                const auto begin = static_cast<int32_t>(t);
                spans.push_back({static_cast<int32_t>(lower), static_cast<int32_t>(upper), begin, begin});
                previous = span;
            }
            spans.back().end = static_cast<int32_t>(t + 1);
        }
    }
};

// Output coordinate of an input sample.
inline double sample_position(int32_t sample, int64_t stride, bool align_corners) {
    const auto step = static_cast<double>(stride);
    return sample * step + (align_corners ? 0.0 : (step - 1.0) / 2.0);
}

}  // namespace pdl

#endif
