"""The ops on CPU tensors: the compiled module `_panodeeplab_cpu`.

PANODEEPLAB_BACKEND=reference|compiled, read at import, forces the choice between it and `reference`.
"""

import os
from types import ModuleType

import torch
from torch import Tensor

from panodeeplab.ops import reference, reference_png, reference_targets, reference_tracking
from panodeeplab.ops._modules import load_module
from panodeeplab.ops._outputs import empty_overlaps, empty_result, empty_targets

ABI_VERSION = 8  # PDL_ABI_VERSION of ext/panoptic.h

# PDL_FLOAT32, PDL_FLOAT16 and PDL_BFLOAT16 of ext/panoptic.h.
_TYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}
REFERENCE_WANTED = os.environ.get("PANODEEPLAB_BACKEND") == "reference"


def choose_backend() -> ModuleType | None:
    """The compiled module, or None for the reference."""
    wanted = os.environ.get("PANODEEPLAB_BACKEND", "")
    if wanted not in ("", "reference", "compiled"):
        raise ValueError(f"PANODEEPLAB_BACKEND is {wanted!r}, wanted 'reference' or 'compiled'")
    if wanted == "reference":
        return None
    module = load_module("_panodeeplab_cpu", ABI_VERSION)
    if module is None and wanted == "compiled":
        raise ImportError(
            "PANODEEPLAB_BACKEND=compiled, but the module _panodeeplab_cpu is not installed; "
            "install panodeeplab with a C++ compiler to build it"
        )
    return module


COMPILED = choose_backend()


def panoptic_segmentation(
    semantic: Tensor,
    center: Tensor,
    offset: Tensor,
    stride: int,
    align_corners: bool,
    height: int,
    width: int,
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
) -> tuple[Tensor, ...]:
    # The logits, by far the largest, are read as they lie.
    if semantic.dtype not in _TYPES:
        semantic = semantic.to(torch.float32)
    center, offset = (
        x if x.dtype is torch.float32 and x.is_contiguous() else x.to(torch.float32).contiguous()
        for x in (center, offset)
    )
    result = empty_result(semantic, height, width, top_k)
    if semantic.shape[0] > 0:
        COMPILED.panoptic_segmentation(
            semantic.data_ptr(),
            center.data_ptr(),
            offset.data_ptr(),
            _TYPES[semantic.dtype],
            semantic.stride(),
            tuple(semantic.shape),
            (height, width),
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
            torch.get_num_threads(),
            *(x.data_ptr() for x in result),
        )
    return result


def pair_counts(first: Tensor, second: Tensor, threads: int) -> tuple[Tensor, Tensor]:
    first, second = first.contiguous(), second.contiguous()
    id_bytes = 4 if first.dtype == torch.int32 else 3
    pixels = first.shape[0] * first.shape[1]
    # Room that is never written costs next to nothing; too little costs a second count.
    capacity = min(pixels, 1 << 16)
    while pixels > 0:
        pairs = torch.empty((capacity, 2), dtype=torch.int32)
        counts = torch.empty((capacity,), dtype=torch.int64)
        found = COMPILED.pair_counts(
            first.data_ptr(),
            second.data_ptr(),
            id_bytes,
            pixels,
            threads or torch.get_num_threads(),
            capacity,
            pairs.data_ptr(),
            counts.data_ptr(),
        )
        if found <= capacity:
            # A copy, so that a handful of pairs does not keep the whole buffer.
            return pairs[:found].clone(), counts[:found].clone()
        capacity = found
    return torch.empty((0, 2), dtype=torch.int32), torch.empty((0,), dtype=torch.int64)


def panoptic_targets(
    panoptic: Tensor, segments: Tensor, gaussian: Tensor, *options: float
) -> tuple[Tensor, ...]:
    if panoptic.numel() == 0 or len(segments) == 0:
        # Without memory there is no address to hand over.
        return reference_targets.panoptic_targets(panoptic, segments, gaussian, *options)
    if panoptic.dtype not in (torch.int32, torch.int64):
        panoptic = panoptic.to(torch.int64)
    panoptic, segments, gaussian = panoptic.contiguous(), segments.contiguous(), gaussian.contiguous()
    result = empty_targets(panoptic, segments)
    COMPILED.panoptic_targets(
        panoptic.data_ptr(),
        panoptic.element_size(),
        tuple(panoptic.shape),
        segments.data_ptr(),
        len(segments),
        gaussian.data_ptr(),
        len(gaussian) // 2,
        *options,
        torch.get_num_threads(),
        *(x.data_ptr() for x in result),
    )
    return result


def panoptic_overlay(
    image: Tensor, panoptic: Tensor, colors: Tensor, opacity: int, thickness: int, brightness: int
) -> Tensor:
    picture = torch.empty_like(image, memory_format=torch.contiguous_format)
    if panoptic.numel() == 0 or colors.numel() == 0:
        # Without memory there is no address to hand over.
        return reference.panoptic_overlay(image, panoptic, colors, opacity, thickness, brightness)
    image, panoptic, colors = image.contiguous(), panoptic.contiguous(), colors.contiguous()
    COMPILED.panoptic_overlay(
        image.data_ptr(),
        panoptic.data_ptr(),
        tuple(panoptic.shape),
        colors.data_ptr(),
        len(colors),
        opacity,
        thickness,
        brightness,
        torch.get_num_threads(),
        picture.data_ptr(),
    )
    return picture


def thing_overlaps(
    panoptic: Tensor, ids: Tensor, last: Tensor, last_count: int, step: int
) -> tuple[Tensor, Tensor]:
    if last.numel() == 0 or len(ids) == 0:
        # Without memory there is no address to hand over.
        return reference_tracking.thing_overlaps(panoptic, ids, last, last_count, step)
    panoptic, ids, last = _in_rows(panoptic), ids.contiguous(), last.contiguous()
    result = empty_overlaps(ids, last, last_count)
    COMPILED.thing_overlaps(
        panoptic.data_ptr(),
        tuple(panoptic.shape),
        panoptic.stride(0),
        step,
        ids.data_ptr(),
        len(ids),
        last.data_ptr(),
        last_count,
        torch.get_num_threads(),
        *(x.data_ptr() for x in result),
    )
    return result


def renumber_(panoptic: Tensor, ids: Tensor, new_ids: Tensor) -> None:
    if panoptic.numel() == 0 or len(ids) == 0:
        return
    if _in_rows(panoptic) is not panoptic:
        reference_tracking.renumber_(panoptic, ids, new_ids)
        return
    ids, new_ids = ids.contiguous(), new_ids.contiguous()
    COMPILED.renumber(
        panoptic.data_ptr(),
        tuple(panoptic.shape),
        panoptic.stride(0),
        ids.data_ptr(),
        new_ids.data_ptr(),
        len(ids),
        torch.get_num_threads(),
    )


def png_unfilter_(rows: Tensor, height: int, width: int, pixel_bytes: int) -> None:
    if rows.numel() == 0 or not rows.is_contiguous():
        reference_png.png_unfilter_(rows, height, width, pixel_bytes)
    else:
        COMPILED.png_unfilter(rows.data_ptr(), height, width, pixel_bytes)


def _in_rows(panoptic: Tensor) -> Tensor:
    """The map, or a copy if its rows do not lie one after another, as those of a part of a map do."""
    width = panoptic.shape[1]
    in_rows = panoptic.stride(1) == 1 or width == 1
    return panoptic if in_rows and panoptic.stride(0) >= width else panoptic.contiguous()
