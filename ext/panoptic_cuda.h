/* The C interface of the CUDA kernels: plain structs, addresses, an int status. It knows neither Python nor torch, and
 * needs no header of CUDA. Coordinates are (y, x). Nothing here waits for the device or allocates. */
#ifndef PANODEEPLAB_PANOPTIC_CUDA_H
#define PANODEEPLAB_PANOPTIC_CUDA_H

#include <stdint.h>

/* Raised with every change of this file; panodeeplab/ops/_cuda.py has the same number. */
#define PDL_CUDA_ABI_VERSION 2

#define PDL_CUDA_OK 0
#define PDL_CUDA_INVALID_ARGUMENT 1
#define PDL_CUDA_ERROR 1000 /* and above: this much more than a cudaError_t */

#define PDL_CUDA_FLOAT32 0
#define PDL_CUDA_FLOAT16 1
#define PDL_CUDA_BFLOAT16 2

/* Where centres come from. */
#define PDL_CUDA_CENTERS_HEATMAP 0
#define PDL_CUDA_CENTERS_VOTES 1
#define PDL_CUDA_CENTERS_BOTH 2

#define PDL_CUDA_MAX_CLASSES 16384
#define PDL_CUDA_MAX_NMS_KERNEL 255
#define PDL_CUDA_MAX_STRIDE 1024

#ifdef __cplusplus
extern "C" {
#endif

/* A map (batch, channels, low_height, low_width) on the device. Distances count elements; from one sample to the next
 * it is `sample_stride` also at the end of a row: 1 for contiguous maps, the number of channels for channels-last. */
typedef struct {
    const void *values;
    int64_t image_stride;
    int64_t channel_stride;
    int64_t sample_stride;
} pdl_cuda_map;

typedef struct {
    pdl_cuda_map semantic; /* classes channels */
    pdl_cuda_map center;   /* 1 channel */
    pdl_cuda_map offset;   /* 2 channels, grid cells */
    int64_t batch;
    int64_t classes;
    int64_t low_height;
    int64_t low_width;
    int64_t height; /* of the output; it may end before the upsampled maps do */
    int64_t width;
    int64_t stride;
    const uint8_t *is_thing; /* (classes,), 0 or 1, on the host; read during the call */
    int64_t top_k;
    int64_t nms_kernel; /* odd */
    int64_t stuff_area;
    int64_t label_divisor;
    float center_threshold;
    int32_t void_label;
    int32_t align_corners;
    int32_t semantic_probability;
    int32_t dtype;             /* of the maps */
    int32_t center_source;     /* PDL_CUDA_CENTERS_... */
    int32_t vote_threshold;    /* pixels, at least 0 */
    int32_t class_aware_votes; /* 0 or 1 */
    void *scratch; /* on the device, pdl_cuda_scratch_bytes() of it, aligned to 16 bytes; need not be cleared */
    void *stream;  /* cudaStream_t */
} pdl_cuda_arguments;

/* On the device. Every array is written in full; S = top_k + classes. */
typedef struct {
    int32_t *panoptic;            /* (batch, height, width), aligned to 16 bytes */
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
} pdl_cuda_results;

/* Bytes of scratch memory that these sizes need; no address but is_thing is looked at. -1 if a size is out of range. */
int64_t pdl_cuda_scratch_bytes(const pdl_cuda_arguments *arguments);

/* Puts the kernels on the stream of the current device. */
int pdl_panoptic_segmentation_cuda(const pdl_cuda_arguments *arguments, const pdl_cuda_results *results);

/* What a status from PDL_CUDA_ERROR on means. */
const char *pdl_cuda_error_text(int status);

#ifdef __cplusplus
}
#endif

#endif
