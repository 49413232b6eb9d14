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

PDL_INLINE uint32_t bits_of_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

PDL_INLINE float from_bfloat16(uint16_t half) { return float_of_bits(static_cast<uint32_t>(half) << 16); }

// By whole numbers but for one exact product, so that a loop over it is vectorised without hardware for halves.
PDL_INLINE float from_float16(uint16_t half) {
    const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
    const uint32_t rest = static_cast<uint32_t>(half & 0x7fffu) << 13;
    const uint32_t bits = bits_of_float(float_of_bits(rest) * 0x1p112f);
    const uint32_t special = static_cast<uint32_t>(-static_cast<int32_t>(rest >= 0x0f800000u)) & 0x7f800000u;
    return float_of_bits(bits | special | sign);
}

// exp(x) for x <= 0, to about 1e-7; that of -87, which is 2e-38, for NaN and all below.
PDL_INLINE float exponential(float x) {
    const float clamped = x > -87.0f ? x : -87.0f;
    const float power = clamped * 1.44269504f;
    // Beside so large a number there is no room for a fraction: the whole part is left in its last bits.
    const float shifted = power + 12582912.0f;
    const float rest = power - (shifted - 12582912.0f);
    // 2^rest, between -1/2 and 1/2; 1 at 0.
    float series = 1.326472731e-3f;
    series = series * rest + 9.671512991e-3f;
    series = series * rest + 5.550733581e-2f;
    series = series * rest + 2.402224243e-1f;
    series = series * rest + 6.931470037e-1f;
    series = series * rest + 1.0f;
    return float_of_bits(bits_of_float(series) + (bits_of_float(shifted) << 23));
}

// Votes for centres are counted in whole numbers, so that any order of summation gives the same bits. A vote's position
// is rounded to 1/16 of a grid cell on each axis, and a pixel gives 16 * 16 shares to the four cells around it.
constexpr int32_t kVoteSteps = 16;

// Votes are smoothed on each axis by 1 4 6 4 1; a pixel counts as one vote in the cell whose middle it hits. There are
// fewer than 2^31 pixels, so all of them in one cell stay below 2^31 * 256 * 36 < 2^45.
constexpr int32_t kVoteReach = 2;
constexpr int32_t kVoteWindow = 2 * kVoteReach + 1;
constexpr int64_t kOneVote = int64_t{kVoteSteps} * kVoteSteps * 6 * 6;

// A peak of the votes with a heatmap peak beside it needs 1/4 of the votes that one without needs.
constexpr int64_t kSupportShare = 4;

// Five cells in a row, smoothed into the one in the middle.
PDL_INLINE int64_t smooth_votes(int64_t a, int64_t b, int64_t c, int64_t d, int64_t e) {
    return a + e + 4 * (b + d) + 6 * c;
}

// How far the window of a peak of the votes reaches to each side, in cells.
PDL_INLINE int32_t vote_radius(int64_t nms_kernel, int64_t stride) {
    const int64_t radius = (nms_kernel / 2 + stride - 1) / stride;
    return static_cast<int32_t>(radius < 1 ? 1 : radius);
}

// Whether there is no peak with the votes `here`, as a cell of its window has `there`: more, or as many and earlier in
// raster order.
PDL_INLINE bool beats_votes(int64_t there, int64_t here, bool earlier) {
    return there > here || (earlier && there == here);
}

// Where a sample's vote lands along an axis of `cells` samples, in 1/16 of cells; -1 where it ends outside or is NaN.
PDL_INLINE int32_t vote_landing(int32_t sample, float offset, int32_t cells) {
    const float position = static_cast<float>(sample) + offset;
    if (!(position >= -0.5f && position <= static_cast<float>(cells) - 0.5f)) return -1;
    const int32_t steps = static_cast<int32_t>(position * static_cast<float>(kVoteSteps) + 0.5f);
    const int32_t last = kVoteSteps * (cells - 1);
    return steps < 0 ? 0 : (steps > last ? last : steps);
}

// What a vote gives to the lower (0) or upper (1) of the two cells that it lies between.
PDL_INLINE int64_t vote_share(int32_t landing, int32_t upper) {
    const int32_t past = landing % kVoteSteps;
    return upper ? past : kVoteSteps - past;
}

// The votes on a peak and the cells next to it, by row and column 0, 1, 2 of them.
struct VoteMoments {
    int64_t votes = 0, y = 0, x = 0;

    PDL_INLINE void add(int64_t part, int32_t row, int32_t column) {
        votes += part;
        y += part * row;
        x += part * column;
    }
};

// The output pixel, along one axis, of the mean of the votes on a peak and the cells next to it: `votes` is their sum,
// `moment` that of votes * (distance from the peak + 1). It is not 0: a cell whose votes all come from two cells away
// has a neighbour with more. Below 2^53, as the stride is at most 2^10.
PDL_INLINE int32_t vote_pixel(int64_t cell, int64_t votes, int64_t moment, int64_t stride, bool align_corners,
                              int64_t pixels) {
    const int64_t origin = align_corners ? 0 : stride - 1;  // twice the position of the first sample
    const int64_t pixel = stride * (cell - 1) + (2 * stride * moment + (origin + 1) * votes) / (2 * votes);
    return static_cast<int32_t>(pixel < 0 ? 0 : (pixel >= pixels ? pixels - 1 : pixel));
}

}  // namespace pdl

#endif
