"""Post-processing and counting ops: each checks its arguments, then calls torch.ops.panodeeplab.*.

On CPU tensors a compiled kernel runs where it is installed (`backend()` says so), else the plain PyTorch
reference. On CUDA tensors `panoptic_segmentation` is a compiled kernel too, on the current stream and without
waiting for it; where it was not built, it raises a RuntimeError. Tensors of other devices take the reference.
All give the same bits.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from panodeeplab.ops._library import backend
from panodeeplab.ops._png import png_unfilter_
from panodeeplab.ops._tracking import renumber_, thing_overlaps

__all__ = [
    "CenterSource",
    "PanopticOutput",
    "backend",
    "pair_counts",
    "panoptic_overlay",
    "panoptic_segmentation",
    "png_unfilter_",
    "renumber_",
    "thing_overlaps",
]

CenterSource = Literal["heatmap", "votes", "both"]

_FLOATS = (torch.float32, torch.float16, torch.bfloat16)
_INT32_MAX = 2**31 - 1
_MAX_SIDE = 2**24  # beyond it, float32 no longer holds every pixel coordinate
_MAX_STRIDE = 1024
_MAX_NMS_KERNEL = 255
_MAX_CLASSES = 2**14
_MAX_THICKNESS = 64


class PanopticOutput(NamedTuple):
    """What `panoptic_segmentation` finds, in fixed capacity: `top_k` centres and S = top_k + C segments.

    panoptic: (N,H,W) int32, category * label_divisor + instance (things from 1 in each class, stuff 0);
        `void_label` elsewhere.
    centers: (N,top_k,2) int32, (y,x) in output pixels, in raster order; unused rows -1.
    center_scores: (N,top_k) float32, heatmap at the centre; unused 0.
    center_votes: (N,top_k) int32, pixels whose votes land at the centre: in full within its grid cell, less
        with distance, none from 3 cells on; zeros if `center_source` is "heatmap", which counts no votes.
    num_centers: (N,) int32.
    segment_ids: (N,S) int32, ascending; unused `void_label`.
    segment_areas: (N,S) int32, pixels; unused 0.
    segment_boxes: (N,S,4) int32, (y0,x0,y1,x1) in output pixels, y1 and x1 exclusive; unused 0.
    segment_centers: (N,S) int32, the row of `centers` of a thing; -1 for stuff and unused.
    segment_probabilities: (N,S) float32, mean over the segment's pixels of the softmax probability of its
        class at the grid cell nearest to the pixel; zeros unless asked for with `semantic_probability=True`.
    num_segments: (N,) int32.
    """

    panoptic: Tensor
    centers: Tensor
    center_scores: Tensor
    center_votes: Tensor
    num_centers: Tensor
    segment_ids: Tensor
    segment_areas: Tensor
    segment_boxes: Tensor
    segment_centers: Tensor
    segment_probabilities: Tensor
    num_segments: Tensor


def _check_maps(semantic: Tensor, center: Tensor, offset: Tensor) -> None:
    for name, x, channels in (("semantic", semantic, "C"), ("center", center, 1), ("offset", offset, 2)):
        if not isinstance(x, Tensor):
            raise ValueError(f"{name} is a {type(x).__name__}, wanted a tensor (N,{channels},h,w)")
        shape = x.shape
        if len(shape) != 4 or (channels != "C" and shape[1] != channels):
            raise ValueError(f"{name} has shape {tuple(shape)}, wanted (N,{channels},h,w)")
        if x.dtype not in _FLOATS:
            raise ValueError(f"{name} is {x.dtype}, wanted float32, float16 or bfloat16")
        if x is semantic:
            batch, classes, height, width = shape
            continue
        if x.device != semantic.device:
            raise ValueError(f"{name} is on {x.device}, wanted the device of semantic, {semantic.device}")
        if shape[0] != batch or shape[2] != height or shape[3] != width:
            raise ValueError(
                f"{name} has shape {tuple(shape)}, wanted N, h and w of semantic, {tuple(semantic.shape)}"
            )
    if classes < 1 or height < 1 or width < 1:
        raise ValueError(f"semantic has shape {tuple(semantic.shape)}, wanted C, h and w of at least 1")
    if classes > _MAX_CLASSES:
        raise ValueError(f"semantic has {classes} classes, wanted at most {_MAX_CLASSES}")


def _check_int(name: str, value: int, least: int, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{name} is {value!r}, wanted a whole number from {least} to {most}")


def _output_size(
    low: tuple[int, int], stride: int, align_corners: bool, output_size: tuple[int, int] | None
) -> tuple[int, int]:
    less = stride - 1 if align_corners else 0
    full = (low[0] * stride - less, low[1] * stride - less)
    if output_size is None:
        height, width = full
    else:
        size = tuple(output_size)
        # Under torch.export a size may be a symbol.
        if len(size) != 2 or not all(
            isinstance(n, (int, torch.SymInt)) and 1 <= n <= m for n, m in zip(size, full, strict=True)
        ):
            raise ValueError(
                f"output_size is {output_size}, wanted (H,W) from (1, 1) to the upsampled size {full}"
            )
        height, width = size
    if height > _MAX_SIDE or width > _MAX_SIDE or height * width > _INT32_MAX:
        raise ValueError(
            f"the output would be {height} x {width}, wanted sides of at most {_MAX_SIDE} "
            f"and at most {_INT32_MAX} pixels: lower stride or output_size"
        )
    return height, width


def _check_labels(
    classes: int, thing_ids: Sequence[int], top_k: int, label_divisor: int, void_label: int
) -> None:
    for index in thing_ids:
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < classes:
            raise ValueError(f"thing_ids has {index!r}, wanted classes from 0 to {classes - 1}")
    if len(set(thing_ids)) != len(thing_ids):
        raise ValueError(f"thing_ids is {list(thing_ids)}, wanted each class once")
    _check_int("label_divisor", label_divisor, 1, _INT32_MAX)
    if thing_ids and label_divisor < top_k:
        raise ValueError(
            f"label_divisor is {label_divisor}, wanted at least top_k, {top_k}: "
            "instance numbers could reach the ids of the next class"
        )
    largest = (classes - 1) * label_divisor
    if thing_ids:
        largest = max(largest, max(thing_ids) * label_divisor + top_k - 1)
    if largest > _INT32_MAX:
        raise ValueError(
            f"label_divisor is {label_divisor}, wanted one that keeps ids of {classes} classes within int32; "
            f"the largest would be {largest}"
        )
    _check_int("void_label", void_label, -(2**31), _INT32_MAX)
    if void_label // label_divisor in thing_ids and 1 <= void_label % label_divisor < top_k:
        raise ValueError(
            f"void_label is {void_label}, wanted a value that no instance can have "
            f"(class {void_label // label_divisor} is a thing)"
        )


def panoptic_segmentation(
    semantic: Tensor,
    center: Tensor,
    offset: Tensor,
    *,
    stride: int,
    align_corners: bool = False,
    output_size: tuple[int, int] | None = None,
    thing_ids: Sequence[int],
    center_threshold: float = 0.1,
    nms_kernel: int = 7,
    top_k: int = 200,
    stuff_area: int = 2048,
    label_divisor: int = 1000,
    void_label: int = -1,
    semantic_probability: bool = False,
    center_source: CenterSource = "heatmap",
    vote_threshold: int = 64,
    class_aware_votes: bool = False,
) -> PanopticOutput:
    """Turn network outputs at output stride into panoptic maps with their centres and segments.

    All three maps are upsampled bilinearly; `output_size` then crops the top-left part, and everything below
    sees that part only. The class of a pixel is its argmax. Centres are the pixels above `center_threshold`
    that equal the maximum of their `nms_kernel` window, so a plateau gives many; with `top_k` of them or
    more, only scores strictly above the `top_k`-th stay. A thing pixel goes to the centre nearest to where
    its offset points, however far. Each thing takes the class of most of its pixels; stuff classes under
    `stuff_area` pixels become void, as do thing pixels when there is no centre. Ties go to the lowest index
    (class, centre in raster order).

    A pixel with a NaN among its logits, or a thing pixel whose vote is not finite, is void and counted
    nowhere. NaN in the heatmap is no centre and hides none.

    That is how centres come from the heatmap. With `center_source` "votes" they come from the offsets alone:
    each grid sample whose class is a thing votes for the place that its offset points to, once for each pixel
    that it is the nearest sample of. Votes that end outside of the output are lost. Centres are the peaks of
    the votes, smoothed over two cells to each side, that have more than `vote_threshold` and most within
    `nms_kernel`, rounded up to cells and no less than one to each side; the first of several. A centre lies
    at the mean of the votes on its peak's cell and those next to it. The samples vote and not the pixels: a
    sixteenth at stride 4, for places that differ by less than a cell. With "both", a heatmap peak stays if
    a peak of the votes with more than a quarter of `vote_threshold` is in its window, whose votes it takes; a
    peak of the votes without a heatmap peak in its window is a centre if it has more than `vote_threshold`.
    With `top_k` centres or more, those with more votes than the `top_k`-th stay.

    Args:
        semantic: (N,C,h,w) float32, float16 or bfloat16 logits.
        center: (N,1,h,w) heatmap.
        offset: (N,2,h,w), (dy,dx) from a pixel to its centre in grid cells (times `stride` = output pixels).
        stride: output pixels per grid cell.
        align_corners: whether corner samples lie on corner pixels: H = (h - 1) * stride + 1, else h * stride.
        output_size: (H,W) of the result, at most the upsampled size, which is the default.
        thing_ids: classes that have instances.
        center_threshold: heatmap value that a centre must exceed.
        nms_kernel: side of the window of a centre in output pixels, odd.
        top_k: capacity of the centres.
        stuff_area: least area of a stuff class, in pixels.
        label_divisor: ids are category * label_divisor + instance; at least `top_k`.
        void_label: value of pixels that belong to no segment.
        semantic_probability: fill `segment_probabilities`; costs a softmax at every grid cell.
        center_source: "heatmap", "votes" or "both".
        vote_threshold: votes that a centre must exceed, in output pixels.
        class_aware_votes: let each class vote for its own centres, so that a rider and a bicycle do not share
            a peak. Pixels still go to the nearest centre of all.

    Raises:
        ValueError: an argument does not have the shape, type or range above.
        RuntimeError: CUDA tensors, but the CUDA kernels were not built.

    Source: Cheng et al., Panoptic-DeepLab (CVPR 2020), section 3.2; details as Detectron2 has them. Votes:
        Leibe et al., Robust object detection with interleaved categorization and segmentation (IJCV 2008).
    """
    _check_maps(semantic, center, offset)
    _check_int("stride", stride, 1, _MAX_STRIDE)
    height, width = _output_size(tuple(semantic.shape[2:]), stride, align_corners, output_size)
    _check_int("nms_kernel", nms_kernel, 1, _MAX_NMS_KERNEL)
    if nms_kernel % 2 == 0:
        raise ValueError(f"nms_kernel is {nms_kernel}, wanted an odd number")
    _check_int("top_k", top_k, 1, _INT32_MAX - _MAX_CLASSES)
    _check_int("stuff_area", stuff_area, 0, _INT32_MAX)
    # Compared, as torch.compile cannot trace math.isfinite.
    if not isinstance(center_threshold, (int, float)) or not -math.inf < center_threshold < math.inf:
        raise ValueError(f"center_threshold is {center_threshold!r}, wanted a finite number")
    if center_source not in get_args(CenterSource):
        raise ValueError(f"center_source is {center_source!r}, wanted one of {get_args(CenterSource)}")
    _check_int("vote_threshold", vote_threshold, 0, _INT32_MAX)
    thing_ids = list(thing_ids)
    _check_labels(semantic.shape[1], thing_ids, top_k, label_divisor, void_label)
    return PanopticOutput(
        *torch.ops.panodeeplab.panoptic_segmentation(
            semantic.detach() if semantic.requires_grad else semantic,
            center.detach() if center.requires_grad else center,
            offset.detach() if offset.requires_grad else offset,
            stride,
            align_corners,
            height,
            width,
            thing_ids,
            float(center_threshold),
            nms_kernel,
            top_k,
            stuff_area,
            label_divisor,
            void_label,
            semantic_probability,
            center_source,
            vote_threshold,
            class_aware_votes,
        )
    )


def pair_counts(first: Tensor, second: Tensor, *, threads: int | None = None) -> tuple[Tensor, Tensor]:
    """Count how many pixels have each pair of values in two maps: the confusion counts of panoptic quality.

    Only pairs that occur are listed, in ascending order of (first, second).

    Args:
        first: (H,W) int32, or (H,W,3) uint8: the RGB picture of a COCO panoptic file, whose values are
            R + 256 G + 65536 B.
        second: of the same shape and dtype.
        threads: that count, on the CPU; torch.get_num_threads() if None. 1 is right where the callers are
            threads themselves.

    Returns:
        pairs: (M,2) int32, the distinct (first, second).
        counts: (M,) int64, pixels of each.

    Raises:
        ValueError: a map is neither of the two kinds, shape, dtype or device of the two differ, or `threads`
            is less than 1.
    """
    for name, x in (("first", first), ("second", second)):
        if not isinstance(x, Tensor):
            raise ValueError(f"{name} is a {type(x).__name__}, wanted a tensor (H,W)")
        rgb = x.dtype == torch.uint8 and x.dim() == 3 and x.shape[2] == 3
        if not rgb and not (x.dtype == torch.int32 and x.dim() == 2):
            raise ValueError(
                f"{name} is {x.dtype} of shape {tuple(x.shape)}, wanted int32 (H,W) or uint8 (H,W,3)"
            )
    if first.shape != second.shape:
        raise ValueError(
            f"second has shape {tuple(second.shape)}, wanted that of first, {tuple(first.shape)}"
        )
    if first.device != second.device:
        raise ValueError(f"second is on {second.device}, wanted the device of first, {first.device}")
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}")
    return torch.ops.panodeeplab.pair_counts(first, second, threads or 0)


def panoptic_overlay(
    image: Tensor, panoptic: Tensor, colors: Tensor, *, opacity: int, thickness: int, brightness: int
) -> Tensor:
    """Lay the colors of a panoptic map over its image and outline its things.

    A channel is `(image * (256 - opacity) + color * opacity + 128) >> 8`. An outline lies where a pixel and
    the one above or to the left of it differ, all ids that are not outlined being alike, widened to
    `thickness`; there each channel is at least `brightness`.

    Args:
        image: (H,W,3) uint8.
        panoptic: (H,W) int32 ids.
        colors: (M,4) uint8: the color of each id from 0 on, and 1 if it is outlined. Other ids are black and
            not outlined.
        opacity: weight of the colors in 256ths, 0 to 256.
        thickness: of outlines in pixels, 0 (none) to 64.
        brightness: 0 to 255.

    Returns:
        (H,W,3) uint8, a new tensor.

    Raises:
        ValueError: an argument does not have the shape, type or range above, or the devices differ.
    """
    for name, x, wanted, dtype in (
        ("image", image, (None, None, 3), torch.uint8),
        ("panoptic", panoptic, (None, None), torch.int32),
        ("colors", colors, (None, 4), torch.uint8),
    ):
        text = f"{dtype} ({','.join('*' if n is None else str(n) for n in wanted)})"
        if not isinstance(x, Tensor):
            raise ValueError(f"{name} is a {type(x).__name__}, wanted a tensor, {text}")
        fits = x.dim() == len(wanted) and all(n in (None, m) for n, m in zip(wanted, x.shape, strict=True))
        if x.dtype != dtype or not fits:
            raise ValueError(f"{name} is {x.dtype} of shape {tuple(x.shape)}, wanted {text}")
        if x.device != image.device:
            raise ValueError(f"{name} is on {x.device}, wanted the device of image, {image.device}")
    if panoptic.shape != image.shape[:2]:
        raise ValueError(
            f"panoptic has shape {tuple(panoptic.shape)}, wanted that of image, {tuple(image.shape[:2])}"
        )
    _check_int("opacity", opacity, 0, 256)
    _check_int("thickness", thickness, 0, _MAX_THICKNESS)
    _check_int("brightness", brightness, 0, 255)
    return torch.ops.panodeeplab.panoptic_overlay(image, panoptic, colors, opacity, thickness, brightness)
