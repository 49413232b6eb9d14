"""Reading COCO panoptic files: one PNG of segment ids per image, and one JSON that says what each segment is.

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


def load_coco_json(path: str | Path) -> dict[str, Any]:
    """Load a JSON of any of COCO's kinds; nothing but that it is an object is checked.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not JSON, or no object.
    """
    try:
        content = json.loads(Path(path).read_bytes())
    except FileNotFoundError:
        raise FileNotFoundError(f"no COCO JSON at {path}") from None
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(
            f"{path} must hold an object with 'images' and 'annotations', got a {type(content).__name__}"
        )
    return content


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
    content = load_coco_json(path)
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
