// The last launch: codes → ids, four pixels a thread; and what was summed → mean probabilities.
#ifndef PANODEEPLAB_CUDA_WRITE_H
#define PANODEEPLAB_CUDA_WRITE_H

#include "cuda/plan.h"

namespace pdl::gpu {

struct WriteIds {
    static constexpr int32_t kThreads = 256;
    static constexpr int32_t kPixels = 4;  // of a thread

    struct Shared {};

    static PDL_INLINE int32_t fours(int32_t width) { return (width + kPixels - 1) / kPixels; }

    static int64_t blocks(const Plan &plan) {
        return (int64_t{plan.rows.size} * fours(plan.columns.size) + kThreads - 1) / kThreads;
    }

    template <class Block> static PDL_DEVICE void run(Block &block, Shared &, const Plan &plan) {
        const Image image = image_of(plan, block.image());
        block.each([&](int32_t t) {
            const int64_t thread = int64_t{block.index()} * kThreads + t;
            const int32_t across = fours(plan.columns.size);
            if (thread < int64_t{plan.rows.size} * across) {
                const auto four = static_cast<uint32_t>(thread), row = four / static_cast<uint32_t>(across);
                write(plan, image, static_cast<int32_t>(row),
                      static_cast<int32_t>(four - row * static_cast<uint32_t>(across)) * kPixels);
            }
            if (block.index() == 0 && plan.semantic_probability != 0)
                for (int32_t i = t; i < *image.num_segments; i += kThreads) average(image, i);
        });
    }

private:
    static PDL_DEVICE void write(const Plan &plan, const Image &image, int32_t y, int32_t x) {
        const Axis &columns = plan.columns;
        const int32_t *cells = image.cells + int64_t{plan.rows.span_at(y)} * columns.spans;
        int32_t *out = image.panoptic + y * columns.size + x;
        const int32_t count = columns.size - x < kPixels ? columns.size - x : kPixels;
        int32_t span = columns.span_at(x);
        int32_t end = columns.span(span).end, cell = cells[span];
        Four<int32_t> ids = {};
        for (int32_t q = 0; q < kPixels; q++) {
            if (q >= count) break;
            if (x + q >= end) {
                end = columns.span(++span).end;
                cell = cells[span];
            }
            ids.value[q] = image.ids[cell == kMixed ? out[q] : cell];
        }
        if (columns.size % kPixels == 0) {
            *reinterpret_cast<Four<int32_t> *>(out) = ids;
            return;
        }
        for (int32_t q = 0; q < kPixels; q++)
            if (q < count) out[q] = ids.value[q];
    }

    static PDL_DEVICE void average(const Image &image, int32_t row) {
        const auto most = static_cast<double>(int64_t{image.segment_areas[row]} * 65536);
        image.segment_probabilities[row] = static_cast<float>(static_cast<double>(image.sums[row]) / most);
    }
};

}  // namespace pdl::gpu

#endif
