#include "grouping.h"

#include <algorithm>

#include "corner_row.h"
#include "semantic.h"
#include "strip.h"

namespace pdl {
namespace {

// What a thread works with.
struct Workspace {
    CornerRow rows[2];
    std::vector<int32_t> classes;  // of the cells of a row, -1 if their corners do not agree
    std::vector<int32_t> keys;     // to the instances of the cells of a row
    Candidates candidates;
    std::vector<int32_t> code_of_candidate;
    Strip strip;

    Workspace(size_t cells, int64_t classes_)
        : rows{CornerRow(cells + 1), CornerRow(cells + 1)},
          classes(cells),
          keys(cells),
          candidates(classes_),
          code_of_candidate(static_cast<size_t>(classes_)) {}
};

struct Grouping {
    const Image &image;
    const Codes codes;
    const Corners corners;
    const std::vector<float> positions;  // of the samples along a row, in output pixels
    const NearestCenter &nearest;
    int32_t *panoptic;
    std::vector<int32_t> &cells;

    Grouping(const Image &image_, const Codes &codes_, const NearestCenter &nearest_, int32_t *panoptic_,
             std::vector<int32_t> &cells_)
        : image(image_),
          codes(codes_),
          corners(image_.columns.spans),
          positions(positions_of(image_)),
          nearest(nearest_),
          panoptic(panoptic_),
          cells(cells_) {}

    static std::vector<float> positions_of(const Image &image) {
        const pdl_panoptic_arguments &a = image.arguments;
        std::vector<float> positions;
        for (int32_t x = 0; x < a.low_width; x++)
            positions.push_back(static_cast<float>(sample_position(x, a.stride, a.align_corners != 0)));
        return positions;
    }

    const float *offset_y(int32_t row) const { return image.offset + row * image.arguments.low_width; }
    const float *offset_x(int32_t row) const {
        return offset_y(row) + image.arguments.low_height * image.arguments.low_width;
    }

    PDL_FORCE_INLINE bool is_thing(int32_t index) const { return image.arguments.is_thing[index] != 0; }

    // The row of samples `y`, in place of the older of the two at hand if it is not one of them.
    CornerRow &row_of_corners(Workspace &work, int32_t y) const {
        for (CornerRow &row : work.rows)
            if (row.sample == y) return row;
        CornerRow &row = work.rows[0].sample < work.rows[1].sample ? work.rows[0] : work.rows[1];
        row.logits = read_row(image.logits, y, corners.samples, row.room);
        const int32_t first = corners.first;
        classify_samples(row.logits, codes.classes, corners.samples,
                         {row.states.data() + first, row.second.data() + first, row.third.data() + first});
        corners.pad(row.states);
        corners.pad(row.second);
        corners.pad(row.third);
        row.sample = y;
        row.has_votes = false;
        return row;
    }

    PDL_FORCE_INLINE void cast_votes(CornerRow &row) const {
        if (row.has_votes) return;
        const pdl_panoptic_arguments &a = image.arguments;
        const auto stride = static_cast<float>(a.stride);
        const auto position = static_cast<float>(sample_position(row.sample, a.stride, a.align_corners != 0));
        const float *dy = offset_y(row.sample), *dx = offset_x(row.sample), *places = positions.data();
        float *y = row.vote_y.data() + corners.first, *x = row.vote_x.data() + corners.first;
        float *reach = row.reach.data() + corners.first;
        PDL_INDEPENDENT
        for (int32_t i = 0; i < corners.samples; i++) {
            const float step_y = dy[i] * stride, step_x = dx[i] * stride;
            y[i] = position + step_y;
            x[i] = places[i] + step_x;
            reach[i] = std::fabs(step_y) + std::fabs(step_x);
        }
        corners.pad(row.vote_y);
        corners.pad(row.vote_x);
        corners.pad(row.reach);
        row.has_votes = true;
    }

    // Keys to the instances of the cells between two rows of corners.
    PDL_FORCE_INLINE void locate(CornerRow &upper, CornerRow &lower, std::vector<int32_t> &keys) const {
        const std::vector<Span> &columns = image.columns.spans;
        // Where a position is clamped to a sample, the votes of the cell go beyond those of its corners.
        if (upper.sample == lower.sample) {
            std::fill(keys.begin(), keys.end(), -1);
            return;
        }
        cast_votes(upper);
        cast_votes(lower);
        const pdl_panoptic_arguments &a = image.arguments;
        nearest.locate({upper.vote_y.data(), upper.vote_x.data(), upper.reach.data()},
                       {lower.vote_y.data(), lower.vote_x.data(), lower.reach.data()},
                       static_cast<int64_t>(columns.size()), static_cast<float>(a.height + a.width), keys.data());
        if (columns.front().lower == columns.front().upper) keys.front() = -1;
        if (columns.back().lower == columns.back().upper) keys.back() = -1;
    }

    // The box of the votes of a cell's pixels; far out where an offset is not finite.
    Box votes(const Span &row, const Span &column) const {
        const pdl_panoptic_arguments &a = image.arguments;
        const float *dy[2] = {offset_y(row.lower), offset_y(row.upper)};
        const float *dx[2] = {offset_x(row.lower), offset_x(row.upper)};
        const int32_t sample[2] = {column.lower, column.upper};
        const double y[2] = {sample_position(row.lower, a.stride, a.align_corners != 0),
                             sample_position(row.upper, a.stride, a.align_corners != 0)};
        const double x[2] = {sample_position(column.lower, a.stride, a.align_corners != 0),
                             sample_position(column.upper, a.stride, a.align_corners != 0)};
        const auto stride = static_cast<double>(a.stride);
        Box box = {1e300, 1e300, -1e300, -1e300};
        double largest = 0.0;
        for (int k = 0; k < 4; k++) {
            const double step_y = stride * dy[k / 2][sample[k % 2]], step_x = stride * dx[k / 2][sample[k % 2]];
            const double vote_y = y[k / 2] + step_y, vote_x = x[k % 2] + step_x;
            const double step = std::fabs(step_y) + std::fabs(step_x);
            if (!(step < 1e9)) return {1e9, 1e9, 1e9, 1e9};  // NaN as well
            largest = std::max(largest, step);
            box.y0 = std::min(box.y0, vote_y);
            box.y1 = std::max(box.y1, vote_y);
            box.x0 = std::min(box.x0, vote_x);
            box.x1 = std::max(box.x1, vote_x);
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

    // The instance of all pixels of a cell that are things, or kMixed.
    PDL_FORCE_INLINE int32_t instance_of_cell(const Span &row, const Span &column, int32_t key) const {
        if (key < 0) return kMixed;
        const int32_t k = nearest.find_quickly(key);
        return k >= 0 ? k : nearest.find_for_all(votes(row, column));
    }

    // The instances of the pixels of a strip that are things; -1 where a vote is not finite.
    PDL_FORCE_INLINE void find_instances(const Span &row, const Span &column, Strip &strip) const {
        const auto stride = static_cast<float>(image.arguments.stride);
        const auto cast = [&](const float *upper, const float *lower, float *votes) {
            const float corner[4] = {upper[column.lower], upper[column.upper], lower[column.lower],
                                     lower[column.upper]};
            for (int32_t q = 0; q < Strip::kLanes; q++)
                votes[q] = bilinear(corner[0], corner[1], corner[2], corner[3], strip.weight_y[q], strip.weight_x[q]);
        };
        cast(offset_y(row.lower), offset_y(row.upper), strip.vote_y);
        cast(offset_x(row.lower), offset_x(row.upper), strip.vote_x);
        const auto add_position = [&](int32_t q, int32_t r, int32_t c) {
            strip.vote_y[q] = vote(strip.y + r, strip.vote_y[q], stride);
            strip.vote_x[q] = vote(strip.x + c, strip.vote_x[q], stride);
        };
        if (strip.columns == 4)
            for (int32_t q = 0; q < Strip::kLanes; q++) add_position(q, q / 4, q % 4);
        else
            for (int32_t r = 0, q = 0; r < strip.rows; r++)
                for (int32_t c = 0; c < strip.columns; c++, q++) add_position(q, r, c);
        nearest.find<Strip::kLanes>(strip.vote_y, strip.vote_x, strip.is_thing, strip.instances);
    }

    PDL_FORCE_INLINE void count_votes(int32_t code, int32_t index, int32_t area, Tally &tally) const {
        if (code >= codes.classes && code != codes.nothing())
            tally.votes[(code - codes.classes) * codes.classes + index] += area;
    }

    // A strip whose pixels' codes follow from the class alone.
    PDL_FORCE_INLINE void give_codes(Workspace &work, Tally &tally) const {
        Strip &strip = work.strip;
        const Candidates &candidates = work.candidates;
        const int32_t *code_of_candidate = work.code_of_candidate.data();
        if (candidates.count == 2) {
            const int32_t first = code_of_candidate[0], second = code_of_candidate[1];
            for (int32_t q = 0; q < Strip::kLanes; q++) strip.codes[q] = strip.winner[q] ? second : first;
        } else {
            for (int32_t q = 0; q < strip.count(); q++) strip.codes[q] = code_of_candidate[strip.winner[q]];
        }
        for (int32_t n = 0; n < candidates.count; n++) {
            int32_t area = 0;
            for (int32_t q = 0; q < Strip::kLanes; q++) area += (strip.winner[q] == n) & strip.has_pixel[q];
            if (area == 0) continue;
            strip.count_pixels(strip.winner, n, code_of_candidate[n], area, tally);
            count_votes(code_of_candidate[n], candidates.index[n], area, tally);
        }
    }

    // A strip of one or two classes, whose things are of several instances.
    PDL_FORCE_INLINE void give_instances(Workspace &work, const Span &row, const Span &column, Tally &tally) const {
        Strip &strip = work.strip;
        const int32_t last = work.candidates.count - 1;
        const int32_t index[2] = {work.candidates.index[0], work.candidates.index[last]};
        const int32_t things[2] = {is_thing(index[0]) ? -1 : 0, is_thing(index[1]) ? -1 : 0};
        const int32_t nothing = codes.nothing();
        const auto classes = static_cast<int32_t>(codes.classes);
        for (int32_t q = 0; q < Strip::kLanes; q++) strip.is_thing[q] = strip.winner[q] ? things[1] : things[0];
        find_instances(row, column, strip);
        for (int32_t q = 0; q < Strip::kLanes; q++) {
            const int32_t thing = strip.instances[q] < 0 ? nothing : classes + strip.instances[q];
            const int32_t stuff = strip.winner[q] ? index[1] : index[0];
            strip.codes[q] = strip.is_thing[q] ? thing : stuff;
            strip.parts[q] = strip.has_pixel[q] ? 2 * strip.codes[q] + (strip.winner[q] ? 1 : 0) : -1;
        }
        // There are two or three parts mostly: each is counted in one go, and struck out.
        for (int32_t first = 0; first < strip.count(); first++) {
            const int32_t part = strip.parts[first];
            if (part < 0) continue;
            const int32_t code = part / 2;
            int32_t area = 0;
            for (int32_t q = 0; q < Strip::kLanes; q++) {
                area += strip.parts[q] == part;
                strip.parts[q] = strip.parts[q] == part ? -1 : strip.parts[q];
            }
            // A code may have a part of each class: then its box is that of both, and adding it twice does no harm.
            strip.count_pixels(strip.codes, code, code, area, tally);
            count_votes(code, index[part % 2], area, tally);
        }
    }

    // A strip whose pixels need to be looked at one by one, for there are many classes or NaN.
    void give_codes_one_by_one(Workspace &work, const Span &row, const Span &column, int32_t instance,
                               Tally &tally) const {
        Strip &strip = work.strip;
        if (codes.centers == 0 || instance >= 0) {
            std::fill(strip.instances, strip.instances + strip.count(), instance);
        } else {
            std::fill(strip.is_thing, strip.is_thing + Strip::kLanes, -1);
            find_instances(row, column, strip);
        }
        for (int32_t q = 0; q < strip.count(); q++) {
            int32_t code = codes.nothing(), index = 0;
            if (strip.winner[q] >= 0) {
                index = work.candidates.index[strip.winner[q]];
                if (!is_thing(index))
                    code = index;
                else if (strip.instances[q] >= 0)
                    code = static_cast<int32_t>(codes.classes) + strip.instances[q];
            }
            strip.codes[q] = code;
            const int32_t y = strip.y + q / strip.columns, x = strip.x + q % strip.columns;
            tally.areas[code]++;
            tally.extents[code].add({y, x, y + 1, x + 1});
            count_votes(code, index, 1, tally);
        }
    }

    // Codes of a cell's pixels, which are of several classes or instances, into the output map. The candidates are
    // listed already. `instance`: of all pixels that are things, or kMixed.
    PDL_FORCE_INLINE void split_cell(Workspace &work, const Span &row, const Span &column, int32_t instance,
                                     Tally &tally) const {
        const Candidates &candidates = work.candidates;
        bool by_class = !candidates.hostile;
        for (int32_t n = 0; n < candidates.count; n++) {
            const int32_t index = candidates.index[n];
            int32_t code = index;
            if (is_thing(index)) {
                code = codes.centers == 0 ? codes.nothing() : static_cast<int32_t>(codes.classes) + instance;
                by_class = by_class && (codes.centers == 0 || instance >= 0);
            }
            work.code_of_candidate[n] = code;
        }
        Strip &strip = work.strip;
        const int32_t width = column.end - column.begin;
        const int32_t columns = std::min(width, Strip::kLanes), rows = Strip::kLanes / columns;
        for (int32_t y = row.begin; y < row.end; y += rows)
            for (int32_t x = column.begin; x < column.end; x += columns) {
                strip.enter(image.rows, image.columns, y, x, std::min(rows, row.end - y),
                            std::min(columns, column.end - x));
                strip.contest(candidates);
                if (by_class)
                    give_codes(work, tally);
                else if (candidates.count <= 2 && !candidates.hostile && instance < 0)
                    give_instances(work, row, column, tally);
                else
                    give_codes_one_by_one(work, row, column, instance, tally);
                strip.write(panoptic, image.arguments.width);
            }
    }
};

// The class of each cell between two rows of corners, if they agree; else -1.
PDL_FORCE_INLINE void agree(const SampleClass *upper, const SampleClass *lower, int64_t cells, int32_t *classes) {
    PDL_INDEPENDENT
    for (int64_t j = 0; j < cells; j++) {
        const int32_t a = upper[j], b = upper[j + 1], c = lower[j], d = lower[j + 1];
        const int32_t differ = (a ^ b) | (a ^ c) | (a ^ d);
        classes[j] = differ == 0 && a >= 0 ? a : -1;
    }
}

PDL_CLONES void group_cells(const Grouping &grouping, int64_t i, Workspace &work, Tally &tally) {
    const Image &image = grouping.image;
    const Codes &codes = grouping.codes;
    const Span &row = image.rows.spans[i];
    const std::vector<Span> &columns = image.columns.spans;
    const size_t count = columns.size();
    CornerRow &upper = grouping.row_of_corners(work, row.lower), &lower = grouping.row_of_corners(work, row.upper);
    int32_t *cells = grouping.cells.data() + i * static_cast<int64_t>(count);
    agree(upper.states.data(), lower.states.data(), static_cast<int64_t>(count), work.classes.data());

    bool located = codes.centers == 0;
    const auto instance_of = [&](size_t j) {
        if (!located) {
            grouping.locate(upper, lower, work.keys);
            located = true;
        }
        return grouping.instance_of_cell(row, columns[j], work.keys[j]);
    };
    // The code of a cell all of whose pixels have one class, or kMixed.
    const auto code_of_class = [&](size_t j, int32_t index) {
        if (!grouping.is_thing(index)) return index;
        if (codes.centers == 0) return codes.nothing();
        const int32_t k = instance_of(j);
        return k < 0 ? kMixed : static_cast<int32_t>(codes.classes) + k;
    };
    const int32_t *classes = work.classes.data();
    for (size_t j = 0; j < count;) {
        const int32_t index = classes[j];
        const int32_t code = index < 0 ? kMixed : code_of_class(j, index);
        if (code != kMixed) {
            // Its neighbors mostly are the same.
            const size_t first = j;
            cells[j++] = code;
            if (code < codes.classes)
                for (; j < count && classes[j] == index; j++) cells[j] = code;
            else
                for (; j < count && classes[j] == index && code_of_class(j, index) == code; j++) cells[j] = code;
            const int32_t begin = columns[first].begin, end = columns[j - 1].end;
            const int32_t area = (row.end - row.begin) * (end - begin);
            tally.areas[code] += area;
            tally.extents[code].add({row.begin, begin, row.end, end});
            if (code >= codes.classes && code != codes.nothing())
                tally.votes[(code - codes.classes) * codes.classes + index] += area;
            continue;
        }
        const Span &column = columns[j];
        const auto corner = [&](const CornerRow &corners, size_t at, int32_t sample) {
            return Corner{corners.logits.values + sample, corners.logits.step, corners.states[at], corners.second[at],
                          corners.third[at]};
        };
        const Corner around[4] = {corner(upper, j, column.lower), corner(upper, j + 1, column.upper),
                                  corner(lower, j, column.lower), corner(lower, j + 1, column.upper)};
        work.candidates.list(around);
        bool things = false;
        for (int32_t n = 0; n < work.candidates.count; n++) things |= grouping.is_thing(work.candidates.index[n]);
        const int32_t instance = index < 0 && things && codes.centers > 0 ? instance_of(j) : kMixed;
        cells[j++] = kMixed;
        grouping.split_cell(work, row, column, instance, tally);
    }
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
    const NearestCenter nearest(centers, a.height, a.width, a.threads);
    const auto rows = static_cast<int64_t>(image.rows.spans.size());
    const size_t columns = image.columns.spans.size();
    Grouped grouped = {std::vector<int32_t>(image.rows.spans.size() * columns), Tally(codes)};
    const Grouping grouping(image, codes, nearest, panoptic, grouped.cells);

    // Bands of rows: the samples of a row are classified and used by the cells on both sides while they are in the
    // cache; only at the border of two bands they are classified twice.
    const int used = useful_threads(a.threads, rows / 4);
    const int64_t band = std::clamp<int64_t>(rows / (8 * used), 4, 64);
    const int64_t bands = (rows + band - 1) / band;
    std::vector<Tally> tallies(used, Tally(codes));
    std::vector<Workspace> workspaces(used, Workspace(columns, a.classes));
#pragma omp parallel for num_threads(used) schedule(dynamic, 1)
    for (int64_t n = 0; n < bands; n++) {
        const int t = thread_index();
        for (CornerRow &row : workspaces[t].rows) row.sample = -1;
        for (int64_t i = n * band; i < std::min((n + 1) * band, rows); i++)
            group_cells(grouping, i, workspaces[t], tallies[t]);
    }
    for (const Tally &tally : tallies) grouped.tally.merge(tally);
    return grouped;
}

}  // namespace pdl
