#include "semantic.h"

namespace pdl {
namespace {

constexpr int64_t kBlock = 256;  // samples at a time: their state stays in the first-level cache

struct State {
    float best[kBlock], second[kBlock], third[kBlock];
    int32_t winner[kBlock], runner_up[kBlock], hostile[kBlock];
};

// The next `kClasses` classes from `c` on; several at once, so that the state is loaded and stored less often.
template <int kClasses>
PDL_FORCE_INLINE void contest(State &state, const float *values, int64_t step, int64_t c, int64_t count) {
    PDL_INDEPENDENT
    for (int64_t x = 0; x < count; x++) {
        float best = state.best[x], second = state.second[x], third = state.third[x];
        int32_t winner = state.winner[x], runner_up = state.runner_up[x], hostile = state.hostile[x];
        for (int k = 0; k < kClasses; k++) {
            const float value = values[k * step + x];
            const bool better = value > best;
            const float loser = better ? best : value;
            const bool better_loser = loser > second;
            const float least = better_loser ? second : loser;
            const int32_t index = static_cast<int32_t>(c) + k, index_of_loser = better ? winner : index;
            best = better ? value : best;
            winner = better ? index : winner;
            second = better_loser ? loser : second;
            runner_up = better_loser ? index_of_loser : runner_up;
            third = least > third ? least : third;
            hostile |= !(value <= kLargest);
        }
        state.best[x] = best;
        state.second[x] = second;
        state.third[x] = third;
        state.winner[x] = winner;
        state.runner_up[x] = runner_up;
        state.hostile[x] = hostile;
    }
}

PDL_CLONES void classify_block(const float *values, int64_t step, int64_t classes, int64_t count,
                               const SampleClasses &out) {
    constexpr float kNone = -std::numeric_limits<float>::infinity();
    State state;
    for (int64_t x = 0; x < count; x++) {
        state.best[x] = values[x];
        state.second[x] = kNone;
        state.third[x] = kNone;
        state.winner[x] = 0;
        state.runner_up[x] = 0;
        state.hostile[x] = !(values[x] <= kLargest);
    }
    int64_t c = 1;
    for (; c + 3 <= classes; c += 3) contest<3>(state, values + c * step, step, c, count);
    for (; c < classes; c++) contest<1>(state, values + c * step, step, c, count);
    PDL_INDEPENDENT
    for (int64_t x = 0; x < count; x++) {
        const float best = state.best[x], second = state.second[x];
        // A sample errs by less than 2^-21 of each term, so a lead of more than that at every corner stays a lead.
        const float margin = std::fabs(best) * 0x1p-18f + std::fabs(second) * 0x1p-18f + 1e-30f;
        const bool alone = second == kNone && best >= -kLargest;
        const bool clear = (best - second > margin) | alone;
        const int32_t winner = clear ? state.winner[x] : ~state.winner[x];
        out.classes[x] = static_cast<SampleClass>(state.hostile[x] ? int32_t{kHostile} : winner);
        out.runners_up[x] = static_cast<SampleClass>(state.runner_up[x]);
        out.best[x] = best;
        out.second[x] = second;
        out.third[x] = state.third[x];
    }
}

}  // namespace

void classify_samples(const LogitRow &row, int64_t classes, int64_t count, const SampleClasses &out) {
    for (int64_t x = 0; x < count; x += kBlock)
        classify_block(row.values + x, row.step, classes, count - x < kBlock ? count - x : kBlock,
                       {out.classes + x, out.runners_up + x, out.best + x, out.second + x, out.third + x});
}

}  // namespace pdl
