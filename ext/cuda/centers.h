// The second launch, a block an image: peaks of all tiles → centres in raster order. Where votes are counted as well, a
// block of the launch of CastVotes, and what it finds is not final.
#ifndef PANODEEPLAB_CUDA_CENTERS_H
#define PANODEEPLAB_CUDA_CENTERS_H

#include "cuda/plan.h"
#include "cuda/select.h"
#include "cuda/survey.h"

namespace pdl::gpu {

template <class T> struct CollectCenters {
    static constexpr int32_t kThreads = 1024;
    static constexpr int32_t kFew = kThreads;  // so many are sorted in shared memory

    struct Shared {
        int32_t positions[kFew];
        Selection selection;
        int32_t total, kept;
    };

    static int64_t blocks(const Plan &) { return 1; }

    template <class Block> static PDL_DEVICE void run(Block &block, Shared &s, const Plan &plan) {
        const Image image = image_of(plan, block.image());
        const Channel<T> heatmap(plan.center, image.n, 0);
        const int32_t width = plan.columns.size;

        block.each([&](int32_t t) {
            if (t == 0) s.total = s.kept = 0;
        });
        block.each([&](int32_t t) {
            for (int32_t i = t; i < plan.tiles(); i += kThreads) {
                const int32_t count = image.peak_counts[i];
                if (count == 0) continue;
                const int32_t place = fetch_add(&s.total, count);
                const int32_t *peaks = image.panoptic + Survey<T>::first_pixel(plan, tile_at(plan, i));
                for (int32_t k = 0; k < count && k < kFew - place; k++) s.positions[place + k] = peaks[k];
            }
        });
        const int32_t total = s.total;
        int32_t count = total;
        if (total >= plan.top_k || total > kFew) {
            const float cut = total >= plan.top_k ? find_cut(block, s, plan, image, heatmap, total) : -HUGE_VALF;
            block.each([&](int32_t t) {
                each_peak(s, plan, image, t, total, [&](int32_t position) {
                    if (heat_at(plan, heatmap, position / width, position % width) > cut)
                        image.positions[fetch_add(&s.kept, 1)] = position;
                });
            });
            count = s.kept;
            block.each([&](int32_t t) {
                if (count <= kFew && t < count) s.positions[t] = image.positions[t];
            });
        }

        if (count <= kFew) {
            block.each([&](int32_t t) {
                if (t >= count) return;
                int32_t rank = 0;
                for (int32_t i = 0; i < count; i++) rank += s.positions[i] < s.positions[t] ? 1 : 0;
                write(plan, image, heatmap, rank, s.positions[t]);
            });
        } else {
            sort<kThreads>(block, image.positions, count, [](int32_t a, int32_t b) { return a < b; });
            block.each([&](int32_t t) {
                for (int32_t i = t; i < count; i += kThreads) write(plan, image, heatmap, i, image.positions[i]);
            });
        }
        block.each([&](int32_t t) {
            for (int64_t i = count + t; i < plan.top_k; i += kThreads) {
                image.centers[2 * i] = image.centers[2 * i + 1] = -1;
                image.center_scores[i] = 0.0f;
            }
            for (int64_t i = t; i < plan.top_k; i += kThreads) image.center_votes[i] = 0;
            if (t == 0) *image.num_centers = count;
        });
    }

private:
    // Runs `use` on this thread's share of the peaks.
    template <class Use>
    static PDL_DEVICE void each_peak(const Shared &s, const Plan &plan, const Image &image, int32_t t, int32_t total,
                                     const Use &use) {
        if (total <= kFew) {
            if (t < total) use(s.positions[t]);
            return;
        }
        for (int32_t i = t; i < plan.tiles(); i += kThreads) {
            const int32_t count = image.peak_counts[i];
            const int32_t *peaks = image.panoptic + Survey<T>::first_pixel(plan, tile_at(plan, i));
            for (int32_t k = 0; k < count; k++) use(peaks[k]);
        }
    }

    // Whole numbers in the order of the floats they stand for.
    static PDL_DEVICE uint32_t key_of(float score) {
        const auto bits = static_cast<uint32_t>(bits_of(score));
        return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
    }

    static PDL_DEVICE float score_of(uint32_t key) {
        return float_of(static_cast<int32_t>((key & 0x80000000u) != 0 ? key & 0x7fffffffu : ~key));
    }

    // The top_k-th highest score.
    template <class Block>
    static PDL_DEVICE float find_cut(Block &block, Shared &s, const Plan &plan, const Image &image,
                                     const Channel<T> &heatmap, int32_t total) {
        const int32_t width = plan.columns.size;
        return score_of(kth_largest(block, s.selection, plan.top_k, [&](int32_t t, const auto &use) {
            each_peak(s, plan, image, t, total, [&](int32_t position) {
                use(key_of(heat_at(plan, heatmap, position / width, position % width)));
            });
        }));
    }

    static PDL_DEVICE void write(const Plan &plan, const Image &image, const Channel<T> &heatmap, int32_t k,
                                 int32_t position) {
        const int32_t y = position / plan.columns.size, x = position % plan.columns.size;
        image.centers[2 * k] = y;
        image.centers[2 * k + 1] = x;
        image.center_scores[k] = heat_at(plan, heatmap, y, x);
    }
};

}  // namespace pdl::gpu

#endif
