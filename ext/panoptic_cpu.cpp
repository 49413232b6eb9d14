// Network outputs at output stride → panoptic map, centres and segments, on the CPU.
#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "centers.h"
#include "grouping.h"
#include "memory.h"
#include "panoptic.h"
#include "probability.h"
#include "status.h"
#include "votes.h"

namespace pdl {
namespace {

bool is_valid(const pdl_panoptic_arguments &a) {
    const int64_t side = int64_t{1} << 24, most = INT32_MAX;
    const auto within = [](int64_t value, int64_t least, int64_t largest) {
        return least <= value && value <= largest;
    };
    if (!within(a.batch, 0, most) || !within(a.classes, 1, PDL_MAX_CLASSES) || !within(a.stride, 1, PDL_MAX_STRIDE))
        return false;
    if (!within(a.low_height, 1, side) || !within(a.low_width, 1, side)) return false;
    const int64_t full_height = a.align_corners ? (a.low_height - 1) * a.stride + 1 : a.low_height * a.stride;
    const int64_t full_width = a.align_corners ? (a.low_width - 1) * a.stride + 1 : a.low_width * a.stride;
    if (!within(a.height, 1, std::min(full_height, side)) || !within(a.width, 1, std::min(full_width, side)))
        return false;
    if (!within(a.semantic_type, PDL_FLOAT32, PDL_BFLOAT16)) return false;
    if (*std::min_element(a.semantic_strides, a.semantic_strides + 4) < 0) return false;
    return a.height * a.width <= most && within(a.top_k, 1, most - PDL_MAX_CLASSES) &&
           within(a.nms_kernel, 1, PDL_MAX_NMS_KERNEL) && a.nms_kernel % 2 == 1 && within(a.label_divisor, 1, most) &&
           (a.classes - 1) * a.label_divisor <= most && a.stuff_area >= 0 && std::isfinite(a.center_threshold) &&
           within(a.center_source, PDL_CENTERS_HEATMAP, PDL_CENTERS_BOTH) && a.vote_threshold >= 0;
}

// The outputs of one image.
struct Outputs {
    int32_t *panoptic, *centers;
    float *center_scores;
    int32_t *center_votes, *num_centers, *segment_ids, *segment_areas, *segment_boxes, *segment_centers;
    float *segment_probabilities;
    int32_t *num_segments;
};

Outputs outputs_of(const pdl_panoptic_arguments &a, const pdl_panoptic_results &r, int64_t n) {
    const int64_t segments = a.top_k + a.classes;
    return {r.panoptic + n * a.height * a.width, r.centers + n * a.top_k * 2,
            r.center_scores + n * a.top_k,       r.center_votes + n * a.top_k,
            r.num_centers + n,
            r.segment_ids + n * segments,        r.segment_areas + n * segments,
            r.segment_boxes + n * segments * 4,  r.segment_centers + n * segments,
            r.segment_probabilities + n * segments, r.num_segments + n};
}

void write_centers(const std::vector<Center> &centers, int64_t top_k, const Outputs &out) {
    std::fill(out.centers, out.centers + top_k * 2, -1);
    std::fill(out.center_scores, out.center_scores + top_k, 0.0f);
    std::fill(out.center_votes, out.center_votes + top_k, 0);
    for (size_t k = 0; k < centers.size(); k++) {
        out.centers[2 * k] = centers[k].y;
        out.centers[2 * k + 1] = centers[k].x;
        out.center_scores[k] = centers[k].score;
        out.center_votes[k] = centers[k].votes;
    }
    *out.num_centers = static_cast<int32_t>(centers.size());
}

// The class of each thing, by majority of its pixels, the smallest of several; -1 for one without pixels.
std::vector<int32_t> elect(const Tally &tally, const Codes &codes) {
    std::vector<int32_t> categories;
    for (int64_t k = 0; k < codes.centers; k++) {
        const int32_t *votes = tally.votes.data() + k * codes.classes;
        const int32_t *most = std::max_element(votes, votes + codes.classes);
        categories.push_back(*most > 0 ? static_cast<int32_t>(most - votes) : -1);
    }
    return categories;
}

// Writes the segments in ascending order of id. Returns the id of each code; `codes_of_rows` gets the reverse.
std::vector<int32_t> write_segments(const pdl_panoptic_arguments &a, const Tally &tally, const Codes &codes,
                                    const Outputs &out, std::vector<int32_t> &codes_of_rows) {
    const int64_t capacity = a.top_k + a.classes;
    std::fill(out.segment_ids, out.segment_ids + capacity, a.void_label);
    std::fill(out.segment_areas, out.segment_areas + capacity, 0);
    std::fill(out.segment_boxes, out.segment_boxes + capacity * 4, 0);
    std::fill(out.segment_centers, out.segment_centers + capacity, -1);
    std::fill(out.segment_probabilities, out.segment_probabilities + capacity, 0.0f);

    const std::vector<int32_t> categories = elect(tally, codes);
    std::vector<std::vector<int32_t>> things(static_cast<size_t>(a.classes));
    for (size_t k = 0; k < categories.size(); k++)
        if (categories[k] >= 0) things[categories[k]].push_back(static_cast<int32_t>(k));

    std::vector<int32_t> ids(codes.count(), a.void_label);
    int32_t row = 0;
    const auto write = [&](int64_t code, int64_t id, int32_t center) {
        const Extent &extent = tally.extents[code];
        ids[code] = static_cast<int32_t>(id);
        out.segment_ids[row] = ids[code];
        out.segment_areas[row] = tally.areas[code];
        const int32_t box[4] = {extent.y0, extent.x0, extent.y1, extent.x1};
        std::copy(box, box + 4, out.segment_boxes + 4 * row);
        out.segment_centers[row] = center;
        codes_of_rows.push_back(static_cast<int32_t>(code));
        row++;
    };
    for (int64_t c = 0; c < a.classes; c++) {
        if (!a.is_thing[c] && tally.areas[c] > 0 && tally.areas[c] >= a.stuff_area) write(c, c * a.label_divisor, -1);
        for (size_t n = 0; n < things[c].size(); n++)
            write(codes.classes + things[c][n], c * a.label_divisor + static_cast<int64_t>(n) + 1, things[c][n]);
    }
    *out.num_segments = row;
    return ids;
}

void segment_image(const Image &image, const Outputs &out) {
    const pdl_panoptic_arguments &a = image.arguments;
    std::vector<Center> centers;
    if (a.center_source != PDL_CENTERS_VOTES) {
        const Heatmap heatmap = {image.center, a.low_width, image.rows, image.columns};
        centers = find_centers(heatmap, a.center_threshold, a.nms_kernel, a.top_k, a.threads);
    }
    if (a.center_source != PDL_CENTERS_HEATMAP) centers = find_voted_centers(image, centers);
    write_centers(centers, a.top_k, out);

    std::optional<SampleProbabilities> probabilities;
    if (a.semantic_probability) probabilities.emplace(a.low_height, a.low_width);
    const Grouped grouped =
        group_pixels(image, centers, out.panoptic, probabilities ? &*probabilities : nullptr);
    const Codes codes = {a.classes, static_cast<int64_t>(centers.size())};
    std::vector<int32_t> codes_of_rows;
    const std::vector<int32_t> ids = write_segments(a, grouped.tally, codes, out, codes_of_rows);
    if (probabilities)
        write_probabilities(image, grouped.cells, *probabilities, out.panoptic, codes, codes_of_rows, out.segment_ids,
                            out.segment_areas, out.segment_probabilities);
    write_ids(image, grouped.cells, ids, out.panoptic);
}

}  // namespace
}  // namespace pdl

extern "C" int pdl_panoptic_segmentation_cpu(const pdl_panoptic_arguments *arguments,
                                             const pdl_panoptic_results *results) {
    const pdl_panoptic_arguments &a = *arguments;
    if (!pdl::is_valid(a)) return PDL_INVALID_ARGUMENT;
    return pdl::status_of([&] {
        const pdl::Axis rows(a.low_height, a.stride, a.align_corners != 0, a.height);
        const pdl::Axis columns(a.low_width, a.stride, a.align_corners != 0, a.width);
        const int64_t plane = a.low_height * a.low_width;
        pdl::prefer_huge_pages(results->panoptic, static_cast<size_t>(a.batch * a.height * a.width) * sizeof(int32_t));
        for (int64_t n = 0; n < a.batch; n++) {
            const int64_t size = a.semantic_type == PDL_FLOAT32 ? 4 : 2;
            const void *semantic = static_cast<const char *>(a.semantic) + n * a.semantic_strides[0] * size;
            const pdl::Logits logits = {semantic,
                                        a.semantic_type,
                                        a.classes,
                                        a.semantic_strides[1],
                                        a.semantic_strides[2],
                                        a.semantic_strides[3]};
            const pdl::Image image = {a, logits, a.center + n * plane, a.offset + n * 2 * plane, rows, columns};
            pdl::segment_image(image, pdl::outputs_of(a, *results, n));
        }
    });
}
