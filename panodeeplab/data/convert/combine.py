"""A semantic map and instances become one panoptic map."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from panodeeplab.classes import ClassTable
from panodeeplab.data.class_table import LabelTable
from panodeeplab.data.image import decode
from panodeeplab.data.sample import Segment

# Of the unknown values of one file, how many are named.
_NAMED_VALUES = 5


def read_gray(path: Path) -> np.ndarray:
    """Read a label file: (H, W) uint8 or uint16, of a palette the indices.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, or has several channels; the message names it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    pixels = decode(path, cv2.IMREAD_UNCHANGED)
    if pixels.ndim == 3:
        # OpenCV turns the indices of a palette, which label files like to have, into its colors.
        with Image.open(path) as picture:
            if picture.mode == "P":
                pixels = np.asarray(picture)
    if pixels.ndim != 2 or pixels.dtype not in (np.uint8, np.uint16):
        channels = 1 if pixels.ndim == 2 else pixels.shape[2]
        raise ValueError(
            f"{path} must be gray, with 8 or 16 bits, or have a palette; got {channels} channel(s) of "
            f"{pixels.dtype}"
        )
    return pixels


def read_semantic(path: Path, labels: LabelTable) -> np.ndarray:
    """Read a semantic map of label ids: (H, W) int32 contiguous class ids, -1 for void.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a label file, or a value that the table does not have; the message names both.
    """
    raw = read_gray(path)
    unknown, void = -2, -1
    table = np.full(1 << 16, unknown, np.int32)
    table[[0, *(i for i in labels.ignore if i < 1 << 16)]] = void
    for index, label_id in enumerate(labels.classes.label_ids):
        if label_id < 1 << 16:
            table[label_id] = index
    semantic = table[raw]
    if (semantic == unknown).any():
        values, pixels = np.unique(raw[semantic == unknown], return_counts=True)
        found = [f"{value} on {count} pixels" for value, count in zip(values, pixels, strict=True)]
        named = ", ".join(found[:_NAMED_VALUES])
        more = f" and {values.size - _NAMED_VALUES} more" if values.size > _NAMED_VALUES else ""
        raise ValueError(
            f"{path} holds {named}{more}, which the class table does not have; list it under 'classes', or "
            "under 'ignore' if it is void"
        )
    return semantic


def stack_masks(
    masks: Sequence[np.ndarray], shape: tuple[int, int], below: Collection[int] = ()
) -> np.ndarray:
    """One map of masks that may overlap: where they do, the smaller one is on top.

    Args:
        masks: (H, W) bool each.
        shape: (H, W).
        below: indices of masks that lie under all others, such as crowd regions.

    Returns:
        (H, W) int32, index of the mask + 1, 0 where there is none.
    """
    stacked = np.zeros(shape, np.int32)
    for index in sorted(range(len(masks)), key=lambda i: (i not in below, -int(masks[i].sum()))):
        stacked[masks[index]] = index + 1
    return stacked


def combine(
    semantic: np.ndarray,
    instances: np.ndarray,
    categories: Mapping[int, int],
    classes: ClassTable,
    crowds: Collection[int] = (),
) -> tuple[np.ndarray, list[Segment]]:
    """One panoptic map of a semantic map and of instances, which lie on top of it.

    Pixels of a countable class without an instance are a crowd region: there are objects that were not told
    apart. Segments are numbered from 1, first those of the semantic map by class, then the instances.

    Args:
        semantic: (H, W) int32 contiguous class ids, -1 for void.
        instances: (H, W) integer, 0 where there is none.
        categories: contiguous class id of every value of `instances`.
        classes: of both.
        crowds: values of `instances` that are crowd regions.

    Returns:
        (H, W) int32 segment ids, 0 void, and the segments that have a pixel.

    Raises:
        ValueError: the two maps differ in shape.
    """
    if semantic.shape != instances.shape:
        raise ValueError(
            f"semantic is {semantic.shape[0]} x {semantic.shape[1]} pixels (H x W), instances "
            f"{instances.shape[0]} x {instances.shape[1]}"
        )
    area_class, single = semantic.copy(), instances.copy()
    for value in crowds:
        area_class[instances == value] = categories[value]
        single[instances == value] = 0
    area_class[single > 0] = -1
    ids = np.zeros(semantic.shape, np.int32)
    segments: list[Segment] = []
    for category in np.unique(area_class[area_class >= 0]).tolist():
        segments.append(
            Segment(id=len(segments) + 1, category_id=category, iscrowd=int(category in classes.thing_ids))
        )
        ids[area_class == category] = len(segments)
    values, inverse = np.unique(single, return_inverse=True)
    numbers = np.zeros(values.size, np.int32)
    for position, value in enumerate(values.tolist()):
        if value:
            segments.append(Segment(id=len(segments) + 1, category_id=categories[value], iscrowd=0))
            numbers[position] = len(segments)
    return np.where(single > 0, numbers[inverse.reshape(single.shape)], ids), segments
