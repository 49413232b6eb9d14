"""Registers torch.ops.panodeeplab.*: schemas, fakes, and one implementation per device.

CPU tensors go to the compiled module `_panodeeplab_cpu` if it is there, else to `reference`. CUDA tensors
need the module `_panodeeplab_cuda` for `panoptic_segmentation`: without it that raises, since to be slow
without a word is worse. All else is `reference`.
PANODEEPLAB_BACKEND=reference|compiled, read at import, forces the choice.
"""

import torch
from torch import Tensor

from panodeeplab.ops import _cpu, _cuda, reference, reference_png, reference_targets, reference_tracking
from panodeeplab.ops._outputs import empty_overlaps, empty_result, empty_targets

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
    return empty_result(semantic, height, width, top_k)


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


@torch.library.register_fake("panodeeplab::thing_overlaps", lib=_LIBRARY)
def _(panoptic, ids, last, last_count, step):
    return empty_overlaps(ids, last, last_count)


@torch.library.register_fake("panodeeplab::renumber_", lib=_LIBRARY)
def _(panoptic, ids, new_ids):
    return None


@torch.library.register_fake("panodeeplab::png_unfilter_", lib=_LIBRARY)
def _(rows, height, width, pixel_bytes):
    return None


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
    return empty_targets(panoptic, segments)


def backend(device: torch.device | str = "cpu") -> str:
    """What runs `panoptic_segmentation` on `device`: "compiled", "reference" or, where it raises, "none"."""
    kind = torch.device(device).type
    if kind == "cuda" and not _cpu.REFERENCE_WANTED:
        return "none" if _cuda.load() is None else "compiled"
    return "compiled" if _cpu.COMPILED is not None and kind == "cpu" else "reference"


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
    result = empty_result(semantic, height, width, top_k)
    settings = (stride, align_corners, thing_ids, center_threshold, nms_kernel, top_k, *options)
    _cuda.panoptic_segmentation(result, semantic, center, offset, *settings)
    return result


_REFERENCES = {
    "panoptic_segmentation": reference.panoptic_segmentation,
    "pair_counts": reference.pair_counts,
    "panoptic_targets": reference_targets.panoptic_targets,
    "panoptic_overlay": reference.panoptic_overlay,
    "thing_overlaps": reference_tracking.thing_overlaps,
    "renumber_": reference_tracking.renumber_,
    "png_unfilter_": reference_png.png_unfilter_,
}

for _key in ("CPU", "CUDA", "XPU", "MPS"):
    for _name, _function in _REFERENCES.items():
        if _key == "CPU" and _cpu.COMPILED is not None:
            _function = getattr(_cpu, _name)
        elif _key == "CUDA" and _name == "panoptic_segmentation" and not _cpu.REFERENCE_WANTED:
            _function = _panoptic_segmentation_cuda
        _LIBRARY.impl(_name, _function, _key)
