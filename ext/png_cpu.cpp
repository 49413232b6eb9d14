// Undoes the filters of a PNG's rows (PNG specification, section 9): each row was stored as its differences to what lies
// to the left and above. Labels are mostly runs of one value, whose differences to the left are words of zeros. Pixels
// take the place of their differences, a byte for each row before them, so that what is written lies before what is read.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "compiler.h"
#include "panoptic.h"
#include "status.h"

namespace pdl {
namespace {

enum Filter : uint8_t { kNone, kSub, kUp, kAverage, kPaeth };

constexpr int64_t kBlock = 24;  // bytes: whole pixels of two or three, whole words

PDL_FORCE_INLINE bool all_zero(const uint8_t *bytes) {
    uint64_t words[kBlock / 8];
    std::memcpy(words, bytes, sizeof words);
    return (words[0] | words[1] | words[2]) == 0;
}

PDL_CLONES void undo_up(const uint8_t *in, const uint8_t *above, int64_t count, uint8_t *out) {
    for (int64_t i = 0; i < count; i++) out[i] = static_cast<uint8_t>(in[i] + above[i]);
}

template <int kPixel>
void undo_sub(const uint8_t *in, int64_t count, uint8_t *out) {
    uint8_t pixel[kPixel] = {};
    int64_t i = 0;
    const auto undo = [&](int64_t end) {
        for (; i < end; i += kPixel)
            for (int c = 0; c < kPixel; c++) out[i + c] = pixel[c] = static_cast<uint8_t>(pixel[c] + in[i + c]);
    };
    while (i + kBlock <= count) {
        undo(i + kBlock);
        uint8_t run[kBlock];
        for (int64_t k = 0; k < kBlock; k++) run[k] = pixel[k % kPixel];
        for (; i + kBlock <= count && all_zero(in + i); i += kBlock) std::memcpy(out + i, run, kBlock);
    }
    undo(count);
}

template <int kPixel>
void undo_average(const uint8_t *in, const uint8_t *above, int64_t count, uint8_t *out) {
    uint8_t pixel[kPixel] = {};
    for (int64_t i = 0; i < count; i += kPixel)
        for (int c = 0; c < kPixel; c++)
            out[i + c] = pixel[c] = static_cast<uint8_t>(in[i + c] + (pixel[c] + above[i + c]) / 2);
}

// A byte is the difference to that of the pixel on the left, above it or in the corner between: whichever is closest to
// left + up - corner, and of equally close ones the first.
PDL_CLONES void undo_paeth(const uint8_t *in, const uint8_t *above, int64_t count, int64_t pixel_bytes, uint8_t *out) {
    int64_t i = 0;
#if defined(__GNUC__)
    // A pixel is read and written as four bytes, of which those behind it are written again. Not in the first row.
    typedef int16_t Lanes __attribute__((vector_size(8)));
    typedef uint8_t Bytes __attribute__((vector_size(4)));
    Lanes left = {}, corner = {};
    for (; i + 4 <= count; i += pixel_bytes) {
        Bytes bytes;
        std::memcpy(&bytes, above + i, sizeof bytes);
        const Lanes up = __builtin_convertvector(bytes, Lanes);
        std::memcpy(&bytes, in + i, sizeof bytes);
        const Lanes difference = __builtin_convertvector(bytes, Lanes);
        const Lanes to_left = up - corner, to_up = left - corner, to_corner = to_left + to_up;
        const Lanes from_left = to_left < 0 ? -to_left : to_left;
        const Lanes from_up = to_up < 0 ? -to_up : to_up;
        const Lanes from_corner = to_corner < 0 ? -to_corner : to_corner;
        const Lanes other = from_up <= from_corner ? up : corner;
        const Lanes nearer = from_up <= from_corner ? from_up : from_corner;
        left = ((from_left <= nearer ? left : other) + difference) & 255;
        corner = up;
        bytes = __builtin_convertvector(left, Bytes);
        std::memcpy(out + i, &bytes, sizeof bytes);
    }
#endif
    for (; i < count; i++) {
        const int up = above[i];
        const int left_byte = i < pixel_bytes ? 0 : out[i - pixel_bytes];
        const int corner_byte = i < pixel_bytes ? 0 : above[i - pixel_bytes];
        const int from_left = std::abs(up - corner_byte), from_up = std::abs(left_byte - corner_byte);
        const int from_corner = std::abs(left_byte + up - 2 * corner_byte);
        const int other = from_up <= from_corner ? up : corner_byte;
        const int nearest = from_left <= std::min(from_up, from_corner) ? left_byte : other;
        out[i] = static_cast<uint8_t>(nearest + in[i]);
    }
}

template <int kPixel>
bool undo_filters(uint8_t *rows, int64_t height, int64_t count) {
    std::vector<uint8_t> zeros(static_cast<size_t>(count));
    const uint8_t *in = rows, *above = zeros.data();
    uint8_t *out = rows;
    for (int64_t y = 0; y < height; y++, in += count + 1, above = out, out += count) {
        const uint8_t *differences = in + 1;
        // Below nothing the two are the same, and there the Paeth loop would write over bytes that it has yet to read.
        switch (y == 0 && in[0] == kPaeth ? uint8_t{kSub} : in[0]) {
            case kNone: std::memmove(out, differences, static_cast<size_t>(count)); break;
            case kSub: undo_sub<kPixel>(differences, count, out); break;
            case kUp: undo_up(differences, above, count, out); break;
            case kAverage: undo_average<kPixel>(differences, above, count, out); break;
            case kPaeth: undo_paeth(differences, above, count, kPixel, out); break;
            default: return false;
        }
    }
    return true;
}

}  // namespace
}  // namespace pdl

extern "C" int pdl_png_unfilter_cpu(uint8_t *rows, int64_t height, int64_t width, int32_t pixel_bytes) {
    if (height < 0 || width < 0 || (pixel_bytes != 2 && pixel_bytes != 3)) return PDL_INVALID_ARGUMENT;
    bool known = false;
    const int status = pdl::status_of([&] {
        known = pixel_bytes == 2 ? pdl::undo_filters<2>(rows, height, 2 * width)
                                 : pdl::undo_filters<3>(rows, height, 3 * width);
    });
    return status == PDL_OK && !known ? PDL_INVALID_ARGUMENT : status;
}
