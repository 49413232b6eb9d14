// Panoptic id map → training targets, on the CPU. Neighbors mostly belong to one segment, so rows are cut into runs:
// the first pass counts their pixels and sums coordinates, the second writes every output once, run by run.
#include <algorithm>
#include <cmath>
#include <vector>

#include "compiler.h"
#include "panoptic.h"
#include "status.h"
#include "threads.h"

namespace pdl {
namespace {

constexpr int64_t kMaxCount = INT32_MAX - 1;

// Pixels of a row, from the end of the run before, with one id.
struct Run {
    int32_t end;
    int32_t segment;  // the number of segments stands for void
};

// Whole numbers, so that no order of summation shows.
struct Sums {
    int64_t area = 0, y = 0, x = 0;
};

struct Index {
    int64_t id;
    int32_t segment;
};

std::vector<Index> sorted_index(const pdl_segment *segments, int64_t count) {
    std::vector<Index> index(static_cast<size_t>(count));
    for (int64_t k = 0; k < count; k++) index[k] = {segments[k].id, static_cast<int32_t>(k)};
    std::sort(index.begin(), index.end(),
              [](const Index &a, const Index &b) { return a.id != b.id ? a.id < b.id : a.segment < b.segment; });
    return index;
}

// The segment of an id. The same few ids come again and again, so a cache stands before the search, which bounds the
// cost of any ids.
class Finder {
public:
    explicit Finder(const std::vector<Index> &index) : index_(index), cache_(size_t{1} << kBits) {
        std::fill(cache_.begin(), cache_.end(), Index{0, search(0)});
    }

    int32_t find(int64_t id) {
        Index &entry = cache_[(static_cast<uint64_t>(id) * 0x9e3779b97f4a7c15u) >> (64 - kBits)];
        if (entry.id != id) entry = {id, search(id)};
        return entry.segment;
    }

private:
    static constexpr int kBits = 8;

    int32_t search(int64_t id) const {
        const auto found = std::lower_bound(index_.begin(), index_.end(), id,
                                            [](const Index &entry, int64_t wanted) { return entry.id < wanted; });
        return found != index_.end() && found->id == id ? found->segment : static_cast<int32_t>(index_.size());
    }

    const std::vector<Index> &index_;
    std::vector<Index> cache_;
};

// Rows of one thread.
struct Band {
    int64_t begin, end;
    std::vector<Run> runs;
    std::vector<Sums> sums;  // by segment, then void
};

// Column behind the pixels from `x` on that have the id of pixel `x`.
template <typename Id>
PDL_FORCE_INLINE int64_t end_of_run(const Id *row, int64_t x, int64_t width) {
    constexpr int64_t kStep = 32;
    const Id id = row[x];
    for (x++; x + kStep <= width; x += kStep) {
        Id differ = 0;
        for (int64_t k = 0; k < kStep; k++) differ |= row[x + k] ^ id;
        if (differ) break;
    }
    while (x < width && row[x] == id) x++;
    return x;
}

template <typename Id>
PDL_FORCE_INLINE void scan_rows(const Id *panoptic, int64_t width, Finder &finder, Band &band) {
    for (int64_t y = band.begin; y < band.end; y++) {
        const Id *row = panoptic + y * width;
        for (int64_t x = 0; x < width;) {
            const int64_t end = end_of_run(row, x, width), length = end - x;
            const int32_t segment = finder.find(row[x]);
            Sums &sums = band.sums[segment];
            sums.area += length;
            sums.y += y * length;
            sums.x += (x + end - 1) * length / 2;
            band.runs.push_back({static_cast<int32_t>(end), segment});
            x = end;
        }
    }
}

PDL_CLONES void scan(const int32_t *panoptic, int64_t width, Finder &finder, Band &band) {
    scan_rows(panoptic, width, finder, band);
}

PDL_CLONES void scan(const int64_t *panoptic, int64_t width, Finder &finder, Band &band) {
    scan_rows(panoptic, width, finder, band);
}

// What all pixels of a segment get.
struct Paint {
    int64_t label;
    float center_y, center_x;
    float semantic_weight, center_weight, offset_weight;
    bool is_instance;
};

// A Gaussian to draw, and where.
struct Stamp {
    int64_t y, x;
};

// Where a row of each output begins.
struct Row {
    int64_t *sem_seg;
    float *center, *offset_y, *offset_x, *sem_seg_weights, *center_weights, *offset_weights;
};

// Pixels from `x` on of a row.
template <int64_t kLength, bool kInstance>
PDL_FORCE_INLINE void paint_pixels(const Row &row, int64_t x, const Paint &paint, float offset_y) {
    for (int64_t k = 0; k < kLength; k++) row.sem_seg[x + k] = paint.label;
    for (int64_t k = 0; k < kLength; k++) row.offset_y[x + k] = offset_y;
    for (int64_t k = 0; k < kLength; k++)
        row.offset_x[x + k] = kInstance ? paint.center_x - static_cast<float>(static_cast<int32_t>(x + k)) : 0.0f;
    for (int64_t k = 0; k < kLength; k++) row.sem_seg_weights[x + k] = paint.semantic_weight;
    for (int64_t k = 0; k < kLength; k++) row.center_weights[x + k] = paint.center_weight;
    for (int64_t k = 0; k < kLength; k++) row.offset_weights[x + k] = paint.offset_weight;
}

// In whole chunks: what that writes beyond the run is written again by the runs that follow in this row.
template <bool kInstance>
PDL_FORCE_INLINE void paint_run(const Row &row, int64_t x, int64_t end, int64_t width, const Paint &paint,
                                float offset_y) {
    constexpr int64_t kChunk = 8;
    for (; x < end && x + kChunk <= width; x += kChunk) paint_pixels<kChunk, kInstance>(row, x, paint, offset_y);
    for (; x < end; x++) paint_pixels<1, kInstance>(row, x, paint, offset_y);
}

// Returns the run after the last of the row.
PDL_CLONES const Run *paint_row(const Row &row, int64_t y, int64_t width, const Run *run, const Paint *paints) {
    for (int64_t x = 0; x < width; run++) {
        const Paint &paint = paints[run->segment];
        if (paint.is_instance)
            paint_run<true>(row, x, run->end, width, paint, paint.center_y - static_cast<float>(y));
        else
            paint_run<false>(row, x, run->end, width, paint, 0.0f);
        x = run->end;
    }
    return run;
}

// Draws the row of a Gaussian, keeping the larger value where two overlap.
PDL_CLONES void stamp_row(float *center, const float *gaussian, int64_t length) {
    PDL_INDEPENDENT
    for (int64_t k = 0; k < length; k++) center[k] = center[k] < gaussian[k] ? gaussian[k] : center[k];
}

class Targets {
public:
    Targets(const pdl_targets_arguments &arguments, const pdl_targets_results &results)
        : a_(arguments), out_(results) {}

    void make() {
        const int used = useful_threads(a_.threads, std::min(a_.height, (a_.height * a_.width) >> 16));
        std::vector<Band> bands(used);
        for (int i = 0; i < used; i++) {
            bands[i].begin = a_.height * i / used;
            bands[i].end = a_.height * (i + 1) / used;
        }
        const std::vector<Index> index = sorted_index(a_.segments, a_.count);
        parallel_for(used, used, 1, [&](int64_t i, int) { count(index, bands[i]); });
        prepare(bands);
        parallel_for(used, used, 1, [&](int64_t i, int) { paint(bands[i]); });
    }

private:
    void count(const std::vector<Index> &index, Band &band) const {
        band.sums.resize(static_cast<size_t>(a_.count) + 1);
        Finder finder(index);
        if (a_.id_bytes == 4)
            scan(static_cast<const int32_t *>(a_.panoptic), a_.width, finder, band);
        else
            scan(static_cast<const int64_t *>(a_.panoptic), a_.width, finder, band);
    }

    // Sums of all bands → centers, what to paint and what to stamp.
    void prepare(const std::vector<Band> &bands) {
        for (int64_t k = 0; k < a_.count; k++) {
            Sums sums;
            for (const Band &band : bands) {
                sums.area += band.sums[k].area;
                sums.y += band.sums[k].y;
                sums.x += band.sums[k].x;
            }
            const pdl_segment &segment = a_.segments[k];
            const bool thing = segment.is_thing != 0, crowd = segment.is_crowd != 0;
            const bool instance = thing && sums.area > 0 && (!crowd || a_.crowd_as_instance);
            const auto area = static_cast<double>(std::max<int64_t>(sums.area, 1));
            const double y = static_cast<double>(sums.y) / area, x = static_cast<double>(sums.x) / area;
            const bool small = instance && sums.area < a_.small_instance_area;
            const bool moves = !crowd && (thing || !a_.ignore_stuff_in_offset);
            paints_.push_back({crowd && a_.ignore_crowd_in_semantic ? a_.ignore_label : segment.category,
                               static_cast<float>(y), static_cast<float>(x), small ? a_.small_instance_weight : 1.0f,
                               crowd ? 0.0f : 1.0f, moves ? 1.0f : 0.0f, instance});
            // Halves go to the even neighbor, as in Python and PyTorch.
            if (instance) stamps_.push_back({std::llrint(y), std::llrint(x)});
            out_.centers[2 * k] = y;
            out_.centers[2 * k + 1] = x;
            out_.is_instance[k] = instance;
        }
        paints_.push_back({a_.ignore_label, 0.0f, 0.0f, 1.0f, 0.0f, 0.0f, false});
        std::sort(stamps_.begin(), stamps_.end(), [](const Stamp &a, const Stamp &b) { return a.y < b.y; });
    }

    void paint(const Band &band) const {
        const Run *run = band.runs.data();
        auto first = stamps_.begin();
        for (int64_t y = band.begin; y < band.end; y++) {
            const int64_t at = y * a_.width;
            const Row row = {out_.sem_seg + at,
                             out_.center + at,
                             out_.offset + at,
                             out_.offset + a_.height * a_.width + at,
                             out_.sem_seg_weights + at,
                             out_.center_weights + at,
                             out_.offset_weights + at};
            run = paint_row(row, y, a_.width, run, paints_.data());
            std::fill(row.center, row.center + a_.width, 0.0f);
            while (first != stamps_.end() && first->y < y - a_.reach) ++first;
            for (auto stamp = first; stamp != stamps_.end() && stamp->y <= y + a_.reach; ++stamp) {
                const int64_t left = std::max<int64_t>(0, stamp->x - a_.reach);
                const int64_t right = std::min(a_.width, stamp->x + a_.reach + 1);
                const int64_t patch_row = y - stamp->y + a_.reach, patch_column = left - stamp->x + a_.reach;
                stamp_row(row.center + left, a_.gaussian + patch_row * (2 * a_.reach + 1) + patch_column,
                          right - left);
            }
        }
    }

    const pdl_targets_arguments &a_;
    const pdl_targets_results &out_;
    std::vector<Paint> paints_;  // by segment, then void
    std::vector<Stamp> stamps_;  // by row
};

}  // namespace
}  // namespace pdl

extern "C" int pdl_panoptic_targets_cpu(const pdl_targets_arguments *arguments, const pdl_targets_results *results) {
    const pdl_targets_arguments &a = *arguments;
    const auto within = [](int64_t value, int64_t least) { return least <= value && value <= pdl::kMaxCount; };
    if (!within(a.height, 0) || !within(a.width, 0) || !within(a.count, 0) || !within(a.reach, 0) ||
        (a.id_bytes != 4 && a.id_bytes != 8))
        return PDL_INVALID_ARGUMENT;
    return pdl::status_of([&] { pdl::Targets(a, *results).make(); });
}
