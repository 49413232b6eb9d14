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
#include "grid.h"

namespace pdl {

struct Logits {
    const float *values;  // (classes, low_height, low_width)
    int64_t classes;
    int64_t plane;  // low_height * low_width
    int64_t low_width;
};

// The class of an input sample: c if it leads so far that rounding cannot make a tie, ~c if it may, kHostile if
// interpolation may meet NaN.
using SampleClass = int16_t;
constexpr SampleClass kHostile = std::numeric_limits<SampleClass>::min();

// Above it, sums of products might overflow to infinity and differences of infinities become NaN.
constexpr float kLargest = 1e38f;

void classify_samples(const Logits &logits, int64_t row, SampleClass *classes);

// Finds the classes of the pixels of cells, a few cells of one row of cells at a time.
class CellClassifier {
public:
    static constexpr int32_t kBatch = 32;

    explicit CellClassifier(int64_t classes)
        : corners_(static_cast<size_t>(classes) * kBatch), candidates_(static_cast<size_t>(classes)) {}

    // Copies the corners of up to kBatch cells. Class by class, since planes a power of two apart share cache sets.
    PDL_FORCE_INLINE void load(const Logits &logits, const Span &row, const Span *const *columns, int32_t count) {
        const float *above = logits.values + row.lower * logits.low_width;
        const float *below = logits.values + row.upper * logits.low_width;
        for (int64_t c = 0; c < logits.classes; c++, above += logits.plane, below += logits.plane)
            for (int32_t n = 0; n < count; n++) {
                const int32_t lower = columns[n]->lower, upper = columns[n]->upper;
                corners_[n * logits.classes + c] = {{above[lower], above[upper], below[lower], below[upper]}};
            }
    }

    // Turns to one of these cells: lists the classes that may win somewhere in it. `samples` are its corners' classes.
    PDL_FORCE_INLINE void enter(int64_t classes, int32_t cell, const SampleClass *samples) {
        const Corners *corners = corners_.data() + cell * classes;
        float bound[4];
        hostile_ = !lower_bound(corners, samples, bound);
        count_ = 0;
        for (int32_t c = 0; c < classes; c++) {
            const float *value = corners[c].value;
            int32_t under = 0;
            for (int k = 0; k < 4; k++) under += value[k] < bound[k];
            candidates_[count_] = {corners[c], c};
            count_ += under < 4;
        }
    }

    // The classes of the pixels of one output row of the cell; -1 where a logit is NaN.
    PDL_FORCE_INLINE void classify_row(float weight_y, const float *weights_x, int32_t count, int32_t *classes) const {
        if (hostile_)
            classify<true>(weight_y, weights_x, count, classes);
        else if (count == 4)  // stride 4: a fixed count becomes one vector
            classify<false>(weight_y, weights_x, 4, classes);
        else
            classify<false>(weight_y, weights_x, count, classes);
    }

private:
    struct Corners {
        float value[4];
    };
    struct Candidate {
        Corners corners;
        int32_t index;
    };

    // What the winner exceeds at each corner: the mean of the corners' own classes, as the best of several is never
    // under their mean, and the mean of samples is the sample of means. Less a margin far over what rounding can do.
    static PDL_FORCE_INLINE bool lower_bound(const Corners *corners, const SampleClass *samples, float *bound) {
        float sum[4] = {0, 0, 0, 0}, size[4] = {0, 0, 0, 0};
        bool usable = true;
        for (int q = 0; q < 4; q++) {
            if (samples[q] == kHostile) {
                usable = false;
                break;
            }
            const float *value = corners[samples[q] < 0 ? ~samples[q] : samples[q]].value;
            for (int k = 0; k < 4; k++) {
                const float quarter = value[k] * 0.25f;
                sum[k] += quarter;
                size[k] += std::fabs(quarter);
            }
        }
        // A class is dropped where it is smaller than this at all corners: never, with -inf.
        for (int k = 0; k < 4; k++)
            bound[k] = usable ? sum[k] - size[k] * 0x1p-16f - 1e-30f : -std::numeric_limits<float>::infinity();
        return usable;
    }

    template <bool kCheck>
    PDL_FORCE_INLINE void classify(float weight_y, const float *weights_x, int32_t count, int32_t *classes) const {
        constexpr int32_t kBlock = 16;
        for (int32_t begin = 0; begin < count; begin += kBlock) {
            const int32_t length = count - begin < kBlock ? count - begin : kBlock;
            float best[kBlock];
            int32_t winner[kBlock];
            bool valid[kBlock];
            for (int32_t q = 0; q < length; q++) {
                best[q] = -std::numeric_limits<float>::infinity();
                winner[q] = 0;
                valid[q] = true;
            }
            for (int32_t n = 0; n < count_; n++) {
                const Candidate &candidate = candidates_[n];
                const float left = between(candidate.corners.value[0], candidate.corners.value[2], weight_y);
                const float right = between(candidate.corners.value[1], candidate.corners.value[3], weight_y);
                for (int32_t q = 0; q < length; q++) {
                    const float value = between(left, right, weights_x[begin + q]);
                    const bool better = value > best[q];
                    best[q] = better ? value : best[q];
                    winner[q] = better ? candidate.index : winner[q];
                    if (kCheck) valid[q] = valid[q] && value == value;
                }
            }
            for (int32_t q = 0; q < length; q++) classes[begin + q] = kCheck && !valid[q] ? -1 : winner[q];
        }
    }

    std::vector<Corners> corners_;  // (cells, classes)
    std::vector<Candidate> candidates_;
    int32_t count_ = 0;
    bool hostile_ = false;
};

}  // namespace pdl

#endif
