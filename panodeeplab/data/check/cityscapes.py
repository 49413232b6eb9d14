"""Checks a folder in the layout of Cityscapes, file by file."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from panodeeplab.data import cityscapes as layout
from panodeeplab.data.check.report import Finding, Problem, Report, attempt, count, examine, relative
from panodeeplab.data.cityscapes import OFFICIAL_IDS, InstanceIds
from panodeeplab.data.image import read_image, size_difference

_IMAGE_TYPES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}

# Of the unknown ids of one file, how many are named.
_NAMED_IDS = 10


def _unknown_ids(raw: np.ndarray, ids: InstanceIds) -> str | None:
    pixels = np.bincount(raw.ravel(), minlength=1 << 16)
    unknown = np.flatnonzero((pixels > 0) & ~ids.known)
    if unknown.size == 0:
        return None
    named = ", ".join(f"{i} on {pixels[i]} pixels" for i in unknown[:_NAMED_IDS])
    more = f" and {unknown.size - _NAMED_IDS} more" if unknown.size > _NAMED_IDS else ""
    return f"unknown id {named}{more}; {ids.known_in_words}"


def _check_pair(root: Path, ids: InstanceIds, image_path: Path) -> Finding:
    label_path = layout.label_path(root, image_path)
    label = relative(label_path, root)
    finding = Finding()
    image = attempt(read_image, image_path, root, finding.problems)
    if not label_path.is_file():
        message = f"no ground truth: {label} is missing"
        finding.problems.append(Problem(relative(image_path, root), message))
        return finding
    raw = attempt(layout.read_instance_ids, label_path, root, finding.problems)
    if raw is not None and (message := _unknown_ids(raw, ids)):
        finding.problems.append(Problem(label, message))
    if image is None or raw is None:
        return finding
    if difference := size_difference(raw, image):
        finding.problems.append(Problem(label, difference))
        return finding
    finding.segments = [(ids.segment_of(i), area) for i, area in ids.count_segments(raw).items()]
    finding.pixels = raw.size
    return finding


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


def check_cityscapes(
    root: str | Path, splits: Sequence[str] | None = None, instance_ids: InstanceIds = OFFICIAL_IDS
) -> Report:
    """Open every image and ground truth of a folder, say what is wrong with each, and count what they hold.

    Only a wrong folder or split raises; what is wrong with a file goes into the report. Shows a progress bar.

    Args:
        root: folder that holds leftImg8bit and gtFine.
        splits: names of splits; None: all there are.
        instance_ids: what the values of the files mean; by default Cityscapes' 19 evaluated classes.

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
    report = Report(str(root))
    with tqdm(total=sum(map(len, images.values())), desc="checking", unit="image") as bar:
        for split, paths in images.items():
            report.problems += _check_names(root, split, paths)
            count(
                report,
                split,
                classes=instance_ids.classes,
                folder=f"{layout.LABEL_FOLDER}/{split}",
                labels=[relative(layout.label_path(root, path), root) for path in paths],
                findings=examine(paths, partial(_check_pair, root, instance_ids), bar),
            )
    return report
