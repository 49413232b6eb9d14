/* The core's panoptic segmentation of one image, as a function of C++: maps of a network in, ids and segments out. */
#ifndef PANODEEPLAB_EXAMPLES_PANOPTIC_MAP_H
#define PANODEEPLAB_EXAMPLES_PANOPTIC_MAP_H

#include <algorithm>
#include <array>
#include <cstdint>
#include <stdexcept>
#include <thread>
#include <vector>

#include "panoptic.h"

struct Segment {
    int32_t id, area;           /* of its pixels, and their number */
    std::array<int32_t, 4> box; /* y0, x0, y1, x1 in pixels, y1 and x1 exclusive */
    double probability;         /* mean probability of its class */
    double center_score;        /* heatmap at its center; 0 for stuff, which has none */
    int32_t center_votes;       /* 0 where no votes are counted */
};

struct PanopticMap {
    int64_t height, width;
    std::vector<int32_t> ids; /* (height, width) category * label_divisor + instance, -1 is void */
    std::vector<Segment> segments;
};

/* Arguments with the defaults of panodeeplab.ops.panoptic_segmentation, for maps of float32 on a grid of stride 4:
 * semantic (classes, rows, columns), center (1, rows, columns) and offset (2, rows, columns). The caller adds
 * is_thing, height and width, and keeps what is pointed to. */
inline pdl_panoptic_arguments panoptic_arguments(const float *semantic, const float *center, const float *offset,
                                                 int64_t classes, int64_t rows, int64_t columns) {
    pdl_panoptic_arguments arguments = {};
    arguments.semantic = semantic;
    arguments.semantic_type = PDL_FLOAT32;
    const int64_t strides[4] = {classes * rows * columns, rows * columns, columns, 1};
    for (int axis = 0; axis < 4; ++axis) {
        arguments.semantic_strides[axis] = strides[axis];
    }
    arguments.center = center;
    arguments.offset = offset;
    arguments.batch = 1;
    arguments.classes = classes;
    arguments.low_height = rows;
    arguments.low_width = columns;
    arguments.stride = 4;
    arguments.top_k = 200;
    arguments.nms_kernel = 7;
    arguments.stuff_area = 2048;
    arguments.label_divisor = 1000;
    arguments.center_threshold = 0.1f;
    arguments.void_label = -1;
    arguments.center_source = PDL_CENTERS_HEATMAP;
    arguments.vote_threshold = 64;
    arguments.semantic_probability = 1;
    arguments.threads = std::max(1, static_cast<int32_t>(std::thread::hardware_concurrency()));
    return arguments;
}

inline PanopticMap segment(const pdl_panoptic_arguments &arguments) {
    const auto top_k = static_cast<size_t>(arguments.top_k), capacity = top_k + static_cast<size_t>(arguments.classes);
    PanopticMap map{arguments.height, arguments.width, {}, {}};
    map.ids.resize(static_cast<size_t>(arguments.height * arguments.width));
    std::vector<int32_t> centers(2 * top_k), votes(top_k);
    std::vector<int32_t> ids(capacity), areas(capacity), boxes(4 * capacity), center_of(capacity);
    std::vector<float> scores(top_k), probabilities(capacity);
    int32_t num_centers, num_segments;
    const pdl_panoptic_results results = {map.ids.data(),   centers.data(), scores.data(),
                                          votes.data(),     &num_centers,   ids.data(),
                                          areas.data(),     boxes.data(),   center_of.data(),
                                          probabilities.data(), &num_segments};
    const int status = pdl_panoptic_segmentation_cpu(&arguments, &results);
    if (status == PDL_OUT_OF_MEMORY) {
        throw std::runtime_error("the post-processing ran out of memory");
    }
    if (status != PDL_OK) {
        throw std::runtime_error("the post-processing refused its arguments: is the size that of the image?");
    }
    for (size_t i = 0; i < static_cast<size_t>(num_segments); ++i) {
        const int32_t *box = &boxes[4 * i], center = center_of[i];
        map.segments.push_back({ids[i],
                                areas[i],
                                {box[0], box[1], box[2], box[3]},
                                probabilities[i],
                                center < 0 ? 0.0 : scores[static_cast<size_t>(center)],
                                center < 0 ? 0 : votes[static_cast<size_t>(center)]});
    }
    return map;
}

#endif
