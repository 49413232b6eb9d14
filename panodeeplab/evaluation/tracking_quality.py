"""How well instance ids hold over a video: segmentation and tracking quality, and switches."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from panodeeplab.classes import ClassTable
from panodeeplab.data.sample import Segment
from panodeeplab.ops import pair_counts


@dataclass(frozen=True)
class TrackingScores:
    """Of one or more videos.

    Attributes:
        stq: sqrt(association * segmentation), 0..1.
        association: AQ, how well tubes of predicted ids cover the objects, over all their pixels, 0..1.
        segmentation: SQ, mean intersection over union of the classes, 0..1.
        switches: how often an object that is matched (intersection over union above 0.5) has another id than
            when it was matched last.
        objects: in the ground truth.
        matches: matched objects, summed over frames.
    """

    stq: float
    association: float
    segmentation: float
    switches: int
    objects: int
    matches: int


class TrackingQuality:
    """Collects frames in order; `scores` at any time.

    An object is all pixels of one id of the ground truth, a tube all pixels of one predicted id, so that a
    change of class ends a tube. Pixels that are void or a crowd in the ground truth are left out.

    Args:
        classes: of both.
        label_divisor: of predicted ids.

    Source: Weber et al., STEP: Segmenting and Tracking Every Pixel (NeurIPS 2021), section 5. Switches as in
        Voigtlaender et al., MOTS (CVPR 2019).
    """

    def __init__(self, classes: ClassTable, *, label_divisor: int = 1000) -> None:
        self._classes, self._label_divisor = classes, label_divisor
        self._confusion = np.zeros((len(classes), len(classes) + 1), np.int64)  # last column: void
        self._shared: dict[tuple[int, int, int], int] = defaultdict(int)
        self._object_area: dict[tuple[int, int], int] = defaultdict(int)
        self._tube_area: dict[tuple[int, int], int] = defaultdict(int)
        self._last_id: dict[tuple[int, int], int] = {}
        self._switches = self._matches = self._video = 0

    def next_video(self) -> None:
        """What follows is another video: its ids have nothing to do with those before."""
        self._video += 1

    def add(self, truth: np.ndarray, truth_segments: Sequence[Segment], panoptic: np.ndarray) -> None:
        """Count a frame.

        Args:
            truth: (H, W) integer, segment ids that stay with their objects; 0 is void.
            truth_segments: id, contiguous category and crowd flag of each.
            panoptic: (H, W) integer, the prediction, `category * label_divisor + instance`; negative is void.

        Raises:
            ValueError: maps of different shapes.
        """
        segments = {info["id"]: info for info in truth_segments if not info["iscrowd"] and info["id"] > 0}
        things = frozenset(self._classes.thing_ids)
        pairs, counts = pair_counts(
            torch.from_numpy(np.ascontiguousarray(truth, np.int32)),
            torch.from_numpy(np.ascontiguousarray(panoptic, np.int32)),
        )
        here: dict[tuple[int, int], int] = {}
        object_here, tube_here = defaultdict(int), defaultdict(int)
        for (true_id, found_id), count in zip(pairs.tolist(), counts.tolist(), strict=True):
            info = segments.get(true_id)
            if info is None:
                continue
            known = 0 <= found_id < len(self._classes) * self._label_divisor
            category = found_id // self._label_divisor if known else len(self._classes)
            self._confusion[info["category_id"], category] += count
            is_object, is_tube = info["category_id"] in things, category in things
            if is_object:
                object_here[true_id] += count
            if is_tube:
                tube_here[found_id] += count
            if is_object and is_tube:
                here[true_id, found_id] = count
        for true_id, area in object_here.items():
            self._object_area[self._video, true_id] += area
        for found_id, area in tube_here.items():
            self._tube_area[self._video, found_id] += area
        for (true_id, found_id), shared in here.items():
            self._shared[self._video, true_id, found_id] += shared
            # Above a half there is only one for each object.
            if 2 * shared > object_here[true_id] + tube_here[found_id] - shared:
                self._matches += 1
                last = self._last_id.setdefault((self._video, true_id), found_id)
                self._switches += last != found_id
                self._last_id[self._video, true_id] = found_id

    def scores(self) -> TrackingScores:
        """Of all frames so far; NaN where there is nothing to score."""
        qualities = dict.fromkeys(self._object_area, 0.0)
        for (video, true_id, found_id), shared in self._shared.items():
            object_area = self._object_area[video, true_id]
            union = object_area + self._tube_area[video, found_id] - shared
            qualities[video, true_id] += shared * (shared / union) / object_area
        association = sum(qualities.values()) / len(qualities) if qualities else math.nan
        hits = np.diag(self._confusion).astype(float)
        unions = self._confusion.sum(1) + self._confusion.sum(0)[:-1] - hits
        occurs = unions > 0
        segmentation = float((hits[occurs] / unions[occurs]).mean()) if occurs.any() else math.nan
        return TrackingScores(
            stq=math.sqrt(association * segmentation),
            association=association,
            segmentation=segmentation,
            switches=self._switches,
            objects=len(qualities),
            matches=self._matches,
        )
