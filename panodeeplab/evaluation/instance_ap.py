"""Average precision (AP) of instances, counted as Cityscapes' instance-level benchmark does.

cityscapesScripts, evaluation/evalInstanceLevelSemanticLabeling.py; Cordts et al., The Cityscapes Dataset,
CVPR 2016, section 4.2. It is not COCO's AP: void pixels count in the union, precision is not interpolated,
and there is no limit on the number of predictions.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from panodeeplab.classes import ClassTable
from panodeeplab.data.sample import Segment
from panodeeplab.evaluation.mergeable import Mergeable
from panodeeplab.evaluation.panoptic_quality import TruthSegments, as_maps, positions, truth_segments
from panodeeplab.ops import pair_counts

# IoU that a match must exceed; AP is the mean over all of them, AP50 is that of the first.
OVERLAPS = np.arange(0.5, 1.0, 0.05)
# Smaller instances, in pixels, must not be found.
MIN_AREA = 100
# Ids of an instanceIds file from here on are single objects; below, they are classes.
_FIRST_OBJECT = 1000


class _Found(NamedTuple):
    """Predicted instances of an image, each array (P,)."""

    classes: np.ndarray
    scores: np.ndarray
    iou: np.ndarray  # the largest, with a true segment of the class
    wanted: np.ndarray  # whether that segment had to be found
    ignored: np.ndarray  # fraction of the prediction that nothing is known of


class InstanceAP(Mergeable):
    """Accumulates Cityscapes' AP over images whose maps are in memory.

    It keeps five numbers for each predicted instance, and no map.

    Args:
        classes: of prediction and ground truth; its things have instances.
        label_divisor: a predicted id is class * label_divisor + instance.
        void_label: predicted value of pixels without a segment.
    """

    _settings = ("label_divisor", "void_label")
    _sums = ("_found", "_wanted")

    def __init__(self, classes: ClassTable, *, label_divisor: int = 1000, void_label: int = -1) -> None:
        if label_divisor < 1:
            raise ValueError(f"label_divisor must be at least 1, got {label_divisor}")
        self.classes = classes
        self.label_divisor = label_divisor
        self.void_label = void_label
        self._found: list[_Found] = []
        self._wanted = np.zeros(len(classes), np.int64)

    def update(
        self,
        prediction: torch.Tensor | np.ndarray,
        target: torch.Tensor | np.ndarray,
        segments_info: Sequence[Segment],
        scores: Mapping[int, float],
    ) -> None:
        """Add one image; nothing is added if it raises.

        Args:
            prediction: (H, W) int32, class * label_divisor + instance; `void_label` elsewhere.
            target: (H, W) int32 ids of true segments. Of the ids that `segments_info` does not list, those
                below 1000 are void; others are objects of classes that are not evaluated (Cityscapes'
                caravans and trailers), on which a prediction is wrong.
            segments_info: of the target. Crowd regions must not be found, and finding them is no error.
            scores: of every predicted instance, by its id in `prediction`.

        Raises:
            ValueError: maps that are not (H, W) int32 of one shape, an instance without a score or with one
                that is not finite, or a segment that `PanopticQuality.update` refuses.
        """
        prediction, target = as_maps(prediction, target)
        truth = truth_segments(segments_info, len(self.classes))
        pairs, counts = (result.numpy() for result in pair_counts(target, prediction))
        ids = self._instances(pairs[:, 1])
        missing = [i for i in ids.tolist() if i not in scores]
        if missing:
            raise ValueError(f"scores has none for {missing[0]}, an instance in prediction")
        values = np.array([scores[i] for i in ids.tolist()], np.float64)
        if not np.isfinite(values).all():
            raise ValueError(f"scores must be finite, got {values[~np.isfinite(values)][0]}")
        found, wanted = _match(pairs, counts, truth, ids, values, self.label_divisor)
        self._found.append(found)
        self._wanted += np.bincount(truth.classes[wanted], minlength=len(self.classes))

    def _instances(self, values: np.ndarray) -> np.ndarray:
        ids = np.unique(values).astype(np.int64)
        ids = ids[ids != self.void_label]
        things = np.array(self.classes.thing_ids, np.int64)
        return ids[np.isin(ids // self.label_divisor, things)]

    def result(self) -> dict[str, Any]:
        """AP so far, as fractions.

        Returns:
            {"ap", "ap50": means over the things that have an instance to be found (0.0 if none has), "n": how
            many these are, "per_class": {str(class id): {"ap", "ap50"}, None for a thing without an instance
            to be found}}.
        """
        found = _Found(*(np.concatenate(c) for c in zip(*self._found, strict=True))) if self._found else None
        per_class: dict[str, dict[str, float] | None] = {}
        for c in self.classes.thing_ids:
            if self._wanted[c] == 0:
                per_class[str(c)] = None
                continue
            precision = np.zeros(len(OVERLAPS))
            if found is not None:
                of_class = _Found(*(column[found.classes == c] for column in found))
                precision = _average_precision(of_class, int(self._wanted[c]))
            per_class[str(c)] = {"ap": float(precision.mean()), "ap50": float(precision[0])}
        seen = [row for row in per_class.values() if row is not None]
        means = {key: sum(row[key] for row in seen) / max(len(seen), 1) for key in ("ap", "ap50")}
        return {**means, "n": len(seen), "per_class": per_class}


def _match(
    pairs: np.ndarray,
    counts: np.ndarray,
    truth: TruthSegments,
    ids: np.ndarray,
    scores: np.ndarray,
    label_divisor: int,
) -> tuple[_Found, np.ndarray]:
    """What each predicted instance overlaps, and (T,) which true segments are to be found.

    Instances of one panoptic map do not overlap, so at most one of them exceeds an IoU of 0.5 with a segment.
    """
    num_true, num_predicted = len(truth.ids), len(ids)
    t, p = positions(truth.ids, pairs[:, 0]), positions(ids, pairs[:, 1])
    true_area = np.bincount(t, counts, num_true + 1)[:num_true]
    area = np.bincount(p, counts, num_predicted + 1)[:num_predicted]
    classes = ids // label_divisor
    small = true_area < MIN_AREA
    wanted = ~truth.is_crowd & ~small

    on_void = (t == num_true) & (p < num_predicted) & (pairs[:, 0] < _FIRST_OBJECT)
    forgiven = np.bincount(p[on_void], counts[on_void], num_predicted)
    both = (t < num_true) & (p < num_predicted)
    t, p, intersection = t[both], p[both], counts[both]
    same = truth.classes[t] == classes[p]
    t, p, intersection = t[same], p[same], intersection[same]
    # A small crowd region counts twice: so has the benchmark it.
    times = truth.is_crowd[t].astype(int) + small[t]
    forgiven = forgiven + np.bincount(p, intersection * times, num_predicted)

    overlap = intersection / (true_area[t] + area[p] - intersection)
    iou, hit = np.zeros(num_predicted), np.zeros(num_predicted, bool)
    order = np.argsort(overlap)  # the largest of each prediction is written last
    iou[p[order]], hit[p[order]] = overlap[order], wanted[t[order]]
    return _Found(classes, scores, iou, hit, forgiven / area), wanted


def _average_precision(found: _Found, wanted: int) -> np.ndarray:
    """AP of one class at each of OVERLAPS, given how many instances had to be found."""
    result = np.zeros(len(OVERLAPS))
    for index, least in enumerate(OVERLAPS):
        matched = found.iou > least
        right = matched & found.wanted
        counted = right | (~matched & (found.ignored <= least))
        if not counted.any():
            continue
        scores, true = found.scores[counted], right[counted]
        order = np.argsort(scores, kind="stable")
        # One point of the curve for each score: all predictions from it on.
        _, first = np.unique(scores[order], return_index=True)
        below = np.concatenate(([0], np.cumsum(true[order])))[first]
        tp = true.sum() - below
        precision = np.append(tp / (len(scores) - first), 1.0)
        recall = np.append(tp / wanted, 0.0)
        # Each point stands for half of the way to its neighbours; the ends are their own.
        around = np.concatenate((recall[:1], recall, [0.0]))
        result[index] = precision @ ((around[:-2] - around[2:]) / 2)
    return result
