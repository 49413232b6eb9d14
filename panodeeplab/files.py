"""Files that appear whole or not at all."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | Path, *, durable: bool = False) -> Iterator[Path]:
    """A temporary path to write to, which takes the place of `path` when the block ends without an error.

    It lies in the same folder, so that renaming is one step, and has the same ending, by which some writers
    choose their format.

    Args:
        path: of the file that appears.
        durable: return only when file and name are on the disk, so that a power cut leaves the old file or
            the new one. Without it that holds for the end of the process only; it costs a wait for the disk.
    """
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        if durable:
            _sync(temporary)
        os.replace(temporary, path)
        if durable:
            sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk; where folders cannot be opened (Windows), do not."""
    if os.name == "posix":
        _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed process left of `replacing` in a folder, and below, that nobody else writes to."""
    for path in folder.rglob(".*"):
        if re.match(r"\.\d+\..", path.name):
            path.unlink(missing_ok=True)
