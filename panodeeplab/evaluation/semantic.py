"""Semantic quality: intersection over union per class and its mean (mIoU), and Cityscapes' iIoU.

cityscapesScripts, evaluation/evalPixelLevelSemanticLabeling.py; Cordts et al., The Cityscapes Dataset, CVPR
2016, section 4.1.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from panodeeplab.classes import ClassTable
from panodeeplab.data.sample import Segment
from panodeeplab.evaluation.mergeable import Mergeable
from panodeeplab.evaluation.panoptic_quality import as_map, positions, truth_segments
from panodeeplab.ops import pair_counts

IGNORE_LABEL = 255

# Mean pixels of a Cityscapes instance, by class id, as cityscapesScripts has them.
CITYSCAPES_INSTANCE_SIZES = {
    11: 3462.4756337644,
    12: 3930.4788056518,
    13: 12794.0202738185,
    14: 27855.1264367816,
    15: 35732.1511111111,
    16: 67583.7075812274,
    17: 6298.7200839748,
    18: 4672.3249222261,
}


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


class SemanticIoU(Mergeable):
    """Accumulates the confusion of true and predicted classes over images.

    Pixels whose truth is void do not count. Pixels whose prediction is void count as missed.

    With `instance_sizes` there is iIoU as well: IoU in which every true instance counts as much as one of
    mean size, so that near ones do not hide far ones.

    Args:
        classes: contiguous ids of both maps.
        instance_sizes: mean pixels of an instance of each thing, by class id; Cityscapes' are
            `CITYSCAPES_INSTANCE_SIZES`.
    """

    _settings = ("instance_sizes",)
    _sums = ("_confusion", "_weighted")

    def __init__(self, classes: ClassTable, *, instance_sizes: Mapping[int, float] | None = None) -> None:
        self.classes = classes
        self.instance_sizes = None if instance_sizes is None else dict(instance_sizes)
        # Rows: true class. Columns: predicted class, the last one "none".
        self._confusion = torch.zeros(len(classes), len(classes) + 1, dtype=torch.int64)
        # Pixels of instances times their weight, by class: found, and all.
        self._weighted = np.zeros((2, len(classes)))

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

    def update_segments(
        self,
        prediction: torch.Tensor | np.ndarray,
        target: torch.Tensor | np.ndarray,
        segments_info: Sequence[Segment],
    ) -> None:
        """Add one image whose truth is a panoptic map, as iIoU needs it; nothing is added if it raises.

        Args:
            prediction: (H, W) int32 classes, `IGNORE_LABEL` where there is none.
            target: (H, W) int32 ids of true segments. A pixel whose id `segments_info` does not list is void.
            segments_info: of the target. Crowd regions count for IoU, and for iIoU hold no instance.

        Raises:
            ValueError: maps that are not (H, W) int32 of one shape, a predicted class outside the table, or a
                segment that `PanopticQuality.update` refuses.
        """
        prediction, target = as_map(prediction, "prediction"), as_map(target, "target")
        if prediction.shape != target.shape:
            raise ValueError(
                "prediction and target must have one shape, "
                f"got {tuple(prediction.shape)} and {tuple(target.shape)}"
            )
        num_classes = len(self.classes)
        truth = truth_segments(segments_info, num_classes)
        pairs, counts = (result.numpy() for result in pair_counts(target, prediction))
        predicted = self._checked(torch.from_numpy(pairs[:, 1]), "prediction").numpy()
        segment = positions(truth.ids, pairs[:, 0])
        known = segment < len(truth.ids)
        segment, predicted, counts = segment[known], predicted[known], counts[known]
        true_class = truth.classes[segment]
        cells = true_class * (num_classes + 1) + np.minimum(predicted, num_classes)
        # Sums of pixel counts are exact in float64.
        confusion = np.bincount(cells, counts, num_classes * (num_classes + 1)).astype(np.int64)
        self._confusion += torch.from_numpy(confusion).view(num_classes, -1)
        if self.instance_sizes is not None:
            area = np.bincount(segment, counts, len(truth.ids))
            right = np.bincount(segment, counts * (predicted == true_class), len(truth.ids))
            for category, mean_area in self.instance_sizes.items():
                instances = (truth.classes == category) & ~truth.is_crowd & (area > 0)
                weight = mean_area / area[instances]
                self._weighted[:, category] += (right[instances] @ weight, area[instances] @ weight)

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

    def result(self) -> dict[str, Any]:
        """mIoU and the IoU of each class, as fractions.

        Returns:
            {"miou": mean over the classes that have a true or a predicted pixel (0.0 if none has), "n": how
            many these are, "per_class": {str(class id): IoU, None for a class without a pixel}}. With
            `instance_sizes` also "iiou", "iiou_n" and "iiou_per_class", the same for iIoU of its classes.
        """
        counts = self._confusion.double().numpy()
        both = counts.diagonal()
        wrong = counts[:, :-1].sum(0) - both
        miou, n, per_class = _mean_iou(range(len(both)), both, counts.sum(1) + wrong)
        result = {"miou": miou, "n": n, "per_class": per_class}
        if self.instance_sizes is not None:
            found, area = self._weighted
            iiou, n, per_class = _mean_iou(self.instance_sizes, found, area + wrong)
            result |= {"iiou": iiou, "iiou_n": n, "iiou_per_class": per_class}
        return result


def _mean_iou(
    classes: Iterable[int], both: np.ndarray, union: np.ndarray
) -> tuple[float, int, dict[str, float | None]]:
    iou = {str(i): float(both[i] / union[i]) if union[i] > 0 else None for i in classes}
    seen = [value for value in iou.values() if value is not None]
    return sum(seen) / max(len(seen), 1), len(seen), iou
