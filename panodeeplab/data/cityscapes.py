"""Cityscapes' official folders, or any data in their layout, read as they are: nothing to convert first.

    leftImg8bit/{split}/{city}/{name}_leftImg8bit.png       RGB, 8 bits
    gtFine/{split}/{city}/{name}_gtFine_instanceIds.png     one channel, 16 bits

A value of an instanceIds file is `label id * 1000 + n` for one countable object, and the bare label id for
stuff, for a group of objects that were not told apart (a crowd region), and for what is not evaluated.
"""

from collections.abc import Collection, Iterable
from pathlib import Path

import cv2
import numpy as np

from panodeeplab.classes import CITYSCAPES, ClassTable
from panodeeplab.data.class_table import read_class_table
from panodeeplab.data.image import check_same_size, decode, read_bytes, read_image
from panodeeplab.data.png import decode_gray16_png
from panodeeplab.data.sample import Sample, Segment, distinct_ids

IMAGE_FOLDER = "leftImg8bit"
LABEL_FOLDER = "gtFine"
IMAGE_SUFFIX = "_leftImg8bit.png"
LABEL_SUFFIX = "_gtFine_instanceIds.png"

INSTANCES_PER_LABEL = 1000
_VALUES = 1 << 16


class InstanceIds:
    """What the values of instanceIds files mean for one table of classes.

    Attributes:
        classes: the table; its label ids are those of the files.
        known: (65536,) bool, whether a value is one that the files may hold.

    Args:
        classes: the table.
        other_labels: further label ids that the files may hold, which are void. 0 always is.
        other_countable: those of them that also come as `label id * 1000 + n`.

    Raises:
        ValueError: a label id that 16 bits cannot hold so; the message names it.
    """

    def __init__(
        self,
        classes: ClassTable,
        other_labels: Collection[int] = (),
        other_countable: Collection[int] = (),
    ) -> None:
        things = set(classes.thing_ids)
        for index, (name, label_id) in enumerate(zip(classes.names, classes.label_ids, strict=True)):
            largest = _VALUES // INSTANCES_PER_LABEL - 1 if index in things else INSTANCES_PER_LABEL - 1
            if not 1 <= label_id <= largest:
                kind = "things" if index in things else "stuff"
                raise ValueError(
                    f"class {name!r} has id {label_id}; in 16-bit instanceIds files ids of {kind} lie in "
                    f"1..{largest}"
                )
        for label_id in other_labels:
            if not 0 <= label_id < _VALUES:
                raise ValueError(f"other_labels has {label_id}, wanted 0..{_VALUES - 1}")
        self.classes = classes
        countable = {*(classes.label_ids[i] for i in things), *other_countable}
        labels = {0, *classes.label_ids, *other_labels}
        self.known = np.zeros(_VALUES, bool)
        self.known[list(labels)] = True
        for label_id in countable:
            self.known[label_id * INSTANCES_PER_LABEL : (label_id + 1) * INSTANCES_PER_LABEL] = True
        self.known_in_words = f"known are label ids {_ranges(labels)}" + (
            f" and, for labels {_ranges(countable)}, label id * 1000 + 0..999" if countable else ""
        )
        self._category = {label_id: index for index, label_id in enumerate(classes.label_ids)}
        ids = np.arange(_VALUES, dtype=np.int32)
        label = np.where(ids < INSTANCES_PER_LABEL, ids, ids // INSTANCES_PER_LABEL)
        self._is_segment = self.known & np.isin(label, classes.label_ids)
        # Objects of other labels, caravans and trailers in Cityscapes, stay apart from void: to the instance
        # benchmark they are not void, to all others they are.
        stays = self._is_segment | (self.known & (ids >= INSTANCES_PER_LABEL))
        self._kept = np.where(stays, ids, 0).astype(np.int32)

    def segment_map(self, raw: np.ndarray) -> np.ndarray:
        """(H, W) int32 ids of an (H, W) uint16 file: its values, and 0 where they are void.

        An object of a label that is no class keeps its id, which `count_segments` does not have.
        """
        return self._kept.take(raw, mode="clip")  # every value has its entry: clip only spares the check

    def segment_of(self, segment_id: int) -> Segment:
        """The segment that an id of a class stands for; a bare label id of a thing is a crowd region."""
        bare = segment_id < INSTANCES_PER_LABEL
        category_id = self._category[segment_id if bare else segment_id // INSTANCES_PER_LABEL]
        crowd = bare and category_id in self.classes.thing_ids
        return Segment(id=segment_id, category_id=category_id, iscrowd=int(crowd))

    def segments_of(self, raw: np.ndarray) -> list[Segment]:
        """The segments of an (H, W) uint16 file, ascending ids; void is left out."""
        return [self.segment_of(i) for i in sorted(distinct_ids(raw)) if self._is_segment[i]]

    def count_segments(self, raw: np.ndarray) -> dict[int, int]:
        """Pixels of each segment of an (H, W) uint16 file, ascending ids; void is left out."""
        pixels = np.bincount(raw.ravel(), minlength=_VALUES)
        return {int(i): int(pixels[i]) for i in np.flatnonzero(pixels) if self._is_segment[i]}


def _ranges(ids: Collection[int]) -> str:
    """Numbers in words, as in 0..3, 7."""
    runs: list[list[int]] = []
    for i in sorted(ids):
        if runs and runs[-1][1] == i - 1:
            runs[-1][1] = i
        else:
            runs.append([i, i])
    return ", ".join(f"{first}..{last}" if last > first else f"{first}" for first, last in runs)


# cityscapesScripts, helpers/labels.py: label ids 0..33; 24..33 have instances, 29 and 30 too.
OFFICIAL_IDS = InstanceIds(CITYSCAPES, other_labels=range(34), other_countable=(29, 30))


def read_instance_id_table(path: str | Path) -> InstanceIds:
    """What the values of instanceIds files mean by a YAML table of classes.

    Raises:
        FileNotFoundError: no such file.
        ValueError: what `read_class_table` refuses, or an id that instanceIds files cannot hold.
    """
    table = read_class_table(path)
    countable = [i for i in table.ignore if 1 <= i < _VALUES // INSTANCES_PER_LABEL]
    try:
        return InstanceIds(table.classes, other_labels=table.ignore, other_countable=countable)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_instance_ids(path: Path) -> np.ndarray:
    """Read an instanceIds file: (H, W) uint16.

    Raises:
        ValueError: the file is damaged, or not of one channel of 16 bits; the message names it.
        OSError: the file cannot be opened.
    """
    data = read_bytes(path)
    if (gray := decode_gray16_png(data)) is not None:
        return gray
    raw = decode(path, cv2.IMREAD_UNCHANGED, data)
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
    """One split of Cityscapes, or of data in its layout, in the order of the file names.

    Segment ids are the values of the files, kept: `label id * 1000 + n` for an object, the label id for stuff
    and for crowd regions (a countable class below 1000). Everything outside the classes is void: 0, or the id
    of an object of another label, which `segments_info` does not list.
    `category_id` is the contiguous class id: for Cityscapes the train id, 0..18.

    Attributes:
        classes: the classes of `instance_ids`.

    Args:
        root: folder that holds leftImg8bit and gtFine.
        split: train, val, test, or whatever folder the data has there.
        instance_ids: what the values of the files mean; by default Cityscapes' 19 evaluated classes.

    Raises:
        ValueError: no such root or split, no image in it, or an image without ground truth.
    """

    def __init__(
        self, root: str | Path, split: str = "train", instance_ids: InstanceIds = OFFICIAL_IDS
    ) -> None:
        self.instance_ids = instance_ids
        self.classes: ClassTable = instance_ids.classes
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

    def segments_info(self, index: int) -> list[Segment]:
        """The segments of an image, ascending ids."""
        return self.instance_ids.segments_of(read_instance_ids(label_path(self.root, self.images[index])))

    def files(self, index: int) -> list[Path]:
        """Image and instanceIds file."""
        return [self.images[index], label_path(self.root, self.images[index])]

    def __getitem__(self, index: int) -> Sample:
        """Read one image and its ground truth.

        Raises:
            ValueError: a file is damaged, or the two differ in size; the message names the file.
        """
        path = self.images[index]
        image = read_image(path)
        label = label_path(self.root, path)
        raw = read_instance_ids(label)
        check_same_size(label, raw, image)
        segments_info = self.instance_ids.segments_of(raw)
        return Sample(image, self.instance_ids.segment_map(raw), segments_info, image_id_of(path))
