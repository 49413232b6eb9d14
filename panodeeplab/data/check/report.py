"""What a check found: problems, and counts of classes."""

import os
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from panodeeplab.classes import ClassTable
from panodeeplab.data.sample import Segment

# Of the classes that do not occur, how many are named.
_NAMED_CLASSES = 20


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with one file.

    Attributes:
        path: of the file or folder, relative to the root of the data set where there is one, with forward
            slashes.
        message: what is wrong with it.
        is_error: an error keeps the data from being used as they are; a warning may be meant so.
    """

    path: str
    message: str
    is_error: bool = True


@dataclass
class SplitCounts:
    """What the readable images of a split contain. Arrays are (C,) int64, index = contiguous class id.

    Attributes:
        classes: the table of the C classes.
        images: with a ground truth that can be read.
        pixels: of all these images, void among them.
        class_images: images in which the class occurs.
        class_segments: segments of the class, crowd regions left out.
        class_crowds: crowd regions of the class.
        class_pixels: pixels of both.
    """

    classes: ClassTable
    images: int = 0
    pixels: int = 0
    class_images: np.ndarray = field(init=False)
    class_segments: np.ndarray = field(init=False)
    class_crowds: np.ndarray = field(init=False)
    class_pixels: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        for name in ("class_images", "class_segments", "class_crowds", "class_pixels"):
            setattr(self, name, np.zeros(len(self.classes), np.int64))

    def add(self, segments: Sequence[tuple[Segment, int]], pixels: int) -> None:
        """Count one image of `pixels` pixels with these segments, each with its area."""
        seen = np.zeros(len(self.classes), bool)
        for segment, area in segments:
            category = segment["category_id"]
            seen[category] = True
            (self.class_crowds if segment["iscrowd"] else self.class_segments)[category] += 1
            self.class_pixels[category] += area
        self.class_images += seen
        self.images += 1
        self.pixels += pixels


@dataclass
class Report:
    """Result of a check.

    Attributes:
        source: what was checked, the first line of the text.
        splits: counts of each split that was looked at.
        problems: what is wrong, in the order of splits and files.
    """

    source: str
    splits: dict[str, SplitCounts] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @property
    def errors(self) -> list[Problem]:
        """The problems that keep the data from being used."""
        return [p for p in self.problems if p.is_error]


@dataclass
class Finding:
    """What one image and its ground truth hold; `segments`, each with its area, is None if unusable."""

    problems: list[Problem] = field(default_factory=list)
    segments: list[tuple[Segment, int]] | None = None
    pixels: int = 0


def relative(path: Path, root: Path) -> str:
    """A path as reports show it: below `root` where it is, with forward slashes."""
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def attempt(read: Callable[[Path], np.ndarray], path: Path, root: Path, problems: list[Problem]):
    """What `read` gives for a file; None, and a problem more, if it cannot be read."""
    try:
        return read(path)
    # A reader's message begins with the path, which the report already shows.
    except (ValueError, OSError) as error:
        problems.append(Problem(relative(path, root), str(error).removeprefix(f"{path} ")))
        return None


_Item = TypeVar("_Item")


def examine(
    items: Sequence[_Item], check: Callable[[_Item], Finding], bar: tqdm
) -> Generator[Finding, None, None]:
    """The finding of each item, in order. Works in threads, for decoding leaves Python's lock."""
    # Closing `findings` drops what has not begun: Ctrl-C works.
    with ThreadPoolExecutor(os.cpu_count()) as pool, closing(pool.map(check, items)) as findings:
        for finding in findings:
            bar.update()
            yield finding


def count(
    report: Report,
    split: str,
    *,
    classes: ClassTable,
    folder: str,
    labels: Sequence[str],
    findings: Generator[Finding, None, None],
) -> None:
    """Put the findings of a split into a report, and warn of ground truth that is all void.

    Args:
        report: is added to.
        split: its name.
        classes: of the segments.
        folder: of the ground truth, as reports show it.
        labels: path of each ground truth, as reports show it, in the order of `findings`.
        findings: of every image.
    """
    counts = report.splits[split] = SplitCounts(classes)
    void = []
    # Closed at once when Ctrl-C comes, not when somebody collects the garbage.
    with closing(findings):
        for label, finding in zip(labels, findings, strict=True):
            report.problems += finding.problems
            if finding.segments is None:
                continue
            counts.add(finding.segments, finding.pixels)
            if not finding.segments:
                void.append(label)
    if void and len(void) == len(labels):
        # As in the official test split of Cityscapes, whose ground truth is kept back.
        message = f"all {len(void)} images are void: none has a pixel of the {len(classes)} classes"
        report.problems.append(Problem(folder, message, is_error=False))
    else:
        message = f"all void: no pixel of the {len(classes)} classes"
        report.problems += [Problem(path, message, is_error=False) for path in void]


def number(count: int, noun: str) -> str:
    """A count in words, as in 1 image, 2 images."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _format_counts(split: str, counts: SplitCounts) -> list[str]:
    names = counts.classes.names
    width = max(15, *(len(name) + 1 for name in names))
    labelled = int(counts.class_pixels.sum())
    share = 100 / max(counts.pixels, 1)
    lines = [
        "",
        f"{split}: {number(counts.images, 'image')}, {counts.pixels / 1e6:.1f} megapixels",
        f"{'class':<{width}}{'images':>8}{'segments':>10}{'crowds':>8}{'pixels':>10}",
    ]
    present = np.flatnonzero(counts.class_images)
    for category in present:
        lines.append(
            f"{names[category]:<{width}}{counts.class_images[category]:>8}"
            f"{counts.class_segments[category]:>10}{counts.class_crowds[category]:>8}"
            f"{counts.class_pixels[category] * share:>8.2f} %"
        )
    lines.append(
        f"{f'{present.size} classes':<{width}}{counts.images:>8}{counts.class_segments.sum():>10}"
        f"{counts.class_crowds.sum():>8}{labelled * share:>8.2f} %"
    )
    lines.append(f"{'void':<{width}}{'':>26}{(counts.pixels - labelled) * share:>8.2f} %")
    absent = [name for category, name in enumerate(names) if not counts.class_images[category]]
    if absent and counts.images:
        more = f" and {len(absent) - _NAMED_CLASSES} more" if len(absent) > _NAMED_CLASSES else ""
        lines.append(f"do not occur: {', '.join(absent[:_NAMED_CLASSES])}{more}")
    return lines


def format_report(report: Report) -> str:
    """A table of classes for each split, then every problem on a line of its own, then how many there are."""
    lines = [report.source]
    for split, counts in report.splits.items():
        lines += _format_counts(split, counts)
    lines.append("")
    for problem in report.problems:
        lines.append(f"{'error' if problem.is_error else 'warning'}: {problem.path}: {problem.message}")
    errors = len(report.errors)
    lines.append(f"{number(errors, 'error')}, {number(len(report.problems) - errors, 'warning')}")
    return "\n".join(lines)
