#include "logits.h"

#if defined(__x86_64__) || defined(_M_X64)
#include <xmmintrin.h>
#endif

namespace pdl {
namespace {

constexpr int64_t kBlock = 64;  // samples of all classes at a time: channels-last ones then come from the cache

template <typename Source, float (*kConvert)(Source)>
PDL_FORCE_INLINE void convert(const Logits &logits, int64_t y, int64_t count, float *out, int64_t step) {
    const Source *row = static_cast<const Source *>(logits.values) + y * logits.row_stride;
    for (int64_t begin = 0; begin < count; begin += kBlock) {
        const int64_t end = begin + kBlock < count ? begin + kBlock : count;
        for (int64_t c = 0; c < logits.classes; c++) {
            const Source *in = row + c * logits.class_stride;
            float *line = out + c * step;
            if (logits.column_stride == 1)
                for (int64_t x = begin; x < end; x++) line[x] = kConvert(in[x]);
            else
                for (int64_t x = begin; x < end; x++) line[x] = kConvert(in[x * logits.column_stride]);
        }
    }
}

PDL_FORCE_INLINE float same(float value) { return value; }

#if defined(__x86_64__) || defined(_M_X64)
// The classes of a sample lie together: squares of 4 x 4 are turned in registers. The last squares overlap.
PDL_FORCE_INLINE bool turn(const Logits &logits, int64_t y, int64_t count, float *out, int64_t step) {
    if (logits.class_stride != 1 || logits.classes < 4 || count < 4) return false;
    const float *row = static_cast<const float *>(logits.values) + y * logits.row_stride;
    const int64_t stride = logits.column_stride;
    for (int64_t i = 0; i < count; i += 4) {
        const int64_t x = i + 4 <= count ? i : count - 4;
        for (int64_t k = 0; k < logits.classes; k += 4) {
            const int64_t c = k + 4 <= logits.classes ? k : logits.classes - 4;
            const float *in = row + x * stride + c;
            __m128 a = _mm_loadu_ps(in), b = _mm_loadu_ps(in + stride), d = _mm_loadu_ps(in + 2 * stride),
                   e = _mm_loadu_ps(in + 3 * stride);
            _MM_TRANSPOSE4_PS(a, b, d, e);
            float *to = out + c * step + x;
            _mm_storeu_ps(to, a);
            _mm_storeu_ps(to + step, b);
            _mm_storeu_ps(to + 2 * step, d);
            _mm_storeu_ps(to + 3 * step, e);
        }
    }
    return true;
}
#else
PDL_FORCE_INLINE bool turn(const Logits &, int64_t, int64_t, float *, int64_t) { return false; }
#endif

PDL_CLONES void convert_float32(const Logits &logits, int64_t y, int64_t count, float *out, int64_t step) {
    if (!turn(logits, y, count, out, step)) convert<float, same>(logits, y, count, out, step);
}

PDL_CLONES void convert_float16(const Logits &logits, int64_t y, int64_t count, float *out, int64_t step) {
    convert<uint16_t, from_float16>(logits, y, count, out, step);
}

PDL_CLONES void convert_bfloat16(const Logits &logits, int64_t y, int64_t count, float *out, int64_t step) {
    convert<uint16_t, from_bfloat16>(logits, y, count, out, step);
}

}  // namespace

LogitRow read_row(const Logits &logits, int64_t y, int64_t count, std::vector<float> &room) {
    if (logits.type == PDL_FLOAT32 && logits.column_stride == 1)
        return {static_cast<const float *>(logits.values) + y * logits.row_stride, logits.class_stride};
    // Not a power of two apart, or the classes of a sample would compete for a few sets of the cache.
    const int64_t step = (count + 15) / 16 * 16 + 16;
    room.resize(static_cast<size_t>(logits.classes * step));
    if (logits.type == PDL_FLOAT32)
        convert_float32(logits, y, count, room.data(), step);
    else if (logits.type == PDL_FLOAT16)
        convert_float16(logits, y, count, room.data(), step);
    else
        convert_bfloat16(logits, y, count, room.data(), step);
    return {room.data(), step};
}

}  // namespace pdl
