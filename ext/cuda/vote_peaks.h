// The third launch where votes are counted: peaks of the smoothed votes, and which peaks of the heatmap they support.
// A block has a tile of the cells of one group of votes; most tiles have no vote in reach.
#ifndef PANODEEPLAB_CUDA_VOTE_PEAKS_H
#define PANODEEPLAB_CUDA_VOTE_PEAKS_H

#include "cuda/plan.h"

namespace pdl::gpu {

// The output pixels in the window of a peak of the votes: those nearest to its cells. Ends are exclusive.
struct PeakWindow {
    int32_t y0, x0, y1, x1;

    PDL_DEVICE PeakWindow(const Plan &plan, int32_t y, int32_t x)
        : y0(plan.rows.nearest_begin(y - plan.vote_radius)),
          x0(plan.columns.nearest_begin(x - plan.vote_radius)),
          y1(plan.rows.nearest_end(y + plan.vote_radius)),
          x1(plan.columns.nearest_end(x + plan.vote_radius)) {}

    // Whether a centre lies in it.
    PDL_DEVICE bool has(const int32_t *center) const {
        return center[0] >= y0 && center[0] < y1 && center[1] >= x0 && center[1] < x1;
    }
};

// What supports a peak of the heatmap, as a number of which the largest counts: the most votes, then the first group.
struct Support {
    static constexpr int32_t kGroups = PDL_CUDA_MAX_CLASSES;

    static PDL_DEVICE uint64_t of(int64_t sum, int32_t group) {
        return static_cast<uint64_t>(sum) * kGroups + static_cast<uint64_t>(kGroups - 1 - group);
    }
    static PDL_DEVICE int64_t sum(uint64_t support) { return static_cast<int64_t>(support / kGroups); }
    static PDL_DEVICE int32_t group(uint64_t support) {
        return kGroups - 1 - static_cast<int32_t>(support % kGroups);
    }
};

struct FindVotePeaks {
    static constexpr int32_t kThreads = 256;
    static constexpr int32_t kRows = 8, kColumns = 32;  // of a tile
    static constexpr int32_t kTeam = 32;                // threads that search a window together
    // Around a tile are cells that a peak may be next to, and around these what is smoothed into them.
    static constexpr int32_t kSumRows = kRows + 2, kSumColumns = kColumns + 2;
    static constexpr int32_t kRawRows = kSumRows + 2 * kVoteReach, kRawColumns = kSumColumns + 2 * kVoteReach;
    static constexpr int32_t kMost = kRows / 2 * (kColumns / 2);  // peaks: no two are closer than two cells

    static_assert(kRows * kColumns == kThreads);
    static_assert(kVoteWindow == 5, "five cells are written out here");

    struct Peak {
        int32_t y, x, position;
        int32_t beaten;  // by a cell of its window
        int64_t sum;
    };

    struct Shared {
        int64_t raw[kRawRows][kRawColumns];
        int64_t down[kSumRows][kRawColumns];  // smoothed along columns
        int64_t sums[kSumRows][kSumColumns];
        Peak peaks[kMost];
        VotedCenter voted[kMost];
        int32_t any, count, voted_count, first;
    };

    static int64_t blocks(const Plan &plan) {
        return int64_t{plan.vote_groups} * tiles(plan.vote_rows, kRows) * tiles(plan.vote_columns, kColumns);
    }

    template <class Block> static PDL_DEVICE void run(Block &block, Shared &s, const Plan &plan) {
        const Image image = image_of(plan, block.image());
        const int32_t across = tiles(plan.vote_columns, kColumns), in_group = across * tiles(plan.vote_rows, kRows);
        const int32_t group = block.index() / in_group, tile = block.index() % in_group;
        const Field field = {plan, image.votes + int64_t{group} * plan.vote_cells()};
        const int32_t top = tile / across * kRows, left = tile % across * kColumns;  // the first cell

        block.each([&](int32_t t) {
            if (t == 0) s.any = s.count = s.voted_count = 0;
        });
        block.each([&](int32_t t) {
            for (int32_t i = t; i < kRawRows * kRawColumns; i += kThreads) {
                const int32_t row = i / kRawColumns, column = i % kRawColumns;
                const int64_t votes = field.at(top - kVoteReach - 1 + row, left - kVoteReach - 1 + column);
                s.raw[row][column] = votes;
                if (votes != 0) poke(&s.any, 1);
            }
        });
        if (s.any == 0) return;
        block.each([&](int32_t t) {
            for (int32_t i = t; i < kSumRows * kRawColumns; i += kThreads) {
                const int32_t row = i / kRawColumns, column = i % kRawColumns;
                s.down[row][column] = smooth_votes(s.raw[row][column], s.raw[row + 1][column], s.raw[row + 2][column],
                                                   s.raw[row + 3][column], s.raw[row + 4][column]);
            }
        });
        block.each([&](int32_t t) {
            for (int32_t i = t; i < kSumRows * kSumColumns; i += kThreads) {
                const int64_t *down = s.down[i / kSumColumns] + i % kSumColumns;
                const bool exists = field.has(top - 1 + i / kSumColumns, left - 1 + i % kSumColumns);
                s.sums[i / kSumColumns][i % kSumColumns] =
                    exists ? smooth_votes(down[0], down[1], down[2], down[3], down[4]) : 0;
            }
        });
        block.each([&](int32_t t) {
            const int32_t row = t / kColumns, column = t % kColumns;
            if (is_peak(s, plan, row, column)) s.peaks[fetch_add(&s.count, 1)] = peak_at(s, plan, top, left, t);
        });
        if (s.count == 0) return;
        if (plan.vote_radius > 1)
            block.each([&](int32_t t) {
                for (int32_t k = t / kTeam; k < s.count; k += kThreads / kTeam)
                    search_window(field, s.peaks[k], t % kTeam);
            });
        block.each([&](int32_t t) {
            if (t >= s.count) return;
            const Peak &peak = s.peaks[t];
            if (peak.beaten != 0 || peak.sum <= plan.vote_threshold) return;
            s.voted[fetch_add(&s.voted_count, 1)] = {peak.position, group, peak.y * plan.vote_columns + peak.x,
                                                     static_cast<int32_t>(peak.sum / kOneVote)};
        });
        block.each([&](int32_t t) {
            if (t == 0 && s.voted_count > 0) s.first = fetch_add(image.voted_count, s.voted_count);
        });
        block.each([&](int32_t t) {
            if (t < s.voted_count) image.voted[s.first + t] = s.voted[t];
            if (plan.uses_heatmap()) support(s, plan, image, group, t);
        });
    }

private:
    static PDL_INLINE int32_t tiles(int32_t cells, int32_t size) { return (cells + size - 1) / size; }

    // The cells of one group.
    struct Field {
        const Plan &plan;
        const uint64_t *votes;

        PDL_DEVICE bool has(int32_t y, int32_t x) const {
            return y >= 0 && y < plan.vote_rows && x >= 0 && x < plan.vote_columns;
        }
        PDL_DEVICE int64_t at(int32_t y, int32_t x) const {
            return has(y, x) ? static_cast<int64_t>(votes[y * plan.vote_columns + x]) : 0;
        }
        PDL_DEVICE int64_t across(int32_t y, int32_t x) const {
            return smooth_votes(at(y, x - 2), at(y, x - 1), at(y, x), at(y, x + 1), at(y, x + 2));
        }
        PDL_DEVICE int64_t smoothed(int32_t y, int32_t x) const {
            return smooth_votes(across(y - 2, x), across(y - 1, x), across(y, x), across(y + 1, x), across(y + 2, x));
        }
    };

    // Among the cells next to it: for most settings that is the whole window.
    static PDL_DEVICE bool is_peak(const Shared &s, const Plan &plan, int32_t row, int32_t column) {
        const int64_t here = s.sums[row + 1][column + 1];
        if (here <= (plan.uses_heatmap() ? plan.support_threshold : plan.vote_threshold)) return false;
        for (int32_t i = 0; i < 3; i++)
            for (int32_t j = 0; j < 3; j++)
                if (beats_votes(s.sums[row + i][column + j], here, 3 * i + j < 4)) return false;
        return true;
    }

    static PDL_DEVICE Peak peak_at(const Shared &s, const Plan &plan, int32_t top, int32_t left, int32_t t) {
        const int32_t row = t / kColumns, column = t % kColumns, y = top + row, x = left + column;
        VoteMoments moments;
        for (int32_t i = 0; i < 3; i++)
            for (int32_t j = 0; j < 3; j++)
                moments.add(s.raw[row + kVoteReach + i][column + kVoteReach + j], i, j);
        const Axis &rows = plan.rows, &columns = plan.columns;
        const int32_t pixel_y =
            vote_pixel(y, moments.votes, moments.y, rows.stride, rows.align_corners, rows.size);
        const int32_t pixel_x =
            vote_pixel(x, moments.votes, moments.x, columns.stride, columns.align_corners, columns.size);
        return {y, x, pixel_y * columns.size + pixel_x, 0, s.sums[row + 1][column + 1]};
    }

    // One thread's part of a window: tells if a cell there is rather the peak.
    static PDL_DEVICE void search_window(const Field &field, Peak &peak, int32_t member) {
        const int32_t radius = field.plan.vote_radius, side = 2 * radius + 1, middle = side * side / 2;
        for (int32_t k = member; k < side * side && peek(&peak.beaten) == 0; k += kTeam) {
            const int32_t y = peak.y - radius + k / side, x = peak.x - radius + k % side;
            if (!field.has(y, x) || !beats_votes(field.smoothed(y, x), peak.sum, k < middle)) continue;
            poke(&peak.beaten, 1);
        }
    }

    // One thread's share of the pairs of a peak of the votes and one of the heatmap.
    static PDL_DEVICE void support(const Shared &s, const Plan &plan, const Image &image, int32_t group, int32_t t) {
        const int32_t heatmap_peaks = *image.num_centers;
        for (int32_t i = 0; i < s.count; i++) {
            const Peak &peak = s.peaks[i];
            if (peak.beaten != 0) continue;
            const PeakWindow window(plan, peak.y, peak.x);
            for (int32_t k = t; k < heatmap_peaks; k += kThreads)
                if (window.has(image.centers + 2 * k)) raise_to(&image.supports[k], Support::of(peak.sum, group));
        }
    }
};

}  // namespace pdl::gpu

#endif
