"""Generated streets as single images, as a data set, as clips, and as files in Cityscapes' layout."""

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from panodeeplab.classes import CITYSCAPES
from panodeeplab.data.sample import Sample, Segment
from panodeeplab.data.scenes.render import Scene, check_size

CITY = "street"
_SPLITS = ("train", "val", "test")


def _check_seed(seed: int) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"seed must be a whole number >= 0, got {seed!r}")
    return int(seed)


def _check_count(name: str, count: int) -> int:
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
        raise ValueError(f"{name} must be a whole number >= 1, got {count!r}")
    return int(count)


def render_scene(seed: int, size: tuple[int, int] = (256, 512)) -> Sample:
    """One random street with its panoptic ground truth.

    The same seed gives the same street at any size, and the same pixels at the same size.

    Args:
        seed: >= 0.
        size: (height, width) in pixels, each at least 32.

    Returns:
        Sample whose segment ids follow Cityscapes: the label id for stuff and for a crowd region,
        label id * 1000 + n for an instance; 0 is void.

    Raises:
        ValueError: seed or size is out of range.
    """
    seed = _check_seed(seed)
    return Scene(np.random.SeedSequence(seed), 0.0).frame(check_size(size), 0.0, 0, f"scene_{seed:06d}")


def render_clip(
    seed: int, length: int, size: tuple[int, int] = (256, 512), frames_per_second: float = 10
) -> Iterator[Sample]:
    """A street through time: the camera drives, cars drive, people walk.

    A thing keeps its segment id in all frames.

    Args:
        seed: >= 0.
        length: number of frames.
        size: (height, width) in pixels, each at least 32.
        frames_per_second: of the clip.

    Raises:
        ValueError: an argument is out of range; raised by the call, not by the first frame.
    """
    seed, length, size = _check_seed(seed), _check_count("length", length), check_size(size)
    if not 0 < frames_per_second < float("inf"):
        raise ValueError(f"frames_per_second must be > 0, got {frames_per_second!r}")
    scene = Scene(np.random.SeedSequence((seed, 0, 1)), length / frames_per_second)
    return (
        scene.frame(size, index / frames_per_second, index, f"clip_{seed:06d}_{index:06d}")
        for index in range(length)
    )


class StreetScenes:
    """A data set of generated streets; nothing is stored, `[i]` renders.

    Image i of a seed is always the same; two seeds share no image.

    Args:
        count: number of images.
        size: (height, width) in pixels, each at least 32.
        seed: >= 0.

    Raises:
        ValueError: an argument is out of range.
    """

    classes = CITYSCAPES

    def __init__(self, count: int, *, size: tuple[int, int] = (256, 512), seed: int = 0):
        self._count = _check_count("count", count)
        self._size = check_size(size)
        self._seed = _check_seed(seed)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Sample:
        if not -self._count <= index < self._count:
            raise IndexError(f"index {index} is out of range for {self._count} scenes")
        index = int(index) % self._count
        scene = Scene(np.random.SeedSequence((self._seed, index)), 0.0)
        return scene.frame(self._size, 0.0, 0, f"scene_{index:06d}")

    def segments_info(self, index: int) -> list[Segment]:
        """The segments of a street, which is rendered to know them."""
        return self[index].segments_info

    def files(self, index: int) -> list[Path]:
        """None: nothing is stored."""
        return []


def write_cityscapes(
    output: str | Path,
    count: int,
    *,
    size: tuple[int, int] = (256, 512),
    seed: int = 0,
    split: str = "train",
    progress: bool = True,
) -> list[str]:
    """Writes `StreetScenes(count, size=size, seed=seed)` as a Cityscapes folder.

    Image i becomes `leftImg8bit/{split}/street/street_{i:06d}_000019_leftImg8bit.png`, with
    `..._gtFine_instanceIds.png` (uint16) and `..._gtFine_labelIds.png` (uint8) under `gtFine`. Use another
    seed for another split. Files that are there are replaced.

    Args:
        output: folder; made if it is missing.
        progress: shows a bar.

    Returns:
        the names of the images, without suffix.

    Raises:
        ValueError: an argument is out of range, or `output` is a file.
    """
    if split not in _SPLITS:
        raise ValueError(f"split must be one of {', '.join(_SPLITS)}, got {split!r}")
    scenes = StreetScenes(count, size=size, seed=seed)
    output = Path(output)
    if output.exists() and not output.is_dir():
        raise ValueError(f"output must be a folder, got the file {output}")
    images, truths = output / "leftImg8bit" / split / CITY, output / "gtFine" / split / CITY
    images.mkdir(parents=True, exist_ok=True)
    truths.mkdir(parents=True, exist_ok=True)
    names = []
    for index in tqdm(range(len(scenes)), desc=f"scenes {split}", unit="image", disable=not progress):
        sample = scenes[index]
        name = f"{CITY}_{index:06d}_000019"
        labels = np.where(sample.panoptic >= 1000, sample.panoptic // 1000, sample.panoptic).astype(np.uint8)
        _write_png(truths / f"{name}_gtFine_instanceIds.png", sample.panoptic.astype(np.uint16))
        _write_png(truths / f"{name}_gtFine_labelIds.png", labels)
        _write_png(images / f"{name}_leftImg8bit.png", cv2.cvtColor(sample.image, cv2.COLOR_RGB2BGR))
        names.append(name)
    return names


def _write_png(path: Path, picture: np.ndarray) -> None:
    done, data = cv2.imencode(".png", picture)
    if not done:
        raise OSError(f"cannot encode {path.name}")
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    partial.write_bytes(data.tobytes())
    os.replace(partial, path)
