// The element types of the network's outputs; each value is read exactly as float32.
#ifndef PANODEEPLAB_CUDA_NUMBER_H
#define PANODEEPLAB_CUDA_NUMBER_H

#include "arithmetic.h"
#include "cuda/block.h"

namespace pdl::gpu {

struct Half {
    uint16_t bits;
};

struct Bfloat {
    uint16_t bits;
};

PDL_DEVICE float to_float(float value) { return value; }

PDL_DEVICE float to_float(Bfloat value) { return from_bfloat16(value.bits); }

PDL_DEVICE float to_float(Half value) { return from_float16(value.bits); }

// Four neighbours, read at once where the address allows it.
template <class T> struct alignas(4 * sizeof(T)) Four {
    T value[4];
};

}  // namespace pdl::gpu

#endif
