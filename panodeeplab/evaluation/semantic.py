"""Semantic quality: intersection over union per class, and its mean (mIoU)."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch

from panodeeplab.classes import ClassTable
from panodeeplab.data.sample import Segment

IGNORE_LABEL = 255


def panoptic_to_semantic(
    panoptic: torch.Tensor | np.ndarray, *, label_divisor: int = 1000, void_label: int = -1
) -> torch.Tensor:
    """Classes of a predicted panoptic map.

    Args:
        panoptic: (H, W) int32, class * label_divisor + instance; `void_label` elsewhere.
        label_divisor: of the panoptic ids.
        void_label: of pixels without a segment.

    Returns:
        (H, W) int64 classes, `IGNORE_LABEL` at void.
    """
    panoptic = torch.as_tensor(panoptic).long()
    semantic = torch.div(panoptic, label_divisor, rounding_mode="floor")
    return semantic.masked_fill_(panoptic == void_label, IGNORE_LABEL)


def segments_to_semantic(
    panoptic: torch.Tensor | np.ndarray, segments_info: Sequence[Segment]
) -> torch.Tensor:
    """Classes of a ground truth. Crowd regions keep their class, as in Cityscapes' semantic evaluation.

    Args:
        panoptic: (H, W) integer segment ids.
        segments_info: of the map; pixels with any other id are void.

    Returns:
        (H, W) int64 classes, `IGNORE_LABEL` at void.
    """
    panoptic = torch.as_tensor(panoptic).long().contiguous()
    listed = sorted((segment["id"], segment["category_id"]) for segment in segments_info)
    if not listed:
        return torch.full_like(panoptic, IGNORE_LABEL)
    ids, classes = torch.tensor(listed, device=panoptic.device).T.contiguous()
    position = torch.searchsorted(ids, panoptic).clamp_(max=len(ids) - 1)
    return torch.where(ids[position] == panoptic, classes[position], IGNORE_LABEL)


class SemanticIoU:
    """Accumulates the confusion of true and predicted classes over images.

    Pixels whose truth is void do not count. Pixels whose prediction is void count as missed.

    Args:
        classes: contiguous ids of both maps.
    """

    def __init__(self, classes: ClassTable) -> None:
        self.classes = classes
        # Rows: true class. Columns: predicted class, the last one "none".
        self._confusion = torch.zeros(len(classes), len(classes) + 1, dtype=torch.int64)

    def update(self, prediction: torch.Tensor | np.ndarray, target: torch.Tensor | np.ndarray) -> None:
        """Add one image or batch; nothing is added if it raises.

        Args:
            prediction: integer classes of any shape, `IGNORE_LABEL` where there is none.
            target: of the same shape, `IGNORE_LABEL` at void.

        Raises:
            ValueError: shapes differ, a dtype is not an integer's, or a class is not in the table.
        """
        prediction, target = torch.as_tensor(prediction), torch.as_tensor(target)
        if prediction.shape != target.shape:
            raise ValueError(
                "prediction and target must have one shape, "
                f"got {tuple(prediction.shape)} and {tuple(target.shape)}"
            )
        num_classes = len(self.classes)
        prediction, target = self._checked(prediction, "prediction"), self._checked(target, "target")
        target = target.to(prediction.device)
        # Void truth goes to a row behind the last, which is cut off.
        cells = target.clamp_(max=num_classes).mul_(num_classes + 1).add_(prediction.clamp_(max=num_classes))
        histogram = torch.bincount(cells.flatten(), minlength=(num_classes + 1) ** 2)
        self._confusion += histogram.view(num_classes + 1, -1)[:num_classes].cpu()

    def _checked(self, classes: torch.Tensor, name: str) -> torch.Tensor:
        if classes.is_floating_point() or classes.is_complex() or classes.dtype == torch.bool:
            raise ValueError(f"{name} must hold integers, got {classes.dtype}")
        classes = classes.to(torch.int64, copy=True)
        wrong = (classes < 0) | ((classes >= len(self.classes)) & (classes != IGNORE_LABEL))
        if wrong.any():
            raise ValueError(
                f"{name} must hold classes 0..{len(self.classes) - 1} or {IGNORE_LABEL}, "
                f"got {classes[wrong][0]}"
            )
        return classes

    def merge(self, other: Self) -> None:
        """Add the images of another accumulator.

        Raises:
            ValueError: it counts other classes.
        """
        if other.classes != self.classes:
            raise ValueError(
                f"other must count the classes of {self.classes.name!r}, got {other.classes.name!r}"
            )
        self._confusion += other._confusion

    def result(self) -> dict[str, Any]:
        """mIoU and the IoU of each class, as fractions.

        Returns:
            {"miou": mean over the classes that have a true or a predicted pixel (0.0 if none has), "n": how
            many these are, "per_class": {str(class id): IoU, None for a class without a pixel}}.
        """
        counts = self._confusion.double()
        both = counts.diagonal()
        union = counts.sum(1) + counts[:, :-1].sum(0) - both
        iou = (both / union).tolist()
        seen = [i for i in range(len(iou)) if union[i] > 0]
        return {
            "miou": sum(iou[i] for i in seen) / max(len(seen), 1),
            "n": len(seen),
            "per_class": {str(i): iou[i] if union[i] > 0 else None for i in range(len(iou))},
        }
