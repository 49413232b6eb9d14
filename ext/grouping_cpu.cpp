#include "grouping.h"

#include <algorithm>

namespace pdl {
namespace {

struct Grouping {
    const Image &image;
    const Codes codes;
    const NearestCenter &nearest;
    const std::vector<SampleClass> &samples;  // (low_height, low_width)
    int32_t *panoptic;
    std::vector<int32_t> &cells;

    // The box of the votes of a cell's pixels; far out where an offset is not finite.
    PDL_FORCE_INLINE Box votes(const Span &row, const Span &column) const {
        const pdl_panoptic_arguments &a = image.arguments;
        const float *dy = image.offset, *dx = dy + a.low_height * a.low_width;
        const int64_t upper = row.lower * a.low_width, lower = row.upper * a.low_width;
        const int64_t corner[4] = {upper + column.lower, upper + column.upper, lower + column.lower,
                                   lower + column.upper};
        const double y[2] = {sample_position(row.lower, a.stride, a.align_corners != 0),
                             sample_position(row.upper, a.stride, a.align_corners != 0)};
        const double x[2] = {sample_position(column.lower, a.stride, a.align_corners != 0),
                             sample_position(column.upper, a.stride, a.align_corners != 0)};
        const auto stride = static_cast<double>(a.stride);
        Box box = {1e300, 1e300, -1e300, -1e300};
        double largest = 0.0;
        for (int k = 0; k < 4; k++) {
            const double step_y = stride * dy[corner[k]], step_x = stride * dx[corner[k]];
            const double vote_y = y[k / 2] + step_y, vote_x = x[k % 2] + step_x;
            const double step = std::fabs(step_y) + std::fabs(step_x);
            if (!(step < 1e9)) return {1e9, 1e9, 1e9, 1e9};  // NaN as well
            largest = std::max(largest, step);
            box.y0 = vote_y < box.y0 ? vote_y : box.y0;
            box.y1 = vote_y > box.y1 ? vote_y : box.y1;
            box.x0 = vote_x < box.x0 ? vote_x : box.x0;
            box.x1 = vote_x > box.x1 ? vote_x : box.x1;
        }
        // A bilinear sample of votes is the vote of the pixel there, except where positions are clamped.
        if (row.lower == row.upper) {
            box.y0 += std::min(0.0, row.begin - y[0]);
            box.y1 += std::max(0.0, row.end - 1 - y[0]);
        }
        if (column.lower == column.upper) {
            box.x0 += std::min(0.0, column.begin - x[0]);
            box.x1 += std::max(0.0, column.end - 1 - x[0]);
        }
        const double margin = 0x1p-19 * (largest + row.end + column.end) + 1e-20;
        return {box.y0 - margin, box.x0 - margin, box.y1 + margin, box.x1 + margin};
    }

    PDL_FORCE_INLINE int32_t nearest_of_pixel(const Span &row, const Span &column, int32_t y, int32_t x) const {
        const pdl_panoptic_arguments &a = image.arguments;
        const auto stride = static_cast<float>(a.stride);
        const int64_t upper = row.lower * a.low_width, lower = row.upper * a.low_width;
        const auto sample = [&](const float *map) {
            return bilinear(map[upper + column.lower], map[upper + column.upper], map[lower + column.lower],
                            map[lower + column.upper], image.rows.weight[y], image.columns.weight[x]);
        };
        const float vote_y = vote(y, sample(image.offset), stride);
        const float vote_x = vote(x, sample(image.offset + a.low_height * a.low_width), stride);
        return nearest.find(vote_y, vote_x);
    }

    PDL_FORCE_INLINE bool is_thing(int32_t index) const { return image.arguments.is_thing[index] != 0; }

    // The code of a thing pixel. `instance`: that of the whole cell, or kMixed.
    PDL_FORCE_INLINE int32_t thing_code(const Span &row, const Span &column, int32_t y, int32_t x,
                                        int32_t instance) const {
        const int32_t k = instance >= 0 ? instance : nearest_of_pixel(row, column, y, x);
        return k < 0 ? codes.nothing() : static_cast<int32_t>(codes.classes) + k;
    }

    // Codes of a cell's pixels, one by one, into the output map. With `one_class` < 0 the classifier has entered it.
    PDL_FORCE_INLINE void mixed_cell(const Span &row, const Span &column, int32_t one_class,
                                     const CellClassifier &classifier, int32_t *line, Tally &tally) const {
        const int32_t count = column.end - column.begin;
        int32_t instance = kMixed;
        bool sought = one_class >= 0;  // in vain, or the cell would not be here
        if (one_class >= 0) std::fill(line, line + count, one_class);
        for (int32_t y = row.begin; y < row.end; y++) {
            if (one_class < 0)
                classifier.classify_row(image.rows.weight[y], image.columns.weight.data() + column.begin, count, line);
            int32_t *out = panoptic + y * image.arguments.width + column.begin;
            for (int32_t q = 0; q < count; q++) {
                const int32_t index = line[q];
                int32_t code = index;
                if (index < 0 || (is_thing(index) && codes.centers == 0)) {
                    code = codes.nothing();
                } else if (is_thing(index)) {
                    if (!sought) instance = nearest.find_for_all(votes(row, column));
                    sought = true;
                    code = thing_code(row, column, y, column.begin + q, instance);
                    if (code != codes.nothing()) tally.votes[(code - codes.classes) * codes.classes + index]++;
                }
                out[q] = code;
            }
            for (int32_t first = 0, q = 1; q <= count; q++) {
                if (q < count && out[q] == out[first]) continue;
                tally.areas[out[first]] += q - first;
                tally.extents[out[first]].add({y, column.begin + first, y + 1, column.begin + q});
                first = q;
            }
        }
    }

    // The code of a cell all of whose pixels have one class, or kMixed.
    PDL_FORCE_INLINE int32_t uniform_code(const Span &row, const Span &column, int32_t index) const {
        if (!is_thing(index)) return index;
        if (codes.centers == 0) return codes.nothing();
        const int32_t k = nearest.find_for_all(votes(row, column));
        return k < 0 ? kMixed : static_cast<int32_t>(codes.classes) + k;
    }

};

// Cells whose corners do not settle the class, waiting to be worked on together.
struct Waiting {
    const Span *columns[CellClassifier::kBatch];
    SampleClass samples[CellClassifier::kBatch][4];
    int32_t count = 0;
};

PDL_FORCE_INLINE void work_on(Waiting &waiting, const Grouping &grouping, const Span &row, CellClassifier &classifier,
                              int32_t *line, Tally &tally) {
    classifier.load(grouping.image.logits(), row, waiting.columns, waiting.count);
    for (int32_t n = 0; n < waiting.count; n++) {
        classifier.enter(grouping.codes.classes, n, waiting.samples[n]);
        grouping.mixed_cell(row, *waiting.columns[n], -1, classifier, line, tally);
    }
    waiting.count = 0;
}

PDL_CLONES void group_cells(const Grouping &grouping, int64_t i, CellClassifier &classifier, int32_t *line,
                            Tally &tally) {
    const Image &image = grouping.image;
    const Codes &codes = grouping.codes;
    const Span &row = image.rows.spans[i];
    const std::vector<Span> &columns = image.columns.spans;
    const size_t count = columns.size();
    const SampleClass *upper = grouping.samples.data() + row.lower * image.arguments.low_width;
    const SampleClass *lower = grouping.samples.data() + row.upper * image.arguments.low_width;
    int32_t *cells = grouping.cells.data() + i * static_cast<int64_t>(count);
    // The class at all corners of a cell, if it is one.
    const auto agreed = [&](const Span &column) {
        const SampleClass a = upper[column.lower], b = upper[column.upper];
        const SampleClass c = lower[column.lower], d = lower[column.upper];
        return a >= 0 && a == b && a == c && a == d ? static_cast<int32_t>(a) : -1;
    };
    Waiting waiting;
    for (size_t j = 0; j < count;) {
        const Span &column = columns[j];
        const int32_t index = agreed(column);
        if (index < 0) {
            cells[j++] = kMixed;
            const SampleClass samples[4] = {upper[column.lower], upper[column.upper], lower[column.lower],
                                            lower[column.upper]};
            std::copy(samples, samples + 4, waiting.samples[waiting.count]);
            waiting.columns[waiting.count++] = &column;
            if (waiting.count == CellClassifier::kBatch) work_on(waiting, grouping, row, classifier, line, tally);
            continue;
        }
        const int32_t code = grouping.uniform_code(row, column, index);
        cells[j++] = code;
        if (code == kMixed) {
            grouping.mixed_cell(row, column, index, classifier, line, tally);
            continue;
        }
        int32_t end = column.end;
        if (code < codes.classes)  // stuff: its neighbours mostly are the same
            for (; j < count && agreed(columns[j]) == index; j++) {
                cells[j] = code;
                end = columns[j].end;
            }
        const int32_t area = (row.end - row.begin) * (end - column.begin);
        tally.areas[code] += area;
        tally.extents[code].add({row.begin, column.begin, row.end, end});
        if (code >= codes.classes && code != codes.nothing())
            tally.votes[(code - codes.classes) * codes.classes + index] += area;
    }
    if (waiting.count > 0) work_on(waiting, grouping, row, classifier, line, tally);
}

int32_t widest(const std::vector<Span> &spans) {
    int32_t width = 0;
    for (const Span &span : spans) width = std::max(width, span.end - span.begin);
    return width;
}

PDL_CLONES void look_up(const int32_t *ids, int32_t *values, int32_t count) {
    for (int32_t i = 0; i < count; i++) values[i] = ids[values[i]];
}

}  // namespace

Tally::Tally(const Codes &codes)
    : areas(codes.count()),
      extents(codes.count(), Extent{INT32_MAX, INT32_MAX, 0, 0}),
      votes(static_cast<size_t>(codes.centers * codes.classes)) {}

void Tally::merge(const Tally &other) {
    for (size_t i = 0; i < areas.size(); i++) {
        areas[i] += other.areas[i];
        extents[i].add(other.extents[i]);
    }
    for (size_t i = 0; i < votes.size(); i++) votes[i] += other.votes[i];
}

Grouped group_pixels(const Image &image, const std::vector<Center> &centers, int32_t *panoptic) {
    const pdl_panoptic_arguments &a = image.arguments;
    const Codes codes = {a.classes, static_cast<int64_t>(centers.size())};
    const Logits logits = image.logits();
    std::vector<SampleClass> samples(static_cast<size_t>(a.low_height * a.low_width));
    const int used = useful_threads(a.threads, a.low_height / 4);
#pragma omp parallel for num_threads(used) schedule(static)
    for (int64_t y = 0; y < a.low_height; y++) classify_samples(logits, y, samples.data() + y * a.low_width);

    const NearestCenter nearest(centers, a.height, a.width, a.threads);
    const auto row_spans = static_cast<int64_t>(image.rows.spans.size());
    Grouped grouped = {std::vector<int32_t>(image.rows.spans.size() * image.columns.spans.size()), Tally(codes)};
    const Grouping grouping = {image, codes, nearest, samples, panoptic, grouped.cells};
    std::vector<Tally> tallies(used, Tally(codes));
    std::vector<CellClassifier> classifiers(used, CellClassifier(a.classes));
    std::vector<std::vector<int32_t>> lines(used, std::vector<int32_t>(widest(image.columns.spans)));
#pragma omp parallel for num_threads(used) schedule(dynamic, 4)
    for (int64_t i = 0; i < row_spans; i++) {
        const int t = thread_index();
        group_cells(grouping, i, classifiers[t], lines[t].data(), tallies[t]);
    }
    for (const Tally &tally : tallies) grouped.tally.merge(tally);
    return grouped;
}

void write_ids(const Image &image, const std::vector<int32_t> &cells, const std::vector<int32_t> &ids,
               int32_t *panoptic) {
    const std::vector<Span> &rows = image.rows.spans, &columns = image.columns.spans;
    const auto row_spans = static_cast<int64_t>(rows.size());
    const int used = useful_threads(image.arguments.threads, row_spans / 4);
#pragma omp parallel for num_threads(used) schedule(static)
    for (int64_t i = 0; i < row_spans; i++) {
        const int32_t *line = cells.data() + i * static_cast<int64_t>(columns.size());
        for (size_t j = 0; j < columns.size();) {
            const int32_t code = line[j];
            const size_t first = j;
            while (j < columns.size() && line[j] == code) j++;
            const int32_t begin = columns[first].begin, count = columns[j - 1].end - begin;
            for (int32_t y = rows[i].begin; y < rows[i].end; y++) {
                int32_t *out = panoptic + y * image.arguments.width + begin;
                if (code == kMixed)
                    look_up(ids.data(), out, count);
                else
                    std::fill(out, out + count, ids[code]);
            }
        }
    }
}

}  // namespace pdl
