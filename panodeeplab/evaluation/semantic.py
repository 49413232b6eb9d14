"""Semantic quality: intersection over union per class and its mean (mIoU), and Cityscapes' iIoU.

cityscapesScripts, evaluation/evalPixelLevelSemanticLabeling.py; Cordts et al., The Cityscapes Dataset, CVPR
2016, section 4.1.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from panodeeplab.classes import ClassTable
from panodeeplab.data.sample import Segment
from panodeeplab.evaluation.mergeable import Mergeable
from panodeeplab.evaluation.panoptic_quality import as_maps, positions, truth_segments
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

# Cityscapes' categories, by class ids (cityscapesScripts, helpers/labels.py).
CITYSCAPES_CATEGORIES = {
    "flat": (0, 1),
    "construction": (2, 3, 4),
    "object": (5, 6, 7),
    "nature": (8, 9),
    "sky": (10,),
    "human": (11, 12),
    "vehicle": (13, 14, 15, 16, 17, 18),
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
        categories: class ids by name of a category, of which IoU is counted too; Cityscapes' are
            `CITYSCAPES_CATEGORIES`. Classes of one category are not told apart there.

    Raises:
        ValueError: a category without a class, or with one that `classes` has not.
    """

    _settings = ("instance_sizes", "categories")
    _sums = ("_confusion", "_weighted", "_weighted_category")

    def __init__(
        self,
        classes: ClassTable,
        *,
        instance_sizes: Mapping[int, float] | None = None,
        categories: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        self.classes = classes
        self.instance_sizes = None if instance_sizes is None else dict(instance_sizes)
        self.categories = None if categories is None else {k: tuple(v) for k, v in categories.items()}
        self._category_of = np.full(len(classes) + 1, -1)
        for index, (name, members) in enumerate((self.categories or {}).items()):
            if not members or not all(0 <= i < len(classes) for i in members):
                raise ValueError(
                    f"categories: {name!r} must hold classes of 0..{len(classes) - 1}, got {members}"
                )
            self._category_of[list(members)] = index
        # Rows: true class. Columns: predicted class, the last one "none".
        self._confusion = torch.zeros(len(classes), len(classes) + 1, dtype=torch.int64)
        # Pixels of instances times their weight, by class: found, and all.
        self._weighted = np.zeros((2, len(classes)))
        # The same where any class of the right category is right.
        self._weighted_category = np.zeros((2, len(classes)))

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
        prediction, target = as_maps(prediction, target)
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
            same_class = predicted == true_class
            category = self._category_of[np.minimum(predicted, num_classes)]
            same_category = category == self._category_of[true_class]
            for sums, same in ((self._weighted, same_class), (self._weighted_category, same_category)):
                right = np.bincount(segment, counts * same, len(truth.ids))
                for index, mean_area in self.instance_sizes.items():
                    instances = (truth.classes == index) & ~truth.is_crowd & (area > 0)
                    weight = mean_area / area[instances]
                    sums[:, index] += (right[instances] @ weight, area[instances] @ weight)

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
            With `categories` also "category_miou", "category_n" and "per_category", keyed by name; with both,
            "category_iiou", "category_iiou_n" and "iiou_per_category" of categories whose classes all have a
            size.
        """
        counts = self._confusion.double().numpy()
        both = counts.diagonal()
        wrong = counts[:, :-1].sum(0) - both
        classes = {str(i): i for i in range(len(both))}
        miou, n, per_class = _mean_iou(classes, both, counts.sum(1) + wrong)
        result = {"miou": miou, "n": n, "per_class": per_class}
        if self.instance_sizes is not None:
            found, area = self._weighted
            sized = {str(i): i for i in self.instance_sizes}
            iiou, n, per_class = _mean_iou(sized, found, area + wrong)
            result |= {"iiou": iiou, "iiou_n": n, "iiou_per_class": per_class}
        return result if self.categories is None else result | self._of_categories(counts)

    def _of_categories(self, counts: np.ndarray) -> dict[str, Any]:
        members = [list(classes) for classes in self.categories.values()]
        both = np.array([counts[np.ix_(m, m)].sum() for m in members])
        wrong = np.array([counts[:, m].sum() for m in members]) - both
        names = {name: i for i, name in enumerate(self.categories)}
        union = np.array([counts[m].sum() for m in members]) + wrong
        miou, n, per_category = _mean_iou(names, both, union)
        result = {"category_miou": miou, "category_n": n, "per_category": per_category}
        if self.instance_sizes is not None:
            found, area = (np.array([sums[m].sum() for m in members]) for sums in self._weighted_category)
            sized = {k: i for k, i in names.items() if self.instance_sizes.keys() >= set(members[i])}
            iiou, n, per_category = _mean_iou(sized, found, area + wrong)
            result |= {"category_iiou": iiou, "category_iiou_n": n, "iiou_per_category": per_category}
        return result


def _mean_iou(
    rows: Mapping[str, int], both: np.ndarray, union: np.ndarray
) -> tuple[float, int, dict[str, float | None]]:
    iou = {name: float(both[i] / union[i]) if union[i] > 0 else None for name, i in rows.items()}
    seen = [value for value in iou.values() if value is not None]
    return sum(seen) / max(len(seen), 1), len(seen), iou
