// The first launch: the class of every input sample, and the peaks of the upsampled heatmap if it is used. Clears what
// later launches count in.
#ifndef PANODEEPLAB_CUDA_SURVEY_H
#define PANODEEPLAB_CUDA_SURVEY_H

#include "cuda/plan.h"

namespace pdl::gpu {

// Whether samples among corners of at most `most` may exceed the threshold, rounding included.
PDL_DEVICE bool may_exceed(float most, float threshold) {
    if (most <= 0.0f && threshold >= 0.0f) return false;
    return most + fabsf(most) * 0x1p-20f + 0x1p-126f > threshold;
}

// Finds the class of a sample, one logit after another.
class Winner {
public:
    PDL_DEVICE void see(float value, int32_t index) {
        const bool better = value > best_;
        const float loser = better ? best_ : value;
        second_ = loser > second_ ? loser : second_;
        best_ = better ? value : best_;
        index_ = better ? index : index_;
        hostile_ = hostile_ || !(value <= kLargest);
    }

    PDL_DEVICE SampleClass result() const {
        // A sample errs by less than 2^-21 of each term, so a lead of more than that at every corner stays a lead.
        const float margin = fabsf(best_) * 0x1p-18f + fabsf(second_) * 0x1p-18f + 1e-30f;
        const bool alone = second_ == -kInfinity && best_ >= -kLargest;
        const bool clear = best_ - second_ > margin || alone;
        return static_cast<SampleClass>(hostile_ ? kHostile : (clear ? index_ : ~index_));
    }

private:
    // Above it, sums of products might overflow to infinity and differences of infinities become NaN.
    static constexpr float kLargest = 1e38f;
    static constexpr float kInfinity = HUGE_VALF;

    float best_ = -kInfinity, second_ = -kInfinity;
    int32_t index_ = 0;
    bool hostile_ = false;
};

template <class T> struct Survey {
    static constexpr int32_t kThreads = 256;
    static constexpr int32_t kSamples = 4;   // of a thread
    static constexpr int32_t kRound = 1024;  // pixels looked at between barriers
    static constexpr int32_t kTeam = 32;     // threads that search a window together

    struct Shared {
        int32_t cells[kTileCells];
        int32_t positions[kRound], beaten[kRound];
        int32_t listed, waiting, found;
    };

    static PDL_INLINE int32_t classifying_blocks(int32_t plane) {
        return (plane + kThreads * kSamples - 1) / (kThreads * kSamples);
    }

    static int64_t blocks(const Plan &plan) {
        const int32_t tiles = plan.uses_heatmap() ? plan.tiles_down * plan.tiles_across : 0;
        return int64_t{classifying_blocks(plan.rows.low * plan.columns.low)} + tiles;
    }

    template <class Block> static PDL_DEVICE void run(Block &block, Shared &s, const Plan &plan) {
        const Image image = image_of(plan, block.image());
        const int32_t classifying = classifying_blocks(plan.plane());
        if (block.index() < classifying) {
            block.each([&](int32_t t) {
                const int32_t thread = block.index() * kThreads + t;
                if (plan.semantic_aligned != 0)
                    classify<true>(plan, image, thread * kSamples);
                else
                    classify<false>(plan, image, thread * kSamples);
                clear(plan, image, thread, classifying * kThreads);
            });
        } else {
            find_peaks(block, s, plan, image, block.index() - classifying);
        }
    }

private:
    // Four samples. Those after the last one of the image repeat it; there is room for them.
    template <bool kAligned> static PDL_DEVICE void classify(const Plan &plan, const Image &image, int32_t first) {
        const int32_t plane = plan.plane();
        if (first >= plane) return;
        const T *values = static_cast<const T *>(plan.semantic.values) + image.n * plan.semantic.image;
        int64_t at[kSamples];
        for (int32_t k = 0; k < kSamples; k++)
            at[k] = (first + k < plane ? first + k : plane - 1) * plan.semantic.sample;
        Winner winner[kSamples];
        PDL_UNROLL(8)
        for (int32_t c = 0; c < plan.classes; c++) {
            const T *logits = values + c * plan.semantic.channel;
            Four<T> four;
            if (kAligned)
                four = *reinterpret_cast<const Four<T> *>(logits + first);
            else
                for (int32_t k = 0; k < kSamples; k++) four.value[k] = logits[at[k]];
            for (int32_t k = 0; k < kSamples; k++) winner[k].see(to_float(four.value[k]), c);
        }
        Four<SampleClass> result;
        for (int32_t k = 0; k < kSamples; k++) result.value[k] = winner[k].result();
        *reinterpret_cast<Four<SampleClass> *>(image.samples + first) = result;
    }

    static PDL_DEVICE void clear(const Plan &plan, const Image &image, int32_t thread, int32_t threads) {
        const int32_t pairs = (plan.capacity + 1) * plan.classes, codes = plan.classes + plan.capacity;
        for (int64_t i = thread; i < pairs; i += threads) image.pairs[i] = 0;
        for (int64_t i = thread; i < codes; i += threads) image.extents[i] = {INT32_MAX, INT32_MAX, 0, 0};
        for (int64_t i = thread; i < plan.vote_words; i += threads) image.votes[i] = 0;
    }

    // Peaks of the pixels of a tile, in any order, at the tile's place in the output map: it has room for all of them.
    template <class Block>
    static PDL_DEVICE void find_peaks(Block &block, Shared &s, const Plan &plan, const Image &image, int32_t index) {
        const Channel<T> heatmap(plan.center, image.n, 0);
        const Axis &rows = plan.rows, &columns = plan.columns;
        const Tile tile = tile_at(plan, index);
        block.each([&](int32_t t) {
            if (t == 0) s.listed = s.found = 0;
        });
        block.each([&](int32_t t) {
            const int32_t i = tile.row + t / kTileColumns, j = tile.column + t % kTileColumns;
            if (i >= rows.spans || j >= columns.spans) return;
            const Span row = rows.span(i), column = columns.span(j);
            const int32_t above = row.lower * columns.low, below = row.upper * columns.low;
            const float corners[4] = {heatmap[above + column.lower], heatmap[above + column.upper],
                                      heatmap[below + column.lower], heatmap[below + column.upper]};
            float most = -HUGE_VALF;
            for (int32_t k = 0; k < 4; k++) most = corners[k] > most ? corners[k] : most;
            if (may_exceed(most, plan.threshold)) s.cells[fetch_add(&s.listed, 1)] = t;
        });
        const int32_t cell_pixels = rows.stride * columns.stride, pixels = s.listed * cell_pixels;
        for (int32_t first = 0; first < pixels; first += kRound) {
            const int32_t last = first + kRound < pixels ? first + kRound : pixels;
            block.each([&](int32_t t) {
                if (t == 0) s.waiting = 0;
            });
            block.each([&](int32_t t) {
                for (int32_t k = first + t; k < last; k += kThreads) {
                    const int32_t cell = s.cells[k / cell_pixels], pixel = k % cell_pixels;
                    const Span row = rows.span(tile.row + cell / kTileColumns);
                    const Span column = columns.span(tile.column + cell % kTileColumns);
                    const int32_t y = row.begin + pixel / columns.stride, x = column.begin + pixel % columns.stride;
                    if (y >= row.end || x >= column.end || !may_be_peak(plan, heatmap, y, x)) continue;
                    const int32_t place = fetch_add(&s.waiting, 1);
                    s.positions[place] = y * columns.size + x;
                    s.beaten[place] = 0;
                }
            });
            block.each([&](int32_t t) {
                for (int32_t k = t / kTeam; k < s.waiting; k += kThreads / kTeam)
                    search_window(plan, heatmap, s.positions[k], t % kTeam, &s.beaten[k]);
            });
            block.each([&](int32_t t) {
                int32_t *peaks = image.panoptic + first_pixel(plan, tile);
                for (int32_t k = t; k < s.waiting; k += kThreads)
                    if (s.beaten[k] == 0) peaks[fetch_add(&s.found, 1)] = s.positions[k];
            });
        }
        block.each([&](int32_t t) {
            if (t == 0) image.peak_counts[index] = s.found;
        });
    }

    // Above the threshold and not under one of its four neighbours.
    static PDL_DEVICE bool may_be_peak(const Plan &plan, const Channel<T> &heatmap, int32_t y, int32_t x) {
        const float value = heat_at(plan, heatmap, y, x);
        if (!(value > plan.threshold)) return false;
        if (plan.radius == 0) return true;
        return !(x > 0 && heat_at(plan, heatmap, y, x - 1) > value) &&
               !(x + 1 < plan.columns.size && heat_at(plan, heatmap, y, x + 1) > value) &&
               !(y > 0 && heat_at(plan, heatmap, y - 1, x) > value) &&
               !(y + 1 < plan.rows.size && heat_at(plan, heatmap, y + 1, x) > value);
    }

    // One thread's part of a window: tells if a pixel there is higher.
    static PDL_DEVICE void search_window(const Plan &plan, const Channel<T> &heatmap, int32_t position, int32_t member,
                                         int32_t *beaten) {
        const int32_t width = plan.columns.size, side = 2 * plan.radius + 1;
        const int32_t y = position / width, x = position % width;
        const float value = heat_at(plan, heatmap, y, x);
        for (int32_t k = member; k < side * side; k += kTeam) {
            const int32_t v = y - plan.radius + k / side, u = x - plan.radius + k % side;
            if (v < 0 || u < 0 || v >= plan.rows.size || u >= width) continue;
            if (!(heat_at(plan, heatmap, v, u) > value)) continue;
            poke(beaten, 1);
            return;
        }
    }

public:
    // Where the tile's list of peaks begins in the output map.
    static PDL_DEVICE int32_t first_pixel(const Plan &plan, const Tile &tile) {
        const int32_t last = tile.row + kTileRows < plan.rows.spans ? tile.row + kTileRows : plan.rows.spans;
        const int32_t y0 = plan.rows.span(tile.row).begin, y1 = plan.rows.span(last - 1).end;
        return y0 * plan.columns.size + plan.columns.span(tile.column).begin * (y1 - y0);
    }
};

}  // namespace pdl::gpu

#endif
