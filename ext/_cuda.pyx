# cython: language_level=3, binding=False
"""The CUDA kernels of panoptic_cuda.h for Python: addresses in, an exception if the status is not good.

Private: no shape or type is checked here. `panodeeplab.ops` does that. Imports on a machine without a GPU.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uintptr_t
from libc.string cimport memset


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


cdef extern from "panoptic_cuda.h" nogil:
    int PDL_CUDA_ABI_VERSION
    int PDL_CUDA_OK
    int PDL_CUDA_INVALID_ARGUMENT
    int PDL_CUDA_CENTERS_HEATMAP
    int PDL_CUDA_CENTERS_VOTES
    int PDL_CUDA_CENTERS_BOTH
    enum: PDL_CUDA_MAX_CLASSES

    ctypedef struct pdl_cuda_map:
        const void *values
        int64_t image_stride
        int64_t channel_stride
        int64_t sample_stride

    ctypedef struct pdl_cuda_arguments:
        pdl_cuda_map semantic
        pdl_cuda_map center
        pdl_cuda_map offset
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
        int32_t semantic_probability
        int32_t dtype
        int32_t center_source
        int32_t vote_threshold
        int32_t class_aware_votes
        void *scratch
        void *stream

    ctypedef struct pdl_cuda_results:
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

    int64_t pdl_cuda_scratch_bytes(const pdl_cuda_arguments *arguments)
    int pdl_panoptic_segmentation_cuda(
        const pdl_cuda_arguments *arguments, const pdl_cuda_results *results
    )
    const char *pdl_cuda_error_text(int status)


ABI_VERSION = PDL_CUDA_ABI_VERSION

CENTER_SOURCES = {
    "heatmap": PDL_CUDA_CENTERS_HEATMAP,
    "votes": PDL_CUDA_CENTERS_VOTES,
    "both": PDL_CUDA_CENTERS_BOTH,
}


cdef pdl_cuda_map as_map(tuple description) except *:
    cdef pdl_cuda_map result
    cdef uintptr_t address
    address, result.image_stride, result.channel_stride, result.sample_stride = description
    if address == 0:  # a fake tensor
        raise ValueError("a tensor without memory was given to a kernel of panodeeplab")
    result.values = <const void *>address
    return result


cdef uintptr_t as_address(object address) except 0:
    if address == 0:
        raise ValueError("a tensor without memory was given to a kernel of panodeeplab")
    return address


def panoptic_segmentation(
    tuple semantic,
    tuple center,
    tuple offset,
    int32_t dtype,
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
    tuple results,
    allocate,
    uintptr_t stream,
):
    """Puts the kernels on a stream of the current device.

    A map is (address, image stride, channel stride, sample stride), `shape` that of semantic, (N,C,h,w);
    `results` are the eleven addresses of pdl_cuda_results; allocate(bytes) gives the address of scratch
    memory.
    """
    cdef pdl_cuda_arguments arguments
    cdef pdl_cuda_results outputs
    cdef uint8_t is_thing[PDL_CUDA_MAX_CLASSES]
    cdef int64_t scratch_bytes
    cdef int status
    arguments.semantic = as_map(semantic)
    arguments.center = as_map(center)
    arguments.offset = as_map(offset)
    arguments.dtype = dtype
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
    arguments.stream = <void *>stream
    memset(is_thing, 0, sizeof(is_thing))
    for index in thing_ids:
        if not 0 <= index < min(arguments.classes, PDL_CUDA_MAX_CLASSES):
            raise ValueError("thing_ids out of range")
        is_thing[<int64_t>index] = 1
    arguments.is_thing = is_thing
    scratch_bytes = pdl_cuda_scratch_bytes(&arguments)
    if scratch_bytes < 0:
        raise ValueError("a CUDA kernel of panodeeplab was called with arguments out of range")

    outputs.panoptic = <int32_t *>as_address(results[0])
    outputs.centers = <int32_t *>as_address(results[1])
    outputs.center_scores = <float *>as_address(results[2])
    outputs.center_votes = <int32_t *>as_address(results[3])
    outputs.num_centers = <int32_t *>as_address(results[4])
    outputs.segment_ids = <int32_t *>as_address(results[5])
    outputs.segment_areas = <int32_t *>as_address(results[6])
    outputs.segment_boxes = <int32_t *>as_address(results[7])
    outputs.segment_centers = <int32_t *>as_address(results[8])
    outputs.segment_probabilities = <float *>as_address(results[9])
    outputs.num_segments = <int32_t *>as_address(results[10])
    arguments.scratch = <void *>as_address(allocate(scratch_bytes))
    with nogil:
        status = pdl_panoptic_segmentation_cuda(&arguments, &outputs)
    if status == PDL_CUDA_INVALID_ARGUMENT:
        raise ValueError("a CUDA kernel of panodeeplab was called with arguments out of range")
    if status != PDL_CUDA_OK:
        text = pdl_cuda_error_text(status).decode()
        raise RuntimeError(f"a CUDA kernel of panodeeplab could not be launched: {text}")
