"""The index of a cache: its entries, its file, and whether it still fits the data that it was made from."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from panodeeplab.classes import ClassTable
from panodeeplab.data.sample import PanopticDataset
from panodeeplab.files import replacing

_FORMAT = 1


@dataclass(frozen=True)
class SourceFile:
    """A file that the cache was made from: its name without folders, bytes, time, and SHA-256."""

    name: str
    size: int
    modified_ns: int
    sha256: str


@dataclass(frozen=True)
class Entry:
    """One sample.

    Attributes:
        image_id: of the sample.
        offset: of its first byte.
        size: (H, W).
        palette: segment ids by the value in the map; more than 256 of them take two bytes a pixel.
        segments: (id, category id, is crowd) of each.
        checksum: CRC-32 of its bytes.
        bad: why it could not be read; it then has no bytes.
    """

    image_id: int | str = ""
    offset: int = 0
    size: tuple[int, int] = (0, 0)
    palette: tuple[int, ...] = ()
    segments: tuple[tuple[int, int, int], ...] = ()
    checksum: int = 0
    bad: str | None = None

    @property
    def image_bytes(self) -> int:
        return 3 * self.size[0] * self.size[1]

    @property
    def map_dtype(self) -> type[np.unsignedinteger]:
        return np.uint8 if len(self.palette) <= 256 else np.uint16

    @property
    def length(self) -> int:
        """Bytes of image and map."""
        return self.image_bytes + self.size[0] * self.size[1] * np.dtype(self.map_dtype).itemsize


@dataclass(frozen=True)
class Index:
    """All entries, the file that has their pixels, and the files that they were made from."""

    pixels: str
    length: int
    classes: tuple[str, ...]
    entries: tuple[Entry, ...]
    sources: tuple[SourceFile, ...]


def source_files(dataset: PanopticDataset, also: Iterable[Path] = ()) -> list[Path]:
    """The files of all samples and those of `also`, each once."""
    samples = (path for index in range(len(dataset)) for path in dataset.files(index))
    return list(dict.fromkeys([*samples, *also]))


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe(path: Path) -> SourceFile:
    """What is remembered of a file; of one that is not there, that."""
    try:
        state = path.stat()
        return SourceFile(path.name, state.st_size, state.st_mtime_ns, digest(path))
    except OSError:
        return SourceFile(path.name, -1, 0, "")


def write_index(path: Path, index: Index) -> None:
    """Write an index; never half of it."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps({"format": _FORMAT, **asdict(index)}))


def read_index(path: Path) -> Index:
    """Read an index.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is no index, or one of another version.
    """
    if not path.is_file():
        raise FileNotFoundError(f"data.cache: no {path}; make it with `panodeeplab cache`")
    try:
        tree = json.loads(path.read_text())
        if tree.pop("format") != _FORMAT:
            raise ValueError("it is of another version")
        return Index(
            pixels=tree["pixels"],
            length=tree["length"],
            classes=tuple(tree["classes"]),
            entries=tuple(
                Entry(
                    **(
                        entry
                        | {"size": tuple(entry["size"]), "palette": tuple(entry["palette"])}
                        | {"segments": tuple(map(tuple, entry["segments"]))}
                    )
                )
                for entry in tree["entries"]
            ),
            sources=tuple(SourceFile(**source) for source in tree["sources"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"data.cache: {path} is no index of a cache ({error}); make it anew") from None


def class_names(classes: ClassTable) -> tuple[str, ...]:
    """What makes two tables of classes the same to a cache."""
    things = set(classes.thing_ids)
    return tuple(
        f"{name} {label_id} {'thing' if i in things else 'stuff'}"
        for i, (name, label_id) in enumerate(zip(classes.names, classes.label_ids, strict=True))
    )


def changed_source(sources: Sequence[SourceFile], files: Sequence[Path]) -> str | None:
    """What is no longer as it was when the cache was made, in words; None: nothing.

    A file that only has another time, as after copying, is compared by its content.
    """
    if len(sources) != len(files):
        return f"the data have {len(files)} files, the cache was made from {len(sources)}"
    touched = []
    for source, path in zip(sources, files, strict=True):
        if source.name != path.name:
            return f"{path} has the place of {source.name}"
        try:
            state = path.stat()
        except OSError:
            if source.size < 0:
                continue
            return f"{path} is not there any more"
        if state.st_size != source.size:
            return f"{path} has changed ({state.st_size} bytes, it had {max(0, source.size)})"
        if state.st_mtime_ns != source.modified_ns:
            touched.append((source, path))
    for source, path in tqdm(touched, desc="compare", unit="file", disable=len(touched) < 100):
        if digest(path) != source.sha256:
            return f"{path} has changed"
    return None
