"""KITTI-STEP: street videos with the 19 classes of Cityscapes, where only persons and cars are countable.

    images/{train,val}/{sequence}/{frame}.png
    panoptic_maps/{train,val}/{sequence}/{frame}.png     R: class, 255 void; G * 256 + B: instance

An instance of 0 on a countable class is a crowd region. Source: Weber et al., "STEP: Segmenting and Tracking
Every Pixel" (2021), and the guide to KITTI-STEP of deeplab2.
"""

from pathlib import Path

import cv2
import numpy as np

from panodeeplab.classes import CITYSCAPES, ClassTable
from panodeeplab.data.image import decode
from panodeeplab.data.labelled_images import LabelledImage, LabelledImages, find_images
from panodeeplab.data.sample import Segment, distinct_ids

KITTI_STEP = ClassTable(
    name="kitti_step",
    names=CITYSCAPES.names,
    colors=CITYSCAPES.colors,
    thing_ids=(CITYSCAPES.names.index("person"), CITYSCAPES.names.index("car")),
    label_ids=tuple(range(len(CITYSCAPES))),
)
_VOID = 255


def read_panoptic_map(path: Path) -> tuple[np.ndarray, list[Segment]]:
    """Read a panoptic map: (H, W) int32 segment ids, `(class + 1) * 65536 + instance`, and the segments.

    Raises:
        ValueError: the file is damaged, not an RGB PNG of 8 bits a channel, or holds an unknown class.
        OSError: the file cannot be opened.
    """
    bgr = decode(path, cv2.IMREAD_UNCHANGED)
    if bgr.dtype != np.uint8 or bgr.ndim != 3 or bgr.shape[2] != 3:
        raise ValueError(f"{path} must be an RGB PNG with 8 bits a channel, got {bgr.shape} {bgr.dtype}")
    blue, green, category = (bgr[..., channel].astype(np.int32) for channel in range(3))
    unknown = category[(category >= len(KITTI_STEP)) & (category != _VOID)]
    if unknown.size:
        raise ValueError(f"{path} holds class {unknown[0]}, wanted 0..{len(KITTI_STEP) - 1} or {_VOID}")
    is_thing = np.isin(category, KITTI_STEP.thing_ids)
    ids = (category + 1) * 65536 + np.where(is_thing, green * 256 + blue, 0)
    ids[category == _VOID] = 0
    segments = []
    for segment_id in sorted(distinct_ids(ids) - {0}):
        category_id, instance = segment_id // 65536 - 1, segment_id % 65536
        crowd = category_id in KITTI_STEP.thing_ids and instance == 0
        segments.append(Segment(id=segment_id, category_id=category_id, iscrowd=int(crowd)))
    return ids, segments


def kitti_step(root: str | Path, split: str) -> LabelledImages:
    """The frames of one split, sequence by sequence; `image_id` is `{sequence}_{frame}`.

    Args:
        root: folder that holds images and panoptic_maps.
        split: "train" or "val".

    Raises:
        ValueError: a folder or a panoptic map is missing; the message names it.
    """
    root = Path(root)
    labels = root / "panoptic_maps" / split
    return LabelledImages(
        KITTI_STEP,
        [
            LabelledImage(path, labels / path.parent.name / path.name, f"{path.parent.name}_{path.stem}")
            for path in find_images(root / "images" / split, "*/*.png")
        ],
        read_panoptic_map,
    )
