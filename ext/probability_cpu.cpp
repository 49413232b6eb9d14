#include "probability.h"

#include <algorithm>
#include <limits>

namespace pdl {
namespace {

constexpr int64_t kLanes = 16;  // samples at a time: what is known of them stays in registers

// exp(logit - top); equal infinities differ by nothing.
PDL_FORCE_INLINE float relative(float logit, float top) {
    const float difference = logit - top;
    return exponential(logit == top ? 0.0f : difference);
}

PDL_FORCE_INLINE int32_t in_65536ths(float share) { return static_cast<int32_t>(share * 65536.0f + 0.5f); }

struct SoftRow {
    SampleClass *winners;
    int32_t *own;
    float *top, *total;
};

template <bool kWhole>
PDL_FORCE_INLINE void soften(const float *values, int64_t step, int64_t classes, int64_t lanes, const SoftRow &out) {
    const int64_t count = kWhole ? kLanes : lanes;
    float top[kLanes], total[kLanes] = {};
    for (int64_t x = 0; x < kLanes; x++) top[x] = -std::numeric_limits<float>::infinity();
    for (int64_t c = 0; c < classes; c++)
        PDL_LANES
        for (int64_t x = 0; x < count; x++) {
            const float logit = values[c * step + x];
            top[x] = logit > top[x] ? logit : top[x];
        }
    for (int64_t c = 0; c < classes; c++)
        PDL_LANES
        for (int64_t x = 0; x < count; x++) total[x] += relative(values[c * step + x], top[x]);
    for (int64_t x = 0; x < count; x++) {
        out.top[x] = top[x];
        out.total[x] = total[x];
        // At least 1, but where all logits are NaN, and nobody asks.
        out.own[x] = in_65536ths(1.0f / (total[x] > 1.0f ? total[x] : 1.0f));
    }
}

PDL_CLONES void soften_row(const LogitRow &row, int64_t classes, int64_t count, const SampleClass *states,
                           const SoftRow &out) {
    for (int64_t x = 0; x < count; x++) {
        const int32_t state = states[x], winner = state < 0 ? ~state : state;
        out.winners[x] = static_cast<SampleClass>(state == kHostile ? -1 : winner);
    }
    for (int64_t x = 0; x < count; x += kLanes) {
        const SoftRow at = {out.winners + x, out.own + x, out.top + x, out.total + x};
        if (count - x >= kLanes)
            soften<true>(row.values + x, row.step, classes, kLanes, at);
        else
            soften<false>(row.values + x, row.step, classes, count - x, at);
    }
}

// The pixels of each span that are nearer to its lower sample than to its upper one; as near counts as nearer.
std::vector<int32_t> nearer_to_lower(const Axis &axis) {
    std::vector<int32_t> counts;
    for (const Span &span : axis.spans) {
        const float *weight = axis.weight.data();
        counts.push_back(static_cast<int32_t>(
            std::count_if(weight + span.begin, weight + span.end, [](float upper) { return !(upper > 0.5f); })));
    }
    return counts;
}

// Sums the probabilities of the pixels of a row of cells.
struct Summation {
    const Image &image;
    const SampleProbabilities &samples;
    const int32_t *panoptic;
    std::vector<int32_t> segments, categories;  // by code; -1: in no segment
    const std::vector<int32_t> lower_rows, lower_columns;
    std::vector<int32_t> pixels;  // by sample of a row: the pixels along it that are nearest to it

    Summation(const Image &image_, const SampleProbabilities &samples_, const int32_t *panoptic_, size_t codes)
        : image(image_),
          samples(samples_),
          panoptic(panoptic_),
          segments(codes, -1),
          categories(codes, -1),
          lower_rows(nearer_to_lower(image_.rows)),
          lower_columns(nearer_to_lower(image_.columns)),
          pixels(static_cast<size_t>(samples_.width)) {
        for (size_t j = 0; j < lower_columns.size(); j++) {
            pixels[column(j).lower] += lower_columns[j];
            pixels[column(j).upper] += upper_columns(j);
        }
    }

    const Span &column(size_t j) const { return image.columns.spans[j]; }
    int32_t upper_columns(size_t j) const { return column(j).end - column(j).begin - lower_columns[j]; }

    PDL_FORCE_INLINE int64_t at(int64_t y, int64_t x, int32_t category) const {
        return samples.at(image.logits, y * samples.width + x, category);
    }

    // A line of pixels across the cells first..last, which are of one category, if their nearest samples are in row y.
    PDL_FORCE_INLINE int64_t sum_along(int64_t y, size_t first, size_t last, int32_t category) const {
        const int64_t begin = column(first).lower, end = column(last).upper, origin = y * samples.width;
        const SampleClass *winners = samples.winners.data() + origin;
        int32_t other = 0;
        for (int64_t x = begin + 1; x < end; x++) other |= winners[x] ^ category;
        int64_t sum = 0;
        if (other == 0 && begin < end) {
            const int32_t *own = samples.own.data() + origin;
            for (int64_t x = begin + 1; x < end; x++) sum += int64_t{own[x]} * pixels[x];
            // Of the pixels of the samples at both ends, some are in cells outside.
            int64_t at_begin = 0, at_end = 0;
            for (size_t j = first; j <= last && column(j).lower == begin; j++) at_begin += lower_columns[j];
            for (size_t j = last + 1; j-- > first && column(j).upper == end;)
                at_end += column(j).lower == end ? column(j).end - column(j).begin : upper_columns(j);
            if (at_begin > 0) sum += at_begin * at(y, begin, category);
            if (at_end > 0) sum += at_end * at(y, end, category);
            return sum;
        }
        for (size_t j = first; j <= last; j++) {
            if (lower_columns[j] > 0) sum += lower_columns[j] * at(y, column(j).lower, category);
            if (upper_columns(j) > 0) sum += upper_columns(j) * at(y, column(j).upper, category);
        }
        return sum;
    }

    // Output pixels that are nearest to the sample (y, x), whatever their codes.
    PDL_FORCE_INLINE void add_pixels(int64_t y, int64_t x, const Span &rows, const Span &columns,
                                     std::vector<int64_t> &sums) const {
        // Most are of one segment: its probability is looked up once.
        int32_t current = -1;
        int64_t probability = 0, count = 0;
        const auto end_run = [&] {
            if (current >= 0) sums[current] += probability * count;
        };
        for (int64_t row = rows.begin; row < rows.end; row++) {
            const int32_t *codes = panoptic + row * image.arguments.width;
            for (int32_t k = columns.begin; k < columns.end; k++) {
                const int32_t segment = segments[codes[k]];
                if (segment != current) {
                    end_run();
                    current = segment;
                    count = 0;
                    if (segment >= 0) probability = at(y, x, categories[codes[k]]);
                }
                count++;
            }
        }
        end_run();
    }

    PDL_FORCE_INLINE void add_mixed_cell(size_t i, size_t j, std::vector<int64_t> &sums) const {
        const Span &row = image.rows.spans[i];
        const int32_t middle_y = row.begin + lower_rows[i], middle_x = column(j).begin + lower_columns[j];
        const Span rows[2] = {{row.lower, row.lower, row.begin, middle_y}, {row.upper, row.upper, middle_y, row.end}};
        const Span columns[2] = {{column(j).lower, column(j).lower, column(j).begin, middle_x},
                                 {column(j).upper, column(j).upper, middle_x, column(j).end}};
        for (const Span &down : rows)
            for (const Span &across : columns) add_pixels(down.lower, across.lower, down, across, sums);
    }

    PDL_FORCE_INLINE void add_row(size_t i, const int32_t *cells, std::vector<int64_t> &sums) const {
        const Span &row = image.rows.spans[i];
        const int64_t lower = lower_rows[i], upper = row.end - row.begin - lower;
        const size_t count = lower_columns.size();
        // Pixels of mixed cells lie here and there, far from the cache.
        for (size_t j = 0; j < count; j++)
            if (cells[j] == kMixed)
                for (int64_t y = row.begin; y < row.end; y++)
                    fetch_ahead(panoptic + y * image.arguments.width + column(j).begin);
        for (size_t j = 0; j < count;) {
            const size_t first = j;
            const int32_t code = cells[j++];
            if (code == kMixed) {
                add_mixed_cell(i, first, sums);
                continue;
            }
            while (j < count && cells[j] == code) j++;
            const int32_t segment = segments[code], category = categories[code];
            if (segment < 0) continue;
            if (lower > 0) sums[segment] += lower * sum_along(row.lower, first, j - 1, category);
            if (upper > 0) sums[segment] += upper * sum_along(row.upper, first, j - 1, category);
        }
    }
};

PDL_CLONES void sum_row(const Summation &summation, size_t i, const int32_t *cells, std::vector<int64_t> &sums) {
    summation.add_row(i, cells, sums);
}

}  // namespace

SampleProbabilities::SampleProbabilities(int64_t height, int64_t width_)
    : width(width_),
      winners(static_cast<size_t>(height * width)),
      own(winners.size()),
      top(winners.size()),
      total(winners.size()) {}

void SampleProbabilities::add_row(int64_t y, const LogitRow &row, int64_t classes, int64_t count,
                                  const SampleClass *states) {
    const int64_t at = y * width;
    soften_row(row, classes, count, states, {winners.data() + at, own.data() + at, top.data() + at, total.data() + at});
}

int32_t SampleProbabilities::of_other(const Logits &logits, int64_t i, int32_t category) const {
    if (!(total[i] > 0.0f)) return 0;
    return in_65536ths(relative(logit_at(logits, category, i / width, i % width), top[i]) / total[i]);
}

void write_probabilities(const Image &image, const std::vector<int32_t> &cells, const SampleProbabilities &samples,
                         const int32_t *panoptic, const Codes &codes, const std::vector<int32_t> &codes_of_rows,
                         const int32_t *segment_ids, const int32_t *segment_areas, float *probabilities) {
    const pdl_panoptic_arguments &a = image.arguments;
    const size_t count = codes_of_rows.size();
    Summation summation(image, samples, panoptic, codes.count());
    for (size_t n = 0; n < count; n++) {
        summation.segments[codes_of_rows[n]] = static_cast<int32_t>(n);
        summation.categories[codes_of_rows[n]] = static_cast<int32_t>(segment_ids[n] / a.label_divisor);
    }
    const auto rows = static_cast<int64_t>(image.rows.spans.size());
    const auto columns = static_cast<int64_t>(image.columns.spans.size());
    const int used = useful_threads(a.threads, rows / 4);
    // Whole 65536ths, so that no order of summation shows.
    std::vector<std::vector<int64_t>> sums(used, std::vector<int64_t>(count));
#pragma omp parallel for num_threads(used) schedule(dynamic, 8)
    for (int64_t i = 0; i < rows; i++)
        sum_row(summation, static_cast<size_t>(i), cells.data() + i * columns, sums[thread_index()]);
    for (size_t n = 0; n < count; n++) {
        int64_t sum = 0;
        for (const std::vector<int64_t> &part : sums) sum += part[n];
        const auto most = static_cast<double>(int64_t{segment_areas[n]} * 65536);
        probabilities[n] = static_cast<float>(static_cast<double>(sum) / most);
    }
}

}  // namespace pdl
