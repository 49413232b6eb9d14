"""All scores of a model on a data set."""

from collections.abc import Callable, Iterator
from typing import Any, Literal

import cv2
import numpy as np
from torch.utils.data import DataLoader
from tqdm import tqdm

from panodeeplab.classes import CITYSCAPES, ClassTable
from panodeeplab.data.sample import PanopticDataset, Sample
from panodeeplab.evaluation.coco_ap import CocoMaskAP
from panodeeplab.evaluation.instance_ap import InstanceAP
from panodeeplab.evaluation.panoptic_quality import PanopticQuality
from panodeeplab.evaluation.semantic import (
    CITYSCAPES_CATEGORIES,
    CITYSCAPES_INSTANCE_SIZES,
    IGNORE_LABEL,
    SemanticIoU,
)
from panodeeplab.postprocess import VOID_LABEL, PanopticResult


class Scores:
    """All scores of a set of images: PQ, mIoU and, if asked for, AP.

    Args:
        classes: of truth and predictions.
        label_divisor: of the predicted ids.
        ap: which benchmark's AP of instances to count, if any; "coco" needs the extra `coco`.

    Raises:
        ValueError: another `ap`.
        ModuleNotFoundError: `ap` is "coco", and the extra is not installed.
    """

    def __init__(
        self,
        classes: ClassTable,
        *,
        label_divisor: int = 1000,
        ap: Literal["cityscapes", "coco"] | None = None,
    ) -> None:
        if ap not in (None, "cityscapes", "coco"):
            raise ValueError(f"ap must be 'cityscapes', 'coco' or None, got {ap!r}")
        self._quality = PanopticQuality(classes, label_divisor=label_divisor, void_label=VOID_LABEL)
        official = classes.label_ids == CITYSCAPES.label_ids
        self._semantic = SemanticIoU(
            classes,
            instance_sizes=CITYSCAPES_INSTANCE_SIZES if official else None,
            categories=CITYSCAPES_CATEGORIES if official else None,
        )
        self._instances = None
        if ap is not None:
            kind = InstanceAP if ap == "cityscapes" else CocoMaskAP
            self._instances = kind(classes, label_divisor=label_divisor)

    def update(self, result: PanopticResult, sample: Sample) -> None:
        """Add one image.

        Raises:
            ValueError: the prediction does not fit the image.
        """
        truth = (sample.panoptic, sample.segments_info)
        self._quality.update(result.panoptic, *truth)
        seen = result.semantic if result.class_map is None else result.class_map
        self._semantic.update_segments(np.where(seen < 0, np.int32(IGNORE_LABEL), seen), *truth)
        if self._instances is not None:
            scores = {segment.id: segment.score for segment in result.segments}
            self._instances.update(result.panoptic, *truth, scores)

    def merge(self, other: "Scores") -> None:
        """Add the images of another accumulator without AP.

        Merging the scores of single images in order gives what `update` with these images in that order
        gives, to the last bit.
        """
        self._quality.merge(other._quality)
        self._semantic.merge(other._semantic)

    def result(self) -> dict[str, Any]:
        """What `evaluate` returns."""
        scores = self._quality.result() | {"semantic": self._semantic.result()}
        return scores if self._instances is None else scores | {"instances": self._instances.result()}


def evaluate(
    predict: Callable[[np.ndarray], PanopticResult],
    dataset: PanopticDataset,
    *,
    label_divisor: int = 1000,
    ap: Literal["cityscapes", "coco"] | None = None,
    workers: int = 0,
    write: Callable[[str, PanopticResult], None] | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Score predictions against the ground truth at its own resolution.

    Images are read, predicted, scored and forgotten one after the other: memory does not grow with their
    number, but for the scores of instances that AP sorts in the end.

    mIoU is that of the results' `class_map`, as benchmarks have it; of results without one, that of the
    classes of their panoptic map, where stuff that was dropped as too small counts as missed. For Cityscapes'
    classes there is iIoU too, and both of its categories.

    Args:
        predict: from an (H, W, 3) uint8 RGB image to its result, such as a `Predictor`.
        dataset: images with ground truth.
        label_divisor: of the predicted ids.
        ap: which benchmark's AP of instances to count, if any; "coco" needs the extra `coco`.
        workers: processes that read images ahead; 0: the calling process does.
        write: called with each image's name and result, to keep it.
        progress: show a progress bar.

    Returns:
        What `PanopticQuality.result` gives, with "semantic" beside it, `SemanticIoU.result`, and with `ap`
        "instances", the result of `InstanceAP` or `CocoMaskAP`.

    Raises:
        ValueError: an argument is wrong, or a prediction does not fit its image.
        ModuleNotFoundError: `ap` is "coco", and the extra is not installed.
    """
    if workers < 0:
        raise ValueError(f"workers must be at least 0, got {workers}")
    scores = Scores(dataset.classes, label_divisor=label_divisor, ap=ap)
    samples = _samples(dataset, workers)
    for sample in tqdm(
        samples, desc="evaluate", total=len(dataset), unit="image", leave=False, disable=not progress
    ):
        result = predict(sample.image)
        scores.update(result, sample)
        if write is not None:
            write(sample.image_id, result)
    return scores.result()


def _samples(dataset: PanopticDataset, workers: int) -> Iterator[Sample]:
    """The samples in order; the workers end with the iterator."""
    if workers == 0:
        return (dataset[i] for i in range(len(dataset)))
    return iter(
        DataLoader(
            dataset,
            batch_size=None,
            num_workers=workers,
            collate_fn=_unchanged,
            worker_init_fn=_start_worker,
        )
    )


def _unchanged(sample: Sample) -> Sample:
    return sample


def _start_worker(worker: int) -> None:
    # One thread a worker: the workers are the parallelism, and OpenCV's own pool does not survive a fork.
    cv2.setNumThreads(0)
