// The semantic logits, a row of samples at a time as float32, whatever their type and layout are in memory.
#ifndef PANODEEPLAB_LOGITS_H
#define PANODEEPLAB_LOGITS_H

#include <cstdint>
#include <vector>

#include "panoptic.h"

namespace pdl {

// Of one image; strides count elements.
struct Logits {
    const void *values;
    int32_t type;  // PDL_FLOAT32, PDL_FLOAT16 or PDL_BFLOAT16
    int64_t classes, class_stride, row_stride, column_stride;
};

// Class c of sample x is values[c * step + x].
struct LogitRow {
    const float *values;
    int64_t step;
};

// The first `count` samples of row y: in place if they lie there as they are wanted, else converted into `room`.
LogitRow read_row(const Logits &logits, int64_t y, int64_t count, std::vector<float> &room);

// Class c of the sample (y, x).
float logit_at(const Logits &logits, int64_t c, int64_t y, int64_t x);

}  // namespace pdl

#endif
