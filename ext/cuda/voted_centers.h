// The fourth launch where votes are counted, a block an image: peaks of the votes, and those of the heatmap that they
// support → centres in raster order.
#ifndef PANODEEPLAB_CUDA_VOTED_CENTERS_H
#define PANODEEPLAB_CUDA_VOTED_CENTERS_H

#include "cuda/plan.h"
#include "cuda/select.h"
#include "cuda/vote_peaks.h"

namespace pdl::gpu {

template <class T> struct CollectVotedCenters {
    static constexpr int32_t kThreads = 1024;
    static constexpr int32_t kFew = kThreads;       // so many are sorted in shared memory
    static constexpr int32_t kDropped = INT32_MAX;  // as a position: no image has that many pixels
    static constexpr int32_t kOfHeatmap = -1;       // as a group

    struct Shared {
        VotedCenter few[kFew];
        Selection selection;
        int32_t supported, left, kept;
    };

    static int64_t blocks(const Plan &) { return 1; }

    template <class Block> static PDL_DEVICE void run(Block &block, Shared &s, const Plan &plan) {
        const Image image = image_of(plan, block.image());
        const int32_t heatmap_peaks = plan.uses_heatmap() ? *image.num_centers : 0, voted = *image.voted_count;
        block.each([&](int32_t t) {
            if (t == 0) s.supported = s.left = s.kept = 0;
        });
        block.each([&](int32_t t) {
            int32_t left = 0;
            for (int32_t i = t; i < voted; i += kThreads)
                if (is_known(plan, image, image.voted[i], heatmap_peaks))
                    image.voted[i].position = kDropped;
                else
                    left++;
            for (int32_t k = t; k < heatmap_peaks; k += kThreads) {
                const int64_t sum = Support::sum(image.supports[k]);
                if (sum == 0) continue;
                image.voted[voted + fetch_add(&s.supported, 1)] = of_heatmap(plan, image.centers + 2 * k, sum);
                left++;
            }
            if (left > 0) fetch_add(&s.left, left);
        });
        const int32_t total = voted + s.supported;
        const auto each_left = [&](int32_t t, const auto &use) {
            for (int32_t i = t; i < total; i += kThreads)
                if (image.voted[i].position != kDropped) use(image.voted[i]);
        };
        // With top_k centres or more, those with more votes than the top_k-th.
        int32_t cut = -1;
        if (s.left >= plan.top_k)
            cut = static_cast<int32_t>(
                kth_largest(block, s.selection, plan.top_k, [&](int32_t t, const auto &use) {
                    each_left(t, [&](const VotedCenter &center) { use(static_cast<uint32_t>(center.votes)); });
                }));
        block.each([&](int32_t t) {
            each_left(t, [&](VotedCenter &center) {
                if (center.votes <= cut) {
                    center.position = kDropped;
                    return;
                }
                const int32_t place = fetch_add(&s.kept, 1);
                if (place < kFew) s.few[place] = center;
            });
        });
        const int32_t count = s.kept;
        if (count <= kFew) {
            block.each([&](int32_t t) {
                if (t >= count) return;
                int32_t rank = 0;
                for (int32_t i = 0; i < count; i++) rank += is_before(s.few[i], s.few[t]) ? 1 : 0;
                write(plan, image, rank, s.few[t]);
            });
        } else {
            sort<kThreads>(block, image.voted, total, is_before);
            block.each([&](int32_t t) {
                for (int32_t i = t; i < count; i += kThreads) write(plan, image, i, image.voted[i]);
            });
        }
        block.each([&](int32_t t) {
            for (int64_t i = count + t; i < plan.top_k; i += kThreads) {
                image.centers[2 * i] = image.centers[2 * i + 1] = -1;
                image.center_scores[i] = 0.0f;
                image.center_votes[i] = 0;
            }
            if (t == 0) *image.num_centers = count;
        });
    }

private:
    // Whether a peak of the heatmap stands for the same thing: one in the window, with votes of the same group.
    static PDL_DEVICE bool is_known(const Plan &plan, const Image &image, const VotedCenter &center,
                                    int32_t heatmap_peaks) {
        const PeakWindow window(plan, center.cell / plan.vote_columns, center.cell % plan.vote_columns);
        for (int32_t k = 0; k < heatmap_peaks; k++)
            if (window.has(image.centers + 2 * k) && Support::group(image.supports[k]) == center.group) return true;
        return false;
    }

    // A supported peak of the heatmap, and its votes.
    static PDL_DEVICE VotedCenter of_heatmap(const Plan &plan, const int32_t *center, int64_t sum) {
        return {center[0] * plan.columns.size + center[1], kOfHeatmap, 0, static_cast<int32_t>(sum / kOneVote)};
    }

    // Raster order; of several at one pixel the heatmap's, then the first group's, then the first cell's.
    static PDL_DEVICE bool is_before(const VotedCenter &a, const VotedCenter &b) {
        if (a.position != b.position) return a.position < b.position;
        return a.group != b.group ? a.group < b.group : a.cell < b.cell;
    }

    static PDL_DEVICE void write(const Plan &plan, const Image &image, int32_t k, const VotedCenter &center) {
        const int32_t y = center.position / plan.columns.size, x = center.position % plan.columns.size;
        const float score = heat_at(plan, Channel<T>(plan.center, image.n, 0), y, x);
        image.centers[2 * k] = y;
        image.centers[2 * k + 1] = x;
        image.center_scores[k] = score == score ? score : 0.0f;
        image.center_votes[k] = center.votes;
    }
};

}  // namespace pdl::gpu

#endif
