"""Training targets from a panoptic id map: classes, centre heatmap, offsets, and the weight of each pixel.

They are made from the map after augmentation, so that no crop, flip or scale needs a correction of offsets.
"""

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

import panodeeplab.ops  # noqa: F401 - registers torch.ops.panodeeplab.panoptic_targets
from panodeeplab.data.sample import Segment


class PanopticTargets(NamedTuple):
    """What the three heads are trained towards, all at the resolution of the image.

    Attributes:
        sem_seg: (H, W) int64 class ids, `ignore_label` where there is none.
        center: (H, W) float32 heatmap, 1 at centres.
        offset: (2, H, W) float32, (dy, dx) in pixels from a pixel to its instance's centre; 0 elsewhere.
        sem_seg_weights: (H, W) float32.
        center_weights: (1, H, W) float32, 0 on void, crowd and padding.
        offset_weights: (1, H, W) float32, 1 on the pixels whose offset counts.
        center_points: (K, 2) float64 (y, x), mean of each instance's visible pixels, in the order of
            `segments_info`.
    """

    sem_seg: Tensor
    center: Tensor
    offset: Tensor
    sem_seg_weights: Tensor
    center_weights: Tensor
    offset_weights: Tensor
    center_points: Tensor


@lru_cache(maxsize=8)
def _gaussian(sigma: int) -> np.ndarray:
    """(6 sigma + 3)² patch with its peak of 1 in the middle."""
    axis = np.arange(-3 * sigma - 1, 3 * sigma + 2, dtype=np.float64)
    return np.exp(-(axis**2 + axis[:, None] ** 2) / (2 * sigma**2)).astype(np.float32)


def _as_tensor(panoptic: np.ndarray) -> Tensor:
    """The map as a tensor, without a copy where torch can read its memory as it is."""
    narrow = np.can_cast(panoptic.dtype, np.int32)
    panoptic = np.ascontiguousarray(panoptic, np.int32 if narrow else np.int64)
    # torch warns of memory that is not to be written, though nothing writes to it.
    return torch.from_numpy(panoptic if panoptic.flags.writeable else panoptic.copy())


def panoptic_targets(
    panoptic: np.ndarray | Tensor,
    segments_info: Sequence[Segment],
    *,
    thing_ids: Collection[int],
    ignore_label: int = 255,
    sigma: int = 8,
    ignore_stuff_in_offset: bool = True,
    small_instance_area: int = 4096,
    small_instance_weight: float = 3,
    ignore_crowd_in_semantic: bool = False,
    crowd_as_instance: bool = False,
) -> PanopticTargets:
    """Targets of one image.

    An instance's centre is the mean of its visible pixels, not the middle of its box. A crowd region is a
    class without instances: it has no centre, no offset and no weight in their losses.

    Args:
        panoptic: (H, W) integer segment ids; an id that `segments_info` does not list is void.
        segments_info: id, contiguous category_id and iscrowd of each segment.
        thing_ids: contiguous ids of the countable classes.
        ignore_label: class of void pixels, and of crowd pixels with `ignore_crowd_in_semantic`.
        sigma: of the Gaussian at each centre, in pixels.
        ignore_stuff_in_offset: offsets count on thing pixels only; else on every labelled pixel, where stuff
            is taught an offset of 0.
        small_instance_area: an instance of fewer pixels gets `small_instance_weight` in the semantic loss.
        small_instance_weight: that weight; every other pixel has 1.
        ignore_crowd_in_semantic: take crowd regions out of the semantic loss.
        crowd_as_instance: draw a Gaussian and offsets for crowd regions, and weigh them as instances, as
            Detectron2 and bowenc0221 do. It leaks false centres around each crowd; for comparison only.

    Raises:
        ValueError: `panoptic` is not a two-dimensional integer map, `sigma` < 1, or an id is listed twice.

    Source: Panoptic-DeepLab (Cheng et al., CVPR 2020), section 3.2; values of Detectron2's target generator.
    """
    whole = (
        not (panoptic.is_floating_point() or panoptic.is_complex() or panoptic.dtype == torch.bool)
        if isinstance(panoptic, Tensor)
        else panoptic.dtype.kind in "iu"
    )
    if panoptic.ndim != 2 or not whole:
        raise ValueError(
            f"panoptic must be an (H, W) integer map, got shape {tuple(panoptic.shape)} of {panoptic.dtype}"
        )
    if sigma < 1:
        raise ValueError(f"sigma must be at least 1 pixel, got {sigma}")
    segments = np.array(
        [
            (s["id"], s["category_id"], s["category_id"] in thing_ids, bool(s["iscrowd"]))
            for s in segments_info
        ],
        np.int64,
    ).reshape(-1, 4)
    if len({s["id"] for s in segments_info}) != len(segments):
        values, counts = np.unique(segments[:, 0], return_counts=True)
        raise ValueError(f"segments_info lists an id twice: {values[counts > 1].tolist()}")

    if not isinstance(panoptic, Tensor):
        panoptic = _as_tensor(panoptic)
    *maps, centers, is_instance = torch.ops.panodeeplab.panoptic_targets(
        panoptic,
        torch.from_numpy(segments).to(panoptic.device),
        torch.from_numpy(_gaussian(sigma)).to(panoptic.device),
        ignore_label,
        ignore_stuff_in_offset,
        small_instance_area,
        small_instance_weight,
        ignore_crowd_in_semantic,
        crowd_as_instance,
    )
    return PanopticTargets(*maps, center_points=centers[is_instance])
