// How sure the network is of each segment's class.
#ifndef PANODEEPLAB_PROBABILITY_H
#define PANODEEPLAB_PROBABILITY_H

#include <cstdint>
#include <vector>

#include "grouping.h"

namespace pdl {

// Mean over each segment's pixels of the softmax probability of its class at the sample nearest to the pixel.
// `code_map` (height, width) holds the code of every pixel, `codes_of_rows` the code of every segment.
void write_probabilities(const Image &image, const int32_t *code_map, const Codes &codes,
                         const std::vector<int32_t> &codes_of_rows, const int32_t *segment_ids,
                         const int32_t *segment_areas, float *probabilities);

}  // namespace pdl

#endif
