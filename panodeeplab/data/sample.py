"""What every data set gives: one image with its panoptic ground truth."""

from pathlib import Path
from typing import NamedTuple, Protocol, TypedDict

import numpy as np

from panodeeplab.classes import ClassTable


class Segment(TypedDict):
    """One segment of a panoptic id map; `category_id` is the contiguous class id, `iscrowd` 0 or 1."""

    id: int
    category_id: int
    iscrowd: int


class Sample(NamedTuple):
    """An image and its ground truth.

    A pixel of `panoptic` holds the id of its segment. A value that no entry of `segments_info` has is void; 0
    always is.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        panoptic: (H, W) int32 segment ids.
        segments_info: the segments of the map.
        image_id: name or, in COCO panoptic, number of the image, unique in its data set.
    """

    image: np.ndarray
    panoptic: np.ndarray
    segments_info: list[Segment]
    image_id: int | str


def distinct_ids(ids: np.ndarray) -> set[int]:
    """The values of an (H, W) id map."""
    # Segments are long runs along a row: only their first pixels need sorting.
    flat = ids.ravel()
    starts = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    return {int(flat[0]), *np.unique(flat[starts]).tolist()}


class PanopticDataset(Protocol):
    """A data set by index, as training and evaluation read it.

    Attributes:
        classes: what the category ids of its segments mean.
    """

    classes: ClassTable

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...

    def segments_info(self, index: int) -> list[Segment]:
        """The segments of a sample; where labels and images are files of their own, without the image."""
        ...

    def files(self, index: int) -> list[Path]:
        """The files that a sample is read from; none where it is generated."""
        ...
