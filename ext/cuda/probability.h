// A launch of its own, only if asked for: how sure the network is of each segment's class. A thread has one input sample
// and all the output pixels that are nearest to it.
#ifndef PANODEEPLAB_CUDA_PROBABILITY_H
#define PANODEEPLAB_CUDA_PROBABILITY_H

#include "cuda/plan.h"
#include "cuda/tally.h"

namespace pdl::gpu {

template <class T> struct SumProbabilities {
    static constexpr int32_t kThreads = 256;
    static constexpr int32_t kSlots = 128;

    // Whole 65536ths by row of segments.
    struct Shared {
        int32_t keys[kSlots];
        uint64_t sums[kSlots];
    };

    static int64_t blocks(const Plan &plan) {
        return (int64_t{plan.rows.low} * plan.columns.low + kThreads - 1) / kThreads;
    }

    template <class Block> static PDL_DEVICE void run(Block &block, Shared &s, const Plan &plan) {
        const Image image = image_of(plan, block.image());
        block.each([&](int32_t t) {
            if (t >= kSlots) return;
            s.keys[t] = kFree;
            s.sums[t] = 0;
        });
        block.each([&](int32_t t) {
            const int32_t sample = block.index() * kThreads + t;
            if (sample < plan.plane()) sum(s, plan, image, sample);
        });
        block.each([&](int32_t t) {
            if (t < kSlots && s.keys[t] != kFree) add(&image.sums[s.keys[t]], s.sums[t]);
        });
    }

private:
    // Pixels of one span.
    struct Part {
        int32_t span, begin, end;
    };

    // The pixels nearest to a sample are in two spans: after its own half way from the sample before, and before that
    // to the next one.
    static PDL_DEVICE void parts_of(const Axis &axis, int32_t sample, Part *parts) {
        parts[0] = parts[1] = {0, 0, 0};
        const int32_t at = sample + axis.lead;  // the span that begins at the sample
        if (at > 0 && at - 1 < axis.spans) {
            const Span span = axis.span(at - 1);
            const int32_t begin = span.lower == span.upper ? span.begin : span.begin + axis.nearer_to_upper();
            parts[0] = {at - 1, begin, span.end};
        }
        if (at < axis.spans) {
            const Span span = axis.span(at);
            const int32_t half = span.lower == span.upper ? span.end : span.begin + axis.nearer_to_upper();
            parts[1] = {at, span.begin, half < span.end ? half : span.end};
        }
    }

    // exp(logit - top); equal infinities differ by nothing.
    static PDL_DEVICE float relative(float logit, float top) {
        const float difference = logit - top;
        return exponential(logit == top ? 0.0f : difference);
    }

    struct Softmax {
        const T *logits;
        int64_t channel;
        float top, total;
    };

    static PDL_DEVICE Softmax soften(const Plan &plan, const Image &image, int32_t sample) {
        const T *logits = static_cast<const T *>(plan.semantic.values) + image.n * plan.semantic.image +
                          sample * plan.semantic.sample;
        Softmax softmax = {logits, plan.semantic.channel, -HUGE_VALF, 0.0f};
        PDL_UNROLL(8)
        for (int32_t c = 0; c < plan.classes; c++) {
            const float logit = to_float(logits[c * softmax.channel]);
            softmax.top = logit > softmax.top ? logit : softmax.top;
        }
        for (int32_t c = 0; c < plan.classes; c++)
            softmax.total += relative(to_float(logits[c * softmax.channel]), softmax.top);
        return softmax;
    }

    // Pixels of one segment that a thread has met one after another.
    struct Run {
        int32_t row;  // -1: none
        uint64_t probability, pixels;

        PDL_DEVICE void turn_to(Shared &s, const Plan &plan, const Image &image, const Softmax &softmax, int32_t next) {
            if (next == row) return;
            end(s, image);
            row = next;
            pixels = 0;
            if (next < 0) return;
            const int64_t category = image.segment_ids[next] / plan.label_divisor;
            const float logit = to_float(softmax.logits[category * softmax.channel]);
            const float share = relative(logit, softmax.top) / softmax.total;
            probability = static_cast<uint64_t>(share * 65536.0f + 0.5f);
        }

        PDL_DEVICE void end(Shared &s, const Image &image) const {
            if (row < 0) return;
            const int32_t slot = slot_of(s.keys, kSlots, row);
            add(slot == kNowhere ? &image.sums[row] : &s.sums[slot], probability * pixels);
        }
    };

    static PDL_DEVICE void sum(Shared &s, const Plan &plan, const Image &image, int32_t sample) {
        Part down[2], across[2];
        parts_of(plan.rows, sample / plan.columns.low, down);
        parts_of(plan.columns, sample % plan.columns.low, across);
        const bool empty = (down[0].begin >= down[0].end && down[1].begin >= down[1].end) ||
                           (across[0].begin >= across[0].end && across[1].begin >= across[1].end);
        if (empty) return;
        const Softmax softmax = soften(plan, image, sample);
        Run run = {-1, 0, 0};
        for (int32_t k = 0; k < 4; k++) {
            const Part &rows = down[k / 2], &columns = across[k % 2];
            if (rows.begin >= rows.end || columns.begin >= columns.end) continue;
            const int32_t cell = image.cells[int64_t{rows.span} * plan.columns.spans + columns.span];
            if (cell != kMixed) {
                run.turn_to(s, plan, image, softmax, image.rows[cell]);
                run.pixels += static_cast<uint64_t>(rows.end - rows.begin) *
                              static_cast<uint64_t>(columns.end - columns.begin);
                continue;
            }
            for (int32_t y = rows.begin; y < rows.end; y++)
                for (int32_t x = columns.begin; x < columns.end; x++) {
                    run.turn_to(s, plan, image, softmax, image.rows[image.panoptic[y * plan.columns.size + x]]);
                    run.pixels++;
                }
        }
        run.end(s, image);
    }
};

}  // namespace pdl::gpu

#endif
