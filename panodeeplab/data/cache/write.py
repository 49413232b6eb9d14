"""Decoding a data set into a cache."""

import os
import secrets
import shutil
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from panodeeplab.data.cache.index import (
    Entry,
    Index,
    class_names,
    describe,
    read_index,
    source_files,
    write_index,
)
from panodeeplab.data.sample import PanopticDataset, Sample, distinct_ids
from panodeeplab.files import replacing


class Written(NamedTuple):
    """What a cache came to: samples, bytes of pixels, and why some could not be read, by their position."""

    samples: int
    length: int
    bad: dict[int, str]


def _encode(sample: Sample) -> tuple[Entry, bytes]:
    """Entry, without its offset, and bytes of a sample."""
    palette = sorted(distinct_ids(sample.panoptic))
    if len(palette) > 1 << 16:
        raise ValueError(f"sample {sample.image_id} has {len(palette)} ids, wanted {1 << 16} at most")
    entry = Entry(
        image_id=sample.image_id,
        size=sample.panoptic.shape,
        palette=tuple(palette),
        segments=tuple((s["id"], s["category_id"], s["iscrowd"]) for s in sample.segments_info),
    )
    positions = np.searchsorted(palette, sample.panoptic).astype(entry.map_dtype)
    pixels = sample.image.tobytes() + positions.tobytes()
    return replace(entry, checksum=zlib.crc32(pixels)), pixels


def _decoded(dataset: PanopticDataset, threads: int) -> Iterator[tuple[Entry, bytes]]:
    """All samples, in order, read by several threads that are never far ahead."""

    def read(index: int) -> tuple[Entry, bytes]:
        try:
            return _encode(dataset[index])
        except (ValueError, OSError) as error:
            return Entry(bad=str(error)), b""

    with ThreadPoolExecutor(threads) as pool:
        for first in range(0, len(dataset), 4 * threads):
            yield from pool.map(read, range(first, min(first + 4 * threads, len(dataset))))


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ValueError(
            f"output: {folder} has {free / 1e9:.1f} GB free, the cache needs {needed / 1e9:.1f} GB"
        )


def _remove_old(folder: Path, split: str, keep: str) -> None:
    for path in folder.glob(f"{split}-*.pixels"):
        if path.name != keep:
            path.unlink(missing_ok=True)


def write_cache(
    dataset: PanopticDataset,
    folder: str | Path,
    split: str,
    *,
    also: Sequence[Path] = (),
    threads: int | None = None,
    progress: bool = True,
) -> Written:
    """Decode all of a data set into a cache, which takes the place of the one there may be.

    A sample that cannot be read is in the cache as that: reading it gives the same error.

    Args:
        dataset: to decode.
        folder: of the cache; made if need be.
        split: name of the data set in it.
        also: files, beside those of the samples, that say what the data mean.
        threads: that decode; None: one for each core.
        progress: show a bar.

    Raises:
        ValueError: there is no room for it on the disk; that shows after the first samples.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # Before the decoding: what changes while it runs makes the cache stale.
    sources = [describe(path) for path in source_files(dataset, also)]
    name = f"{split}-{secrets.token_hex(4)}.pixels"
    entries: list[Entry] = []
    offset = 0
    with replacing(folder / name) as temporary, temporary.open("wb") as file:
        decoded = _decoded(dataset, threads or os.cpu_count() or 1)
        for entry, pixels in tqdm(
            decoded, total=len(dataset), desc=f"cache {split}", unit="image", disable=not progress
        ):
            file.write(pixels)
            entries.append(replace(entry, offset=offset))
            offset += len(pixels)
            if len(entries) == 16:
                _check_room(folder, offset * (len(dataset) - 16) // 16)
    index = Index(name, offset, class_names(dataset.classes), tuple(entries), tuple(sources))
    write_index(folder / f"{split}.json", index)
    _remove_old(folder, split, name)
    return Written(len(entries), offset, {i: entry.bad for i, entry in enumerate(entries) if entry.bad})


def verify_cache(folder: str | Path, split: str, *, progress: bool = True) -> int:
    """Read all of a cache and compare checksums.

    Returns:
        Bytes of pixels.

    Raises:
        FileNotFoundError: there is no cache.
        ValueError: it is damaged; the message names the first sample that is.
    """
    index = read_index(Path(folder) / f"{split}.json")
    with (Path(folder) / index.pixels).open("rb") as file:
        for entry in tqdm(index.entries, desc=f"verify {split}", unit="image", disable=not progress):
            if entry.bad is None and zlib.crc32(file.read(entry.length)) != entry.checksum:
                raise ValueError(
                    f"data.cache: sample {entry.image_id} of {file.name} is damaged; make it anew"
                )
    return index.length
