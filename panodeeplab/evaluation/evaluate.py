"""Panoptic quality and mIoU of a model on a data set."""

from collections.abc import Callable
from typing import Any

import numpy as np
from tqdm import tqdm

from panodeeplab.data.sample import PanopticDataset
from panodeeplab.evaluation.panoptic_quality import PanopticQuality
from panodeeplab.evaluation.semantic import SemanticIoU, panoptic_to_semantic, segments_to_semantic


def evaluate(
    predict: Callable[[np.ndarray], np.ndarray],
    dataset: PanopticDataset,
    *,
    label_divisor: int = 1000,
    progress: bool = True,
) -> dict[str, Any]:
    """Score predictions against the ground truth at its own resolution.

    The classes for mIoU are read off the panoptic map, so stuff that was dropped as too small counts as
    missed there too.

    Args:
        predict: from an (H, W, 3) uint8 RGB image to its (H, W) int32 panoptic map.
        dataset: images with ground truth.
        label_divisor: of the predicted ids.
        progress: show a progress bar.

    Returns:
        What `PanopticQuality.result` gives, with "semantic" beside it: `SemanticIoU.result`.
    """
    quality = PanopticQuality(dataset.classes, label_divisor=label_divisor)
    semantic = SemanticIoU(dataset.classes)
    indices = tqdm(range(len(dataset)), desc="evaluate", unit="image", leave=False, disable=not progress)
    for i in indices:
        sample = dataset[i]
        panoptic = predict(sample.image)
        quality.update(panoptic, sample.panoptic, sample.segments_info)
        semantic.update(
            panoptic_to_semantic(panoptic, label_divisor=label_divisor),
            segments_to_semantic(sample.panoptic, sample.segments_info),
        )
    return quality.result() | {"semantic": semantic.result()}
