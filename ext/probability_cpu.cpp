#include "probability.h"

#include <algorithm>

namespace pdl {
namespace {

struct Line {
    std::vector<float> mixed, top, own, total;

    Line(int64_t low_width, int64_t width) : mixed(low_width), top(width), own(width), total(width) {}
};

// Row y of a class's upsampled logits, for `use(x, logit)`.
template <typename Use>
PDL_FORCE_INLINE void upsample_row(const Image &image, int64_t index, const Span &row, int64_t y, float *mixed,
                                   Use use) {
    const int64_t low_width = image.arguments.low_width;
    const float *values = image.semantic + index * image.arguments.low_height * low_width;
    const float *above = values + row.lower * low_width, *below = values + row.upper * low_width;
    const float weight = image.rows.weight[y];
    for (int64_t x = 0; x < low_width; x++) mixed[x] = between(above[x], below[x], weight);
    for (const Span &column : image.columns.spans)
        for (int32_t x = column.begin; x < column.end; x++)
            use(x, between(mixed[column.lower], mixed[column.upper], image.columns.weight[x]));
}

// exp(logit - top); equal infinities differ by nothing.
PDL_FORCE_INLINE float relative(float logit, float top) {
    return exponential(logit == top ? 0.0f : logit - top);
}

// Adds the probabilities of row y, in whole 65536ths, to `sums`. Pixels of no segment are not counted: their logits
// may be NaN, which has no whole number.
PDL_CLONES void add_row(const Image &image, const Span &row, int64_t y, const int32_t *segments,
                        const int32_t *categories, Line &line, int64_t *sums) {
    const pdl_panoptic_arguments &a = image.arguments;
    float *top = line.top.data(), *own = line.own.data(), *total = line.total.data();
    std::fill(top, top + a.width, -std::numeric_limits<float>::infinity());
    std::fill(total, total + a.width, 0.0f);
    std::fill(own, own + a.width, 0.0f);
    for (int64_t c = 0; c < a.classes; c++)
        upsample_row(image, c, row, y, line.mixed.data(), [&](int32_t x, float logit) {
            top[x] = logit > top[x] ? logit : top[x];
            own[x] = categories[x] == c ? logit : own[x];
        });
    for (int64_t c = 0; c < a.classes; c++)
        upsample_row(image, c, row, y, line.mixed.data(), [&](int32_t x, float logit) {
            total[x] += segments[x] < 0 ? 0.0f : relative(logit, top[x]);
        });
    for (int64_t x = 0; x < a.width; x++) {
        if (segments[x] < 0) continue;
        const float probability = relative(own[x], top[x]) / total[x];
        sums[segments[x]] += static_cast<int64_t>(probability * 65536.0f + 0.5f);
    }
}

}  // namespace

void write_probabilities(const Image &image, const int32_t *code_map, const Codes &codes,
                         const std::vector<int32_t> &codes_of_rows, const int32_t *segment_ids,
                         const int32_t *segment_areas, float *probabilities) {
    const pdl_panoptic_arguments &a = image.arguments;
    const auto count = static_cast<int64_t>(codes_of_rows.size());
    std::vector<int32_t> segment_of_code(codes.count(), -1);
    for (int64_t i = 0; i < count; i++) segment_of_code[codes_of_rows[i]] = static_cast<int32_t>(i);

    const auto row_spans = static_cast<int64_t>(image.rows.spans.size());
    const int used = useful_threads(a.threads, row_spans);
    std::vector<Line> lines(used, Line(a.low_width, a.width));
    std::vector<std::vector<int32_t>> segments(used, std::vector<int32_t>(a.width)), categories = segments;
    std::vector<std::vector<int64_t>> sums(used, std::vector<int64_t>(codes_of_rows.size()));
#pragma omp parallel for num_threads(used) schedule(dynamic, 1)
    for (int64_t i = 0; i < row_spans; i++) {
        const int t = thread_index();
        for (int64_t y = image.rows.spans[i].begin; y < image.rows.spans[i].end; y++) {
            for (int64_t x = 0; x < a.width; x++) {
                const int32_t segment = segment_of_code[code_map[y * a.width + x]];
                segments[t][x] = segment;
                categories[t][x] = segment < 0 ? -1 : static_cast<int32_t>(segment_ids[segment] / a.label_divisor);
            }
            add_row(image, image.rows.spans[i], y, segments[t].data(), categories[t].data(), lines[t], sums[t].data());
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
