"""Cityscapes' official folders, or any data in their layout, read as they are: nothing to convert first.

    leftImg8bit/{split}/{city}/{name}_leftImg8bit.png       RGB, 8 bits
    gtFine/{split}/{city}/{name}_gtFine_instanceIds.png     one channel, 16 bits

A value of an instanceIds file is `label id * 1000 + n` for one countable object, and the bare label id for
stuff, for a group of objects that were not told apart (a crowd region), and for what is not evaluated.
"""

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from panodeeplab.classes import CITYSCAPES, ClassTable
from panodeeplab.data.sample import Sample, Segment

IMAGE_FOLDER = "leftImg8bit"
LABEL_FOLDER = "gtFine"
IMAGE_SUFFIX = "_leftImg8bit.png"
LABEL_SUFFIX = "_gtFine_instanceIds.png"

# cityscapesScripts, helpers/labels.py: label ids 0..33; 24..33 have instances, caravan and trailer too.
LABEL_COUNT = 34
FIRST_INSTANCE_LABEL = 24
INSTANCES_PER_LABEL = 1000

_TRAIN_ID = {label_id: train_id for train_id, label_id in enumerate(CITYSCAPES.label_ids)}


def official_ids() -> np.ndarray:
    """(65536,) bool: whether a value of an instanceIds file is one that Cityscapes defines."""
    known = np.zeros(1 << 16, bool)
    known[:LABEL_COUNT] = True
    known[FIRST_INSTANCE_LABEL * INSTANCES_PER_LABEL : LABEL_COUNT * INSTANCES_PER_LABEL] = True
    return known


_IDS = np.arange(1 << 16, dtype=np.int32)
_LABELS = np.where(_IDS < INSTANCES_PER_LABEL, _IDS, _IDS // INSTANCES_PER_LABEL)
# (65536,) bool: whether an id is a segment of one of the 19 classes.
_EVALUATED = official_ids() & np.isin(_LABELS, CITYSCAPES.label_ids)
# Objects of the other classes, caravans and trailers, stay apart from void: to the instance benchmark they
# are not void, to all others they are.
_KEPT_IDS = np.where(_EVALUATED | (official_ids() & (_IDS >= INSTANCES_PER_LABEL)), _IDS, 0)


def segment_of(segment_id: int) -> Segment:
    """The segment that an official id of one of the 19 classes stands for.

    A countable class with a bare label id (below 1000) is a crowd region.
    """
    label_id = segment_id if segment_id < INSTANCES_PER_LABEL else segment_id // INSTANCES_PER_LABEL
    category_id = _TRAIN_ID[label_id]
    crowd = category_id in CITYSCAPES.thing_ids and segment_id < INSTANCES_PER_LABEL
    return Segment(id=segment_id, category_id=category_id, iscrowd=int(crowd))


def count_segments(raw: np.ndarray) -> dict[int, int]:
    """Pixels of each segment of an instanceIds map, ascending ids; void is left out.

    Args:
        raw: (H, W) uint16, as the file has it.
    """
    pixels = np.bincount(raw.ravel(), minlength=1 << 16)
    return {int(i): int(pixels[i]) for i in np.flatnonzero(pixels) if _EVALUATED[i]}


def _decode(path: Path, flags: int) -> np.ndarray:
    # Not cv2.imread: it takes no path outside ASCII on Windows, and gives None for a missing file too.
    data = np.fromfile(path, np.uint8)
    if data.size == 0:
        raise ValueError(f"{path} is empty")
    try:
        pixels = cv2.imdecode(data, flags)
    except cv2.error as error:
        raise ValueError(f"{path} cannot be decoded: {error.err}") from error
    if pixels is None:
        raise ValueError(f"{path} cannot be decoded: not an image, or cut short ({data.size} bytes)")
    return pixels


def read_image(path: Path) -> np.ndarray:
    """Read a picture: (H, W, 3) uint8, RGB.

    Raises:
        ValueError: the file is damaged; the message names it.
        OSError: the file cannot be opened.
    """
    # Labels know no EXIF orientation, so the image must not be turned by it either.
    pixels = _decode(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def read_instance_ids(path: Path) -> np.ndarray:
    """Read an instanceIds file: (H, W) uint16.

    Raises:
        ValueError: the file is damaged, or not of one channel of 16 bits; the message names it.
        OSError: the file cannot be opened.
    """
    raw = _decode(path, cv2.IMREAD_UNCHANGED)
    if raw.dtype != np.uint16 or raw.ndim != 2:
        channels = 1 if raw.ndim == 2 else raw.shape[2]
        raise ValueError(
            f"{path} has {channels} channel(s) of {raw.dtype}; an instanceIds file has 1 of uint16 "
            "(label id, or label id * 1000 + number of the object)"
        )
    return raw


def _hint(root: Path) -> str:
    """What to do about a folder that is not the root of the layout."""
    if root.is_file():
        if root.suffix == ".zip":
            return f"; it is an archive: unzip it, and give the folder with {IMAGE_FOLDER} and {LABEL_FOLDER}"
        return "; it is a file"
    for parent in (root, *root.absolute().parents[:3]):
        if parent.name in (IMAGE_FOLDER, LABEL_FOLDER) and parent.is_dir():
            return f"; the path is too deep: give {parent.parent}"
    archives = [p.name for p in sorted(root.glob("*.zip")) if p.name.startswith((IMAGE_FOLDER, LABEL_FOLDER))]
    if archives:
        return f"; found the archives {', '.join(archives)}: unzip them in {root} first"
    for child in sorted(p for p in root.iterdir() if p.is_dir()):
        if (child / IMAGE_FOLDER).is_dir() or (child / LABEL_FOLDER).is_dir():
            return f"; the path is one level too high: give {child}"
    found = sorted(p.name for p in root.iterdir())
    return f"; found {', '.join(found[:10])}" if found else "; the folder is empty"


def find_splits(root: str | Path) -> list[str]:
    """Names of the splits (train, val, ...) under the images or the ground truth of a data set.

    Raises:
        ValueError: `root` is not the folder that holds leftImg8bit and gtFine; the message says which may be.
    """
    root = Path(root)
    if not root.exists():
        raise ValueError(
            f"root {root} does not exist; give the folder with {IMAGE_FOLDER} and {LABEL_FOLDER}"
        )
    missing = [name for name in (IMAGE_FOLDER, LABEL_FOLDER) if not (root / name).is_dir()]
    if missing:
        raise ValueError(f"root {root} has no folder {' and no folder '.join(missing)}{_hint(root)}")
    folders = (p for name in (IMAGE_FOLDER, LABEL_FOLDER) for p in (root / name).iterdir() if p.is_dir())
    return sorted({p.name for p in folders})


def image_id_of(path: Path) -> str:
    """Name of an image without folders and suffix, for the file of an image or of its ground truth."""
    return path.name.removesuffix(IMAGE_SUFFIX).removesuffix(LABEL_SUFFIX)


def label_path(root: Path, image: Path) -> Path:
    """Where the ground truth of an image file has to be."""
    city = image.parent
    return root / LABEL_FOLDER / city.parent.name / city.name / f"{image_id_of(image)}{LABEL_SUFFIX}"


def image_path(root: Path, label: Path) -> Path:
    """Where the image of a ground truth file has to be."""
    city = label.parent
    return root / IMAGE_FOLDER / city.parent.name / city.name / f"{image_id_of(label)}{IMAGE_SUFFIX}"


def repeated_names(images: Iterable[Path]) -> list[tuple[Path, Path]]:
    """Files of different cities that have one name, each with the first of that name."""
    first: dict[str, Path] = {}
    return [(path, other) for path in images if (other := first.setdefault(image_id_of(path), path)) != path]


class CityscapesDataset:
    """One split of Cityscapes, in the order of the file names.

    Segment ids are the official values, kept: `label id * 1000 + n` for an object, the label id for stuff and
    for crowd regions (a countable class below 1000). Everything outside the 19 evaluated classes is void: 0,
    or the id of a caravan or trailer, which `segments_info` does not list.
    `category_id` is the train id, 0..18.

    Args:
        root: folder that holds leftImg8bit and gtFine.
        split: train, val, test, or whatever folder the data has there.

    Raises:
        ValueError: no such root or split, no image in it, or an image without ground truth.
    """

    classes: ClassTable = CITYSCAPES

    def __init__(self, root: str | Path, split: str = "train") -> None:
        self.root = Path(root)
        self.split = split
        find_splits(root)
        folder = self.root / IMAGE_FOLDER / split
        if not folder.is_dir():
            found = sorted(p.name for p in folder.parent.iterdir() if p.is_dir())
            raise ValueError(f"split {split!r} is not in {folder.parent}; found {', '.join(found) or 'none'}")
        self.images = sorted(folder.glob(f"*/*{IMAGE_SUFFIX}"))
        if not self.images:
            raise ValueError(f"split {split!r} has no image {folder}/*/*{IMAGE_SUFFIX}")
        absent = [p for p in self.images if not label_path(self.root, p).is_file()]
        if absent:
            raise ValueError(
                f"{len(absent)} of {len(self.images)} images of split {split!r} have no ground truth; "
                f"the first is {absent[0]}, whose {label_path(self.root, absent[0])} is missing"
            )
        for path, other in repeated_names(self.images):
            raise ValueError(f"{path} and {other} have one name; names must be unique within a split")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        """Read one image and its ground truth.

        Raises:
            ValueError: a file is damaged, or the two differ in size; the message names the file.
        """
        path = self.images[index]
        image = read_image(path)
        label = label_path(self.root, path)
        raw = read_instance_ids(label)
        if raw.shape != image.shape[:2]:
            raise ValueError(
                f"{label} is {raw.shape[0]} x {raw.shape[1]} pixels (H x W), "
                f"its image {image.shape[0]} x {image.shape[1]}"
            )
        segments_info = [segment_of(i) for i in count_segments(raw)]
        return Sample(image, _KEPT_IDS[raw], segments_info, image_id_of(path))
