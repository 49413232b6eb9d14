// Once there are centres: every pixel gets its stuff class or its instance, and is counted. Most cells have one code,
// found without interpolation: a class that wins at all corners wins at every bilinear sample between them, and if one
// centre is nearest to the box of a cell's votes, it is nearest to each of them.
#ifndef PANODEEPLAB_CUDA_GROUP_H
#define PANODEEPLAB_CUDA_GROUP_H

#include "cuda/nearest.h"
#include "cuda/plan.h"
#include "cuda/tally.h"

namespace pdl::gpu {

template <class T> struct Group {
    static constexpr int32_t kThreads = kTileCells;
    static constexpr int32_t kStrip = 4;  // pixels of a row that a thread works on at once
    static constexpr int32_t kRun = 8;    // cells of a row that are counted at once
    static constexpr int32_t kParts = 16;

    // A cell whose pixels need a look each.
    struct MixedCell {
        int32_t cell;
        int32_t index;     // class of all its pixels, or -1
        int32_t instance;  // of all its thing pixels, or -1
    };

    struct Shared {
        Box boxes[kTileCells], parts[kParts];
        Shortlist list;
        int32_t pairs[kTileCells];
        MixedCell mixed[kTileCells];
        int32_t mixed_count;
        Tally tally;
    };

    static int64_t blocks(const Plan &plan) { return int64_t{plan.tiles_down} * plan.tiles_across; }

    template <class Block> static PDL_DEVICE void run(Block &block, Shared &s, const Plan &plan) {
        const Image image = image_of(plan, block.image());
        const Centers centers(image);
        const Work work = {plan, image, centers, tile_at(plan, block.index())};
        typename Block::template PerThread<Cell> cells;

        block.each([&](int32_t t) {
            for (int32_t slot = t; slot < Tally::kSlots; slot += kThreads) s.tally.clear(slot);
            if (t == 0) {
                s.list.reach = bits_of(HUGE_VALF);
                s.list.count = s.mixed_count = 0;
            }
            cells[t] = work.examine(t);
            s.boxes[t] = cells[t].votes;
        });
        block.each([&](int32_t t) {
            if (t >= kParts) return;
            Box box = s.boxes[t];
            for (int32_t i = t + kParts; i < kTileCells; i += kParts) box.add(s.boxes[i]);
            s.parts[t] = box;
        });
        block.each([&](int32_t t) {
            if (t != 0) return;
            Box box = s.parts[0];
            for (int32_t i = 1; i < kParts; i++) box.add(s.parts[i]);
            s.list.box = box;
        });
        if (!s.list.box.is_empty()) {
            block.each([&](int32_t t) {
                float least = HUGE_VALF;
                for (int32_t k = t; k < centers.count(); k += kThreads) {
                    const float distance = s.list.box.far(centers[k].y, centers[k].x);
                    least = distance < least ? distance : least;
                }
                if (t < centers.count()) lower_to(&s.list.reach, bits_of(least));
            });
            block.each([&](int32_t t) {
                const float reach = beyond(float_of(s.list.reach));
                for (int32_t k = t; k < centers.count(); k += kThreads) {
                    const Candidate center = centers[k];
                    if (s.list.box.near(center.y, center.x) > reach) continue;
                    const int32_t place = fetch_add(&s.list.count, 1);
                    if (place < Shortlist::kRoom) s.list.candidates[place] = center;
                }
            });
        }
        block.each([&](int32_t t) {
            s.pairs[t] = kNoPair;
            if (!cells[t].exists) return;
            const int32_t instance =
                cells[t].votes.is_empty() ? -1 : centers.nearest_to_all(s.list, cells[t].votes);
            const int32_t code = work.code_of_cell(cells[t].index, instance);
            image.cells[work.row(t) * plan.columns.spans + work.column(t)] = code;
            if (code == kMixed)
                s.mixed[fetch_add(&s.mixed_count, 1)] = {t, cells[t].index, instance};
            else
                s.pairs[t] = work.pair_of(code, cells[t].index);
        });
        block.each([&](int32_t t) {
            work.count_run(s, t);
            const int32_t strips = plan.rows.stride * work.strips_across();
            for (int32_t k = t; k < s.mixed_count * strips; k += kThreads)
                work.group_strip(s, s.mixed[k / strips], k % strips);
        });
        block.each([&](int32_t t) {
            for (int32_t slot = t; slot < Tally::kSlots; slot += kThreads) s.tally.flush(plan, image, slot);
        });
    }

private:
    struct Cell {
        bool exists;
        int32_t index;  // class at all corners, or -1
        Box votes;      // of its pixels, if some may be things; else empty, and if an offset is not sane
    };

    struct Work {
        const Plan &plan;
        const Image &image;
        const Centers &centers;
        const Tile tile;

        PDL_DEVICE int32_t row(int32_t t) const { return tile.row + t / kTileColumns; }
        PDL_DEVICE int32_t column(int32_t t) const { return tile.column + t % kTileColumns; }
        PDL_DEVICE int32_t nothing() const { return plan.classes + centers.count(); }
        PDL_DEVICE int32_t strips_across() const { return (plan.columns.stride + kStrip - 1) / kStrip; }

        PDL_DEVICE Cell examine(int32_t t) const {
            Cell cell = {false, -1, empty_box()};
            if (row(t) >= plan.rows.spans || column(t) >= plan.columns.spans) return cell;
            cell.exists = true;
            const Span down = plan.rows.span(row(t)), across = plan.columns.span(column(t));
            const int32_t above = down.lower * plan.columns.low, below = down.upper * plan.columns.low;
            const int32_t a = image.samples[above + across.lower], b = image.samples[above + across.upper];
            const int32_t c = image.samples[below + across.lower], d = image.samples[below + across.upper];
            if (a >= 0 && a == b && a == c && a == d) cell.index = a;
            const bool thing = shows_thing(a) || shows_thing(b) || shows_thing(c) || shows_thing(d);
            if (thing && centers.count() > 0) cell.votes = votes_of(down, across);
            return cell;
        }

        PDL_DEVICE bool shows_thing(int32_t sample) const {
            return sample != kHostile && plan.is_thing(sample < 0 ? ~sample : sample);
        }

        // The box of the votes of a cell's pixels; empty where an offset is too large or no number.
        PDL_DEVICE Box votes_of(const Span &down, const Span &across) const {
            const Channel<T> offset_y(plan.offset, image.n, 0), offset_x(plan.offset, image.n, 1);
            const auto stride = static_cast<float>(plan.rows.stride);
            Box box = empty_box();
            float largest = 0.0f;
            for (int32_t k = 0; k < 4; k++) {
                const int32_t y = k < 2 ? down.lower : down.upper, x = k % 2 == 0 ? across.lower : across.upper;
                const int32_t sample = y * plan.columns.low + x;
                const float step_y = stride * offset_y[sample], step_x = stride * offset_x[sample];
                const float step = fabsf(step_y) + fabsf(step_x);
                if (!(step < 1e9f)) return empty_box();  // NaN as well
                largest = step > largest ? step : largest;
                const float vote_y = plan.rows.position(y) + step_y, vote_x = plan.columns.position(x) + step_x;
                box.add({vote_y, vote_x, vote_y, vote_x});
            }
            // A bilinear sample of votes is the vote of the pixel there, except where positions are clamped.
            if (down.lower == down.upper) reach_out(plan.rows, down, &box.y0, &box.y1);
            if (across.lower == across.upper) reach_out(plan.columns, across, &box.x0, &box.x1);
            // Rounding, of the votes and of this box, is under half of this.
            const float margin = 0x1p-19f * (largest + static_cast<float>(down.end) + static_cast<float>(across.end)) +
                                 1e-20f;
            return {box.y0 - margin, box.x0 - margin, box.y1 + margin, box.x1 + margin};
        }

        static PDL_DEVICE void reach_out(const Axis &axis, const Span &span, float *least, float *most) {
            const float position = axis.position(span.lower);
            *least += fminf(static_cast<float>(span.begin) - position, 0.0f);
            *most += fmaxf(static_cast<float>(span.end - 1) - position, 0.0f);
        }

        // The code of all pixels of a cell with one class, or kMixed.
        PDL_DEVICE int32_t code_of_cell(int32_t index, int32_t instance) const {
            if (index < 0) return kMixed;
            if (!plan.is_thing(index)) return index;
            if (centers.count() == 0) return nothing();
            return instance < 0 ? kMixed : plan.classes + instance;
        }

        PDL_DEVICE int32_t pair_of(int32_t code, int32_t index) const {
            if (code < plan.classes) return code;
            return code == nothing() ? kNoPair : (code - plan.classes + 1) * plan.classes + index;
        }

        // Counts the cells of a row from `t` on that have the same pair, if `t` is the first of them.
        PDL_DEVICE void count_run(Shared &s, int32_t t) const {
            const int32_t pair = s.pairs[t];
            if (pair == kNoPair || (t % kRun != 0 && s.pairs[t - 1] == pair)) return;
            int32_t last = t;
            while ((last + 1) % kRun != 0 && s.pairs[last + 1] == pair) last++;
            const Span down = plan.rows.span(row(t));
            const int32_t begin = plan.columns.span(column(t)).begin, end = plan.columns.span(column(last)).end;
            s.tally.count(plan, image, pair, (down.end - down.begin) * (end - begin),
                          {down.begin, begin, down.end, end});
        }

        // Codes of a few pixels of one row of a cell into the output map.
        PDL_DEVICE void group_strip(Shared &s, const MixedCell &cell, int32_t strip) const {
            const Span down = plan.rows.span(row(cell.cell)), across = plan.columns.span(column(cell.cell));
            const int32_t y = down.begin + strip / strips_across();
            const int32_t x = across.begin + strip % strips_across() * kStrip;
            if (y >= down.end || x >= across.end) return;
            const int32_t count = across.end - x < kStrip ? across.end - x : kStrip;
            const float weight_y = plan.rows.weight(down, y);
            Four<float> weights_x;
            Four<int32_t> classes;
            for (int32_t q = 0; q < kStrip; q++) {
                weights_x.value[q] = q < count ? plan.columns.weight(across, x + q) : 0.0f;
                classes.value[q] = cell.index;
            }
            if (cell.index < 0) classes = classify(down, across, weight_y, weights_x);

            int32_t *out = image.panoptic + y * plan.columns.size + x;
            int32_t first = 0, pair = kNoPair;
            for (int32_t q = 0; q < count; q++) {
                const int32_t index = take_first(classes);
                const float weight_x = take_first(weights_x);
                int32_t code = index;
                if (index < 0 || (plan.is_thing(index) && centers.count() == 0)) {
                    code = nothing();
                } else if (plan.is_thing(index)) {
                    const int32_t k =
                        cell.instance >= 0 ? cell.instance : nearest(s, down, across, weight_y, weight_x, y, x + q);
                    code = k < 0 ? nothing() : plan.classes + k;
                }
                out[q] = code;
                const int32_t next = pair_of(code, index);
                if (next != pair) {
                    count_pixels(s, pair, y, x + first, x + q);
                    pair = next;
                    first = q;
                }
            }
            count_pixels(s, pair, y, x + first, x + count);
        }

        // The first of four, which the others follow up on: an array with a running index would leave the registers.
        template <class V> static PDL_DEVICE V take_first(Four<V> &four) {
            const V first = four.value[0];
            for (int32_t q = 0; q + 1 < kStrip; q++) four.value[q] = four.value[q + 1];
            return first;
        }

        PDL_DEVICE void count_pixels(Shared &s, int32_t pair, int32_t y, int32_t x0, int32_t x1) const {
            if (pair != kNoPair) s.tally.count(plan, image, pair, x1 - x0, {y, x0, y + 1, x1});
        }

        // The classes of the pixels of a strip; -1 where a logit is NaN.
        PDL_DEVICE Four<int32_t> classify(const Span &down, const Span &across, float weight_y,
                                          const Four<float> &weights_x) const {
            const T *logits = static_cast<const T *>(plan.semantic.values) + image.n * plan.semantic.image;
            const int64_t above = int64_t{down.lower} * plan.columns.low, below = int64_t{down.upper} * plan.columns.low;
            const int64_t step = plan.semantic.sample;
            const T *top_left = logits + (above + across.lower) * step, *top_right = logits + (above + across.upper) * step;
            const T *bottom_left = logits + (below + across.lower) * step;
            const T *bottom_right = logits + (below + across.upper) * step;
            float best[kStrip];
            bool valid[kStrip];
            Four<int32_t> classes;
            for (int32_t q = 0; q < kStrip; q++) {
                best[q] = -HUGE_VALF;
                classes.value[q] = 0;
                valid[q] = true;
            }
            PDL_UNROLL(4)
            for (int32_t c = 0; c < plan.classes; c++) {
                const int64_t at = c * plan.semantic.channel;
                const float left = between(to_float(top_left[at]), to_float(bottom_left[at]), weight_y);
                const float right = between(to_float(top_right[at]), to_float(bottom_right[at]), weight_y);
                for (int32_t q = 0; q < kStrip; q++) {
                    const float value = between(left, right, weights_x.value[q]);
                    const bool better = value > best[q];
                    best[q] = better ? value : best[q];
                    classes.value[q] = better ? c : classes.value[q];
                    valid[q] = valid[q] && value == value;
                }
            }
            for (int32_t q = 0; q < kStrip; q++) classes.value[q] = valid[q] ? classes.value[q] : -1;
            return classes;
        }

        PDL_DEVICE int32_t nearest(const Shared &s, const Span &down, const Span &across, float weight_y,
                                   float weight_x, int32_t y, int32_t x) const {
            const auto stride = static_cast<float>(plan.rows.stride);
            const int32_t above = down.lower * plan.columns.low, below = down.upper * plan.columns.low;
            float votes[2];
            for (int32_t axis = 0; axis < 2; axis++) {
                const Channel<T> offset(plan.offset, image.n, axis);
                const float step = bilinear(offset[above + across.lower], offset[above + across.upper],
                                            offset[below + across.lower], offset[below + across.upper], weight_y,
                                            weight_x);
                votes[axis] = vote(axis == 0 ? y : x, step, stride);
            }
            return centers.nearest(s.list, votes[0], votes[1]);
        }
    };
};

}  // namespace pdl::gpu

#endif
