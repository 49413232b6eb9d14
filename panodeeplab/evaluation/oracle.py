"""The outputs of a perfect network, made from the ground truth: what can an output stride reach at most?"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from panodeeplab.data.sample import Segment
from panodeeplab.targets import panoptic_targets


class OracleOutputs(NamedTuple):
    """Inputs of `ops.panoptic_segmentation` with `align_corners=False`, float32, offsets in grid cells."""

    semantic: torch.Tensor
    center: torch.Tensor
    offset: torch.Tensor


def oracle_outputs(
    panoptic: np.ndarray,
    segments_info: Sequence[Segment],
    *,
    num_classes: int,
    thing_ids: Sequence[int],
    stride: int,
    sigma: int = 8,
) -> OracleOutputs:
    """What a network that knows the truth would put out at an output stride.

    Semantic: the share of each class in the pixels of a cell. Centre: the mean of the target heatmap in a
    cell. Offset: from the middle of a cell to the mean, over its thing pixels, of their instances' centres; a
    cell without thing pixels points where the nearest one with some does, since upsampling mixes cells across
    outlines. Crowd regions have a centre like an instance. Training leaves offsets off things, and both maps
    in crowd regions, free: this is a choice that a network may make. Where `stride` does not divide the
    height or width, void is added below or to the right: crop with `output_size`.

    Args:
        panoptic: (H, W) int32 segment ids; ids that are not listed are void.
        segments_info: of the map.
        num_classes: C.
        thing_ids: classes of instances.
        stride: pixels per cell.
        sigma: of the centre heatmap's Gaussian, in pixels.

    Returns:
        semantic (1, C, h, w), center (1, 1, h, w), offset (1, 2, h, w) with h = ceil(H / stride), w alike.

    Raises:
        ValueError: `stride` below 1, or a map that `panoptic_targets` refuses.
    """
    if stride < 1:
        raise ValueError(f"stride must be at least 1, got {stride}")
    height, width = panoptic.shape
    padded = np.pad(panoptic, ((0, -height % stride), (0, -width % stride)))
    targets = panoptic_targets(
        padded,
        segments_info,
        thing_ids=thing_ids,
        ignore_label=num_classes,
        sigma=sigma,
        crowd_as_instance=True,
    )
    h, w = padded.shape[0] // stride, padded.shape[1] // stride
    cell = np.arange(h).repeat(stride)[:, None] * w + np.arange(w).repeat(stride)
    sem_seg = targets.sem_seg.numpy()
    pixels = np.bincount((cell * (num_classes + 1) + sem_seg).ravel(), minlength=h * w * (num_classes + 1))
    semantic = pixels.reshape(h, w, -1)[..., :num_classes].transpose(2, 0, 1).astype(np.float32) / stride**2
    center = F.avg_pool2d(targets.center[None, None], stride)

    offset = np.zeros((2, h, w), np.float32)
    on_thing = np.isin(sem_seg, list(thing_ids))
    if on_thing.any():
        y, x = np.nonzero(on_thing)
        counts = np.bincount(cell[on_thing], minlength=h * w)
        to_y, to_x = targets.offset.numpy()[:, on_thing]
        nearest = _nearest(counts.reshape(h, w) > 0)
        middle = (stride - 1) / 2
        for axis, (pointed, length) in enumerate(((y + to_y, h), (x + to_x, w))):
            mean = np.bincount(cell[on_thing], pointed, minlength=h * w) / np.maximum(counts, 1)
            here = np.arange(length) * stride + middle
            offset[axis] = (mean[nearest] - (here[:, None] if axis == 0 else here)) / stride
    return OracleOutputs(torch.from_numpy(semantic)[None], center, torch.from_numpy(offset)[None])


def _nearest(marked: np.ndarray) -> np.ndarray:
    """(h, w) flat index of the marked cell that is nearest to each cell."""
    _, label = cv2.distanceTransformWithLabels(
        (~marked).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    # Every marked cell has a label of its own, in no promised order.
    index_of_label = np.zeros(label.max() + 1, np.intp)
    index_of_label[label[marked]] = np.flatnonzero(marked)
    return index_of_label[label]
