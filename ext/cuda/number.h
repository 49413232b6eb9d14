// The element types of the network's outputs; each value is read exactly as float32.
#ifndef PANODEEPLAB_CUDA_NUMBER_H
#define PANODEEPLAB_CUDA_NUMBER_H

#include "cuda/block.h"

namespace pdl::gpu {

struct Half {
    uint16_t bits;
};

struct Bfloat {
    uint16_t bits;
};

PDL_DEVICE float to_float(float value) { return value; }

PDL_DEVICE float to_float(Bfloat value) { return float_of(static_cast<int32_t>(uint32_t{value.bits} << 16)); }

PDL_DEVICE float to_float(Half value) {
#ifdef __CUDACC__
    float result;
    asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
    return result;
#else
    const uint32_t sign = uint32_t{value.bits & 0x8000u} << 16, exponent = (value.bits >> 10) & 31u;
    const uint32_t fraction = value.bits & 1023u;
    if (exponent == 0) {
        const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
        return sign != 0 ? -magnitude : magnitude;
    }
    const uint32_t wide = exponent == 31 ? 255u : exponent + 112u;
    return float_of(static_cast<int32_t>(sign | wide << 23 | fraction << 13));
#endif
}

// Four neighbours, read at once where the address allows it.
template <class T> struct alignas(4 * sizeof(T)) Four {
    T value[4];
};

}  // namespace pdl::gpu

#endif
