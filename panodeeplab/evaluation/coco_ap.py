"""COCO's mask AP, counted by hotcoco (`pip install panodeeplab[coco]`), which equals pycocotools."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from panodeeplab.classes import ClassTable
from panodeeplab.data.sample import Segment


class CocoMaskAP:
    """Accumulates COCO's AP of masks over images whose maps are in memory; maps are not kept.

    The truth is the things of the panoptic ground truth. COCO's own instance files, with which published
    numbers were counted, differ from it a little, as their masks may overlap.

    Args:
        classes: of prediction and ground truth; its things have instances.
        label_divisor: a predicted id is class * label_divisor + instance.

    Raises:
        ModuleNotFoundError: hotcoco is not installed; names the extra that brings it.

    Source: https://cocodataset.org/#detection-eval; IoU 0.50 to 0.95 in steps of 0.05, 100 detections in an
        image.
    """

    def __init__(self, classes: ClassTable, *, label_divisor: int = 1000) -> None:
        try:
            import hotcoco
            from hotcoco import mask
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "COCO's mask AP is counted by hotcoco, which is not installed: "
                "pip install 'panodeeplab[coco]'"
            ) from error
        self.classes = classes
        self.label_divisor = label_divisor
        self._encode = mask.encode
        categories = [{"id": i + 1, "name": classes.names[i]} for i in sorted(classes.thing_ids)]
        self._evaluator = hotcoco.StreamingEval(categories, iou_type="segm")
        self._images = 0

    def update(
        self,
        prediction: np.ndarray,
        target: np.ndarray,
        segments_info: Sequence[Segment],
        scores: Mapping[int, float],
    ) -> None:
        """Add one image.

        Args:
            prediction: (H, W) int32, class * label_divisor + instance; void has no class of the table.
            target: (H, W) int32 ids of true segments.
            segments_info: of the target; crowd regions need not be found, and finding them is no error.
            scores: of every predicted instance, by its id in `prediction`.

        Raises:
            ValueError: maps of different shapes, or an instance without a score.
        """
        if prediction.shape != target.shape or prediction.ndim != 2:
            raise ValueError(
                "prediction and target must be (H, W) of one shape, "
                f"got {prediction.shape} and {target.shape}"
            )
        things = set(self.classes.thing_ids)
        found = [i for i in np.unique(prediction).tolist() if i // self.label_divisor in things]
        missing = [i for i in found if i not in scores]
        if missing:
            raise ValueError(f"scores has none for {missing[0]}, an instance in prediction")
        self._images += 1
        truth = [
            self._annotation(target == segment["id"], segment["category_id"])
            | {"iscrowd": segment["iscrowd"]}
            for segment in segments_info
            if segment["category_id"] in things
        ]
        results = [
            self._annotation(prediction == i, i // self.label_divisor) | {"score": float(scores[i])}
            for i in found
        ]
        for number, annotation in enumerate(truth, 1):
            annotation["id"] = number
        height, width = target.shape
        image = {"id": self._images, "height": height, "width": width}
        self._evaluator.update([image], truth, results)

    def _annotation(self, mask: np.ndarray, category: int) -> dict[str, Any]:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = [0, 0, 0, 0]
        if rows.size:
            box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
        return {
            "image_id": self._images,
            "category_id": category + 1,
            "segmentation": self._encode(np.asfortranarray(mask, dtype=np.uint8)),
            "area": int(mask.sum()),
            "bbox": [int(x) for x in box],
        }

    def result(self) -> dict[str, Any]:
        """AP so far, as fractions.

        Returns:
            {"ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large": means over the things that have an
            instance to be found, 0.0 if none has, "per_class": {str(class id): {"ap", "ap50"}, None for a
            thing without an instance to be found}}.
        """
        evaluation = self._evaluator.finalize()
        evaluation.accumulate()
        # (IoU, recall, class, area, number of detections); -1 where there is nothing to be found.
        precision = np.asarray(evaluation.eval["precision"])[..., -1]

        def mean(part: np.ndarray) -> float:
            seen = part[part > -1]
            return float(seen.mean()) if seen.size else 0.0

        per_class = {
            str(c): {"ap": mean(precision[:, :, k, 0]), "ap50": mean(precision[0, :, k, 0])}
            if (precision[:, :, k, 0] > -1).any()
            else None
            for k, c in enumerate(sorted(self.classes.thing_ids))
        }
        return {
            "ap": mean(precision[..., 0]),
            "ap50": mean(precision[0, ..., 0]),
            "ap75": mean(precision[5, ..., 0]),
            "ap_small": mean(precision[..., 1]),
            "ap_medium": mean(precision[..., 2]),
            "ap_large": mean(precision[..., 3]),
            "per_class": per_class,
        }
