#include "grouping.h"

#include <algorithm>

#include "corner_row.h"
#include "probability.h"
#include "semantic.h"
#include "strip.h"
#include "threads.h"

namespace pdl {
namespace {

// What a thread works with.
struct Workspace {
    CornerRow rows[2];
    std::vector<int32_t> classes;  // of the cells of a row, -1 if their corners do not agree
    Candidates candidates;
    std::vector<int32_t> code_of_candidate;
    Strip strip;

    Workspace(size_t cells, int64_t classes_)
        : rows{CornerRow(cells + 1), CornerRow(cells + 1)},
          classes(cells),
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
    SampleProbabilities *const probabilities;

    Grouping(const Image &image_, const Codes &codes_, const NearestCenter &nearest_, int32_t *panoptic_,
             std::vector<int32_t> &cells_, SampleProbabilities *probabilities_)
        : image(image_),
          codes(codes_),
          corners(image_.columns.spans),
          positions(positions_of(image_)),
          nearest(nearest_),
          panoptic(panoptic_),
          cells(cells_),
          probabilities(probabilities_) {}

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
                         {row.states.data() + first, row.runners_up.data() + first, row.best.data() + first,
                          row.second.data() + first, row.third.data() + first});
        corners.pad(row.states);
        corners.pad(row.runners_up);
        corners.pad(row.second);
        corners.pad(row.third);
        row.sample = y;
        row.is_located = false;
        row.is_softened = false;
        return row;
    }

    void soften(CornerRow &row) const {
        if (row.is_softened) return;
        probabilities->add_row(row.sample, row.logits, codes.classes, corners.samples,
                               row.states.data() + corners.first, row.best.data() + corners.first);
        row.is_softened = true;
    }

    // Finds the instances that the samples of a row vote for.
    PDL_FORCE_INLINE void locate(CornerRow &row) const {
        if (row.is_located) return;
        const pdl_panoptic_arguments &a = image.arguments;
        const auto stride = static_cast<float>(a.stride);
        const auto position = static_cast<float>(sample_position(row.sample, a.stride, a.align_corners != 0));
        const float *dy = offset_y(row.sample), *dx = offset_x(row.sample), *places = positions.data();
        float *y = row.vote_y.data() + corners.first, *x = row.vote_x.data() + corners.first;
        PDL_INDEPENDENT
        for (int32_t i = 0; i < corners.samples; i++) {
            y[i] = position + dy[i] * stride;
            x[i] = places[i] + dx[i] * stride;
        }
        nearest.locate(y, x, corners.samples, row.instances.data() + corners.first);
        row.is_located = true;
    }

    PDL_FORCE_INLINE int32_t instance_of_corner(CornerRow &row, size_t j) const {
        int32_t &k = row.instances[j];
        if (k == NearestCenter::kSeveral) k = nearest.find_clearly(row.vote_y[j], row.vote_x[j]);
        return k;
    }

    // The instance of all pixels of a cell that are things, or kMixed.
    PDL_FORCE_INLINE int32_t instance_of_cell(CornerRow &upper, CornerRow &lower, size_t j) const {
        const Span &column = image.columns.spans[j];
        // Where a position is clamped to a sample, the votes of the cell go beyond those of its corners.
        if (upper.sample == lower.sample || column.lower == column.upper) return kMixed;
        const int32_t k = instance_of_corner(upper, j);
        if (k < 0 || instance_of_corner(upper, j + 1) != k) return kMixed;
        return instance_of_corner(lower, j) == k && instance_of_corner(lower, j + 1) == k ? k : kMixed;
    }

    // The instances of the pixels of a strip that are things; -1 where a vote is not finite.
    PDL_FORCE_INLINE void find_instances(const Span &row, const Span &column, Strip &strip) const {
        const auto stride = static_cast<float>(image.arguments.stride);
        const auto cast = [&](const float *upper, const float *lower, float *votes) PDL_INLINE_LAMBDA {
            const float corner[4] = {upper[column.lower], upper[column.upper], lower[column.lower],
                                     lower[column.upper]};
            PDL_LANES
            for (int32_t q = 0; q < Strip::kLanes; q++)
                votes[q] = bilinear(corner[0], corner[1], corner[2], corner[3], strip.weight_y[q], strip.weight_x[q]);
        };
        cast(offset_y(row.lower), offset_y(row.upper), strip.vote_y);
        cast(offset_x(row.lower), offset_x(row.upper), strip.vote_x);
        const auto add_position = [&](int32_t q, int32_t r, int32_t c) PDL_INLINE_LAMBDA {
            strip.vote_y[q] = vote(strip.y + r, strip.vote_y[q], stride);
            strip.vote_x[q] = vote(strip.x + c, strip.vote_x[q], stride);
        };
        if (strip.columns == 4)
            PDL_LANES
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

    // The codes of a strip whose winners are known. A candidate whose code is kMixed leaves it to each pixel's vote.
    PDL_FORCE_INLINE void give_codes(Workspace &work, const Span &row, const Span &column, bool by_votes,
                                     Tally &tally) const {
        Strip &strip = work.strip;
        const Candidates &candidates = work.candidates;
        const int32_t *code_of_candidate = work.code_of_candidate.data();
        const int32_t nothing = codes.nothing();
        if (candidates.count <= 2 && !candidates.hostile) {
            const int32_t first = code_of_candidate[0], second = code_of_candidate[candidates.count - 1];
            PDL_LANES
            for (int32_t q = 0; q < Strip::kLanes; q++) strip.codes[q] = strip.winner[q] ? second : first;
        } else {
            for (int32_t q = 0; q < Strip::kLanes; q++)
                strip.codes[q] = strip.winner[q] < 0 ? nothing : code_of_candidate[strip.winner[q]];
        }
        if (by_votes) {
            const auto classes = static_cast<int32_t>(codes.classes);
            PDL_LANES
            for (int32_t q = 0; q < Strip::kLanes; q++) strip.is_thing[q] = strip.codes[q] == kMixed ? -1 : 0;
            find_instances(row, column, strip);
            PDL_LANES
            for (int32_t q = 0; q < Strip::kLanes; q++) {
                const int32_t thing = strip.instances[q] < 0 ? nothing : classes + strip.instances[q];
                strip.codes[q] = strip.is_thing[q] ? thing : strip.codes[q];
            }
        }
        // Without votes, all pixels that a candidate wins have one code: no need to look for theirs.
        if (!by_votes && !candidates.hostile) {
            uint32_t rest = strip.all_pixels();
            for (int32_t n = 0; rest != 0; n++) {
                const uint32_t pixels = n + 1 < candidates.count ? strip.pixels_with(strip.winner, n) : rest;
                if (pixels == 0) continue;
                rest &= ~pixels;
                const int32_t area = strip.count_pixels(pixels, code_of_candidate[n], tally);
                count_votes(code_of_candidate[n], candidates.index[n], area, tally);
            }
            return;
        }
        // Two or three codes mostly.
        for (uint32_t rest = strip.all_pixels(); rest != 0;) {
            const int32_t first = lowest_bit(rest), code = strip.codes[first], winner = strip.winner[first];
            const uint32_t pixels = strip.pixels_with(strip.codes, code) & strip.pixels_with(strip.winner, winner);
            const int32_t area = strip.count_pixels(pixels, code, tally);
            if (winner >= 0) count_votes(code, candidates.index[winner], area, tally);
            rest &= ~pixels;
        }
    }

    // Codes of a cell's pixels, which are of several classes or instances, into the output map. The candidates are
    // listed already. `instance`: of all pixels that are things, or kMixed.
    PDL_FORCE_INLINE void split_cell(Workspace &work, const Span &row, const Span &column, int32_t instance,
                                     Tally &tally) const {
        const Candidates &candidates = work.candidates;
        bool by_votes = false;
        for (int32_t n = 0; n < candidates.count; n++) {
            int32_t code = candidates.index[n];
            if (is_thing(code)) {
                code = codes.nothing();
                if (codes.centers > 0) code = instance < 0 ? kMixed : static_cast<int32_t>(codes.classes) + instance;
                by_votes |= code == kMixed;
            }
            work.code_of_candidate[n] = code;
        }
        Strip &strip = work.strip;
        for_blocks(row, column, [&](const Block &block) PDL_INLINE_LAMBDA {
            strip.enter(image.rows, image.columns, block);
            strip.contest(candidates);
            give_codes(work, row, column, by_votes, tally);
            strip.write(strip.codes, panoptic, image.arguments.width);
        });
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
    if (grouping.probabilities != nullptr) {
        // A row on the border of two bands belongs to the later one.
        grouping.soften(upper);
        if (i + 1 == static_cast<int64_t>(image.rows.spans.size())) grouping.soften(lower);
    }
    agree(upper.states.data(), lower.states.data(), static_cast<int64_t>(count), work.classes.data());

    bool located = false;
    const auto instance_of = [&](size_t j) PDL_INLINE_LAMBDA {
        if (!located) {
            grouping.locate(upper);
            grouping.locate(lower);
            located = true;
        }
        return grouping.instance_of_cell(upper, lower, j);
    };
    // The code of a cell all of whose pixels have one class, or kMixed.
    const auto code_of_class = [&](size_t j, int32_t index) PDL_INLINE_LAMBDA {
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
        const auto corner = [&](const CornerRow &corners, size_t at, int32_t sample) PDL_INLINE_LAMBDA {
            const LogitRow &logits = corners.logits;
            return Corner{logits.values + sample, logits.step,        corners.states[at],
                          corners.runners_up[at], corners.second[at], corners.third[at]};
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

Grouped group_pixels(const Image &image, const std::vector<Center> &centers, int32_t *panoptic,
                     SampleProbabilities *probabilities) {
    const pdl_panoptic_arguments &a = image.arguments;
    const Codes codes = {a.classes, static_cast<int64_t>(centers.size())};
    const NearestCenter nearest(centers, a.height, a.width, a.threads);
    const auto rows = static_cast<int64_t>(image.rows.spans.size());
    const size_t columns = image.columns.spans.size();
    Grouped grouped = {std::vector<int32_t>(image.rows.spans.size() * columns), Tally(codes)};
    const Grouping grouping(image, codes, nearest, panoptic, grouped.cells, probabilities);

    // Bands of rows: the samples of a row are classified and used by the cells on both sides while they are in the
    // cache; only at the border of two bands they are classified twice.
    const int used = useful_threads(a.threads, rows / 4);
    const int64_t band = std::clamp<int64_t>(rows / (8 * used), 4, 64);
    const int64_t bands = (rows + band - 1) / band;
    std::vector<Tally> tallies(used, Tally(codes));
    std::vector<Workspace> workspaces(used, Workspace(columns, a.classes));
    parallel_for(used, bands, 1, [&](int64_t n, int thread) {
        for (CornerRow &row : workspaces[thread].rows) row.sample = -1;
        for (int64_t i = n * band; i < std::min((n + 1) * band, rows); i++)
            group_cells(grouping, i, workspaces[thread], tallies[thread]);
    });
    for (const Tally &tally : tallies) grouped.tally.merge(tally);
    return grouped;
}

}  // namespace pdl
