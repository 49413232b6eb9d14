// Peaks of the upsampled heatmap. It is never made as a whole: a bilinear sample does not exceed its corners, so only
// cells with a corner above the threshold are looked at, in tiles.
#include "centers.h"

#include <cfloat>
#include <cmath>
#include <limits>

#include "arithmetic.h"
#include "compiler.h"
#include "peak_cells.h"
#include "threads.h"

namespace pdl {
namespace {

constexpr float kNone = -std::numeric_limits<float>::infinity();
constexpr int64_t kTileSide = 32;  // output pixels, about
constexpr int64_t kFew = 4;        // pixels of a cell at a time: a vector

// Keeps the top_k highest of any number of peaks in bounded memory. What it drops has top_k others at least as high
// above it, so it is not strictly above the top_k-th of all, and the top_k-th itself stays known.
class PeakList {
public:
    PeakList(int64_t top_k, int64_t pixels) : top_k_(static_cast<size_t>(top_k)) {
        capacity_ = static_cast<size_t>(std::min(2 * top_k, pixels));
        peaks_.reserve(capacity_ + 1);
    }

    void add(const Center &peak) {
        if (peak.score <= floor_) return;
        peaks_.push_back(peak);
        if (peaks_.size() > capacity_) {
            keep_highest(peaks_, top_k_);
            floor_ = lowest(peaks_);
        }
    }

    static void keep_highest(std::vector<Center> &peaks, size_t count) {
        const auto higher = [](const Center &a, const Center &b) { return a.score > b.score; };
        std::nth_element(peaks.begin(), peaks.begin() + static_cast<int64_t>(count) - 1, peaks.end(), higher);
        peaks.resize(count);
    }

    static float lowest(const std::vector<Center> &peaks) {
        float score = std::numeric_limits<float>::infinity();
        for (const Center &peak : peaks) score = std::min(score, peak.score);
        return score;
    }

    const std::vector<Center> &peaks() const { return peaks_; }

private:
    size_t top_k_, capacity_;
    float floor_ = kNone;
    std::vector<Center> peaks_;
};

// Whether samples among corners of at most `most` may exceed the threshold, rounding included.
bool may_exceed(float most, float threshold) {
    if (most <= 0.0f && threshold >= 0.0f) return false;
    return most + std::fabs(most) * 0x1p-20f + FLT_MIN > threshold;
}

// The largest sample around a cell; NaN is ignored.
PDL_FORCE_INLINE float largest_corner(const float *upper, const float *lower, const Span &column) {
    const int32_t left = column.lower, right = column.upper;
    return std::max({kNone, upper[left], upper[right], lower[left], lower[right]});
}

// The spans of one axis that a tile covers.
struct SpanRange {
    int64_t begin, end;
};

struct Tile {
    SpanRange rows, columns;
};

// Maximum of each column over rows y0..y1 of input samples, `width` of them; NaN is ignored.
PDL_CLONES void largest_of_columns(const float *values, int64_t width, int64_t y0, int64_t y1, float *out) {
    std::fill(out, out + width, kNone);
    for (int64_t y = y0; y <= y1; y++) {
        const float *row = values + y * width;
        PDL_INDEPENDENT
        for (int64_t x = 0; x < width; x++) out[x] = row[x] > out[x] ? row[x] : out[x];
    }
}

// Shrinks a tile to the cells that may hold a peak; false if there is none. `largest` has the maxima of the columns
// over the rows of samples around the tile; `without` says which cells of its rows have no peak.
bool shrink(const Heatmap &heatmap, const float *largest, const int32_t *without, float threshold, Tile &tile) {
    const std::vector<Span> &rows = heatmap.rows.spans, &columns = heatmap.columns.spans;
    const auto may_hold = [&](const float *upper, const float *lower, int64_t j) {
        return may_exceed(largest_corner(upper, lower, columns[j]), threshold);
    };
    SpanRange hot = {tile.columns.end, tile.columns.begin};
    for (int64_t j = tile.columns.begin; j < tile.columns.end; j++)
        if (may_hold(largest, largest, j)) hot = {std::min(hot.begin, j), j + 1};
    Tile found = {{tile.rows.end, tile.rows.begin}, {hot.end, hot.begin}};
    for (int64_t i = tile.rows.begin; i < tile.rows.end; i++, without += columns.size()) {
        const float *upper = heatmap.values + rows[i].lower * heatmap.low_width;
        const float *lower = heatmap.values + rows[i].upper * heatmap.low_width;
        for (int64_t j = hot.begin; j < hot.end; j++)
            if (!without[j] && may_hold(upper, lower, j)) {
                found.rows = {std::min(found.rows.begin, i), i + 1};
                found.columns = {std::min(found.columns.begin, j), std::max(found.columns.end, j + 1)};
            }
    }
    tile = found;
    return found.rows.begin < found.rows.end;
}

// out[x] = max of in[x .. x + window - 1] for rows of `length`, in place; `step` apart, `count` values side by side.
// Windows of powers of two, then two that overlap.
PDL_CLONES void sliding_maximum(float *values, int64_t length, int64_t step, int64_t count, int64_t window) {
    int64_t covered = 1;
    while (covered < window) {
        const int64_t shift = std::min(covered, window - covered);
        const int64_t last = length - covered - shift;
        for (int64_t i = 0; i <= last; i++) {
            float *here = values + i * step;
            const float *there = here + shift * step;
            PDL_INDEPENDENT
            for (int64_t k = 0; k < count; k++) here[k] = here[k] > there[k] ? here[k] : there[k];
        }
        covered += shift;
    }
}

// As above, for windows along a contiguous row, and into another.
PDL_CLONES void sliding_maximum_row(const float *values, float *out, int64_t length, int64_t window) {
    if (window == 1) std::copy(values, values + length, out);
    const float *in = values;
    for (int64_t covered = 1; covered < window;) {
        const int64_t shift = std::min(covered, window - covered);
        const int64_t count = length - covered - shift + 1;
        PDL_INDEPENDENT
        for (int64_t i = 0; i < count; i++) {
            const float here = in[i], there = in[i + shift];
            out[i] = here > there ? here : there;
        }
        in = out;
        covered += shift;
    }
}

struct Patch {
    int64_t y0, x0, height, width;  // in output pixels; it may stick out of the image
};

// Samples of a patch that exceed the threshold; -inf for others and outside of the image.
PDL_CLONES void sample_patch(const Heatmap &heatmap, float threshold, const Patch &patch, std::vector<Span> &hot,
                             float *mixed, float *values) {
    const auto image_height = static_cast<int64_t>(heatmap.rows.weight.size());
    const auto image_width = static_cast<int64_t>(heatmap.columns.weight.size());
    const int64_t y_begin = std::max<int64_t>(patch.y0, 0), y_end = std::min(patch.y0 + patch.height, image_height);
    const int64_t x_begin = std::max<int64_t>(patch.x0, 0), x_end = std::min(patch.x0 + patch.width, image_width);
    std::fill(values, values + patch.height * patch.width, kNone);
    const auto ends_after = [](int64_t value, const Span &span) { return value < span.end; };
    auto row = std::upper_bound(heatmap.rows.spans.begin(), heatmap.rows.spans.end(), y_begin, ends_after);
    const std::vector<Span> &columns = heatmap.columns.spans;
    const auto first = std::upper_bound(columns.begin(), columns.end(), x_begin, ends_after);
    const float *weights = heatmap.columns.weight.data();
    auto last = first;
    while (last + 1 != columns.end() && (last + 1)->begin < x_end) ++last;
    const int32_t left_end = first->lower;
    for (int64_t y = y_begin; y < y_end; ++row) {
        const float *above = heatmap.values + row->lower * heatmap.low_width;
        const float *below = heatmap.values + row->upper * heatmap.low_width;
        hot.clear();
        for (auto column = first; column <= last; ++column)
            if (may_exceed(largest_corner(above, below, *column), threshold)) hot.push_back(*column);
        for (const int64_t row_end = std::min<int64_t>(row->end, y_end); y < row_end; y++) {
            if (hot.empty()) continue;
            const float weight = heatmap.rows.weight[y];
            PDL_INDEPENDENT
            for (int64_t x = left_end; x <= last->upper; x++) mixed[x - left_end] = between(above[x], below[x], weight);
            float *out = values + (y - patch.y0) * patch.width - patch.x0;
            for (const Span &column : hot) {
                const float left = mixed[column.lower - left_end], right = mixed[column.upper - left_end];
                const auto sample = [&](float weight_x) {
                    const float value = between(left, right, weight_x);
                    return value > threshold ? value : kNone;
                };
                const int64_t end = std::min<int64_t>(column.end, x_end);
                int64_t x = std::max<int64_t>(column.begin, x_begin);
                for (; x + kFew <= end; x += kFew) {
                    float few[kFew];
                    for (int64_t k = 0; k < kFew; k++) few[k] = sample(weights[x + k]);
                    std::copy(few, few + kFew, out + x);
                }
                for (; x < end; x++) out[x] = sample(weights[x]);
            }
        }
    }
}

// Whether a row has a value that is the maximum of its window.
PDL_CLONES bool has_peak(const float *values, const float *pooled, int64_t count, float threshold) {
    int32_t found = 0;
    PDL_INDEPENDENT
    for (int64_t x = 0; x < count; x++) found |= (values[x] > threshold) & (values[x] == pooled[x]);
    return found != 0;
}

// What a thread works with.
struct Workspace {
    std::vector<float> patches;  // two of them, and a row of samples
    std::vector<float> largest;  // of the columns of samples
    std::vector<Span> hot;
    PeakCells cells;
    std::vector<int32_t> without;  // a peak: cells of a row of tiles
    PeakList list;
};

void find_peaks(const Heatmap &heatmap, float threshold, int64_t radius, const Tile &tile, Workspace &work) {
    const int64_t y0 = heatmap.rows.spans[tile.rows.begin].begin, y1 = heatmap.rows.spans[tile.rows.end - 1].end;
    const int64_t x0 = heatmap.columns.spans[tile.columns.begin].begin;
    const int64_t x1 = heatmap.columns.spans[tile.columns.end - 1].end;
    const Patch patch = {y0 - radius, x0 - radius, y1 - y0 + 2 * radius, x1 - x0 + 2 * radius};
    const int64_t size = patch.height * patch.width;
    float *values = work.patches.data(), *pooled = values + size, *mixed = pooled + size;
    sample_patch(heatmap, threshold, patch, work.hot, mixed, values);
    for (int64_t y = 0; y < patch.height; y++)
        sliding_maximum_row(values + y * patch.width, pooled + y * patch.width, patch.width, 2 * radius + 1);
    sliding_maximum(pooled, patch.height, patch.width, x1 - x0, 2 * radius + 1);
    for (int64_t y = y0; y < y1; y++) {
        const float *row = values + (y - patch.y0) * patch.width + x0 - patch.x0;
        const float *largest = pooled + (y - y0) * patch.width;
        if (!has_peak(row, largest, x1 - x0, threshold)) continue;
        for (int64_t x = 0; x < x1 - x0; x++)
            if (row[x] > threshold && row[x] == largest[x])
                work.list.add({static_cast<int32_t>(y), static_cast<int32_t>(x0 + x), row[x]});
    }
}

std::vector<SpanRange> split(const std::vector<Span> &spans, int64_t side) {
    std::vector<SpanRange> ranges;
    for (int64_t i = 0; i < static_cast<int64_t>(spans.size()); i++) {
        if (ranges.empty() || spans[i].end - spans[ranges.back().begin].begin > side) ranges.push_back({i, i});
        ranges.back().end = i + 1;
    }
    return ranges;
}

int64_t longest(const std::vector<Span> &spans, const std::vector<SpanRange> &ranges) {
    int64_t length = 0;
    for (const SpanRange &range : ranges)
        length = std::max<int64_t>(length, spans[range.end - 1].end - spans[range.begin].begin);
    return length;
}

const Span &span_of(const std::vector<Span> &spans, int32_t pixel) {
    return *std::upper_bound(spans.begin(), spans.end(), pixel,
                             [](int32_t value, const Span &span) { return value < span.end; });
}

}  // namespace

float sample_heatmap(const Heatmap &heatmap, int32_t y, int32_t x) {
    const Span &row = span_of(heatmap.rows.spans, y), &column = span_of(heatmap.columns.spans, x);
    const float *above = heatmap.values + row.lower * heatmap.low_width;
    const float *below = heatmap.values + row.upper * heatmap.low_width;
    return bilinear(above[column.lower], above[column.upper], below[column.lower], below[column.upper],
                    heatmap.rows.weight[y], heatmap.columns.weight[x]);
}

std::vector<Center> find_centers(const Heatmap &heatmap, float threshold, int64_t nms_kernel, int64_t top_k,
                                 int threads) {
    const int64_t radius = nms_kernel / 2;
    const int64_t side = std::max<int64_t>(kTileSide, 2 * radius);
    const std::vector<SpanRange> rows = split(heatmap.rows.spans, side), columns = split(heatmap.columns.spans, side);
    const int64_t patch_height = longest(heatmap.rows.spans, rows) + 2 * radius;
    const int64_t patch_width = longest(heatmap.columns.spans, columns) + 2 * radius;
    const auto pixels = static_cast<int64_t>(heatmap.rows.weight.size() * heatmap.columns.weight.size());
    const auto spans_across = static_cast<int64_t>(heatmap.columns.spans.size());
    const auto bands = static_cast<int64_t>(rows.size());
    const int used = useful_threads(threads, bands);

    const Workspace work = {std::vector<float>(2 * patch_height * patch_width + patch_width + 2),
                            std::vector<float>(static_cast<size_t>(heatmap.low_width)),
                            {},
                            PeakCells(heatmap, radius),
                            {},
                            PeakList(top_k, pixels)};
    std::vector<Workspace> workspaces(used, work);
    parallel_for(used, bands, 1, [&](int64_t i, int thread) {
        Workspace &own = workspaces[thread];
        const std::vector<Span> &spans = heatmap.rows.spans;
        largest_of_columns(heatmap.values, heatmap.low_width, spans[rows[i].begin].lower, spans[rows[i].end - 1].upper,
                           own.largest.data());
        if (!may_exceed(*std::max_element(own.largest.begin(), own.largest.end()), threshold)) return;
        own.without.resize((rows[i].end - rows[i].begin) * spans_across);
        for (int64_t k = rows[i].begin; k < rows[i].end; k++)
            own.cells.find_without(k, own.without.data() + (k - rows[i].begin) * spans_across);
        for (const SpanRange &range : columns) {
            Tile tile = {rows[i], range};
            if (shrink(heatmap, own.largest.data(), own.without.data(), threshold, tile))
                find_peaks(heatmap, threshold, radius, tile, own);
        }
    });

    std::vector<Center> centers;
    for (const Workspace &own : workspaces)
        centers.insert(centers.end(), own.list.peaks().begin(), own.list.peaks().end());
    if (static_cast<int64_t>(centers.size()) >= top_k) {
        PeakList::keep_highest(centers, static_cast<size_t>(top_k));
        const float cut = PeakList::lowest(centers);
        centers.erase(std::remove_if(centers.begin(), centers.end(), [&](const Center &c) { return c.score <= cut; }),
                      centers.end());
    }
    std::sort(centers.begin(), centers.end(),
              [](const Center &a, const Center &b) { return a.y != b.y ? a.y < b.y : a.x < b.x; });
    return centers;
}

}  // namespace pdl
