// Giving every pixel its stuff class or its instance, and counting on the way.
#ifndef PANODEEPLAB_GROUPING_H
#define PANODEEPLAB_GROUPING_H

#include <cstdint>
#include <vector>

#include "grid.h"
#include "logits.h"
#include "nearest.h"
#include "panoptic.h"

namespace pdl {

struct SampleProbabilities;

// The maps of one image.
struct Image {
    const pdl_panoptic_arguments &arguments;
    Logits logits;
    const float *center, *offset;
    const Axis &rows, &columns;
};

// A pixel's code: a stuff class c → c; the thing of centre k → classes + k; nothing → classes + centres.
struct Codes {
    int64_t classes, centers;
    int32_t nothing() const { return static_cast<int32_t>(classes + centers); }
    size_t count() const { return static_cast<size_t>(classes + centers + 1); }
};

struct Extent {
    int32_t y0, x0, y1, x1;  // exclusive ends

    PDL_FORCE_INLINE bool contains(const Extent &other) const {
        return y0 <= other.y0 && x0 <= other.x0 && y1 >= other.y1 && x1 >= other.x1;
    }

    PDL_FORCE_INLINE void add(const Extent &other) {
        y0 = other.y0 < y0 ? other.y0 : y0;
        x0 = other.x0 < x0 ? other.x0 : x0;
        y1 = other.y1 > y1 ? other.y1 : y1;
        x1 = other.x1 > x1 ? other.x1 : x1;
    }
};

// What one thread has counted; whole numbers, so the sum over threads does not depend on who did what.
struct Tally {
    std::vector<int32_t> areas;   // by code
    std::vector<Extent> extents;  // by code
    std::vector<int32_t> votes;   // (centres, classes): pixels of a thing by their own class

    explicit Tally(const Codes &codes);
    void merge(const Tally &other);
};

// Cells whose pixels all have one code keep it in `cells`; those of the others are in the output map, and the cell
// has kMixed.
constexpr int32_t kMixed = -1;

struct Grouped {
    std::vector<int32_t> cells;  // (row spans, column spans)
    Tally tally;
};

// `probabilities`, if they are wanted, get every sample that a pixel lies next to.
Grouped group_pixels(const Image &image, const std::vector<Center> &centers, int32_t *panoptic,
                     SampleProbabilities *probabilities);

// Replaces the codes in the output map by `ids[code]`, and fills in what `cells` holds.
void write_ids(const Image &image, const std::vector<int32_t> &cells, const std::vector<int32_t> &ids,
               int32_t *panoptic);

}  // namespace pdl

#endif
