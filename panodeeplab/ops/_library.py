"""Registers torch.ops.panodeeplab.*: schemas, fakes, and one implementation per device.

CPU tensors go to the compiled module `_panodeeplab_cpu` if it is there, else to `reference`. CUDA tensors
need the module `_panodeeplab_cuda` for `panoptic_segmentation`: without it that raises, since to be slow
without a word is worse. All else is `reference`.
PANODEEPLAB_BACKEND=reference|compiled, read at import, forces the choice.
"""

import os
from types import ModuleType

import torch
from torch import Tensor

from panodeeplab.ops import _cuda, reference, reference_png, reference_targets, reference_tracking
from panodeeplab.ops._modules import load_module

ABI_VERSION = 8  # PDL_ABI_VERSION of ext/panoptic.h

# PDL_FLOAT32, PDL_FLOAT16 and PDL_BFLOAT16 of ext/panoptic.h.
_TYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}

_LIBRARY = torch.library.Library("panodeeplab", "DEF")
_LIBRARY.define(
    "panoptic_segmentation(Tensor semantic, Tensor center, Tensor offset, int stride, bool align_corners, "
    "SymInt height, SymInt width, int[] thing_ids, float center_threshold, int nms_kernel, int top_k, "
    "int stuff_area, int label_divisor, int void_label, bool semantic_probability, str center_source, "
    "int vote_threshold, bool class_aware_votes) -> "
    "(Tensor panoptic, Tensor centers, Tensor center_scores, Tensor center_votes, Tensor num_centers, "
    "Tensor segment_ids, Tensor segment_areas, Tensor segment_boxes, Tensor segment_centers, "
    "Tensor segment_probabilities, Tensor num_segments)"
)
_LIBRARY.define("pair_counts(Tensor first, Tensor second, int threads) -> (Tensor pairs, Tensor counts)")
_LIBRARY.define(
    "panoptic_targets(Tensor panoptic, Tensor segments, Tensor gaussian, int ignore_label, "
    "bool ignore_stuff_in_offset, int small_instance_area, float small_instance_weight, "
    "bool ignore_crowd_in_semantic, bool crowd_as_instance) -> "
    "(Tensor sem_seg, Tensor center, Tensor offset, Tensor sem_seg_weights, Tensor center_weights, "
    "Tensor offset_weights, Tensor centers, Tensor is_instance)"
)
_LIBRARY.define(
    "panoptic_overlay(Tensor image, Tensor panoptic, Tensor colors, int opacity, int thickness, "
    "int brightness) -> Tensor"
)
_LIBRARY.define(
    "thing_overlaps(Tensor panoptic, Tensor ids, Tensor last, int last_count, int step) -> "
    "(Tensor places, Tensor counts)"
)
_LIBRARY.define("renumber_(Tensor(a!) panoptic, Tensor ids, Tensor new_ids) -> ()")
_LIBRARY.define("png_unfilter_(Tensor(a!) rows, SymInt height, SymInt width, int pixel_bytes) -> ()")


def _empty_result(semantic: Tensor, height: int, width: int, top_k: int) -> tuple[Tensor, ...]:
    batch, segments = semantic.shape[0], top_k + semantic.shape[1]
    panoptic = torch.empty(batch, height, width, dtype=torch.int32, device=semantic.device)
    scores = torch.empty(batch, top_k, dtype=torch.float32, device=semantic.device)
    # With sizes one by one, and the type that is known, torch parses arguments in half the time.
    return (
        panoptic,
        panoptic.new_empty(batch, top_k, 2),
        scores,
        panoptic.new_empty(batch, top_k),
        panoptic.new_empty(batch),
        panoptic.new_empty(batch, segments),
        panoptic.new_empty(batch, segments),
        panoptic.new_empty(batch, segments, 4),
        panoptic.new_empty(batch, segments),
        scores.new_empty(batch, segments),
        panoptic.new_empty(batch),
    )


@torch.library.register_fake("panodeeplab::panoptic_segmentation", lib=_LIBRARY)
def _(
    semantic,
    center,
    offset,
    stride,
    align_corners,
    height,
    width,
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
):
    return _empty_result(semantic, height, width, top_k)


@torch.library.register_fake("panodeeplab::pair_counts", lib=_LIBRARY)
def _(first, second, threads):
    pairs = torch.library.get_ctx().new_dynamic_size()
    return tuple(
        first.new_empty(shape, dtype=dtype)
        for shape, dtype in (((pairs, 2), torch.int32), ((pairs,), torch.int64))
    )


@torch.library.register_fake("panodeeplab::panoptic_overlay", lib=_LIBRARY)
def _(image, panoptic, colors, opacity, thickness, brightness):
    return torch.empty_like(image, memory_format=torch.contiguous_format)


def _empty_overlaps(ids: Tensor, last: Tensor, last_count: int) -> tuple[Tensor, Tensor]:
    places = torch.empty_like(last, memory_format=torch.contiguous_format)
    return places, places.new_empty(last_count + 1, ids.shape[0] + 1, dtype=torch.int64)


@torch.library.register_fake("panodeeplab::thing_overlaps", lib=_LIBRARY)
def _(panoptic, ids, last, last_count, step):
    return _empty_overlaps(ids, last, last_count)


@torch.library.register_fake("panodeeplab::renumber_", lib=_LIBRARY)
def _(panoptic, ids, new_ids):
    return None


@torch.library.register_fake("panodeeplab::png_unfilter_", lib=_LIBRARY)
def _(rows, height, width, pixel_bytes):
    return None


def _empty_targets(panoptic: Tensor, segments: Tensor) -> tuple[Tensor, ...]:
    (height, width), count = panoptic.shape, segments.shape[0]

    def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=panoptic.device)

    return (
        empty(height, width, dtype=torch.int64),
        empty(height, width),
        empty(2, height, width),
        empty(height, width),
        empty(1, height, width),
        empty(1, height, width),
        empty(count, 2, dtype=torch.float64),
        empty(count, dtype=torch.bool),
    )


@torch.library.register_fake("panodeeplab::panoptic_targets", lib=_LIBRARY)
def _(
    panoptic,
    segments,
    gaussian,
    ignore_label,
    ignore_stuff_in_offset,
    small_instance_area,
    small_instance_weight,
    ignore_crowd_in_semantic,
    crowd_as_instance,
):
    return _empty_targets(panoptic, segments)


def _choose_backend() -> ModuleType | None:
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


_COMPILED = _choose_backend()
_REFERENCE_WANTED = os.environ.get("PANODEEPLAB_BACKEND") == "reference"


def backend(device: torch.device | str = "cpu") -> str:
    """What runs `panoptic_segmentation` on `device`: "compiled", "reference" or, where it raises, "none"."""
    kind = torch.device(device).type
    if kind == "cuda" and not _REFERENCE_WANTED:
        return "none" if _cuda.load() is None else "compiled"
    return "compiled" if _COMPILED is not None and kind == "cpu" else "reference"


def _panoptic_segmentation_cpu(
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
    result = _empty_result(semantic, height, width, top_k)
    if semantic.shape[0] > 0:
        _COMPILED.panoptic_segmentation(
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


def _panoptic_segmentation_cuda(
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
    *options: int | bool | str,
) -> tuple[Tensor, ...]:
    result = _empty_result(semantic, height, width, top_k)
    settings = (stride, align_corners, thing_ids, center_threshold, nms_kernel, top_k, *options)
    _cuda.panoptic_segmentation(result, semantic, center, offset, *settings)
    return result


def _pair_counts_cpu(first: Tensor, second: Tensor, threads: int) -> tuple[Tensor, Tensor]:
    first, second = first.contiguous(), second.contiguous()
    id_bytes = 4 if first.dtype == torch.int32 else 3
    pixels = first.shape[0] * first.shape[1]
    # Room that is never written costs next to nothing; too little costs a second count.
    capacity = min(pixels, 1 << 16)
    while pixels > 0:
        pairs = torch.empty((capacity, 2), dtype=torch.int32)
        counts = torch.empty((capacity,), dtype=torch.int64)
        found = _COMPILED.pair_counts(
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


def _panoptic_targets_cpu(
    panoptic: Tensor, segments: Tensor, gaussian: Tensor, *options: float
) -> tuple[Tensor, ...]:
    if panoptic.numel() == 0 or len(segments) == 0:
        # Without memory there is no address to hand over.
        return reference_targets.panoptic_targets(panoptic, segments, gaussian, *options)
    if panoptic.dtype not in (torch.int32, torch.int64):
        panoptic = panoptic.to(torch.int64)
    panoptic, segments, gaussian = panoptic.contiguous(), segments.contiguous(), gaussian.contiguous()
    result = _empty_targets(panoptic, segments)
    _COMPILED.panoptic_targets(
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


def _panoptic_overlay_cpu(
    image: Tensor, panoptic: Tensor, colors: Tensor, opacity: int, thickness: int, brightness: int
) -> Tensor:
    picture = torch.empty_like(image, memory_format=torch.contiguous_format)
    if panoptic.numel() == 0 or colors.numel() == 0:
        # Without memory there is no address to hand over.
        return reference.panoptic_overlay(image, panoptic, colors, opacity, thickness, brightness)
    image, panoptic, colors = image.contiguous(), panoptic.contiguous(), colors.contiguous()
    _COMPILED.panoptic_overlay(
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


def _thing_overlaps_cpu(
    panoptic: Tensor, ids: Tensor, last: Tensor, last_count: int, step: int
) -> tuple[Tensor, Tensor]:
    if last.numel() == 0 or len(ids) == 0:
        # Without memory there is no address to hand over.
        return reference_tracking.thing_overlaps(panoptic, ids, last, last_count, step)
    panoptic, ids, last = _in_rows(panoptic), ids.contiguous(), last.contiguous()
    result = _empty_overlaps(ids, last, last_count)
    _COMPILED.thing_overlaps(
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


def _renumber_cpu(panoptic: Tensor, ids: Tensor, new_ids: Tensor) -> None:
    if panoptic.numel() == 0 or len(ids) == 0:
        return
    if _in_rows(panoptic) is not panoptic:
        reference_tracking.renumber_(panoptic, ids, new_ids)
        return
    ids, new_ids = ids.contiguous(), new_ids.contiguous()
    _COMPILED.renumber(
        panoptic.data_ptr(),
        tuple(panoptic.shape),
        panoptic.stride(0),
        ids.data_ptr(),
        new_ids.data_ptr(),
        len(ids),
        torch.get_num_threads(),
    )


def _png_unfilter_cpu(rows: Tensor, height: int, width: int, pixel_bytes: int) -> None:
    if rows.numel() == 0 or not rows.is_contiguous():
        reference_png.png_unfilter_(rows, height, width, pixel_bytes)
    else:
        _COMPILED.png_unfilter(rows.data_ptr(), height, width, pixel_bytes)


def _in_rows(panoptic: Tensor) -> Tensor:
    """The map, or a copy if its rows do not lie one after another, as those of a part of a map do."""
    width = panoptic.shape[1]
    in_rows = panoptic.stride(1) == 1 or width == 1
    return panoptic if in_rows and panoptic.stride(0) >= width else panoptic.contiguous()


for _key in ("CPU", "CUDA", "XPU", "MPS"):
    _on_cpu = _key == "CPU" and _COMPILED is not None
    _segment = _panoptic_segmentation_cpu if _on_cpu else reference.panoptic_segmentation
    if _key == "CUDA" and not _REFERENCE_WANTED:
        _segment = _panoptic_segmentation_cuda
    _LIBRARY.impl("panoptic_segmentation", _segment, _key)
    _LIBRARY.impl("panoptic_overlay", _panoptic_overlay_cpu if _on_cpu else reference.panoptic_overlay, _key)
    _LIBRARY.impl("pair_counts", _pair_counts_cpu if _on_cpu else reference.pair_counts, _key)
    _LIBRARY.impl(
        "thing_overlaps", _thing_overlaps_cpu if _on_cpu else reference_tracking.thing_overlaps, _key
    )
    _LIBRARY.impl("renumber_", _renumber_cpu if _on_cpu else reference_tracking.renumber_, _key)
    _LIBRARY.impl("png_unfilter_", _png_unfilter_cpu if _on_cpu else reference_png.png_unfilter_, _key)
    _LIBRARY.impl(
        "panoptic_targets",
        _panoptic_targets_cpu if _on_cpu else reference_targets.panoptic_targets,
        _key,
    )
