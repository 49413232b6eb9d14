// The second launch where votes are counted: every thing sample votes for the place that its offset points to. Samples
// near each other mostly vote for the same cells, so a block counts in a table in shared memory, and adds that to the
// image's votes once. With centres from both sources the heatmap's are collected meanwhile, by one more block.
#ifndef PANODEEPLAB_CUDA_CAST_VOTES_H
#define PANODEEPLAB_CUDA_CAST_VOTES_H

#include "cuda/centers.h"
#include "cuda/plan.h"
#include "cuda/tally.h"

namespace pdl::gpu {

template <class T> struct CastVotes {
    static constexpr int32_t kThreads = CollectCenters<T>::kThreads;
    static constexpr int32_t kSide = 32;  // of the square of samples of a block
    static constexpr int32_t kSlots = 1024;

    static_assert(kSide * kSide == kThreads);

    // Votes by cell. Shared memory adds only numbers of 32 bits at once, so a sum is in two parts, the second one of
    // 65536ths of the first: a sample has at most 2^21 pixels of 2^8 shares, so that no part of 2^10 samples overflows.
    struct Table {
        int32_t keys[kSlots], low[kSlots], high[kSlots];

        PDL_DEVICE void clear(int32_t slot) {
            keys[slot] = kFree;
            low[slot] = high[slot] = 0;
        }

        PDL_DEVICE void count(const Image &image, int32_t cell, int32_t shares) {
            const int32_t slot = slot_of(keys, kSlots, cell);
            if (slot == kNowhere) {
                add(&image.votes[cell], static_cast<uint64_t>(shares));
                return;
            }
            fetch_add(&low[slot], shares & 0xffff);
            if (shares >> 16 != 0) fetch_add(&high[slot], shares >> 16);
        }

        PDL_DEVICE void flush(const Image &image, int32_t slot) const {
            if (keys[slot] == kFree) return;
            add(&image.votes[keys[slot]], (static_cast<uint64_t>(high[slot]) << 16) + static_cast<uint64_t>(low[slot]));
        }
    };

    union Shared {
        typename CollectCenters<T>::Shared centers;
        Table table;
    };

    static int64_t blocks(const Plan &plan) {
        return (plan.uses_heatmap() ? 1 : 0) + int64_t{squares(plan.vote_rows)} * squares(plan.vote_columns);
    }

    template <class Block> static PDL_DEVICE void run(Block &block, Shared &s, const Plan &plan) {
        const int32_t collecting = plan.uses_heatmap() ? 1 : 0;
        if (block.index() < collecting) {
            CollectCenters<T>::run(block, s.centers, plan);
            return;
        }
        const Image image = image_of(plan, block.image());
        const int32_t square = block.index() - collecting, across = squares(plan.vote_columns);
        block.each([&](int32_t t) {
            for (int32_t slot = t; slot < kSlots; slot += kThreads) s.table.clear(slot);
        });
        block.each([&](int32_t t) {
            const int32_t y = square / across * kSide + t / kSide, x = square % across * kSide + t % kSide;
            if (y < plan.vote_rows && x < plan.vote_columns) cast(s.table, plan, image, y, x);
        });
        block.each([&](int32_t t) {
            for (int32_t slot = t; slot < kSlots; slot += kThreads) s.table.flush(image, slot);
        });
    }

private:
    static PDL_INLINE int32_t squares(int32_t cells) { return (cells + kSide - 1) / kSide; }

    // The argmax of a sample, -1 with a NaN among its logits.
    static PDL_DEVICE int32_t class_of(const Plan &plan, const Image &image, int32_t sample) {
        const SampleClass found = image.samples[sample];
        if (found != kHostile) return found >= 0 ? found : ~found;
        const T *logits = static_cast<const T *>(plan.semantic.values) + image.n * plan.semantic.image +
                          sample * plan.semantic.sample;
        float best = to_float(logits[0]);
        int32_t winner = 0;
        for (int32_t c = 0; c < plan.classes; c++) {
            const float value = to_float(logits[c * plan.semantic.channel]);
            if (!(value == value)) return -1;
            winner = value > best ? c : winner;
            best = value > best ? value : best;
        }
        return winner;
    }

    static PDL_DEVICE void cast(Table &table, const Plan &plan, const Image &image, int32_t y, int32_t x) {
        const int32_t sample = y * plan.columns.low + x, index = class_of(plan, image, sample);
        if (index < 0 || !plan.is_thing(index)) return;
        const Channel<T> offset_y(plan.offset, image.n, 0), offset_x(plan.offset, image.n, 1);
        const int32_t lands_y = vote_landing(y, offset_y[sample], plan.vote_rows);
        const int32_t lands_x = vote_landing(x, offset_x[sample], plan.vote_columns);
        if (lands_y < 0 || lands_x < 0) return;
        const int32_t pixels = (plan.rows.nearest_end(y) - plan.rows.nearest_begin(y)) *
                               (plan.columns.nearest_end(x) - plan.columns.nearest_begin(x));
        const int32_t first = plan.vote_group(index) * plan.vote_cells() +
                              lands_y / kVoteSteps * plan.vote_columns + lands_x / kVoteSteps;
        for (int32_t i = 0; i < 2; i++)
            for (int32_t j = 0; j < 2; j++) {
                const auto shares = static_cast<int32_t>(pixels * vote_share(lands_y, i) * vote_share(lands_x, j));
                // Beyond the last cell the share is 0.
                if (shares != 0) table.count(image, first + i * plan.vote_columns + j, shares);
            }
    }
};

}  // namespace pdl::gpu

#endif
