/* The C interface of the kernels: plain structs, addresses, an int status. It knows neither Python nor torch.
 * Maps are contiguous, row after row, unless strides say otherwise; coordinates are (y, x). */
#ifndef PANODEEPLAB_PANOPTIC_H
#define PANODEEPLAB_PANOPTIC_H

#include <stdint.h>

/* Raised with every change of this file; panodeeplab/ops/_cpu.py has the same number. */
#define PDL_ABI_VERSION 8

#define PDL_OK 0
#define PDL_INVALID_ARGUMENT 1
#define PDL_OUT_OF_MEMORY 2

/* Types of the logits. */
#define PDL_FLOAT32 0
#define PDL_FLOAT16 1
#define PDL_BFLOAT16 2

/* Where centres come from. */
#define PDL_CENTERS_HEATMAP 0
#define PDL_CENTERS_VOTES 1
#define PDL_CENTERS_BOTH 2

#define PDL_MAX_CLASSES 16384
#define PDL_MAX_NMS_KERNEL 255
#define PDL_MAX_STRIDE 1024
#define PDL_MAX_THICKNESS 64

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    const void *semantic;        /* (batch, classes, low_height, low_width), of semantic_type */
    int64_t semantic_strides[4]; /* in elements, none negative */
    const float *center;         /* (batch, 1, low_height, low_width) */
    const float *offset;         /* (batch, 2, low_height, low_width), grid cells */
    int64_t batch;
    int64_t classes;
    int64_t low_height;
    int64_t low_width;
    int64_t height; /* of the output; it may end before the upsampled maps do */
    int64_t width;
    int64_t stride;
    const uint8_t *is_thing; /* (classes,), 0 or 1 */
    int64_t top_k;
    int64_t nms_kernel; /* odd */
    int64_t stuff_area;
    int64_t label_divisor;
    float center_threshold;
    int32_t void_label;
    int32_t align_corners;
    int32_t semantic_type;
    int32_t semantic_probability;
    int32_t center_source;     /* PDL_CENTERS_... */
    int32_t vote_threshold;    /* pixels, at least 0 */
    int32_t class_aware_votes; /* 0 or 1 */
    int32_t threads;
} pdl_panoptic_arguments;

/* Every array is written in full; S = top_k + classes. */
typedef struct {
    int32_t *panoptic;            /* (batch, height, width) */
    int32_t *centers;             /* (batch, top_k, 2) */
    float *center_scores;         /* (batch, top_k) */
    int32_t *center_votes;        /* (batch, top_k) */
    int32_t *num_centers;         /* (batch,) */
    int32_t *segment_ids;         /* (batch, S) */
    int32_t *segment_areas;       /* (batch, S) */
    int32_t *segment_boxes;       /* (batch, S, 4) */
    int32_t *segment_centers;     /* (batch, S) */
    float *segment_probabilities; /* (batch, S) */
    int32_t *num_segments;        /* (batch,) */
} pdl_panoptic_results;

int pdl_panoptic_segmentation_cpu(const pdl_panoptic_arguments *arguments, const pdl_panoptic_results *results);

/* Counts the pairs (first[i], second[i]), i < pixels. An id has `id_bytes`: 4, int32, or 3, unsigned and the lowest byte
 * first, as in an RGB picture of COCO panoptic format. `found` gets the number of distinct pairs. If `capacity` rows
 * hold them, `pairs` (found, 2) and `counts` (found,) are written in ascending order, else neither is. */
int pdl_pair_counts_cpu(const void *first, const void *second, int64_t id_bytes, int64_t pixels, int32_t threads,
                        int64_t capacity, int32_t *pairs, int64_t *counts, int64_t *found);

typedef struct {
    int64_t id, category, is_thing, is_crowd;
} pdl_segment;

typedef struct {
    const void *panoptic; /* (height, width) ids */
    int64_t id_bytes;     /* of each: 4 or 8, signed */
    int64_t height;
    int64_t width;
    const pdl_segment *segments; /* (count,); an id that none has is void */
    int64_t count;
    const float *gaussian; /* (2 * reach + 1, 2 * reach + 1), drawn with its middle on each center */
    int64_t reach;
    int64_t ignore_label;
    int64_t small_instance_area;
    float small_instance_weight;
    int32_t ignore_stuff_in_offset;
    int32_t ignore_crowd_in_semantic;
    int32_t crowd_as_instance;
    int32_t threads;
} pdl_targets_arguments;

/* Every array is written in full. */
typedef struct {
    int64_t *sem_seg;       /* (height, width) */
    float *center;          /* (height, width) */
    float *offset;          /* (2, height, width) */
    float *sem_seg_weights; /* (height, width) */
    float *center_weights;  /* (height, width) */
    float *offset_weights;  /* (height, width) */
    double *centers;        /* (count, 2) mean position of a segment's pixels; 0 without any */
    uint8_t *is_instance;   /* (count,) */
} pdl_targets_results;

int pdl_panoptic_targets_cpu(const pdl_targets_arguments *arguments, const pdl_targets_results *results);

typedef struct {
    const uint8_t *image;    /* (height, width, 3) */
    const int32_t *panoptic; /* (height, width) ids */
    int64_t height;
    int64_t width;
    const uint8_t *colors; /* (count, 4): the color of id i, and 1 if it is outlined; other ids are black, without */
    int64_t count;
    int32_t opacity;    /* weight of the colors in 256ths, 0 to 256 */
    int32_t thickness;  /* of outlines, pixels, 0 (none) to PDL_MAX_THICKNESS */
    int32_t brightness; /* the least that a channel of an outline has, 0 to 255 */
    int32_t threads;
} pdl_overlay_arguments;

/* `picture` (height, width, 3) is written in full; it may not overlap the image. */
int pdl_panoptic_overlay_cpu(const pdl_overlay_arguments *arguments, uint8_t *picture);

typedef struct {
    const int32_t *panoptic; /* (height, width) ids */
    int64_t height;
    int64_t width;
    int64_t row_stride;  /* of `panoptic`, in elements */
    int64_t step;        /* every step-th row and column from step / 2 on is looked at: (h, w) pixels */
    const int32_t *ids;  /* (count,), distinct */
    int64_t count;
    const int32_t *last; /* (h, w) places of another map; what is not in 0..last_count - 1 is none of its things */
    int64_t last_count;
    int32_t threads;
} pdl_overlap_arguments;

/* `places` (h, w) gets the place in `ids` of each pixel looked at, `count` for those of no such id. `counts`
 * (last_count + 1, count + 1) gets how many have each pair of places, `last_count` and `count` for none. */
int pdl_thing_overlaps_cpu(const pdl_overlap_arguments *arguments, int32_t *places, int64_t *counts);

/* Gives each pixel whose id is one of the distinct `ids` (count,) the one of `new_ids` at that place, in place. */
int pdl_renumber_cpu(int32_t *panoptic, int64_t height, int64_t width, int64_t row_stride, const int32_t *ids,
                     const int32_t *new_ids, int64_t count, int32_t threads);

/* Undoes the filters of a PNG's rows in place: `rows` has height * (1 + width * pixel_bytes) bytes, a filter before each
 * row, and gets (height, width, pixel_bytes) pixels of 2 or 3 bytes. An unknown filter is an invalid argument. */
int pdl_png_unfilter_cpu(uint8_t *rows, int64_t height, int64_t width, int32_t pixel_bytes);

#ifdef __cplusplus
}
#endif

#endif
