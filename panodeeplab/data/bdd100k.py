"""BDD100K's panoptic segmentation: 10 000 street images with 40 classes.

    images/10k/{train,val}/{name}.jpg
    labels/pan_seg/bitmasks/{train,val}/{name}.png     RGBA: class, attributes, B * 256 + A: number

Attributes are bits: 1 ignored, 2 crowd, 4 occluded, 8 truncated. Ignored regions are void, and so is class 0.
Stuff that the files hold in several pieces is one segment, as elsewhere. Source: BDD100K's documentation of
its formats, and its toolkit's bdd100k/label/label.py.
"""

from pathlib import Path

import cv2
import numpy as np

from panodeeplab.classes import ClassTable
from panodeeplab.data.image import decode
from panodeeplab.data.labelled_images import LabelledImage, LabelledImages, find_images
from panodeeplab.data.sample import Segment, distinct_ids

# Name and color by label id, from 1; the last ten are countable.
_CLASSES = (
    ("dynamic", (111, 74, 0)),
    ("ego vehicle", (0, 0, 0)),
    ("ground", (81, 0, 81)),
    ("static", (0, 0, 0)),
    ("parking", (250, 170, 160)),
    ("rail track", (230, 150, 140)),
    ("road", (128, 64, 128)),
    ("sidewalk", (244, 35, 232)),
    ("bridge", (150, 100, 100)),
    ("building", (70, 70, 70)),
    ("fence", (190, 153, 153)),
    ("garage", (180, 100, 180)),
    ("guard rail", (180, 165, 180)),
    ("tunnel", (150, 120, 90)),
    ("wall", (102, 102, 156)),
    ("banner", (250, 170, 100)),
    ("billboard", (220, 220, 250)),
    ("lane divider", (255, 165, 0)),
    ("parking sign", (220, 20, 60)),
    ("pole", (153, 153, 153)),
    ("polegroup", (153, 153, 153)),
    ("street light", (220, 220, 100)),
    ("traffic cone", (255, 70, 0)),
    ("traffic device", (220, 220, 220)),
    ("traffic light", (250, 170, 30)),
    ("traffic sign", (220, 220, 0)),
    ("traffic sign frame", (250, 170, 250)),
    ("terrain", (152, 251, 152)),
    ("vegetation", (107, 142, 35)),
    ("sky", (70, 130, 180)),
    ("person", (220, 20, 60)),
    ("rider", (255, 0, 0)),
    ("bicycle", (119, 11, 32)),
    ("bus", (0, 60, 100)),
    ("car", (0, 0, 142)),
    ("caravan", (0, 0, 90)),
    ("motorcycle", (0, 0, 230)),
    ("trailer", (0, 0, 110)),
    ("train", (0, 80, 100)),
    ("truck", (0, 0, 70)),
)

BDD100K = ClassTable(
    name="bdd100k",
    names=tuple(name for name, _ in _CLASSES),
    colors=tuple(color for _, color in _CLASSES),
    thing_ids=tuple(range(30, 40)),
    label_ids=tuple(range(1, 41)),
)
_IGNORED, _CROWD = 1, 2


def read_bitmask(path: Path) -> tuple[np.ndarray, list[Segment]]:
    """Read a bitmask: (H, W) int32 ids, `crowd * 2**22 + label id * 65536 + number`, and the segments.

    Raises:
        ValueError: the file is damaged, not an RGBA PNG of 8 bits a channel, or holds an unknown class.
        OSError: the file cannot be opened.
    """
    bgra = decode(path, cv2.IMREAD_UNCHANGED)
    if bgra.dtype != np.uint8 or bgra.ndim != 3 or bgra.shape[2] != 4:
        raise ValueError(f"{path} must be an RGBA PNG with 8 bits a channel, got {bgra.shape} {bgra.dtype}")
    high, attributes, label, low = (bgra[..., channel].astype(np.int32) for channel in range(4))
    if label.max() > len(BDD100K):
        raise ValueError(f"{path} holds class {label.max()}, wanted 0..{len(BDD100K)}")
    is_thing = label > len(BDD100K) - len(BDD100K.thing_ids)
    crowd = is_thing & (attributes & _CROWD > 0)
    ids = (crowd << 22) + (label << 16) + np.where(is_thing, high * 256 + low, 0)
    ids[(label == 0) | (attributes & _IGNORED > 0)] = 0
    return ids, [
        Segment(id=i, category_id=(i >> 16) % 64 - 1, iscrowd=i >> 22)
        for i in sorted(distinct_ids(ids) - {0})
    ]


def bdd100k(root: str | Path, split: str) -> LabelledImages:
    """The images of one split; `image_id` is the name of the file without its ending.

    Args:
        root: folder that holds images and labels.
        split: "train" or "val".

    Raises:
        ValueError: a folder or a bitmask is missing; the message names it.
    """
    root = Path(root)
    labels = root / "labels" / "pan_seg" / "bitmasks" / split
    return LabelledImages(
        BDD100K,
        [
            LabelledImage(path, labels / f"{path.stem}.png", path.stem)
            for path in find_images(root / "images" / "10k" / split, "*.jpg")
        ],
        read_bitmask,
    )
