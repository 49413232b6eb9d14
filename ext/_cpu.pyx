# cython: language_level=3, binding=False
"""The CPU kernels of panoptic.h for Python: addresses in, an exception if the status is not good.

Private: no shape or type is checked here. `panodeeplab.ops` does that.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uintptr_t
from libc.stdlib cimport calloc, free


cdef extern from *:
    """
    #if defined(__GNUC__)
    // Of the code that Cython makes, not of ours.
    #pragma GCC diagnostic ignored "-Wunused-function"
    #pragma GCC diagnostic ignored "-Wunused-parameter"
    #pragma GCC diagnostic ignored "-Wunused-variable"
    #pragma GCC diagnostic ignored "-Wmissing-field-initializers"
    #pragma GCC diagnostic ignored "-Wcast-function-type"
    #endif
    """


cdef extern from "panoptic.h" nogil:
    int PDL_ABI_VERSION
    int PDL_OK
    int PDL_INVALID_ARGUMENT
    int PDL_OUT_OF_MEMORY
    int PDL_CENTERS_HEATMAP
    int PDL_CENTERS_VOTES
    int PDL_CENTERS_BOTH

    ctypedef struct pdl_panoptic_arguments:
        const void *semantic
        int64_t semantic_strides[4]
        const float *center
        const float *offset
        int64_t batch
        int64_t classes
        int64_t low_height
        int64_t low_width
        int64_t height
        int64_t width
        int64_t stride
        const uint8_t *is_thing
        int64_t top_k
        int64_t nms_kernel
        int64_t stuff_area
        int64_t label_divisor
        float center_threshold
        int32_t void_label
        int32_t align_corners
        int32_t semantic_type
        int32_t semantic_probability
        int32_t center_source
        int32_t vote_threshold
        int32_t class_aware_votes
        int32_t threads

    ctypedef struct pdl_panoptic_results:
        int32_t *panoptic
        int32_t *centers
        float *center_scores
        int32_t *center_votes
        int32_t *num_centers
        int32_t *segment_ids
        int32_t *segment_areas
        int32_t *segment_boxes
        int32_t *segment_centers
        float *segment_probabilities
        int32_t *num_segments

    int pdl_panoptic_segmentation_cpu(
        const pdl_panoptic_arguments *arguments, const pdl_panoptic_results *results
    )
    int pdl_pair_counts_cpu(
        const void *first, const void *second, int64_t id_bytes, int64_t pixels, int32_t threads,
        int64_t capacity, int32_t *pairs, int64_t *counts, int64_t *found
    )

    ctypedef struct pdl_segment:
        pass

    ctypedef struct pdl_targets_arguments:
        const void *panoptic
        int64_t id_bytes
        int64_t height
        int64_t width
        const pdl_segment *segments
        int64_t count
        const float *gaussian
        int64_t reach
        int64_t ignore_label
        int64_t small_instance_area
        float small_instance_weight
        int32_t ignore_stuff_in_offset
        int32_t ignore_crowd_in_semantic
        int32_t crowd_as_instance
        int32_t threads

    ctypedef struct pdl_targets_results:
        int64_t *sem_seg
        float *center
        float *offset
        float *sem_seg_weights
        float *center_weights
        float *offset_weights
        double *centers
        uint8_t *is_instance

    int pdl_panoptic_targets_cpu(const pdl_targets_arguments *arguments, const pdl_targets_results *results)

    ctypedef struct pdl_overlay_arguments:
        const uint8_t *image
        const int32_t *panoptic
        int64_t height
        int64_t width
        const uint8_t *colors
        int64_t count
        int32_t opacity
        int32_t thickness
        int32_t brightness
        int32_t threads

    int pdl_panoptic_overlay_cpu(const pdl_overlay_arguments *arguments, uint8_t *picture)

    ctypedef struct pdl_overlap_arguments:
        const int32_t *panoptic
        int64_t height
        int64_t width
        int64_t row_stride
        int64_t step
        const int32_t *ids
        int64_t count
        const int32_t *last
        int64_t last_count
        int32_t threads

    int pdl_thing_overlaps_cpu(const pdl_overlap_arguments *arguments, int32_t *places, int64_t *counts)
    int pdl_renumber_cpu(
        int32_t *panoptic, int64_t height, int64_t width, int64_t row_stride, const int32_t *ids,
        const int32_t *new_ids, int64_t count, int32_t threads,
    )
    int pdl_png_unfilter_cpu(uint8_t *rows, int64_t height, int64_t width, int32_t pixel_bytes)


ABI_VERSION = PDL_ABI_VERSION
CENTER_SOURCES = {
    "heatmap": PDL_CENTERS_HEATMAP,
    "votes": PDL_CENTERS_VOTES,
    "both": PDL_CENTERS_BOTH,
}


cdef int raise_for(int status) except -1:
    if status == PDL_OUT_OF_MEMORY:
        raise MemoryError("out of memory in a kernel of panodeeplab")
    if status != PDL_OK:
        raise ValueError("a kernel of panodeeplab was called with arguments out of range")
    return 0


cdef int check_addresses(tuple addresses) except -1:
    # A fake tensor has the address 0.
    if 0 in addresses:
        raise ValueError("a tensor without memory was given to a kernel of panodeeplab")
    return 0


def panoptic_segmentation(
    uintptr_t semantic,
    uintptr_t center,
    uintptr_t offset,
    int32_t semantic_type,
    tuple semantic_strides,
    tuple shape,
    tuple output_size,
    int64_t stride,
    bint align_corners,
    thing_ids,
    float center_threshold,
    int64_t nms_kernel,
    int64_t top_k,
    int64_t stuff_area,
    int64_t label_divisor,
    int32_t void_label,
    bint semantic_probability,
    str center_source,
    int32_t vote_threshold,
    bint class_aware_votes,
    int32_t threads,
    uintptr_t panoptic,
    uintptr_t centers,
    uintptr_t center_scores,
    uintptr_t center_votes,
    uintptr_t num_centers,
    uintptr_t segment_ids,
    uintptr_t segment_areas,
    uintptr_t segment_boxes,
    uintptr_t segment_centers,
    uintptr_t segment_probabilities,
    uintptr_t num_segments,
):
    """Addresses of arrays as in panoptic.h; `shape` is that of semantic, (N,C,h,w); strides of elements."""
    cdef pdl_panoptic_arguments arguments
    cdef pdl_panoptic_results results
    cdef uint8_t *is_thing
    cdef int status
    cdef int axis
    check_addresses((
        semantic, center, offset, panoptic, centers, center_scores, center_votes, num_centers, segment_ids,
        segment_areas, segment_boxes, segment_centers, segment_probabilities, num_segments,
    ))
    arguments.semantic = <const void *>semantic
    arguments.semantic_type = semantic_type
    for axis in range(4):
        arguments.semantic_strides[axis] = semantic_strides[axis]
    arguments.center = <const float *>center
    arguments.offset = <const float *>offset
    arguments.batch, arguments.classes, arguments.low_height, arguments.low_width = shape
    arguments.height, arguments.width = output_size
    arguments.stride = stride
    arguments.top_k = top_k
    arguments.nms_kernel = nms_kernel
    arguments.stuff_area = stuff_area
    arguments.label_divisor = label_divisor
    arguments.center_threshold = center_threshold
    arguments.void_label = void_label
    arguments.align_corners = align_corners
    arguments.semantic_probability = semantic_probability
    arguments.center_source = CENTER_SOURCES[center_source]
    arguments.vote_threshold = vote_threshold
    arguments.class_aware_votes = class_aware_votes
    arguments.threads = threads
    results.panoptic = <int32_t *>panoptic
    results.centers = <int32_t *>centers
    results.center_scores = <float *>center_scores
    results.center_votes = <int32_t *>center_votes
    results.num_centers = <int32_t *>num_centers
    results.segment_ids = <int32_t *>segment_ids
    results.segment_areas = <int32_t *>segment_areas
    results.segment_boxes = <int32_t *>segment_boxes
    results.segment_centers = <int32_t *>segment_centers
    results.segment_probabilities = <float *>segment_probabilities
    results.num_segments = <int32_t *>num_segments

    is_thing = <uint8_t *>calloc(max(arguments.classes, 1), 1)
    if is_thing == NULL:
        raise MemoryError()
    try:
        for index in thing_ids:
            if not 0 <= index < arguments.classes:
                raise ValueError("thing_ids out of range")
            is_thing[<int64_t>index] = 1
        arguments.is_thing = is_thing
        with nogil:
            status = pdl_panoptic_segmentation_cpu(&arguments, &results)
    finally:
        free(is_thing)
    raise_for(status)


def pair_counts(
    uintptr_t first,
    uintptr_t second,
    int64_t id_bytes,
    int64_t pixels,
    int32_t threads,
    int64_t capacity,
    uintptr_t pairs,
    uintptr_t counts,
):
    """Number of distinct pairs; they are written only if it is at most `capacity`."""
    cdef int64_t found = 0
    cdef int status
    check_addresses((first, second, pairs, counts))
    with nogil:
        status = pdl_pair_counts_cpu(
            <const void *>first, <const void *>second, id_bytes, pixels, threads,
            capacity, <int32_t *>pairs, <int64_t *>counts, &found,
        )
    raise_for(status)
    return found


def panoptic_targets(
    uintptr_t panoptic,
    int64_t id_bytes,
    tuple shape,
    uintptr_t segments,
    int64_t count,
    uintptr_t gaussian,
    int64_t reach,
    int64_t ignore_label,
    bint ignore_stuff_in_offset,
    int64_t small_instance_area,
    float small_instance_weight,
    bint ignore_crowd_in_semantic,
    bint crowd_as_instance,
    int32_t threads,
    uintptr_t sem_seg,
    uintptr_t center,
    uintptr_t offset,
    uintptr_t sem_seg_weights,
    uintptr_t center_weights,
    uintptr_t offset_weights,
    uintptr_t centers,
    uintptr_t is_instance,
):
    """Addresses of contiguous arrays as in panoptic.h; `shape` is that of the map, (H,W)."""
    cdef pdl_targets_arguments arguments
    cdef pdl_targets_results results
    cdef int status
    check_addresses((
        panoptic, segments, gaussian, sem_seg, center, offset, sem_seg_weights, center_weights,
        offset_weights, centers, is_instance,
    ))
    arguments.panoptic = <const void *>panoptic
    arguments.id_bytes = id_bytes
    arguments.height, arguments.width = shape
    arguments.segments = <const pdl_segment *>segments
    arguments.count = count
    arguments.gaussian = <const float *>gaussian
    arguments.reach = reach
    arguments.ignore_label = ignore_label
    arguments.small_instance_area = small_instance_area
    arguments.small_instance_weight = small_instance_weight
    arguments.ignore_stuff_in_offset = ignore_stuff_in_offset
    arguments.ignore_crowd_in_semantic = ignore_crowd_in_semantic
    arguments.crowd_as_instance = crowd_as_instance
    arguments.threads = threads
    results.sem_seg = <int64_t *>sem_seg
    results.center = <float *>center
    results.offset = <float *>offset
    results.sem_seg_weights = <float *>sem_seg_weights
    results.center_weights = <float *>center_weights
    results.offset_weights = <float *>offset_weights
    results.centers = <double *>centers
    results.is_instance = <uint8_t *>is_instance
    with nogil:
        status = pdl_panoptic_targets_cpu(&arguments, &results)
    raise_for(status)


def panoptic_overlay(
    uintptr_t image,
    uintptr_t panoptic,
    tuple shape,
    uintptr_t colors,
    int64_t count,
    int32_t opacity,
    int32_t thickness,
    int32_t brightness,
    int32_t threads,
    uintptr_t picture,
):
    """Addresses of contiguous arrays as in panoptic.h; `shape` is that of the map, (H,W)."""
    cdef pdl_overlay_arguments arguments
    cdef int status
    check_addresses((image, panoptic, colors, picture))
    arguments.image = <const uint8_t *>image
    arguments.panoptic = <const int32_t *>panoptic
    arguments.height, arguments.width = shape
    arguments.colors = <const uint8_t *>colors
    arguments.count = count
    arguments.opacity = opacity
    arguments.thickness = thickness
    arguments.brightness = brightness
    arguments.threads = threads
    with nogil:
        status = pdl_panoptic_overlay_cpu(&arguments, <uint8_t *>picture)
    raise_for(status)


def thing_overlaps(
    uintptr_t panoptic,
    tuple shape,
    int64_t row_stride,
    int64_t step,
    uintptr_t ids,
    int64_t count,
    uintptr_t last,
    int64_t last_count,
    int32_t threads,
    uintptr_t places,
    uintptr_t counts,
):
    """Addresses as in panoptic.h; `shape` is that of the map, (H,W), whose rows may lie apart."""
    cdef pdl_overlap_arguments arguments
    cdef int status
    check_addresses((panoptic, ids, last, places, counts))
    arguments.panoptic = <const int32_t *>panoptic
    arguments.height, arguments.width = shape
    arguments.row_stride = row_stride
    arguments.step = step
    arguments.ids = <const int32_t *>ids
    arguments.count = count
    arguments.last = <const int32_t *>last
    arguments.last_count = last_count
    arguments.threads = threads
    with nogil:
        status = pdl_thing_overlaps_cpu(&arguments, <int32_t *>places, <int64_t *>counts)
    raise_for(status)


def renumber(
    uintptr_t panoptic,
    tuple shape,
    int64_t row_stride,
    uintptr_t ids,
    uintptr_t new_ids,
    int64_t count,
    int32_t threads,
):
    """Addresses as in panoptic.h; `shape` is that of the map, (H,W), whose rows may lie apart."""
    cdef int64_t height, width
    cdef int status
    check_addresses((panoptic, ids, new_ids))
    height, width = shape
    with nogil:
        status = pdl_renumber_cpu(
            <int32_t *>panoptic, height, width, row_stride, <const int32_t *>ids,
            <const int32_t *>new_ids, count, threads,
        )
    raise_for(status)


def png_unfilter(uintptr_t rows, int64_t height, int64_t width, int32_t pixel_bytes):
    """Address as in panoptic.h; a ValueError where a row has an unknown filter, too."""
    cdef int status
    check_addresses((rows,))
    with nogil:
        status = pdl_png_unfilter_cpu(<uint8_t *>rows, height, width, pixel_bytes)
    raise_for(status)
