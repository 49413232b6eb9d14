#include "probability.h"

#include <algorithm>

#include "block.h"
#include "threads.h"

namespace pdl {
namespace {

constexpr int64_t kLanes = 16;  // samples at a time: what is known of them stays in registers

// exp(logit - top); equal infinities differ by nothing.
PDL_FORCE_INLINE float relative(float logit, float top) {
    const float difference = logit - top;
    return exponential(logit == top ? 0.0f : difference);
}

PDL_FORCE_INLINE int32_t in_65536ths(float share) { return static_cast<int32_t>(share * 65536.0f + 0.5f); }

// Of a class among all, in 65536ths; 0 where all logits are NaN.
PDL_FORCE_INLINE int32_t share(float logit, float top, float total) {
    return in_65536ths(total > 0.0f ? relative(logit, top) / total : 0.0f);
}

struct SoftRow {
    SampleClass *winners;
    int32_t *own;
    float *top, *total;
};

template <bool kWhole>
PDL_FORCE_INLINE void soften(const float *values, int64_t step, int64_t classes, const float *best, int64_t lanes,
                             const SoftRow &out) {
    const int64_t count = kWhole ? kLanes : lanes;
    float top[kLanes] = {}, total[kLanes] = {};
    for (int64_t x = 0; x < count; x++) top[x] = best[x];
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
                           const float *best, const SoftRow &out) {
    for (int64_t x = 0; x < count; x++) {
        const int32_t state = states[x], winner = state < 0 ? ~state : state;
        out.winners[x] = static_cast<SampleClass>(state == kHostile ? -1 : winner);
    }
    for (int64_t x = 0; x < count; x += kLanes) {
        const SoftRow at = {out.winners + x, out.own + x, out.top + x, out.total + x};
        if (count - x >= kLanes)
            soften<true>(row.values + x, row.step, classes, best + x, kLanes, at);
        else
            soften<false>(row.values + x, row.step, classes, best + x, count - x, at);
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

// What a thread has summed, by segment. Probabilities that take an exponential are put aside, to become vectors.
struct Sums {
    static constexpr int32_t kMost = 256;
    std::vector<int64_t> of_segment;
    int32_t count = 0, segment[kMost] = {}, pixels[kMost] = {};
    float logit[kMost] = {}, top[kMost] = {}, total[kMost] = {};

    explicit Sums(size_t segments) : of_segment(segments) {}

    PDL_FORCE_INLINE void add_later(int32_t segment_, int32_t pixels_, float logit_, float top_, float total_) {
        if (count == kMost) finish();
        segment[count] = segment_;
        pixels[count] = pixels_;
        logit[count] = logit_;
        top[count] = top_;
        total[count] = total_;
        count++;
    }

    PDL_FORCE_INLINE void finish() {
        int32_t shares[kMost];
        PDL_INDEPENDENT
        for (int32_t n = 0; n < count; n++) shares[n] = share(logit[n], top[n], total[n]);
        for (int32_t n = 0; n < count; n++) of_segment[segment[n]] += int64_t{shares[n]} * pixels[n];
        count = 0;
    }
};

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

    // So many pixels of a segment, nearest to the sample (y, x).
    PDL_FORCE_INLINE void add(int32_t segment, int32_t category, int64_t y, int64_t x, int32_t count,
                              Sums &sums) const {
        const int64_t i = y * samples.width + x;
        if (count == 0) return;
        if (samples.winners[i] == category)
            sums.of_segment[segment] += int64_t{samples.own[i]} * count;
        else
            sums.add_later(segment, count, logit_at(image.logits, category, y, x), samples.top[i], samples.total[i]);
    }

    // Pixels of a segment on `height` lines across the cells first..last, if their nearest samples are in row y.
    PDL_FORCE_INLINE void add_along(int32_t segment, int32_t category, int64_t y, size_t first, size_t last,
                                    int32_t height, Sums &sums) const {
        const int64_t begin = column(first).lower, end = column(last).upper, origin = y * samples.width;
        const SampleClass *winners = samples.winners.data() + origin;
        int32_t other = 0;
        for (int64_t x = begin + 1; x < end; x++) other |= winners[x] ^ category;
        if (other == 0 && begin < end) {
            const int32_t *own = samples.own.data() + origin;
            int64_t sum = 0;
            for (int64_t x = begin + 1; x < end; x++) sum += int64_t{own[x]} * pixels[x];
            sums.of_segment[segment] += height * sum;
            // Of the pixels of the samples at both ends, some are in cells outside.
            int32_t at_begin = 0, at_end = 0;
            for (size_t j = first; j <= last && column(j).lower == begin; j++) at_begin += lower_columns[j];
            for (size_t j = last + 1; j-- > first && column(j).upper == end;)
                at_end += column(j).lower == end ? column(j).end - column(j).begin : upper_columns(j);
            add(segment, category, y, begin, height * at_begin, sums);
            add(segment, category, y, end, height * at_end, sums);
            return;
        }
        for (size_t j = first; j <= last; j++) {
            add(segment, category, y, column(j).lower, height * lower_columns[j], sums);
            add(segment, category, y, column(j).upper, height * upper_columns(j), sums);
        }
    }

    // Pixels of a mixed cell, as many as `block` has.
    PDL_FORCE_INLINE void add_block(const Block &block, size_t i, size_t j, Sums &sums) const {
        const Span &row = image.rows.spans[i];
        const uint32_t above = block.above(row.begin + lower_rows[i]);
        const uint32_t left = block.left_of(column(j).begin + lower_columns[j]);
        int32_t codes[Block::kLanes] = {};
        block.read(panoptic, image.arguments.width, codes);
        // Two or three codes mostly.
        for (uint32_t rest = block.all_pixels(); rest != 0;) {
            const int32_t code = codes[lowest_bit(rest)];
            const uint32_t same = Block::lanes_with(codes, code) & rest;
            rest &= ~same;
            const int32_t segment = segments[code], category = categories[code];
            if (segment < 0) continue;
            add(segment, category, row.lower, column(j).lower, count_bits(same & above & left), sums);
            add(segment, category, row.lower, column(j).upper, count_bits(same & above & ~left), sums);
            add(segment, category, row.upper, column(j).lower, count_bits(same & ~above & left), sums);
            add(segment, category, row.upper, column(j).upper, count_bits(same & ~above & ~left), sums);
        }
    }

    PDL_FORCE_INLINE void add_row(size_t i, const int32_t *cells, Sums &sums) const {
        const Span &row = image.rows.spans[i];
        const int32_t lower = lower_rows[i], upper = row.end - row.begin - lower;
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
                for_blocks(row, column(first), [&](const Block &block)
                                                   PDL_INLINE_LAMBDA { add_block(block, i, first, sums); });
                continue;
            }
            while (j < count && cells[j] == code) j++;
            const int32_t segment = segments[code], category = categories[code];
            if (segment < 0) continue;
            if (lower > 0) add_along(segment, category, row.lower, first, j - 1, lower, sums);
            if (upper > 0) add_along(segment, category, row.upper, first, j - 1, upper, sums);
        }
    }
};

PDL_CLONES void sum_row(const Summation &summation, size_t i, const int32_t *cells, Sums &sums) {
    summation.add_row(i, cells, sums);
    sums.finish();
}

}  // namespace

SampleProbabilities::SampleProbabilities(int64_t height, int64_t width_)
    : width(width_),
      winners(static_cast<size_t>(height * width)),
      own(winners.size()),
      top(winners.size()),
      total(winners.size()) {}

void SampleProbabilities::add_row(int64_t y, const LogitRow &row, int64_t classes, int64_t count,
                                  const SampleClass *states, const float *best) {
    const int64_t at = y * width;
    soften_row(row, classes, count, states, best,
               {winners.data() + at, own.data() + at, top.data() + at, total.data() + at});
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
    std::vector<Sums> sums(used, Sums(count));
    parallel_for(used, rows, 8, [&](int64_t i, int thread) {
        sum_row(summation, static_cast<size_t>(i), cells.data() + i * columns, sums[thread]);
    });
    for (size_t n = 0; n < count; n++) {
        int64_t sum = 0;
        for (const Sums &part : sums) sum += part.of_segment[n];
        const auto most = static_cast<double>(int64_t{segment_areas[n]} * 65536);
        probabilities[n] = static_cast<float>(static_cast<double>(sum) / most);
    }
}

}  // namespace pdl
