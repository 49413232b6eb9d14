// How sure the network is of each segment's class.
#ifndef PANODEEPLAB_PROBABILITY_H
#define PANODEEPLAB_PROBABILITY_H

#include <cstdint>
#include <vector>

#include "grouping.h"
#include "logits.h"
#include "semantic.h"

namespace pdl {

// The softmax over the classes at each input sample, filled in while a row's logits are in the cache.
struct SampleProbabilities {
    int64_t width;
    std::vector<SampleClass> winners;  // the class of the largest logit; -1 where a logit may be NaN
    std::vector<int32_t> own;          // its probability in 65536ths
    std::vector<float> top, total;     // the largest logit, and the sum of the exponentials of what others are below it

    SampleProbabilities(int64_t height, int64_t width_);

    // The first `count` samples of row y, whose classes and largest logits are known.
    void add_row(int64_t y, const LogitRow &row, int64_t classes, int64_t count, const SampleClass *states,
                 const float *best);
};

// Mean over each segment's pixels of the softmax probability of its class at the sample nearest to the pixel.
// `panoptic` holds the codes of the pixels of mixed cells, `codes_of_rows` the code of every segment.
void write_probabilities(const Image &image, const std::vector<int32_t> &cells, const SampleProbabilities &samples,
                         const int32_t *panoptic, const Codes &codes, const std::vector<int32_t> &codes_of_rows,
                         const int32_t *segment_ids, const int32_t *segment_areas, float *probabilities);

}  // namespace pdl

#endif
