// The nearest of many centres, without looking at most of them. A box that holds some votes has a centre whose farthest
// point of it is nearest; a centre whose nearest point of the box is farther than that is nearest to no vote. First the
// box of a tile leaves a short list, then the box of a cell often leaves one. Equals brute force, ties included.
#ifndef PANODEEPLAB_CUDA_NEAREST_H
#define PANODEEPLAB_CUDA_NEAREST_H

#include "cuda/plan.h"

namespace pdl::gpu {

struct Box {
    float y0, x0, y1, x1;  // closed; empty if y0 > y1

    PDL_DEVICE bool has(float y, float x) const { return y >= y0 && y <= y1 && x >= x0 && x <= x1; }
    PDL_DEVICE bool is_empty() const { return !(y0 <= y1); }

    PDL_DEVICE void add(const Box &other) {
        y0 = other.y0 < y0 ? other.y0 : y0;
        x0 = other.x0 < x0 ? other.x0 : x0;
        y1 = other.y1 > y1 ? other.y1 : y1;
        x1 = other.x1 > x1 ? other.x1 : x1;
    }

    // Squared distances from a centre to the farthest and to the nearest point.
    PDL_DEVICE float far(float y, float x) const {
        const float down = fmaxf(fabsf(y0 - y), fabsf(y1 - y)), across = fmaxf(fabsf(x0 - x), fabsf(x1 - x));
        return down * down + across * across;
    }
    PDL_DEVICE float near(float y, float x) const {
        const float down = fmaxf(fmaxf(y0 - y, y - y1), 0.0f), across = fmaxf(fmaxf(x0 - x, x - x1), 0.0f);
        return down * down + across * across;
    }
};

PDL_DEVICE Box empty_box() { return {HUGE_VALF, HUGE_VALF, -HUGE_VALF, -HUGE_VALF}; }

// A nearest point beyond this is farther than a farthest point at squared distance `far`, whatever rounding does: these
// two and the two distances that are compared in the end err by less than 2^-21 each.
PDL_DEVICE float beyond(float far) { return far + far * 0x1p-18f; }

struct Candidate {
    float y, x;
    int32_t index;
};

// The centres that may be nearest to a vote in a box.
struct Shortlist {
    static constexpr int32_t kRoom = 256;

    Box box;
    int32_t reach;  // bits of the smallest far distance; those of positive floats have their order
    int32_t count;  // beyond kRoom: too many to list
    Candidate candidates[kRoom];

    PDL_DEVICE bool is_complete() const { return !box.is_empty() && count <= kRoom; }
};

// The centres of an image.
class Centers {
public:
    PDL_DEVICE explicit Centers(const Image &image) : points_(image.centers), count_(*image.num_centers) {}

    PDL_DEVICE int32_t count() const { return count_; }

    PDL_DEVICE Candidate operator[](int32_t k) const {
        return {static_cast<float>(points_[2 * k]), static_cast<float>(points_[2 * k + 1]), k};
    }

    // Index of the centre nearest to a vote, the first of several; -1 if the vote is not finite.
    PDL_DEVICE int32_t nearest(const Shortlist &list, float y, float x) const {
        constexpr float most = 3.402823466e+38f;
        if (!(fabsf(y) <= most && fabsf(x) <= most)) return -1;
        float best = HUGE_VALF;
        if (list.is_complete() && list.box.has(y, x)) {
            int32_t found = INT32_MAX;
            for (int32_t i = 0; i < list.count; i++) {
                const Candidate &center = list.candidates[i];
                const float distance = squared_distance(y, x, center.y, center.x);
                if (!(distance < best || (distance == best && center.index < found))) continue;
                best = distance;
                found = center.index;
            }
            return found;
        }
        int32_t found = 0;
        for (int32_t k = 0; k < count_; k++) {
            const Candidate center = (*this)[k];
            const float distance = squared_distance(y, x, center.y, center.x);
            found = distance < best ? k : found;
            best = distance < best ? distance : best;
        }
        return found;
    }

    // The one centre that is nearest to every vote in a box, which the list's box holds; -1 if it is not quickly known.
    PDL_DEVICE int32_t nearest_to_all(const Shortlist &list, const Box &box) const {
        const bool complete = list.is_complete();
        const int32_t count = complete ? list.count : count_;
        float far = HUGE_VALF, near = HUGE_VALF, second_near = HUGE_VALF;
        int32_t closest = -1, nearest = -1;
        for (int32_t i = 0; i < count; i++) {
            const Candidate center = complete ? list.candidates[i] : (*this)[i];
            const float distance = box.far(center.y, center.x);
            if (distance < far) {
                far = distance;
                closest = center.index;
            }
            const float least = box.near(center.y, center.x);
            if (least < near) {
                second_near = near;
                near = least;
                nearest = center.index;
            } else if (least < second_near) {
                second_near = least;
            }
        }
        return (nearest == closest ? second_near : near) > beyond(far) ? closest : -1;
    }

private:
    const int32_t *points_;
    int32_t count_;
};

}  // namespace pdl::gpu

#endif
