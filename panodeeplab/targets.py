"""Training targets from a panoptic id map: classes, centre heatmap, offsets, and the weight of each pixel.

They are made from the map after augmentation, so that no crop, flip or scale needs a correction of offsets.
"""

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from panodeeplab.data.sample import Segment

# Up to this id a table indexed by id is faster than a search, and small.
_MAX_TABLE_ID = 1 << 17


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


def _segment_index(panoptic: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Position of each pixel's id in `ids`, or len(ids) where the id is not listed."""
    void = len(ids)
    if void == 0:
        return np.zeros(panoptic.shape, np.int64)
    low, high = int(panoptic.min(initial=0)), int(panoptic.max(initial=0))
    if low >= 0 and max(high, int(ids.max())) <= _MAX_TABLE_ID:
        table = np.full(max(high, int(ids.max())) + 1, void, np.int64)
        table[ids] = np.arange(void)
        return table[panoptic]
    order = np.argsort(ids)
    place = np.searchsorted(ids[order], panoptic).clip(max=void - 1)
    return np.where(ids[order][place] == panoptic, order[place], void)


def _stamp(center: np.ndarray, y: int, x: int, sigma: int) -> None:
    """Draw a Gaussian at (y, x), keeping the larger value where two overlap."""
    height, width = center.shape
    reach = 3 * sigma + 1
    top, bottom = max(0, y - reach), min(height, y + reach + 1)
    left, right = max(0, x - reach), min(width, x + reach + 1)
    patch = _gaussian(sigma)[top - y + reach : bottom - y + reach, left - x + reach : right - x + reach]
    window = center[top:bottom, left:right]
    np.maximum(window, patch, out=window)


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
    if isinstance(panoptic, Tensor):
        panoptic = panoptic.numpy()
    if panoptic.ndim != 2 or panoptic.dtype.kind not in "iu":
        raise ValueError(
            f"panoptic must be an (H, W) integer map, got shape {panoptic.shape} of {panoptic.dtype}"
        )
    if sigma < 1:
        raise ValueError(f"sigma must be at least 1 pixel, got {sigma}")
    ids = np.array([segment["id"] for segment in segments_info], np.int64)
    if len(np.unique(ids)) != len(ids):
        values, counts = np.unique(ids, return_counts=True)
        raise ValueError(f"segments_info lists an id twice: {values[counts > 1].tolist()}")

    height, width = panoptic.shape
    count = len(ids)
    # One more entry than segments: the last stands for void.
    category = np.full(count + 1, ignore_label, np.int64)
    crowd = np.ones(count + 1, bool)
    thing = np.zeros(count + 1, bool)
    for k, segment in enumerate(segments_info):
        category[k] = segment["category_id"]
        crowd[k] = bool(segment["iscrowd"])
        thing[k] = segment["category_id"] in thing_ids
    void = np.arange(count + 1) == count

    index = _segment_index(panoptic, ids)
    flat = index.ravel()
    area = np.bincount(flat, minlength=count + 1)
    instance = thing & (area > 0) & (~crowd | crowd_as_instance)
    rows = np.arange(height, dtype=np.float64)
    columns = np.arange(width, dtype=np.float64)
    # Sums of whole numbers below 2^53 are exact, so the means are the correctly rounded ones in any order.
    sum_y = np.bincount(flat, np.repeat(rows, width), minlength=count + 1)
    sum_x = np.bincount(flat, np.tile(columns, height), minlength=count + 1)
    center_y, center_x = sum_y / np.maximum(area, 1), sum_x / np.maximum(area, 1)

    center = np.zeros((height, width), np.float32)
    for k in np.flatnonzero(instance):
        _stamp(center, round(float(center_y[k])), round(float(center_x[k])), sigma)

    on_instance = instance[index]
    # Single precision before the difference, as the reference does: equal to it in every bit.
    y32, x32 = center_y.astype(np.float32), center_x.astype(np.float32)
    offset = np.stack(
        [y32[index] - rows[:, None].astype(np.float32), x32[index] - columns.astype(np.float32)]
    )
    offset *= on_instance

    small = instance & (area < small_instance_area)
    offset_counts = ~crowd & (thing | (not ignore_stuff_in_offset))
    label = np.where(crowd & ignore_crowd_in_semantic & ~void, ignore_label, category)
    return PanopticTargets(
        sem_seg=torch.from_numpy(label[index]),
        center=torch.from_numpy(center),
        offset=torch.from_numpy(offset),
        sem_seg_weights=torch.from_numpy(
            np.where(small, np.float32(small_instance_weight), np.float32(1))[index]
        ),
        center_weights=torch.from_numpy((~crowd).astype(np.float32)[index][None]),
        offset_weights=torch.from_numpy(offset_counts.astype(np.float32)[index][None]),
        center_points=torch.from_numpy(np.stack([center_y[instance], center_x[instance]], axis=1)),
    )
