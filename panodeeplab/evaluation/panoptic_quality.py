"""Panoptic quality (PQ): how well segments are found and how well they fit, counted as panopticapi does.

PQ = sum of IoU over matches / (TP + FP / 2 + FN / 2), per class, then averaged over classes.
Kirillov et al., Panoptic Segmentation, CVPR 2019, section 4. Void and crowd: panopticapi, evaluation.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import torch

from panodeeplab.classes import ClassTable
from panodeeplab.data.sample import Segment
from panodeeplab.evaluation.mergeable import Mergeable
from panodeeplab.ops import pair_counts


class TruthSegments(NamedTuple):
    """Segments of a ground truth, in its order. All (T,): ids int64, classes int64, is_crowd bool."""

    ids: np.ndarray
    classes: np.ndarray
    is_crowd: np.ndarray


class PredictedSegments(NamedTuple):
    """Segments of a prediction. Both (P,) int64; every one has at least one pixel."""

    ids: np.ndarray
    classes: np.ndarray


@dataclass
class MatchCounts:
    """What PQ is made of, per class.

    Attributes:
        iou: (C,) float64, sum of the IoU of matched segments.
        tp: (C,) int64, matched segments.
        fp: (C,) int64, predicted segments without a match.
        fn: (C,) int64, ground-truth segments without a match.
    """

    iou: np.ndarray
    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray

    @classmethod
    def zeros(cls, num_classes: int) -> Self:
        """Counts of nothing."""
        return cls(np.zeros(num_classes), *(np.zeros(num_classes, np.int64) for _ in range(3)))

    def __iadd__(self, other: Self) -> Self:
        self.iou += other.iou
        self.tp += other.tp
        self.fp += other.fp
        self.fn += other.fn
        return self


def match_segments(
    pairs: np.ndarray,
    counts: np.ndarray,
    truth: TruthSegments,
    prediction: PredictedSegments,
    num_classes: int,
) -> MatchCounts:
    """Match the segments of one image and count matches and misses per class.

    A predicted and a true segment match if their class is the same, the true one is no crowd, and IoU > 0.5,
    where void pixels do not count in the union: no segment can match twice. A prediction without a match is
    no error if more than half of it lies on void and on the crowd region of its class; if the class has
    several crowd regions, on the last one listed, as panopticapi has it. A true segment without a pixel is a
    miss.

    Args:
        pairs: (M, 2) integers, distinct (true id, predicted id). Ids that are not listed are void.
        counts: (M,) integers, pixels with that pair.
        truth: of the image.
        prediction: of the image.
        num_classes: classes lie in 0..num_classes-1.

    Returns:
        The counts of this image.
    """
    num_true, num_predicted = len(truth.ids), len(prediction.ids)
    t = positions(truth.ids, pairs[:, 0])
    p = positions(prediction.ids, pairs[:, 1])
    # Void has the position behind the last segment. Sums of pixel counts are exact in float64.
    true_area = np.bincount(t, counts, num_true + 1)
    predicted_area = np.bincount(p, counts, num_predicted + 1)[:-1]
    on_void = t == num_true
    predicted_on_void = np.bincount(p[on_void], counts[on_void], num_predicted + 1)[:-1]

    both = ~on_void & (p < num_predicted)
    t, p, intersection = t[both], p[both], counts[both]
    true_class, predicted_class, is_crowd = truth.classes[t], prediction.classes[p], truth.is_crowd[t]
    union = true_area[t] + predicted_area[p] - intersection - predicted_on_void[p]
    iou = intersection / union
    match = (true_class == predicted_class) & ~is_crowd & (iou > 0.5)

    missed = ~truth.is_crowd
    missed[t[match]] = False

    crowd_of_class = np.full(num_classes, -1)
    crowd_of_class[truth.classes[truth.is_crowd]] = np.flatnonzero(truth.is_crowd)  # the last one stays
    on_crowd = crowd_of_class[predicted_class] == t
    forgiven = predicted_on_void + np.bincount(p[on_crowd], intersection[on_crowd], num_predicted)
    wrong = forgiven / predicted_area <= 0.5
    wrong[p[match]] = False

    return MatchCounts(
        iou=np.bincount(true_class[match], iou[match], num_classes),
        tp=np.bincount(true_class[match], minlength=num_classes),
        fp=np.bincount(prediction.classes[wrong], minlength=num_classes),
        fn=np.bincount(truth.classes[missed], minlength=num_classes),
    )


def positions(ids: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Index in `ids` of each value, len(ids) where it is not there."""
    if len(ids) == 0:
        return np.zeros(len(values), np.intp)
    order = np.argsort(ids)
    found = order[np.minimum(np.searchsorted(ids, values, sorter=order), len(ids) - 1)]
    return np.where(ids[found] == values, found, len(ids))


def panoptic_quality(counts: MatchCounts, categories: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """PQ, SQ and RQ from match counts: for all classes, things, stuff and each class.

    A class with no true and no predicted segment does not enter a mean; `n` is how many do. With n = 0 the
    means are 0.0. All values are fractions, not percent.

    Args:
        counts: per class.
        categories: one {"id", "isthing", ...} per class, in the same order.

    Returns:
        {"All" | "Things" | "Stuff": {"pq", "sq", "rq", "n"}, "per_class": {str(id): {"pq", "sq", "rq"}},
        "counts": {str(id): {"iou", "tp", "fp", "fn"}}}, plain Python numbers.
    """
    size = counts.tp + 0.5 * counts.fp + 0.5 * counts.fn
    seen = size > 0
    pq = np.divide(counts.iou, size, out=np.zeros_like(size), where=seen)
    sq = np.divide(counts.iou, counts.tp, out=np.zeros_like(size), where=counts.tp > 0)
    rq = np.divide(counts.tp, size, out=np.zeros_like(size), where=seen)
    thing = np.array([category["isthing"] for category in categories], dtype=bool)

    def mean(chosen: np.ndarray) -> dict[str, float | int]:
        n = int(chosen.sum())
        return {
            **{name: float(v[chosen].sum() / max(n, 1)) for name, v in (("pq", pq), ("sq", sq), ("rq", rq))},
            "n": n,
        }

    keys = [str(category["id"]) for category in categories]
    return {
        "All": mean(seen),
        "per_class": {
            key: {"pq": float(pq[i]), "sq": float(sq[i]), "rq": float(rq[i])} for i, key in enumerate(keys)
        },
        "Things": mean(seen & thing),
        "Stuff": mean(seen & ~thing),
        "counts": {
            key: {
                "iou": float(counts.iou[i]),
                "tp": int(counts.tp[i]),
                "fp": int(counts.fp[i]),
                "fn": int(counts.fn[i]),
            }
            for i, key in enumerate(keys)
        },
    }


class PanopticQuality(Mergeable):
    """Accumulates PQ over images whose maps are in memory.

    Classes are contiguous ids here, in predictions, in ground truth and as keys of the result.

    Args:
        classes: of prediction and ground truth.
        label_divisor: a predicted id is class * label_divisor + instance.
        void_label: predicted value of pixels without a segment.
    """

    _settings = ("label_divisor", "void_label")
    _sums = ("_counts",)

    def __init__(self, classes: ClassTable, *, label_divisor: int = 1000, void_label: int = -1) -> None:
        if label_divisor < 1:
            raise ValueError(f"label_divisor must be at least 1, got {label_divisor}")
        self.classes = classes
        self.label_divisor = label_divisor
        self.void_label = void_label
        self._counts = MatchCounts.zeros(len(classes))

    def update(
        self,
        prediction: torch.Tensor | np.ndarray,
        target: torch.Tensor | np.ndarray,
        segments_info: Sequence[Segment],
    ) -> None:
        """Add one image; nothing is added if it raises.

        Args:
            prediction: (H, W) int32, class * label_divisor + instance; `void_label` elsewhere.
            target: (H, W) int32 ids of true segments. A pixel whose id `segments_info` does not list is void.
            segments_info: of the target. An entry with `iscrowd` 1 is a region of many, which nothing must
                match.

        Raises:
            ValueError: maps that are not (H, W) int32 of one shape, a predicted class outside the table, or a
                target segment with id 0, the id of another, an unknown class, or `iscrowd` other than 0 and
                1.
        """
        prediction, target = as_maps(prediction, target)
        truth = truth_segments(segments_info, len(self.classes))
        pairs, counts = (result.numpy() for result in pair_counts(target, prediction))
        self._counts += match_segments(
            pairs, counts, truth, self._predicted_segments(pairs), len(self.classes)
        )

    def _predicted_segments(self, pairs: np.ndarray) -> PredictedSegments:
        ids = np.unique(pairs[:, 1]).astype(np.int64)
        ids = ids[ids != self.void_label]
        classes = ids // self.label_divisor
        wrong = (classes < 0) | (classes >= len(self.classes))
        if wrong.any():
            raise ValueError(
                f"prediction holds {ids[wrong][0]}, which is neither void_label {self.void_label} nor in "
                f"0..{len(self.classes) * self.label_divisor - 1} "
                f"({len(self.classes)} classes, label_divisor {self.label_divisor})"
            )
        return PredictedSegments(ids, classes)

    @property
    def categories(self) -> list[dict[str, Any]]:
        """{"id", "name", "isthing"} of each class, the ids being those of the result."""
        things = set(self.classes.thing_ids)
        return [
            {"id": i, "name": name, "isthing": int(i in things)} for i, name in enumerate(self.classes.names)
        ]

    def result(self) -> dict[str, Any]:
        """PQ, SQ and RQ so far; see `panoptic_quality` for the structure."""
        return panoptic_quality(self._counts, self.categories)


def truth_segments(segments_info: Sequence[Segment], num_classes: int) -> TruthSegments:
    """The segments of a ground truth as arrays.

    Raises:
        ValueError: id 0 or an id twice, a class outside 0..num_classes-1, or `iscrowd` other than 0 and 1.
    """
    table = np.array(
        [(segment["id"], segment["category_id"], segment["iscrowd"]) for segment in segments_info],
        np.int64,
    ).reshape(-1, 3)
    ids, classes, is_crowd = table.T
    if (ids == 0).any():
        raise ValueError("segments_info lists id 0, which is void")
    unique, repeats = np.unique(ids, return_counts=True)
    if len(unique) != len(ids):
        raise ValueError(f"segments_info lists id {unique[repeats > 1][0]} more than once")
    for name, wrong, wanted in (
        ("category_id", (classes < 0) | (classes >= num_classes), f"0..{num_classes - 1}"),
        ("iscrowd", (is_crowd != 0) & (is_crowd != 1), "0 or 1"),
    ):
        if wrong.any():
            segment = segments_info[int(wrong.argmax())]
            raise ValueError(
                f"segments_info: {name} of id {segment['id']} must be {wanted}, got {segment[name]}"
            )
    return TruthSegments(ids, classes, is_crowd == 1)


def as_maps(
    prediction: torch.Tensor | np.ndarray, target: torch.Tensor | np.ndarray
) -> tuple[torch.Tensor, torch.Tensor]:
    """Two maps as `pair_counts` takes them: on the CPU, contiguous.

    Raises:
        ValueError: not (H, W) int32 of one shape.
    """
    prediction, target = _as_map(prediction, "prediction"), _as_map(target, "target")
    if prediction.shape != target.shape:
        raise ValueError(
            "prediction and target must have one shape, "
            f"got {tuple(prediction.shape)} and {tuple(target.shape)}"
        )
    return prediction, target


def _as_map(values: torch.Tensor | np.ndarray, name: str) -> torch.Tensor:
    if values.ndim != 2 or values.dtype not in (torch.int32, np.int32):
        raise ValueError(f"{name} must be (H, W) int32, got {tuple(values.shape)} {values.dtype}")
    if isinstance(values, np.ndarray):
        # torch takes neither negative strides nor, without a warning, read-only memory.
        plain = values.flags.carray and min(values.strides) > 0
        values = torch.from_numpy(values if plain else values.copy())
    return values.cpu().contiguous()
