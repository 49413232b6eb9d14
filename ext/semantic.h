// Which class wins. First at the input samples; then inside cells, where most need nothing more: a class that wins at
// all corners wins at every bilinear sample between them, as long as rounding cannot make a tie of it.
#ifndef PANODEEPLAB_SEMANTIC_H
#define PANODEEPLAB_SEMANTIC_H

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "arithmetic.h"
#include "compiler.h"
#include "logits.h"

namespace pdl {

// The class of an input sample: c if it leads so far that rounding cannot make a tie, ~c if it may, kHostile if
// interpolation may meet NaN.
using SampleClass = int16_t;
constexpr SampleClass kHostile = std::numeric_limits<SampleClass>::min();

// Above it, sums of products might overflow to infinity and differences of infinities become NaN.
constexpr float kLargest = 1e38f;

// What is known of a sample without looking at its logits again.
struct SampleClasses {
    SampleClass *classes, *runners_up;
    float *best, *second, *third;  // the largest logits; -inf if there are fewer classes
};

void classify_samples(const LogitRow &row, int64_t classes, int64_t count, const SampleClasses &out);

// A corner of a cell: a sample, and what is known of it.
struct Corner {
    const float *logits;  // of class c at [c * step]
    int64_t step;
    SampleClass state, runner_up;  // the second holds if `second` exceeds -inf
    float second, third;
};

// A logit at the four corners of a cell: top left, top right, bottom left, bottom right.
struct CornerValues {
    float value[4];
};

// The classes that may win somewhere in a cell, in ascending order.
class Candidates {
public:
    explicit Candidates(int64_t classes)
        : classes_(classes), values(static_cast<size_t>(classes)), index(static_cast<size_t>(classes)) {}

    PDL_FORCE_INLINE void list(const Corner (&corners)[4]) {
        count = 0;
        hostile = false;
        for (const Corner &corner : corners) hostile |= corner.state == kHostile;
        if (hostile || !list_leaders(corners)) list_all(corners);
    }

private:
    static PDL_FORCE_INLINE int32_t leader(const Corner &corner) {
        return corner.state < 0 ? ~corner.state : corner.state;
    }

    static PDL_FORCE_INLINE CornerValues load(const Corner (&corners)[4], int64_t c) {
        return {{corners[0].logits[c * corners[0].step], corners[1].logits[c * corners[1].step],
                 corners[2].logits[c * corners[2].step], corners[3].logits[c * corners[3].step]}};
    }

    // What the winner exceeds at each corner: the mean of the corners' leaders, as the best of several is never under
    // their mean, and the mean of samples is the sample of means. Less a margin far over what rounding can do.
    static PDL_FORCE_INLINE CornerValues lower_bound(const CornerValues (&leaders)[4]) {
        CornerValues bound;
        for (int k = 0; k < 4; k++) {
            float sum = 0.0f, size = 0.0f;
            for (const CornerValues &values_of_leader : leaders) {
                const float quarter = values_of_leader.value[k] * 0.25f;
                sum += quarter;
                size += std::fabs(quarter);
            }
            bound.value[k] = sum - size * 0x1p-16f - 1e-30f;
        }
        return bound;
    }

    // Adds a class in its place, if it is not listed.
    PDL_FORCE_INLINE void add(int32_t c, const CornerValues &values_of_class) {
        int32_t n = count;
        while (n > 0 && index[n - 1] > c) n--;
        if (n > 0 && index[n - 1] == c) return;
        for (int32_t m = count; m > n; m--) {
            index[m] = index[m - 1];
            values[m] = values[m - 1];
        }
        index[n] = c;
        values[n] = values_of_class;
        count++;
    }

    // Lists the classes that are first at a corner, and second where that may be enough to win, if the third logits
    // tell that no other class can.
    PDL_FORCE_INLINE bool list_leaders(const Corner (&corners)[4]) {
        CornerValues leaders[4];
        for (int q = 0; q < 4; q++) {
            const int32_t c = leader(corners[q]);
            leaders[q] = load(corners, c);
            add(c, leaders[q]);
        }
        const CornerValues bound = lower_bound(leaders);
        for (int k = 0; k < 4; k++) {
            if (corners[k].second < bound.value[k]) continue;
            if (!(corners[k].third < bound.value[k])) return false;
            add(corners[k].runner_up, load(corners, corners[k].runner_up));
        }
        return true;
    }

    PDL_FORCE_INLINE void list_all(const Corner (&corners)[4]) {
        constexpr float kNone = -std::numeric_limits<float>::infinity();
        CornerValues bound = {{kNone, kNone, kNone, kNone}};
        if (!hostile) {
            CornerValues leaders[4];
            for (int q = 0; q < 4; q++) leaders[q] = load(corners, leader(corners[q]));
            bound = lower_bound(leaders);
        }
        count = 0;
        for (int64_t c = 0; c < classes_; c++) {
            const CornerValues candidate = load(corners, c);
            int32_t under = 0;
            for (int k = 0; k < 4; k++) under += candidate.value[k] < bound.value[k];
            values[count] = candidate;
            index[count] = static_cast<int32_t>(c);
            count += under < 4;  // never dropped where the bound is -inf or NaN
        }
    }

    int64_t classes_;

public:
    std::vector<CornerValues> values;
    std::vector<int32_t> index;
    int32_t count = 0;
    bool hostile = false;  // a logit may be NaN: then all classes are candidates, to look at each
};

}  // namespace pdl

#endif
