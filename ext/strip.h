// The pixels of a cell that needs a look at each, and what becomes of them.
#ifndef PANODEEPLAB_STRIP_H
#define PANODEEPLAB_STRIP_H

#include <limits>

#include "arithmetic.h"
#include "block.h"
#include "compiler.h"
#include "grid.h"
#include "grouping.h"
#include "semantic.h"

namespace pdl {

struct Strip : Block {
    float weight_y[kLanes] = {}, weight_x[kLanes] = {};
    float vote_y[kLanes] = {}, vote_x[kLanes] = {};
    int32_t is_thing[kLanes] = {}, instances[kLanes] = {};
    int32_t winner[kLanes] = {};  // among the candidates; -1 where a logit is NaN
    int32_t codes[kLanes] = {};

    PDL_FORCE_INLINE uint32_t pixels_with(const int32_t *values, int32_t value) const {
        return lanes_with(values, value) & all_pixels();
    }

    PDL_FORCE_INLINE bool have_weights(const float *of_rows, const float *of_columns) const {
        bool same = true;
        for (int32_t n = 0; n < 4; n++) same &= (weight_y[4 * n] == of_rows[n]) & (weight_x[n] == of_columns[n]);
        return same;
    }

    // Turns to other pixels.
    PDL_FORCE_INLINE void enter(const Axis &axis_y, const Axis &axis_x, const Block &block) {
        const float *of_rows = axis_y.weight.data() + block.y, *of_columns = axis_x.weight.data() + block.x;
        // At stride 4, most cells lie between their samples like the one before.
        const bool known = block.rows == 4 && block.columns == 4 && rows == 4 && columns == 4 &&
                           have_weights(of_rows, of_columns);
        static_cast<Block &>(*this) = block;
        if (known) return;
        for (int32_t r = 0, q = 0; r < rows; r++)
            for (int32_t c = 0; c < columns; c++, q++) {
                weight_y[q] = of_rows[r];
                weight_x[q] = of_columns[c];
            }
    }

    // Lets the candidates compete for the pixels; the first of equals wins.
    PDL_FORCE_INLINE void contest(const Candidates &candidates) {
        const auto sample = [&](int32_t n, int32_t q) PDL_INLINE_LAMBDA {
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
