// The semantic logits, a row of samples at a time as float32, whatever their type and layout are in memory.
#ifndef PANODEEPLAB_LOGITS_H
#define PANODEEPLAB_LOGITS_H

#include <cstdint>
#include <vector>

#include "arithmetic.h"
#include "compiler.h"
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
PDL_FORCE_INLINE float logit_at(const Logits &logits, int64_t c, int64_t y, int64_t x) {
    const int64_t at = c * logits.class_stride + y * logits.row_stride + x * logits.column_stride;
    if (logits.type == PDL_FLOAT32) return static_cast<const float *>(logits.values)[at];
    const uint16_t half = static_cast<const uint16_t *>(logits.values)[at];
    return logits.type == PDL_FLOAT16 ? from_float16(half) : from_bfloat16(half);
}

}  // namespace pdl

#endif
