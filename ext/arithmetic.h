// The arithmetic of one pixel. Equal bits on every backend ask for multiplications and additions that stay separate
// (compile with contraction off) and for this order of them; panodeeplab/ops/reference.py has the same steps.
#ifndef PANODEEPLAB_ARITHMETIC_H
#define PANODEEPLAB_ARITHMETIC_H

#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#define PDL_INLINE __host__ __device__ inline
#else
#define PDL_INLINE inline
#endif

namespace pdl {

// A sample at `weight` of the way from lower to upper. With weight 0 `upper` takes no part: 0 * inf cannot arise.
// Rounding is monotone, so a sample of larger corners is never smaller.
PDL_INLINE float between(float lower, float upper, float weight) {
    const float mixed = lower * (1.0f - weight) + upper * weight;
    return weight == 0.0f ? lower : mixed;
}

// Rows first, then columns.
PDL_INLINE float bilinear(float top_left, float top_right, float bottom_left, float bottom_right, float weight_y,
                          float weight_x) {
    return between(between(top_left, bottom_left, weight_y), between(top_right, bottom_right, weight_y), weight_x);
}

PDL_INLINE float vote(int32_t position, float offset, float stride) {
    return static_cast<float>(position) + offset * stride;
}

PDL_INLINE float squared_distance(float y, float x, float center_y, float center_x) {
    const float dy = y - center_y;
    const float dx = x - center_x;
    return dy * dy + dx * dx;
}

PDL_INLINE float float_of_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

PDL_INLINE float from_bfloat16(uint16_t half) { return float_of_bits(static_cast<uint32_t>(half) << 16); }

// By whole numbers but for one exact product, so that a loop over it is vectorised without hardware for halves.
PDL_INLINE float from_float16(uint16_t half) {
    const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
    const uint32_t rest = static_cast<uint32_t>(half & 0x7fffu) << 13;
    const float scaled = float_of_bits(rest) * 0x1p112f;
    uint32_t bits;
    memcpy(&bits, &scaled, sizeof(bits));
    const uint32_t special = static_cast<uint32_t>(-static_cast<int32_t>(rest >= 0x0f800000u)) & 0x7f800000u;
    return float_of_bits(bits | special | sign);
}

// exp(x) for x <= 0, to about 1e-7; 0 below -87.
PDL_INLINE float exponential(float x) {
    const float clamped = x >= -87.0f ? x : -87.0f;  // NaN too, which no whole number holds
    const float scaled = clamped * 1.44269504f + 0.5f;
    // Floor of a small number, without a call that keeps the loop from being vectorised.
    const int32_t truncated = static_cast<int32_t>(scaled);
    const int32_t power = truncated - (static_cast<float>(truncated) > scaled ? 1 : 0);
    float rest = clamped - static_cast<float>(power) * 0.693359375f;
    rest = rest - static_cast<float>(power) * -2.12194440e-4f;
    float series = 1.9875691500e-4f;
    series = series * rest + 1.3981999507e-3f;
    series = series * rest + 8.3334519073e-3f;
    series = series * rest + 4.1665795894e-2f;
    series = series * rest + 1.6666665459e-1f;
    series = series * rest + 5.0000001201e-1f;
    series = series * (rest * rest) + rest + 1.0f;
    // All bits or none, not a branch, or the loop around it would not be vectorised.
    const int32_t bits = ((power + 127) * (1 << 23)) & -static_cast<int32_t>(x >= -87.0f);
    float scale;
    memcpy(&scale, &bits, sizeof(scale));
    return series * scale;
}

}  // namespace pdl

#endif
