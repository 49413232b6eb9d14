#include "semantic.h"

namespace pdl {
namespace {

constexpr int64_t kBlock = 512;  // samples at a time: their state stays in the first-level cache

PDL_CLONES void classify_block(const float *values, int64_t plane, int64_t classes, int64_t count, SampleClass *out) {
    float best[kBlock], second[kBlock];
    int32_t winner[kBlock], hostile[kBlock];
    for (int64_t x = 0; x < count; x++) {
        best[x] = values[x];
        second[x] = -std::numeric_limits<float>::infinity();
        winner[x] = 0;
        hostile[x] = !(values[x] <= kLargest);
    }
    for (int64_t c = 1; c < classes; c++) {
        values += plane;
        const auto index = static_cast<int32_t>(c);
        for (int64_t x = 0; x < count; x++) {
            const float value = values[x];
            const bool better = value > best[x];
            const float loser = better ? best[x] : value;
            second[x] = loser > second[x] ? loser : second[x];
            best[x] = better ? value : best[x];
            winner[x] = better ? index : winner[x];
            hostile[x] |= !(value <= kLargest);
        }
    }
    for (int64_t x = 0; x < count; x++) {
        // A sample errs by less than 2^-21 of each term, so a lead of more than that at every corner stays a lead.
        const float margin = std::fabs(best[x]) * 0x1p-18f + std::fabs(second[x]) * 0x1p-18f + 1e-30f;
        const bool alone = second[x] == -std::numeric_limits<float>::infinity() && best[x] >= -kLargest;
        const bool clear = best[x] - second[x] > margin || alone;
        out[x] = static_cast<SampleClass>(hostile[x] ? kHostile : (clear ? winner[x] : ~winner[x]));
    }
}

}  // namespace

void classify_samples(const Logits &logits, int64_t row, SampleClass *classes) {
    const float *values = logits.values + row * logits.low_width;
    for (int64_t x = 0; x < logits.low_width; x += kBlock) {
        const int64_t count = logits.low_width - x < kBlock ? logits.low_width - x : kBlock;
        classify_block(values + x, logits.plane, logits.classes, count, classes + x);
    }
}

}  // namespace pdl
