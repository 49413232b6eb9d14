// Once pixels are counted, a block an image: counts → class, number and id of every thing, the stuff that stays, and the
// rows of segments in ascending order of id.
#ifndef PANODEEPLAB_CUDA_SEGMENTS_H
#define PANODEEPLAB_CUDA_SEGMENTS_H

#include "cuda/plan.h"

namespace pdl::gpu {

struct NameSegments {
    static constexpr int32_t kThreads = 256;

    struct Shared {
        int32_t part[kThreads];
        int32_t total, next;
    };

    static int64_t blocks(const Plan &) { return 1; }

    template <class Block> static PDL_DEVICE void run(Block &block, Shared &s, const Plan &plan) {
        const Image image = image_of(plan, block.image());
        const int32_t centers = *image.num_centers, classes = plan.classes;

        block.each([&](int32_t t) {
            if (t == 0) s.total = 0;
            for (int32_t c = t; c < classes; c += kThreads) image.class_counts[c] = 0;
            for (int32_t k = t; k < centers; k += kThreads) elect(plan, image, k);
        });
        // Number of each thing among those of its class, in the order of centres.
        for (int32_t first = 0; first < centers; first += kThreads) {
            const int32_t count = centers - first < kThreads ? centers - first : kThreads;
            block.each([&](int32_t t) {
                if (t < count) s.part[t] = image.categories[first + t];
            });
            block.each([&](int32_t t) {
                if (t >= count || s.part[t] < 0) return;
                int32_t before = 0;
                for (int32_t i = 0; i < t; i++) before += s.part[i] == s.part[t] ? 1 : 0;
                image.numbers[first + t] = image.class_counts[s.part[t]] + before + 1;
            });
            block.each([&](int32_t t) {
                if (t < count && s.part[t] >= 0) fetch_add(&image.class_counts[s.part[t]], 1);
            });
        }
        // The first row of each class.
        for (int32_t first = 0; first < classes; first += kThreads) {
            const int32_t count = classes - first < kThreads ? classes - first : kThreads;
            block.each([&](int32_t t) {
                if (t >= count) return;
                const int32_t c = first + t;
                s.part[t] = plan.is_thing(c) ? image.class_counts[c] : (stays(plan, image, c) ? 1 : 0);
            });
            block.each([&](int32_t t) {
                if (t >= count) return;
                int32_t before = s.total;
                for (int32_t i = 0; i < t; i++) before += s.part[i];
                image.first_rows[first + t] = before;
                if (t == count - 1) s.next = before + s.part[t];
            });
            block.each([&](int32_t t) {
                if (t == 0) s.total = s.next;
            });
        }
        block.each([&](int32_t t) {
            for (int32_t c = t; c < classes; c += kThreads) {
                const int32_t row = stays(plan, image, c) ? image.first_rows[c] : -1;
                name(plan, image, c, row, c * plan.label_divisor, image.pairs[c], -1);
            }
            for (int32_t k = t; k < centers; k += kThreads) {
                const int32_t category = image.categories[k];
                const bool exists = category >= 0;
                const int32_t number = exists ? image.numbers[k] : 0;
                const int32_t row = exists ? image.first_rows[category] + number - 1 : -1;
                name(plan, image, classes + k, row, category * plan.label_divisor + number, image.areas[k], k);
            }
            for (int64_t row = s.total + t; row < plan.top_k + classes; row += kThreads)
                write(image, row, plan.void_label, 0, {0, 0, 0, 0}, -1);
            for (int64_t row = t; row < plan.top_k + classes; row += kThreads) {
                image.segment_probabilities[row] = 0.0f;
                if (plan.semantic_probability != 0) image.sums[row] = 0;
            }
            if (t != 0) return;
            image.ids[classes + centers] = plan.void_label;
            image.rows[classes + centers] = -1;
            *image.num_segments = s.total;
        });
    }

private:
    // The class of most pixels of a thing, the smallest of several; -1 for one without pixels.
    static PDL_DEVICE void elect(const Plan &plan, const Image &image, int32_t k) {
        const int32_t *votes = image.pairs + (k + 1) * plan.classes;
        int32_t most = 0, category = -1, area = 0;
        PDL_UNROLL(8)
        for (int32_t c = 0; c < plan.classes; c++) {
            const int32_t count = votes[c];
            area += count;
            category = count > most ? c : category;
            most = count > most ? count : most;
        }
        image.categories[k] = category;
        image.areas[k] = area;
    }

    static PDL_DEVICE bool stays(const Plan &plan, const Image &image, int32_t c) {
        return !plan.is_thing(c) && image.pairs[c] > 0 && image.pairs[c] >= plan.stuff_area;
    }

    // Gives a code its id and its row of segments; void if it has none.
    static PDL_DEVICE void name(const Plan &plan, const Image &image, int32_t code, int32_t row, int64_t id,
                                int32_t area, int32_t center) {
        image.rows[code] = row;
        image.ids[code] = row < 0 ? plan.void_label : static_cast<int32_t>(id);
        if (row >= 0) write(image, row, image.ids[code], area, image.extents[code], center);
    }

    static PDL_DEVICE void write(const Image &image, int64_t row, int32_t id, int32_t area, const Extent &extent,
                                 int32_t center) {
        image.segment_ids[row] = id;
        image.segment_areas[row] = area;
        int32_t *box = image.segment_boxes + 4 * row;
        box[0] = extent.y0;
        box[1] = extent.x0;
        box[2] = extent.y1;
        box[3] = extent.x1;
        image.segment_centers[row] = center;
    }
};

}  // namespace pdl::gpu

#endif
