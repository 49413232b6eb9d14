// The pixels of a cell that needs a look at each.
#ifndef PANODEEPLAB_STRIP_H
#define PANODEEPLAB_STRIP_H

#include <algorithm>
#include <cstring>
#include <limits>

#include "arithmetic.h"
#include "compiler.h"
#include "grid.h"
#include "grouping.h"
#include "semantic.h"

namespace pdl {

// Pixels of a cell, as many as are worked on at a time, row after row. Loops over lanes have a fixed length, to become
// vectors; lanes beyond the pixels compute something that nobody reads.
struct Strip {
    static constexpr int32_t kLanes = 16;
    int32_t y = 0, x = 0, rows = 0, columns = 0;
    float weight_y[kLanes] = {}, weight_x[kLanes] = {};
    float vote_y[kLanes] = {}, vote_x[kLanes] = {};
    int32_t is_thing[kLanes] = {}, instances[kLanes] = {};
    int32_t winner[kLanes] = {};  // among the candidates; -1 where a logit is NaN
    int32_t codes[kLanes] = {};

    int32_t count() const { return rows * columns; }

    // Sets of lanes, a bit for each.
    uint32_t all_pixels() const { return (1u << count()) - 1; }
    PDL_FORCE_INLINE uint32_t pixels_with(const int32_t *values, int32_t value) const {
        uint32_t found = 0;
        PDL_LANES
        for (int32_t q = 0; q < kLanes; q++) found |= static_cast<uint32_t>(values[q] == value) << q;
        return found & all_pixels();
    }

    // Turns to `rows` x `columns` pixels of a cell.
    PDL_FORCE_INLINE void enter(const Axis &axis_y, const Axis &axis_x, int32_t y_, int32_t x_, int32_t rows_,
                                int32_t columns_) {
        y = y_;
        x = x_;
        rows = rows_;
        columns = columns_;
        const float *of_rows = axis_y.weight.data() + y, *of_columns = axis_x.weight.data() + x;
        if (columns == 4 && rows == 4) {  // stride 4: fixed sizes become vectors
            for (int32_t q = 0; q < 16; q++) {
                weight_y[q] = of_rows[q / 4];
                weight_x[q] = of_columns[q % 4];
            }
            return;
        }
        for (int32_t r = 0, q = 0; r < rows; r++)
            for (int32_t c = 0; c < columns; c++, q++) {
                weight_y[q] = of_rows[r];
                weight_x[q] = of_columns[c];
            }
    }

    // Lets the candidates compete for the pixels; the first of equals wins.
    PDL_FORCE_INLINE void contest(const Candidates &candidates) {
        const auto sample = [&](int32_t n, int32_t q) {
            const float *corner = candidates.values[n].value;
            return bilinear(corner[0], corner[1], corner[2], corner[3], weight_y[q], weight_x[q]);
        };
        if (candidates.count == 2 && !candidates.hostile) {
            PDL_LANES
            for (int32_t q = 0; q < kLanes; q++) winner[q] = sample(1, q) > sample(0, q);
            return;
        }
        float best[kLanes];
        PDL_LANES
        for (int32_t q = 0; q < kLanes; q++) {
            best[q] = -std::numeric_limits<float>::infinity();
            winner[q] = 0;
        }
        for (int32_t n = 0; n < candidates.count; n++)
            PDL_LANES
            for (int32_t q = 0; q < kLanes; q++) {
                const float value = sample(n, q);
                const bool better = value > best[q];
                best[q] = better ? value : best[q];
                winner[q] = better ? n : winner[q];
            }
        if (!candidates.hostile) return;
        for (int32_t n = 0; n < candidates.count; n++)
            PDL_LANES
            for (int32_t q = 0; q < kLanes; q++) {
                const float value = sample(n, q);
                if (value != value) winner[q] = -1;
            }
    }

    // The codes of the pixels, one by one, into the output map.
    PDL_FORCE_INLINE void write(int32_t *panoptic, int64_t width) const {
        int32_t *out = panoptic + y * width + x;
        const int32_t *in = codes;
        for (int32_t r = 0; r < rows; r++, in += columns, out += width) {
            if (columns == 4)  // stride 4: a fixed size becomes one store
                std::memcpy(out, in, 4 * sizeof(int32_t));
            else
                std::copy(in, in + columns, out);
        }
    }

    // Counts `pixels`, which all have `code`. Returns how many they are.
    PDL_FORCE_INLINE int32_t count_pixels(uint32_t pixels, int32_t code, Tally &tally) const {
        const int32_t area = count_bits(pixels);
        tally.areas[code] += area;
        Extent &extent = tally.extents[code];
        if (extent.contains({y, x, y + rows, x + columns})) return area;
        uint32_t across = 0;
        for (int32_t r = 0; r < rows; r++) across |= pixels >> (r * columns);
        across &= (1u << columns) - 1;
        extent.add({y + lowest_bit(pixels) / columns, x + lowest_bit(across), y + highest_bit(pixels) / columns + 1,
                    x + highest_bit(across) + 1});
        return area;
    }
};

}  // namespace pdl

#endif
