"""`panoptic_segmentation` on CUDA tensors: the compiled module `_panodeeplab_cuda`.

A call puts a fixed number of kernels on the current stream of the tensors' device and waits for nothing, so
that it can be captured in a CUDA graph. All memory comes from torch.
"""

import functools
from types import ModuleType

import torch
from torch import Tensor

from panodeeplab.ops._modules import load_module

ABI_VERSION = 2  # PDL_CUDA_ABI_VERSION of ext/panoptic_cuda.h
DTYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}  # PDL_CUDA_FLOAT32 ...

MISSING = (
    "panodeeplab was installed without its CUDA kernels, so it cannot post-process CUDA tensors: install it "
    "again with nvcc at hand (`PANODEEPLAB_CUDA=1 pip install .` says what is missing), move the tensors to "
    "the CPU, or set PANODEEPLAB_BACKEND=reference for plain PyTorch on the GPU"
)


@functools.cache
def load() -> ModuleType | None:
    """The compiled module, or None if it is not installed."""
    return load_module("_panodeeplab_cuda", ABI_VERSION)


def with_one_dtype(*maps: Tensor) -> tuple[Tensor, ...]:
    """Maps as the kernels take them: of one dtype, and contiguous or channels-last. Most are so already."""
    if len({x.dtype for x in maps}) > 1:
        maps = tuple(x.float() for x in maps)
    return tuple(
        x if x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last) else x.contiguous()
        for x in maps
    )


def strides_of(x: Tensor) -> tuple[int, int, int]:
    """From an image, a channel and a sample of (N,C,h,w) to the next, in elements."""
    channels, plane = x.shape[1], x.shape[2] * x.shape[3]
    # Not x.stride(): where a size is 1 it may be anything.
    return (channels * plane, plane, 1) if x.is_contiguous() else (channels * plane, 1, channels)


def panoptic_segmentation(
    result: tuple[Tensor, ...],
    semantic: Tensor,
    center: Tensor,
    offset: Tensor,
    stride: int,
    align_corners: bool,
    thing_ids: list[int],
    center_threshold: float,
    nms_kernel: int,
    top_k: int,
    stuff_area: int,
    label_divisor: int,
    void_label: int,
    semantic_probability: bool,
    center_source: str,
    vote_threshold: int,
    class_aware_votes: bool,
) -> None:
    """Fills `result`, the outputs of the op; raises if the module is not installed."""
    module = load()
    if module is None:
        raise RuntimeError(MISSING)
    if semantic.shape[0] == 0:
        return
    _, classes, low_height, low_width = semantic.shape
    groups = 0  # of votes
    if center_source != "heatmap":
        groups = max(1, len(thing_ids)) if class_aware_votes else 1
    capacity = min(top_k, result[0].shape[1] * result[0].shape[2] * (1 + groups))
    if (capacity + 1) * classes >= 2**31:
        raise ValueError(f"top_k is {top_k} with {classes} classes, wanted less than 2**31 counts on a GPU")
    if groups * low_height * low_width + capacity >= 2**31:
        raise ValueError(
            f"{groups} classes of things vote apart on a grid of {low_height} x {low_width}, "
            "wanted less than 2**31 counts on a GPU: class_aware_votes=False shares them"
        )
    maps = with_one_dtype(semantic, center, offset)
    scratch = None

    def allocate(size: int) -> int:
        nonlocal scratch  # lives until the kernels are on the stream; the allocator then knows that stream
        scratch = torch.empty(size, dtype=torch.uint8, device=semantic.device)
        return scratch.data_ptr()

    with torch.cuda.device(semantic.device):
        module.panoptic_segmentation(
            *((x.data_ptr(), *strides_of(x)) for x in maps),
            DTYPES[maps[0].dtype],
            tuple(semantic.shape),
            tuple(result[0].shape[1:]),
            stride,
            align_corners,
            thing_ids,
            center_threshold,
            nms_kernel,
            top_k,
            stuff_area,
            label_divisor,
            void_label,
            semantic_probability,
            center_source,
            vote_threshold,
            class_aware_votes,
            tuple(x.data_ptr() for x in result),
            allocate,
            torch.cuda.current_stream().cuda_stream,
        )
