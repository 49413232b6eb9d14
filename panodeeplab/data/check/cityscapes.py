"""Says what is wrong with a folder in the layout of Cityscapes, file by file, and counts what is in it."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from panodeeplab.classes import CITYSCAPES
from panodeeplab.data import cityscapes as layout

_IMAGE_TYPES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}

# Of the unknown ids of one file, how many are named.
_NAMED_IDS = 10


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with one file.

    Attributes:
        path: of the file or folder, relative to the root of the data set, with forward slashes.
        message: what is wrong with it.
        is_error: an error keeps the data from being used as they are; a warning may be meant so.
    """

    path: str
    message: str
    is_error: bool = True


@dataclass
class SplitCounts:
    """What the readable pairs of a split contain. Arrays are (19,) int64, index = train id.

    Attributes:
        images: pairs of image and ground truth.
        pixels: of all these images, void among them.
        class_images: images in which the class occurs.
        class_segments: segments of the class, crowd regions left out.
        class_crowds: crowd regions of the class.
        class_pixels: pixels of both.
    """

    images: int = 0
    pixels: int = 0
    class_images: np.ndarray = field(default_factory=lambda: np.zeros(len(CITYSCAPES), np.int64))
    class_segments: np.ndarray = field(default_factory=lambda: np.zeros(len(CITYSCAPES), np.int64))
    class_crowds: np.ndarray = field(default_factory=lambda: np.zeros(len(CITYSCAPES), np.int64))
    class_pixels: np.ndarray = field(default_factory=lambda: np.zeros(len(CITYSCAPES), np.int64))

    def add(self, segment_pixels: dict[int, int], pixels: int) -> None:
        """Count one image of `pixels` pixels with these segments, as `count_segments` gives them."""
        seen = np.zeros(len(CITYSCAPES), bool)
        for segment_id, area in segment_pixels.items():
            segment = layout.segment_of(segment_id)
            category = segment["category_id"]
            seen[category] = True
            (self.class_crowds if segment["iscrowd"] else self.class_segments)[category] += 1
            self.class_pixels[category] += area
        self.class_images += seen
        self.images += 1
        self.pixels += pixels


@dataclass
class Report:
    """Result of `check_cityscapes`.

    Attributes:
        root: the folder.
        splits: counts of each split that was looked at.
        problems: what is wrong, in the order of splits and files.
    """

    root: Path
    splits: dict[str, SplitCounts] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @property
    def errors(self) -> list[Problem]:
        """The problems that keep the data from being used."""
        return [p for p in self.problems if p.is_error]


@dataclass
class _Pair:
    """What one image and its ground truth hold; `segment_pixels` is None where they cannot be used."""

    problems: list[tuple[Path, str]]
    segment_pixels: dict[int, int] | None = None
    pixels: int = 0


def _unknown_ids(raw: np.ndarray) -> str | None:
    pixels = np.bincount(raw.ravel(), minlength=1 << 16)
    unknown = np.flatnonzero((pixels > 0) & ~layout.official_ids())
    if unknown.size == 0:
        return None
    named = ", ".join(f"{i} on {pixels[i]} pixels" for i in unknown[:_NAMED_IDS])
    more = f" and {unknown.size - _NAMED_IDS} more" if unknown.size > _NAMED_IDS else ""
    last = layout.LABEL_COUNT - 1
    first = layout.FIRST_INSTANCE_LABEL
    return (
        f"unknown id {named}{more}; known are label ids 0..{last} and, for labels {first}..{last}, "
        "label id * 1000 + 0..999"
    )


def _check_pair(root: Path, image_path: Path) -> _Pair:
    label_path = layout.label_path(root, image_path)
    problems: list[tuple[Path, str]] = []
    image = raw = None
    # A reader's message begins with the path, which the report already shows.
    try:
        image = layout.read_image(image_path)
    except (ValueError, OSError) as error:
        problems.append((image_path, str(error).removeprefix(f"{image_path} ")))
    if not label_path.is_file():
        problems.append(
            (image_path, f"no ground truth: {label_path.relative_to(root).as_posix()} is missing")
        )
    else:
        try:
            raw = layout.read_instance_ids(label_path)
        except (ValueError, OSError) as error:
            problems.append((label_path, str(error).removeprefix(f"{label_path} ")))
    if raw is not None and (message := _unknown_ids(raw)):
        problems.append((label_path, message))
    if image is None or raw is None:
        return _Pair(problems)
    if raw.shape != image.shape[:2]:
        sizes = (
            f"{raw.shape[0]} x {raw.shape[1]} pixels (H x W), its image {image.shape[0]} x {image.shape[1]}"
        )
        problems.append((label_path, sizes))
        return _Pair(problems)
    return _Pair(problems, layout.count_segments(raw), raw.size)


def _check_names(root: Path, split: str, images: Sequence[Path]) -> list[Problem]:
    """Problems that need no file to be opened: what is missing, misplaced or misnamed."""
    image_folder = root / layout.IMAGE_FOLDER / split
    label_folder = root / layout.LABEL_FOLDER / split
    labels = sorted(label_folder.glob(f"*/*{layout.LABEL_SUFFIX}"))
    problems = []
    if not images:
        wanted = f"{layout.IMAGE_FOLDER}/{split}/*/*{layout.IMAGE_SUFFIX}"
        problems.append(Problem(f"{layout.IMAGE_FOLDER}/{split}", f"no image is named {wanted}"))
    if images and not labels:
        wanted = f"{layout.LABEL_FOLDER}/{split}/*/*{layout.LABEL_SUFFIX}"
        problems.append(Problem(f"{layout.LABEL_FOLDER}/{split}", f"no ground truth is named {wanted}"))
    for path, other in layout.repeated_names(images):
        same = other.relative_to(root).as_posix()
        problems.append(Problem(path.relative_to(root).as_posix(), f"has the name of {same}"))
    known = set(images)
    for label in labels:
        image = layout.image_path(root, label)
        if image not in known:
            missing = image.relative_to(root).as_posix()
            problems.append(Problem(label.relative_to(root).as_posix(), f"no image: {missing} is missing"))
    for path in sorted(image_folder.rglob("*")):
        if path.suffix.lower() in _IMAGE_TYPES and path not in known:
            wanted = f"{layout.IMAGE_FOLDER}/{split}/CITY/NAME{layout.IMAGE_SUFFIX}"
            problems.append(
                Problem(path.relative_to(root).as_posix(), f"is left out: not named {wanted}", is_error=False)
            )
    return problems


def check_cityscapes(root: str | Path, splits: Sequence[str] | None = None) -> Report:
    """Open every image and ground truth of a folder, say what is wrong with each, and count what they hold.

    Only a wrong folder or split raises; what is wrong with a file goes into the report. Shows a progress bar.

    Args:
        root: folder that holds leftImg8bit and gtFine.
        splits: names of splits; None: all there are.

    Raises:
        ValueError: `root` is not such a folder, or has no such split; the message says what was found.
    """
    root = Path(root)
    found = layout.find_splits(root)
    if not found:
        raise ValueError(f"root {root} has no split: {root / layout.IMAGE_FOLDER} has no folder in it")
    for split in splits or ():
        if split not in found:
            raise ValueError(f"split {split!r} is not in {root}; found {', '.join(found)}")
    images = {
        split: sorted((root / layout.IMAGE_FOLDER / split).glob(f"*/*{layout.IMAGE_SUFFIX}"))
        for split in splits or found
    }
    report = Report(root)
    bar = tqdm(total=sum(map(len, images.values())), desc="checking", unit="image")
    # Threads, for decoding leaves Python's lock. Closing `pairs` drops what has not begun: Ctrl-C works.
    with bar, ThreadPoolExecutor(os.cpu_count()) as pool:
        for split, paths in images.items():
            counts = report.splits[split] = SplitCounts()
            report.problems += _check_names(root, split, paths)
            void = []
            with closing(pool.map(partial(_check_pair, root), paths)) as pairs:
                for path, pair in zip(paths, pairs, strict=True):
                    bar.update()
                    for file, message in pair.problems:
                        report.problems.append(Problem(file.relative_to(root).as_posix(), message))
                    if pair.segment_pixels is None:
                        continue
                    counts.add(pair.segment_pixels, pair.pixels)
                    if not pair.segment_pixels:
                        void.append(layout.label_path(root, path).relative_to(root).as_posix())
            if void and len(void) == len(paths):
                # As in the official test split, whose ground truth is kept back.
                message = (
                    f"all {len(void)} images are void: none has a pixel of the {len(CITYSCAPES)} classes"
                )
                report.problems.append(Problem(f"{layout.LABEL_FOLDER}/{split}", message, is_error=False))
            else:
                message = f"all void: no pixel of the {len(CITYSCAPES)} classes"
                report.problems += [Problem(path, message, is_error=False) for path in void]
    return report


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def format_report(report: Report) -> str:
    """A table of classes for each split, then every problem on a line of its own, then how many there are."""
    lines = [f"{report.root}"]
    for split, counts in report.splits.items():
        labelled = int(counts.class_pixels.sum())
        share = 100 / max(counts.pixels, 1)
        lines += [
            "",
            f"{split}: {_number(counts.images, 'image')}, {counts.pixels / 1e6:.1f} megapixels",
            f"{'class':<15}{'images':>8}{'segments':>10}{'crowds':>8}{'pixels':>10}",
        ]
        for category, name in enumerate(CITYSCAPES.names):
            lines.append(
                f"{name:<15}{counts.class_images[category]:>8}{counts.class_segments[category]:>10}"
                f"{counts.class_crowds[category]:>8}{counts.class_pixels[category] * share:>8.2f} %"
            )
        lines.append(
            f"{'all classes':<15}{counts.images:>8}{counts.class_segments.sum():>10}"
            f"{counts.class_crowds.sum():>8}{labelled * share:>8.2f} %"
        )
        lines.append(f"{'void':<15}{'':>26}{(counts.pixels - labelled) * share:>8.2f} %")
    lines.append("")
    for problem in report.problems:
        lines.append(f"{'error' if problem.is_error else 'warning'}: {problem.path}: {problem.message}")
    errors = len(report.errors)
    lines.append(f"{_number(errors, 'error')}, {_number(len(report.problems) - errors, 'warning')}")
    return "\n".join(lines)
