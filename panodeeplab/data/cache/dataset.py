"""A cached data set."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from panodeeplab.data.cache.index import changed_source, class_names, read_index, source_files
from panodeeplab.data.sample import PanopticDataset, Sample, Segment


class CachedDataset:
    """A data set read from its cache: the same samples, without decoding.

    Images are views of the mapped file: of one that is cropped, only the crop is read. Writing to them
    changes no file.

    Args:
        dataset: that the cache was made from.
        folder: of the cache.
        split: name of the data set in it.
        also: as given to `write_cache`.

    Raises:
        FileNotFoundError: there is no cache.
        ValueError: it is damaged, or was made from other data, or a file has changed since.
    """

    def __init__(
        self, dataset: PanopticDataset, folder: str | Path, split: str, *, also: Sequence[Path] = ()
    ) -> None:
        path = Path(folder) / f"{split}.json"
        index = read_index(path)
        self.dataset = dataset
        self.classes = dataset.classes
        self.path = path.parent / index.pixels
        self._entries = index.entries
        self._pixels: np.ndarray | None = None
        length = self.path.stat().st_size if self.path.is_file() else 0
        if length != index.length:
            raise ValueError(
                f"data.cache: {self.path} has {length} bytes, wanted {index.length}; make it anew"
            )
        change = changed_source(index.sources, source_files(dataset, also))
        if change is None and len(index.entries) != len(dataset):
            change = f"the data have {len(dataset)} samples, the cache {len(index.entries)}"
        if change is None and index.classes != class_names(dataset.classes):
            change = "the classes are not the same"
        if change is None:
            change = self._differing_sample()
        if change is not None:
            raise ValueError(f"data.cache: {path} is stale: {change}; make it anew with `panodeeplab cache`")

    def _differing_sample(self) -> str | None:
        """Generated data have no files, and what files mean may change: some samples are compared."""
        for position in sorted({0, len(self) // 2, len(self) - 1}):
            if self._entries[position].bad is None:
                cached, read = self[position], self.dataset[position]
                same = np.array_equal(cached.panoptic, read.panoptic) and cached[2:] == read[2:]
                if not (same and np.array_equal(cached.image, read.image)):
                    return f"sample {read.image_id} is not the same"
        return None

    def __getstate__(self) -> dict[str, Any]:
        # A mapped file would be copied into the process that gets it; each maps it again.
        return self.__dict__ | {"_pixels": None}

    def _bytes(self) -> np.ndarray:
        if self._pixels is None:
            self._pixels = np.asarray(np.memmap(self.path, np.uint8, mode="c"))
        return self._pixels

    def __len__(self) -> int:
        return len(self._entries)

    def segments_info(self, index: int) -> list[Segment]:
        """The segments of a sample; nothing is read."""
        return [Segment(id=i, category_id=c, iscrowd=crowd) for i, c, crowd in self._entries[index].segments]

    def files(self, index: int) -> list[Path]:
        """The files that the cached sample was made from."""
        return self.dataset.files(index)

    def __getitem__(self, index: int) -> Sample:
        """One sample.

        Raises:
            ValueError: it could not be read when the cache was made.
        """
        entry = self._entries[index]
        if entry.bad is not None:
            raise ValueError(entry.bad)
        pixels = self._bytes()[entry.offset : entry.offset + entry.length]
        image = pixels[: entry.image_bytes].reshape(*entry.size, 3)
        positions = pixels[entry.image_bytes :].view(entry.map_dtype).reshape(entry.size)
        palette = np.array(entry.palette, np.int32)
        if entry.map_dtype is np.uint8:
            table = np.zeros((1, 256), np.int32)
            table[0, : len(palette)] = palette
            panoptic = cv2.LUT(positions, table)
        else:
            panoptic = palette.take(positions)
        return Sample(image, panoptic, self.segments_info(index), entry.image_id)
