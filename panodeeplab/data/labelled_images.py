"""A data set of images that have one label file each."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from panodeeplab.classes import ClassTable
from panodeeplab.data.image import check_same_size, read_image
from panodeeplab.data.sample import Sample, Segment


class LabelledImage(NamedTuple):
    """Files of one sample, and its name, unique in the data set."""

    image: Path
    label: Path
    image_id: str


class LabelledImages:
    """Images with one label file each, in a format that `read_label` knows.

    Args:
        classes: of the labels.
        files: of every sample, in order.
        read_label: gives, for the path of a label file, (H, W) int32 segment ids and the segments; it raises
            ValueError for a file that breaks its format, naming it. A function of a module, so that
            processes that load data can be handed it.

    Raises:
        ValueError: no samples, or a label file is missing; the message names it.
    """

    def __init__(
        self,
        classes: ClassTable,
        files: Sequence[LabelledImage],
        read_label: Callable[[Path], tuple[np.ndarray, list[Segment]]],
    ) -> None:
        self.classes = classes
        self.pairs = list(files)
        self.read_label = read_label
        absent = [file.label for file in self.pairs if not file.label.is_file()]
        if absent:
            raise ValueError(
                f"{len(absent)} of {len(self.pairs)} images have no label file; "
                f"the first missing is {absent[0]}"
            )

    def __len__(self) -> int:
        return len(self.pairs)

    def segments_info(self, index: int) -> list[Segment]:
        """The segments of an image."""
        return self.read_label(self.pairs[index].label)[1]

    def files(self, index: int) -> list[Path]:
        """Image and label file."""
        file = self.pairs[index]
        return [file.image, file.label]

    def __getitem__(self, index: int) -> Sample:
        """Read one image and its ground truth.

        Raises:
            ValueError: a file is damaged, or the two differ in size; the message names the file.
        """
        file = self.pairs[index]
        image = read_image(file.image)
        panoptic, segments_info = self.read_label(file.label)
        check_same_size(file.label, panoptic, image)
        return Sample(image, panoptic, segments_info, file.image_id)


def find_images(folder: Path, pattern: str) -> list[Path]:
    """The files of a folder that match a pattern, sorted.

    Raises:
        ValueError: no such folder, or no such file in it; the message says what is wanted.
    """
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}; wanted {folder}/{pattern}")
    images = sorted(folder.glob(pattern))
    if not images:
        raise ValueError(f"there is no image {folder}/{pattern}")
    return images
