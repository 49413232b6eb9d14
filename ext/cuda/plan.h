// What the kernels are told: sizes, where output pixels lie between input samples, addresses, scratch memory.
#ifndef PANODEEPLAB_CUDA_PLAN_H
#define PANODEEPLAB_CUDA_PLAN_H

#include <cmath>
#include <cstdint>

#include "arithmetic.h"
#include "cuda/block.h"
#include "cuda/number.h"
#include "panoptic_cuda.h"

namespace pdl::gpu {

// The class of an input sample: c if it leads so far that rounding cannot make a tie, ~c if it may, kHostile if
// interpolation may meet NaN.
using SampleClass = int16_t;
constexpr SampleClass kHostile = INT16_MIN;

// Output pixels all between the same two samples of one axis; equal samples where the position is clamped.
struct Span {
    int32_t lower, upper;  // input samples
    int32_t begin, end;    // output pixels

    // Of the upper sample, at a pixel of the span.
    PDL_DEVICE float weight(int32_t pixel, int32_t stride, bool align_corners) const {
        if (lower == upper) return 0.0f;
        const int32_t steps = pixel - begin;
        const int32_t numerator = align_corners ? steps : 2 * steps + 1 - (stride & 1);
        return static_cast<float>(numerator) / static_cast<float>(align_corners ? stride : 2 * stride);
    }
};

// The spans of one axis. With corners not aligned, the first span is the half stride before the first sample.
struct Axis {
    int32_t low, size;  // samples, output pixels
    int32_t stride;
    int32_t shift;  // output pixel of the first sample, rounded up
    int32_t lead;   // spans before the first sample
    int32_t spans;
    bool align_corners;

    PDL_DEVICE Span span(int32_t i) const {
        const int32_t sample = i - lead;
        const int32_t end = (sample + 1) * stride + shift;
        Span span;
        span.lower = sample < 0 ? 0 : sample;
        span.upper = sample < 0 ? 0 : (sample + 1 < low ? sample + 1 : low - 1);
        span.begin = sample < 0 ? 0 : sample * stride + shift;
        span.end = end < size ? end : size;
        return span;
    }

    PDL_DEVICE int32_t span_at(int32_t pixel) const {
        const auto steps = static_cast<uint32_t>(pixel - shift);  // unsigned is the faster division
        return pixel < shift ? 0 : static_cast<int32_t>(steps / static_cast<uint32_t>(stride)) + lead;
    }

    PDL_DEVICE float weight(const Span &span, int32_t pixel) const {
        return span.weight(pixel, stride, align_corners);
    }

    // Where an input sample lies.
    PDL_DEVICE float position(int32_t sample) const {
        return static_cast<float>(2 * sample * stride + (align_corners ? 0 : stride - 1)) * 0.5f;
    }

    // The first pixel of an interior span that is nearer to the upper sample.
    PDL_INLINE int32_t nearer_to_upper() const { return align_corners ? stride / 2 + 1 : (stride + 1) / 2; }

    // The pixels that a sample is the nearest one to; begin and end also of samples that are not there, and have none.
    PDL_DEVICE int32_t nearest_begin(int32_t sample) const {
        return sample <= 0 ? 0 : (sample - 1) * stride + shift + nearer_to_upper();
    }
    PDL_DEVICE int32_t nearest_end(int32_t sample) const {
        const int32_t end = nearest_begin(sample + 1);
        return sample + 1 < low && end < size ? end : size;
    }
};

struct Extent {
    int32_t y0, x0, y1, x1;  // exclusive ends
};

// A pixel's code: a stuff class c → c; the thing of centre k → classes + k; nothing → classes + centres. A cell (a span
// of rows and one of columns) whose pixels all have one code keeps it; another has kMixed, and its pixels' codes stand
// in the output map.
constexpr int32_t kMixed = -1;

// Pixels are counted by pair: a stuff class c → c; pixels of class c in the thing of centre k → (k + 1) classes + c.
constexpr int32_t kNoPair = -1;

// A block works on a tile of cells.
constexpr int32_t kTileRows = 8, kTileColumns = 32, kTileCells = kTileRows * kTileColumns;

// A peak with more votes than a centre needs, or a supported peak of the heatmap.
struct VotedCenter {
    int32_t position;  // y * width + x
    int32_t group;     // of votes; -1 for a peak of the heatmap
    int32_t cell;      // of the peak; 0 for one of the heatmap
    int32_t votes;
};

// Offsets in bytes of the arrays of one image in scratch memory.
struct Scratch {
    int64_t samples, cells, peak_counts, positions, pairs, extents, categories, numbers, areas, class_counts,
        first_rows, ids, rows, sums, votes, voted, size;
};

struct Map {
    const void *values;
    int64_t image, channel, sample;  // distances in elements
};

struct Plan {
    Map semantic, center, offset;
    Axis rows, columns;
    int32_t classes, capacity;  // capacity: of centers
    int32_t tiles_down, tiles_across;
    int32_t radius;  // of the window of a peak
    int32_t semantic_aligned;  // whether four samples may be read at once
    int64_t top_k, stuff_area, label_divisor;
    float threshold;
    int32_t void_label, semantic_probability;
    int32_t center_source, class_aware_votes;
    int32_t vote_rows, vote_columns;  // of cells: samples that are nearest to a pixel vote, and are voted for
    int32_t vote_groups;              // that share peaks; none if votes are not counted
    int32_t vote_radius;              // of the window of a peak, in cells
    // kOneVote times the votes that a centre must exceed, and a peak that supports one of the heatmap.
    int64_t vote_threshold, support_threshold;
    int64_t vote_words;  // of what votes are counted in
    int64_t first_image;  // of this launch
    pdl_cuda_results results;
    char *memory;
    Scratch scratch;
    uint32_t things[PDL_CUDA_MAX_CLASSES / 32];  // a bit a class

    PDL_DEVICE bool is_thing(int32_t index) const { return (things[index >> 5] >> (index & 31) & 1u) != 0; }
    PDL_DEVICE int32_t tiles() const { return tiles_down * tiles_across; }
    PDL_DEVICE int32_t plane() const { return rows.low * columns.low; }
    PDL_INLINE bool uses_heatmap() const { return center_source != PDL_CUDA_CENTERS_VOTES; }
    PDL_INLINE int32_t vote_cells() const { return vote_rows * vote_columns; }

    // The votes that those of a thing class share peaks with: groups have the order of their classes.
    PDL_DEVICE int32_t vote_group(int32_t thing) const {
        if (class_aware_votes == 0) return 0;
        int32_t before = count_bits(things[thing >> 5] & ((1u << (thing & 31)) - 1u));
        for (int32_t word = 0; word < thing >> 5; word++) before += count_bits(things[word]);
        return before;
    }
};

// The first cell of a tile.
struct Tile {
    int32_t row, column;
};

PDL_DEVICE Tile tile_at(const Plan &plan, int32_t index) {
    return {index / plan.tiles_across * kTileRows, index % plan.tiles_across * kTileColumns};
}

// The arrays of one image.
struct Image {
    int64_t n;
    int32_t *panoptic, *centers;
    float *center_scores;
    int32_t *center_votes, *num_centers, *segment_ids, *segment_areas, *segment_boxes, *segment_centers;
    float *segment_probabilities;
    int32_t *num_segments;

    SampleClass *samples;  // (low_height * low_width), rounded up to fours
    int32_t *cells;        // (row spans, column spans)
    int32_t *peak_counts;  // (tiles)
    int32_t *positions;    // (capacity): y * width + x of centers
    int32_t *pairs;        // ((capacity + 1) * classes): pixels
    Extent *extents;       // (classes + capacity), by code
    int32_t *categories, *numbers, *areas;  // (capacity), of things
    int32_t *class_counts;                  // (classes): things
    int32_t *first_rows;                    // (classes): of segments
    int32_t *ids, *rows;                    // (classes + capacity + 1), by code; row of the segment or -1
    uint64_t *sums;                         // (top_k + classes): probabilities in 65536ths
    // Where votes are counted; cleared as one.
    uint64_t *votes;        // (groups, vote_rows, vote_columns): shares of pixels, see arithmetic.h
    uint64_t *supports;     // (capacity): of peaks of the heatmap
    int32_t *voted_count;   // of the next
    VotedCenter *voted;     // (a peak in each two by two cells of a group, and the supported ones of the heatmap)
};

PDL_DEVICE Image image_of(const Plan &plan, int32_t image) {
    const int64_t n = plan.first_image + image, segments = plan.top_k + plan.classes;
    const pdl_cuda_results &r = plan.results;
    const Scratch &at = plan.scratch;
    char *memory = plan.memory + n * at.size;
    Image i;
    i.n = n;
    i.panoptic = r.panoptic + n * plan.rows.size * plan.columns.size;
    i.centers = r.centers + n * plan.top_k * 2;
    i.center_scores = r.center_scores + n * plan.top_k;
    i.center_votes = r.center_votes + n * plan.top_k;
    i.num_centers = r.num_centers + n;
    i.segment_ids = r.segment_ids + n * segments;
    i.segment_areas = r.segment_areas + n * segments;
    i.segment_boxes = r.segment_boxes + n * segments * 4;
    i.segment_centers = r.segment_centers + n * segments;
    i.segment_probabilities = r.segment_probabilities + n * segments;
    i.num_segments = r.num_segments + n;
    i.samples = reinterpret_cast<SampleClass *>(memory + at.samples);
    i.cells = reinterpret_cast<int32_t *>(memory + at.cells);
    i.peak_counts = reinterpret_cast<int32_t *>(memory + at.peak_counts);
    i.positions = reinterpret_cast<int32_t *>(memory + at.positions);
    i.pairs = reinterpret_cast<int32_t *>(memory + at.pairs);
    i.extents = reinterpret_cast<Extent *>(memory + at.extents);
    i.categories = reinterpret_cast<int32_t *>(memory + at.categories);
    i.numbers = reinterpret_cast<int32_t *>(memory + at.numbers);
    i.areas = reinterpret_cast<int32_t *>(memory + at.areas);
    i.class_counts = reinterpret_cast<int32_t *>(memory + at.class_counts);
    i.first_rows = reinterpret_cast<int32_t *>(memory + at.first_rows);
    i.ids = reinterpret_cast<int32_t *>(memory + at.ids);
    i.rows = reinterpret_cast<int32_t *>(memory + at.rows);
    i.sums = reinterpret_cast<uint64_t *>(memory + at.sums);
    i.votes = reinterpret_cast<uint64_t *>(memory + at.votes);
    i.supports = i.votes + int64_t{plan.vote_groups} * plan.vote_cells();
    i.voted_count = reinterpret_cast<int32_t *>(i.supports + plan.capacity);
    i.voted = reinterpret_cast<VotedCenter *>(memory + at.voted);
    return i;
}

// One channel of a map of one image.
template <class T> class Channel {
public:
    PDL_DEVICE Channel(const Map &map, int64_t n, int64_t channel)
        : values_(static_cast<const T *>(map.values) + n * map.image + channel * map.channel), step_(map.sample) {}

    PDL_DEVICE float operator[](int32_t sample) const { return to_float(values_[sample * step_]); }

private:
    const T *values_;
    int64_t step_;
};

// A pixel of the upsampled heatmap.
template <class T> PDL_DEVICE float heat_at(const Plan &plan, const Channel<T> &heatmap, int32_t y, int32_t x) {
    const Span row = plan.rows.span(plan.rows.span_at(y)), column = plan.columns.span(plan.columns.span_at(x));
    const int32_t above = row.lower * plan.columns.low, below = row.upper * plan.columns.low;
    return bilinear(heatmap[above + column.lower], heatmap[above + column.upper], heatmap[below + column.lower],
                    heatmap[below + column.upper], plan.rows.weight(row, y), plan.columns.weight(column, x));
}

inline Axis axis_of(int64_t low, int64_t stride, bool align_corners, int64_t size) {
    Axis axis;
    axis.low = static_cast<int32_t>(low);
    axis.size = static_cast<int32_t>(size);
    axis.stride = static_cast<int32_t>(stride);
    axis.shift = align_corners ? 0 : static_cast<int32_t>(stride / 2);
    axis.lead = axis.shift > 0 ? 1 : 0;
    axis.align_corners = align_corners;
    const int32_t last = axis.size - 1;
    axis.spans = (last < axis.shift ? 0 : (last - axis.shift) / axis.stride + axis.lead) + 1;
    return axis;
}

// The samples that are nearest to some pixel.
inline int32_t nearest_samples(const Axis &axis) {
    const int32_t steps = axis.size - 1 - axis.shift;  // from the first sample to the last pixel
    if (steps < 0) return 1;
    const int32_t last = steps / axis.stride + (steps % axis.stride >= axis.nearer_to_upper() ? 1 : 0);
    return (last < axis.low ? last : axis.low - 1) + 1;
}

// Each class of things has votes of its own, or all share them.
inline int64_t vote_groups_of(const pdl_cuda_arguments &a) {
    if (a.center_source == PDL_CUDA_CENTERS_HEATMAP) return 0;
    int64_t things = 0;
    for (int64_t c = 0; c < a.classes && a.class_aware_votes != 0; c++) things += a.is_thing[c] != 0 ? 1 : 0;
    return things < 1 ? 1 : things;
}

// Of centres: peaks of the heatmap are pixels, and those of a group of votes are cells, which are not more.
inline int64_t capacity_of(const pdl_cuda_arguments &a, int64_t vote_groups) {
    const int64_t most = a.height * a.width * (1 + vote_groups);
    return a.top_k < most ? a.top_k : most;
}

inline bool is_valid(const pdl_cuda_arguments &a) {
    const int64_t side = int64_t{1} << 24, most = INT32_MAX;
    const auto within = [](int64_t value, int64_t least, int64_t largest) {
        return least <= value && value <= largest;
    };
    if (!within(a.batch, 0, most) || !within(a.classes, 1, PDL_CUDA_MAX_CLASSES) ||
        !within(a.stride, 1, PDL_CUDA_MAX_STRIDE) || !within(a.dtype, PDL_CUDA_FLOAT32, PDL_CUDA_BFLOAT16))
        return false;
    if (!within(a.low_height, 1, side) || !within(a.low_width, 1, side)) return false;
    if (a.low_height * a.low_width > most - 4096) return false;  // samples are numbered, in blocks
    const int64_t full_height = a.align_corners != 0 ? (a.low_height - 1) * a.stride + 1 : a.low_height * a.stride;
    const int64_t full_width = a.align_corners != 0 ? (a.low_width - 1) * a.stride + 1 : a.low_width * a.stride;
    if (!within(a.height, 1, full_height < side ? full_height : side)) return false;
    if (!within(a.width, 1, full_width < side ? full_width : side)) return false;
    if (a.height * a.width > most || !within(a.top_k, 1, most - PDL_CUDA_MAX_CLASSES)) return false;
    if (!within(a.center_source, PDL_CUDA_CENTERS_HEATMAP, PDL_CUDA_CENTERS_BOTH) || a.vote_threshold < 0) return false;
    const int64_t groups = vote_groups_of(a), capacity = capacity_of(a, groups);
    if (groups * a.low_height * a.low_width + capacity > most) return false;  // cells of all groups are numbered
    return (capacity + 1) * a.classes <= most && within(a.nms_kernel, 1, PDL_CUDA_MAX_NMS_KERNEL) &&
           a.nms_kernel % 2 == 1 && within(a.label_divisor, 1, most) && (a.classes - 1) * a.label_divisor <= most &&
           a.stuff_area >= 0 && std::isfinite(a.center_threshold);
}

// Sizes only: everything but addresses. False if the arguments are out of range.
inline bool plan_sizes(const pdl_cuda_arguments &a, Plan &plan) {
    if (!is_valid(a)) return false;
    plan.rows = axis_of(a.low_height, a.stride, a.align_corners != 0, a.height);
    plan.columns = axis_of(a.low_width, a.stride, a.align_corners != 0, a.width);
    plan.classes = static_cast<int32_t>(a.classes);
    plan.vote_groups = static_cast<int32_t>(vote_groups_of(a));
    plan.capacity = static_cast<int32_t>(capacity_of(a, plan.vote_groups));
    plan.tiles_down = (plan.rows.spans + kTileRows - 1) / kTileRows;
    plan.tiles_across = (plan.columns.spans + kTileColumns - 1) / kTileColumns;
    plan.radius = static_cast<int32_t>(a.nms_kernel / 2);
    plan.top_k = a.top_k;
    plan.stuff_area = a.stuff_area;
    plan.label_divisor = a.label_divisor;
    plan.threshold = a.center_threshold;
    plan.void_label = a.void_label;
    plan.semantic_probability = a.semantic_probability;
    plan.center_source = a.center_source;
    plan.class_aware_votes = a.class_aware_votes;
    plan.vote_rows = nearest_samples(plan.rows);
    plan.vote_columns = nearest_samples(plan.columns);
    plan.vote_radius = vote_radius(a.nms_kernel, a.stride);
    plan.vote_threshold = a.vote_threshold * kOneVote;
    plan.support_threshold = plan.vote_threshold / kSupportShare;
    plan.vote_words = plan.vote_groups > 0 ? int64_t{plan.vote_groups} * plan.vote_cells() + plan.capacity + 1 : 0;
    plan.first_image = 0;

    int64_t end = 0;
    const auto reserve = [&end](int64_t count, int64_t size) {
        const int64_t begin = end;
        end = (begin + count * size + 15) / 16 * 16;
        return begin;
    };
    const int64_t capacity = plan.capacity, codes = plan.classes + capacity + 1, word = sizeof(int32_t);
    Scratch &at = plan.scratch;
    at.samples = reserve((a.low_height * a.low_width + 3) / 4 * 4, sizeof(SampleClass));
    at.cells = reserve(int64_t{plan.rows.spans} * plan.columns.spans, word);
    at.peak_counts = reserve(int64_t{plan.tiles_down} * plan.tiles_across, word);
    at.positions = reserve(capacity, word);
    at.pairs = reserve((capacity + 1) * plan.classes, word);
    at.extents = reserve(codes, sizeof(Extent));
    at.categories = reserve(capacity, word);
    at.numbers = reserve(capacity, word);
    at.areas = reserve(capacity, word);
    at.class_counts = reserve(plan.classes, word);
    at.first_rows = reserve(plan.classes, word);
    at.ids = reserve(codes, word);
    at.rows = reserve(codes, word);
    at.sums = reserve(a.semantic_probability != 0 ? a.top_k + a.classes : 0, sizeof(uint64_t));
    at.votes = reserve(plan.vote_words, sizeof(uint64_t));
    // No two peaks of a group are closer than two cells.
    const int64_t peaks = int64_t{(plan.vote_rows + 1) / 2} * ((plan.vote_columns + 1) / 2);
    at.voted = reserve(plan.vote_groups > 0 ? plan.vote_groups * peaks + capacity : 0, sizeof(VotedCenter));
    at.size = end;
    return true;
}

inline Map map_of(const pdl_cuda_map &map) {
    return {map.values, map.image_stride, map.channel_stride, map.sample_stride};
}

// Whether four samples of every class lie side by side at an address that is a multiple of their size.
inline bool are_aligned(const pdl_cuda_map &map, int64_t plane, int64_t element) {
    return map.sample_stride == 1 && plane % 4 == 0 && map.channel_stride % 4 == 0 && map.image_stride % 4 == 0 &&
           reinterpret_cast<uintptr_t>(map.values) % static_cast<uintptr_t>(4 * element) == 0;
}

inline bool plan_all(const pdl_cuda_arguments &a, const pdl_cuda_results &results, Plan &plan) {
    if (!plan_sizes(a, plan)) return false;
    plan.semantic = map_of(a.semantic);
    plan.center = map_of(a.center);
    plan.offset = map_of(a.offset);
    const int64_t element = a.dtype == PDL_CUDA_FLOAT32 ? 4 : 2;
    plan.semantic_aligned = are_aligned(a.semantic, a.low_height * a.low_width, element) ? 1 : 0;
    plan.results = results;
    plan.memory = static_cast<char *>(a.scratch);
    memset(plan.things, 0, sizeof(plan.things));
    for (int64_t c = 0; c < a.classes; c++)
        if (a.is_thing[c] != 0) plan.things[c >> 5] |= 1u << (c & 31);
    return true;
}

}  // namespace pdl::gpu

#endif
