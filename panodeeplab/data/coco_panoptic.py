"""COCO panoptic files: one PNG of segment ids per image, and one JSON that says what each segment is.

Format: https://cocodataset.org/#format-data, "Panoptic Segmentation"; read and scored by panopticapi.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from panodeeplab.classes import COCO, ClassTable
from panodeeplab.data.class_table import class_color
from panodeeplab.data.png import decode_rgb_png
from panodeeplab.data.sample import Segment
from panodeeplab.files import replacing

MAX_SEGMENT_ID = 2**24 - 1  # three bytes of an RGB pixel


def rgb2id(rgb: np.ndarray) -> np.ndarray:
    """Segment ids of an RGB picture: R + 256 G + 65536 B.

    Args:
        rgb: (H, W, 3) uint8, channels in RGB order (cv2 reads BGR).

    Returns:
        (H, W) int32 ids, 0 to 2**24 - 1.

    Raises:
        ValueError: another shape or dtype.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise ValueError(f"rgb must be (H, W, 3) uint8, got {rgb.shape} {rgb.dtype}")
    ids = rgb[..., 2].astype(np.int32)
    for channel in (1, 0):
        ids <<= 8
        ids |= rgb[..., channel]
    return ids


def id2rgb(ids: np.ndarray) -> np.ndarray:
    """RGB picture of segment ids: R = id % 256, G = id // 256 % 256, B = id // 65536.

    Args:
        ids: (H, W) integers, 0 to 2**24 - 1.

    Returns:
        (H, W, 3) uint8, channels in RGB order.

    Raises:
        ValueError: not two axes, not integers, or an id that three bytes cannot hold.
    """
    if ids.ndim != 2 or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"ids must be (H, W) integers, got {ids.shape} {ids.dtype}")
    if ids.size and (ids.min() < 0 or ids.max() > MAX_SEGMENT_ID):
        raise ValueError(f"ids must lie in 0..{MAX_SEGMENT_ID}, got {ids.min()}..{ids.max()}")
    little_endian = np.ascontiguousarray(ids, dtype="<i4")
    return np.ascontiguousarray(little_endian.view(np.uint8).reshape(*ids.shape, 4)[..., :3])


def read_panoptic_png(path: str | Path) -> np.ndarray:
    """Read the segment ids of a COCO panoptic PNG.

    Args:
        path: an RGB or RGBA PNG of 8 bits a channel. A gray picture holds no ids and is refused.

    Returns:
        (H, W) int32 segment ids; 0 is void.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a picture, or not of that kind.
    """
    ids = cv2.cvtColor(read_panoptic_rgb(path), cv2.COLOR_RGB2RGBA).view("<i4")[..., 0]
    ids &= MAX_SEGMENT_ID  # alpha says nothing; in place: one pass, not the five of `rgb2id`
    return ids.astype(np.int32, copy=False)


def read_panoptic_rgb(path: str | Path) -> np.ndarray:
    """Read a COCO panoptic PNG as the picture that it is, for those who can count its colors.

    Args:
        path: as `read_panoptic_png` takes it.

    Returns:
        (H, W, 3) uint8, RGB; `rgb2id` gives the segment ids.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a picture, or not of that kind.
    """
    try:
        encoded = np.fromfile(path, dtype=np.uint8)
    except FileNotFoundError:
        raise FileNotFoundError(f"no panoptic PNG at {path}") from None
    rgb = decode_rgb_png(encoded)
    if rgb is not None:
        return rgb
    bgr = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED) if encoded.size else None
    if bgr is None:
        raise ValueError(f"{path} is not a readable picture")
    if bgr.dtype != np.uint8 or bgr.ndim != 3:
        channels = 1 if bgr.ndim == 2 else bgr.shape[2]
        raise ValueError(
            f"{path} must be an RGB PNG with 8 bits a channel, got {channels} channel(s) of {bgr.dtype}"
        )
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB if bgr.shape[2] == 3 else cv2.COLOR_BGRA2RGB)


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


def load_panoptic_json(path: str | Path, *, prediction: bool = False) -> dict[str, Any]:
    """Load and check a COCO panoptic JSON.

    Segments of a ground truth need `id`, `category_id` and `iscrowd`; those of a prediction only the first
    two, and its `categories` may be missing (they are the ground truth's). Ids are integers; `image_id` may
    be text.

    Args:
        path: of the JSON.
        prediction: accept what systems write as results.

    Returns:
        The content, unchanged.

    Raises:
        FileNotFoundError: no such file.
        ValueError: names the file, the image and the segment that break the format.
    """
    try:
        content = json.loads(Path(path).read_bytes())
    except FileNotFoundError:
        raise FileNotFoundError(f"no panoptic JSON at {path}") from None
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(
            f"{path} must hold an object with 'annotations' and 'categories', got a {type(content).__name__}"
        )
    # A result has the categories of its ground truth, whatever it says itself.
    categories = None if prediction else _check_categories(path, content)
    _check_annotations(path, content, categories)
    return content


def _check_categories(path: str | Path, content: dict) -> set[int]:
    if "categories" not in content:
        raise ValueError(f"{path} has no 'categories' (a list of {{'id', 'name', 'isthing'}})")
    seen: set[int] = set()
    for position, category in enumerate(_list_of_objects(path, content["categories"], "categories")):
        where = f"{path}: categories[{position}]"
        category_id = _integer(category, "id", where)
        if category_id in seen:
            raise ValueError(f"{where} repeats id {category_id}")
        seen.add(category_id)
        if category.get("isthing") not in (0, 1):
            raise ValueError(
                f"{where} (id {category_id}) needs 'isthing' 0 or 1, got {category.get('isthing')!r}"
            )
        if not isinstance(category.get("name"), str):
            raise ValueError(f"{where} (id {category_id}) needs 'name' as text, got {category.get('name')!r}")
    return seen


def _check_annotations(path: str | Path, content: dict, categories: set[int] | None) -> None:
    if "annotations" not in content:
        raise ValueError(f"{path} has no 'annotations' (a list with one entry per image)")
    seen: set[int | str] = set()
    for position, annotation in enumerate(_list_of_objects(path, content["annotations"], "annotations")):
        image_id = annotation.get("image_id")
        where = f"{path}: annotations[{position}] (image {image_id!r})"
        if not isinstance(image_id, int | str) or isinstance(image_id, bool):
            raise ValueError(f"{where} needs 'image_id', an integer or text")
        if image_id in seen:
            raise ValueError(f"{where} repeats the image of an earlier entry")
        seen.add(image_id)
        if not isinstance(annotation.get("file_name"), str):
            raise ValueError(f"{where} needs 'file_name', the name of its PNG")
        if "segments_info" not in annotation:
            raise ValueError(f"{where} has no 'segments_info'")
        segments = _list_of_objects(where, annotation["segments_info"], "segments_info")
        _check_segments(where, segments, categories)


def _check_segments(where: str, segments: list[dict], categories: set[int] | None) -> None:
    prediction = categories is None
    seen: set[int] = set()
    for position, segment in enumerate(segments):
        here = f"{where}: segments_info[{position}]"
        segment_id = _integer(segment, "id", here)
        here += f" (id {segment_id})"
        if segment_id in seen:
            raise ValueError(f"{here} repeats the id of an earlier segment of the image")
        seen.add(segment_id)
        # Some systems write class 0 as id 0, and panopticapi scores it; in a ground truth 0 is void.
        if not (0 if prediction else 1) <= segment_id <= MAX_SEGMENT_ID:
            raise ValueError(f"{here} must have an id in 1..{MAX_SEGMENT_ID}; 0 is void")
        category_id = _integer(segment, "category_id", here)
        if prediction:
            continue
        if category_id not in categories:
            raise ValueError(f"{here} has category_id {category_id}, which 'categories' does not list")
        if segment.get("iscrowd") not in (0, 1):
            raise ValueError(f"{here} needs 'iscrowd' 0 or 1, got {segment.get('iscrowd')!r}")


def _list_of_objects(where: str | Path, value: object, name: str) -> list[dict]:
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise ValueError(f"{where}: '{name}' must be a list of objects")
    return value


def _integer(entry: dict, key: str, where: str) -> int:
    value = entry.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{where} needs '{key}', an integer, got {value!r}")
    return value


def coco_categories(classes: ClassTable) -> list[dict[str, Any]]:
    """The `categories` of a COCO panoptic JSON; `id` is the data set's own label id."""
    things = set(classes.thing_ids)
    return [
        {"id": label_id, "name": name, "isthing": int(index in things), "color": list(color)}
        for index, (label_id, name, color) in enumerate(
            zip(classes.label_ids, classes.names, classes.colors, strict=True)
        )
    ]


def classes_of_categories(categories: Sequence[Mapping[str, Any]]) -> ClassTable:
    """The class table of the `categories` of a COCO panoptic JSON, as `load_panoptic_json` checked them.

    Contiguous ids follow the order of the category ids, whatever the order of the list, as in Detectron2 and
    bowenc0221 for COCO. A category without "color" is given one. COCO's own 133 categories give `COCO`.
    """
    ordered = sorted(categories, key=lambda category: category["id"])
    colors = [
        tuple(category["color"]) if _is_color(category.get("color")) else class_color(index)
        for index, category in enumerate(ordered)
    ]
    table = ClassTable(
        name="coco_panoptic",
        names=tuple(category["name"] for category in ordered),
        colors=tuple(colors),
        thing_ids=tuple(i for i, category in enumerate(ordered) if category["isthing"]),
        label_ids=tuple(category["id"] for category in ordered),
    )
    same = all(getattr(table, key) == getattr(COCO, key) for key in ("names", "thing_ids", "label_ids"))
    return COCO if same else table


def _is_color(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(isinstance(v, int) and 0 <= v <= 255 for v in value)
    )


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
    ends by an
    exception: it then lists what was done. Scoring finds the folder from the JSON's name.

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
