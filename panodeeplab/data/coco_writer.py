"""Writing COCO panoptic files, of predictions and of ground truth."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from panodeeplab.classes import ClassTable
from panodeeplab.data.coco_panoptic import MAX_SEGMENT_ID, id2rgb
from panodeeplab.data.sample import Segment
from panodeeplab.files import replacing


def write_panoptic_png(path: str | Path, ids: np.ndarray) -> None:
    """Write segment ids as a COCO panoptic PNG; the file appears whole or not at all.

    Args:
        path: of the PNG; its folder exists.
        ids: (H, W) integers, 0 (void) to 2**24 - 1.

    Raises:
        ValueError: ids that such a PNG cannot hold.
    """
    _, encoded = cv2.imencode(".png", id2rgb(ids)[..., ::-1])
    with replacing(path) as temporary:
        temporary.write_bytes(encoded)


def coco_categories(classes: ClassTable) -> list[dict[str, Any]]:
    """The `categories` of a COCO panoptic JSON; `id` is the data set's own label id."""
    things = set(classes.thing_ids)
    return [
        {"id": label_id, "name": name, "isthing": int(index in things), "color": list(color)}
        for index, (label_id, name, color) in enumerate(
            zip(classes.label_ids, classes.names, classes.colors, strict=True)
        )
    ]


def truth_to_annotation(
    ids: np.ndarray,
    segments_info: Sequence[Segment],
    classes: ClassTable,
    *,
    image_id: int | str,
    file_name: str,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Turn a ground truth into the ids of its PNG and its JSON annotation; the segments keep their ids.

    Args:
        ids: (H, W) int32 segment ids; a value that `segments_info` does not list is void, and 0 in the file.
        segments_info: id, contiguous category and crowd flag of each segment.
        classes: of the categories.
        image_id: of the image.
        file_name: of the PNG, relative to the folder of PNGs.

    Returns:
        (H, W) int32 ids for `write_panoptic_png`, and the annotation: plain Python numbers, one entry per
        segment that has a pixel, `bbox` as [x, y, width, height] in pixels.

    Raises:
        ValueError: `ids` is of another kind, or an id does not fit into the PNG.
    """
    if ids.ndim != 2 or ids.dtype != np.int32:
        raise ValueError(f"ids must be (H, W) int32, got {ids.shape} {ids.dtype}")
    info = {segment["id"]: segment for segment in segments_info}
    for segment_id in info:
        if not 1 <= segment_id <= MAX_SEGMENT_ID:
            raise ValueError(
                f"segments_info has id {segment_id}, wanted 1..{MAX_SEGMENT_ID}: 0 is void, and three "
                "bytes hold no more"
            )
    ids = np.where(np.isin(ids, list(info)), ids, np.int32(0))
    segments = [
        {
            "id": segment_id,
            "category_id": int(classes.label_ids[info[segment_id]["category_id"]]),
            "area": area,
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "iscrowd": int(info[segment_id]["iscrowd"]),
        }
        for segment_id, area, (y0, x0, y1, x1) in zip(*_measure_segments(ids), strict=True)
    ]
    return ids, {"image_id": image_id, "file_name": file_name, "segments_info": segments}


def segments_to_annotation(
    panoptic: np.ndarray,
    classes: ClassTable,
    *,
    image_id: int | str,
    file_name: str,
    scores: Mapping[int, float] | None = None,
    label_divisor: int = 1000,
    void_label: int = -1,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Turn a predicted panoptic map into the ids of its PNG and its JSON annotation.

    In the file a segment's id is panoptic id + `label_divisor`, that is (category + 1) * label_divisor +
    instance: 0 is void there, and the first stuff class would be 0 otherwise. `category_id` is the data set's
    own label id.

    Args:
        panoptic: (H, W) int32, category * label_divisor + instance, contiguous categories; `void_label`
            elsewhere.
        classes: of the prediction.
        image_id: of the image in the ground truth's JSON.
        file_name: of the PNG, relative to the folder of PNGs.
        scores: panoptic id → score, for the segments that have one.
        label_divisor: of the panoptic ids.
        void_label: of pixels without a segment.

    Returns:
        (H, W) int32 ids for `write_panoptic_png`, and the annotation: plain Python numbers, one entry per
        segment that has a pixel, `bbox` as [x, y, width, height] in pixels.

    Raises:
        ValueError: an id whose category `classes` does not have, or that does not fit into the PNG.
    """
    if panoptic.ndim != 2 or panoptic.dtype != np.int32:
        raise ValueError(f"panoptic must be (H, W) int32, got {panoptic.shape} {panoptic.dtype}")
    largest = len(classes) * label_divisor - 1
    if largest + label_divisor > MAX_SEGMENT_ID:
        raise ValueError(
            f"label_divisor {label_divisor} with {len(classes)} classes makes ids above {MAX_SEGMENT_ID}"
        )
    void = panoptic == void_label
    wrong = panoptic[~void & ((panoptic < 0) | (panoptic > largest))]
    if wrong.size:
        raise ValueError(
            f"panoptic holds {wrong[0]}, which is neither void_label {void_label} nor in 0..{largest} "
            f"({len(classes)} classes, label_divisor {label_divisor})"
        )
    ids = np.where(void, 0, panoptic + label_divisor)
    segment_ids, areas, boxes = _measure_segments(ids)
    segments = []
    for segment_id, area, (y0, x0, y1, x1) in zip(segment_ids, areas, boxes, strict=True):
        segment = {
            "id": segment_id,
            "category_id": int(classes.label_ids[segment_id // label_divisor - 1]),
            "area": area,
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "iscrowd": 0,
        }
        if scores is not None and (score := scores.get(segment_id - label_divisor)) is not None:
            segment["score"] = float(score)
        segments.append(segment)
    return ids, {"image_id": image_id, "file_name": file_name, "segments_info": segments}


def _measure_segments(ids: np.ndarray) -> tuple[list[int], list[int], list[list[int]]]:
    """Nonzero ids in ascending order with their pixel counts and boxes (y0, x0, y1, x1), ends exclusive."""
    height, width = ids.shape
    areas = np.bincount(ids.ravel(), minlength=1)
    areas[0] = 0
    present = np.flatnonzero(areas)
    if present.size == 0:
        return [], [], []
    # One histogram per axis over (segment, coordinate) finds every box without a pass per segment.
    index = np.zeros(areas.size, np.intp)
    index[present] = np.arange(present.size)
    labelled = ids != 0
    y, x = np.nonzero(labelled)
    row = index[ids[labelled]]
    boxes = np.empty((present.size, 4), np.intp)
    for axis, (coordinate, length) in enumerate(((y, height), (x, width))):
        occupied = np.bincount(row * length + coordinate, minlength=present.size * length) > 0
        occupied = occupied.reshape(present.size, length)
        boxes[:, axis] = occupied.argmax(1)
        boxes[:, axis + 2] = length - occupied[:, ::-1].argmax(1)
    return present.tolist(), areas[present].tolist(), boxes.tolist()


class PanopticWriter:
    """Writes COCO panoptic format: `{output_dir}/{name}/*.png` and `{output_dir}/{name}.json`.

    Use it as a context manager. A PNG is written by every `add`, the JSON when the block ends, also when it
    ends by an exception: it then lists what was done. Scoring finds the folder from the JSON's name.

    Args:
        output_dir: made if it does not exist.
        classes: of the maps.
        name: of the JSON and of the folder of PNGs.
        label_divisor: of the panoptic ids.
        void_label: of pixels without a segment.
    """

    def __init__(
        self,
        output_dir: str | Path,
        classes: ClassTable,
        *,
        name: str = "panoptic",
        label_divisor: int = 1000,
        void_label: int = -1,
    ) -> None:
        self.png_dir = Path(output_dir) / name
        self.json_path = Path(output_dir) / f"{name}.json"
        self.classes = classes
        self.label_divisor = label_divisor
        self.void_label = void_label
        self._images: dict[str, dict[str, Any]] = {}
        self._annotations: list[dict[str, Any]] = []
        self.png_dir.mkdir(parents=True, exist_ok=True)

    def add(
        self,
        panoptic: np.ndarray,
        *,
        image_id: int | str,
        image_file: str,
        scores: Mapping[int, float] | None = None,
    ) -> Path:
        """Write the PNG of one predicted map and keep its annotation for the JSON.

        Args:
            panoptic: (H, W) int32 predicted panoptic map, see `segments_to_annotation`.
            image_id: of the image in the ground truth's JSON; names the PNG. A "/" in it makes folders.
            image_file: name of the picture, for the JSON's `images`.
            scores: panoptic id → score.

        Returns:
            The path of the PNG.

        Raises:
            ValueError: an `image_id` that was added before, or a map that the format cannot hold.
        """
        if str(image_id) in self._images:  # the PNG's name
            raise ValueError(f"image_id {image_id!r} was added before")
        ids, annotation = segments_to_annotation(
            panoptic,
            self.classes,
            image_id=image_id,
            file_name=f"{image_id}.png",
            scores=scores,
            label_divisor=self.label_divisor,
            void_label=self.void_label,
        )
        return self._write(ids, annotation, image_file)

    def add_truth(
        self, ids: np.ndarray, segments_info: Sequence[Segment], *, image_id: int | str, image_file: str
    ) -> Path:
        """Write the PNG of one ground truth and keep its annotation for the JSON; segments keep their ids.

        Args:
            ids: (H, W) int32 segment ids, see `truth_to_annotation`.
            segments_info: id, contiguous category and crowd flag of each segment.
            image_id: of the image.
            image_file: name of the picture, for the JSON's `images`; names the PNG.

        Returns:
            The path of the PNG.

        Raises:
            ValueError: an `image_id` that was added before, or a map that the format cannot hold.
        """
        if str(image_id) in self._images:
            raise ValueError(f"image_id {image_id!r} was added before")
        file_name = Path(image_file).with_suffix(".png").as_posix()
        if Path(file_name).is_absolute() or ".." in Path(file_name).parts:
            raise ValueError(f"image_file must be relative to its folder, without '..', got {image_file!r}")
        ids, annotation = truth_to_annotation(
            ids, segments_info, self.classes, image_id=image_id, file_name=file_name
        )
        return self._write(ids, annotation, image_file)

    def _write(self, ids: np.ndarray, annotation: dict[str, Any], image_file: str) -> Path:
        path = self.png_dir / annotation["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_panoptic_png(path, ids)
        height, width = ids.shape
        self._images[str(annotation["image_id"])] = {
            "id": annotation["image_id"],
            "file_name": image_file,
            "height": height,
            "width": width,
        }
        self._annotations.append(annotation)
        return path

    def write_json(self) -> Path:
        """Write the JSON of everything added so far, whole or not at all, and return its path."""
        content = {
            "images": list(self._images.values()),
            "annotations": self._annotations,
            "categories": coco_categories(self.classes),
        }
        with replacing(self.json_path) as temporary:
            temporary.write_text(json.dumps(content))
        return self.json_path

    def __enter__(self) -> "PanopticWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        self.write_json()
