#include "probability.h"

#include <limits>

namespace pdl {
namespace {

// exp(logit - top); equal infinities differ by nothing.
PDL_FORCE_INLINE float relative(float logit, float top) {
    const float difference = logit - top;
    return exponential(logit == top ? 0.0f : difference);
}

// What a softmax over the classes needs to know of each sample of a row: the largest logit, and the sum of
// exponentials.
PDL_CLONES void soften_row(const LogitRow &row, int64_t classes, int64_t count, float *top, float *total) {
    for (int64_t x = 0; x < count; x++) {
        top[x] = -std::numeric_limits<float>::infinity();
        total[x] = 0.0f;
    }
    for (int64_t c = 0; c < classes; c++) {
        const float *logits = row.values + c * row.step;
        PDL_INDEPENDENT
        for (int64_t x = 0; x < count; x++) top[x] = logits[x] > top[x] ? logits[x] : top[x];
    }
    for (int64_t c = 0; c < classes; c++) {
        const float *logits = row.values + c * row.step;
        PDL_INDEPENDENT
        for (int64_t x = 0; x < count; x++) total[x] += relative(logits[x], top[x]);
    }
}

// The output pixels of an axis by the sample nearest to them, which is both ends of the span.
std::vector<Span> nearest_spans(const Axis &axis) {
    std::vector<Span> spans;
    for (const Span &span : axis.spans)
        for (int32_t x = span.begin; x < span.end; x++) {
            const int32_t sample = axis.weight[x] > 0.5f ? span.upper : span.lower;
            if (spans.empty() || spans.back().lower != sample) spans.push_back({sample, sample, x, x});
            spans.back().end = x + 1;
        }
    return spans;
}

}  // namespace

void write_probabilities(const Image &image, const int32_t *code_map, const Codes &codes,
                         const std::vector<int32_t> &codes_of_rows, const int32_t *segment_ids,
                         const int32_t *segment_areas, float *probabilities) {
    const pdl_panoptic_arguments &a = image.arguments;
    const auto count = static_cast<int64_t>(codes_of_rows.size());
    std::vector<int32_t> segment_of_code(codes.count(), -1);
    for (int64_t i = 0; i < count; i++) segment_of_code[codes_of_rows[i]] = static_cast<int32_t>(i);

    const std::vector<Span> rows = nearest_spans(image.rows), columns = nearest_spans(image.columns);
    const int used = useful_threads(a.threads, static_cast<int64_t>(rows.size()));
    const std::vector<float> line(static_cast<size_t>(a.low_width));
    std::vector<std::vector<float>> tops(used, line), totals(used, line), rooms(used);
    // Whole 65536ths, so that no order of summation shows.
    std::vector<std::vector<int64_t>> sums(used, std::vector<int64_t>(codes_of_rows.size()));
#pragma omp parallel for num_threads(used) schedule(dynamic, 4)
    for (size_t i = 0; i < rows.size(); i++) {
        const int t = thread_index();
        const LogitRow logits = read_row(image.logits, rows[i].lower, a.low_width, rooms[t]);
        float *top = tops[t].data(), *total = totals[t].data();
        soften_row(logits, a.classes, a.low_width, top, total);
        for (const Span &column : columns) {
            // Most samples lie inside one segment: its probability is looked up once, its pixels are counted.
            int32_t current = -1;
            int64_t probability = 0, sum = 0;
            for (int64_t y = rows[i].begin; y < rows[i].end; y++) {
                const int32_t *pixels = code_map + y * a.width;
                for (int32_t x = column.begin; x < column.end; x++) {
                    const int32_t segment = segment_of_code[pixels[x]];
                    if (segment != current) {
                        if (current >= 0) sums[t][current] += sum;
                        current = segment;
                        sum = probability = 0;
                        if (segment >= 0) {
                            const int64_t category = segment_ids[segment] / a.label_divisor;
                            const float logit = logits.values[category * logits.step + column.lower];
                            const float share = relative(logit, top[column.lower]) / total[column.lower];
                            probability = static_cast<int64_t>(share * 65536.0f + 0.5f);
                        }
                    }
                    sum += probability;
                }
            }
            if (current >= 0) sums[t][current] += sum;
        }
    }
    for (int64_t i = 0; i < count; i++) {
        int64_t sum = 0;
        for (const std::vector<int64_t> &part : sums) sum += part[i];
        const auto most = static_cast<double>(int64_t{segment_areas[i]} * 65536);
        probabilities[i] = static_cast<float>(static_cast<double>(sum) / most);
    }
}

}  // namespace pdl
