"""Checks a data set in COCO panoptic format, file by file."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from panodeeplab.classes import ClassTable
from panodeeplab.data.check.report import (
    Finding,
    Problem,
    Report,
    attempt,
    count,
    examine,
    number,
    relative,
)
from panodeeplab.data.coco_dataset import contiguous_ids, image_file_names, png_folder
from panodeeplab.data.coco_panoptic import classes_of_categories, load_panoptic_json, read_panoptic_png
from panodeeplab.data.image import read_image, size_difference
from panodeeplab.data.sample import Segment

# Of the ids or names of one complaint, how many are named.
_NAMED = 5


class _Entry(NamedTuple):
    """An annotation of the JSON with the file of its image, and the size that the JSON says it has."""

    annotation: dict[str, Any]
    image: Path
    png: Path
    size: tuple[int, int] | None


def _named(ids: Sequence[object]) -> str:
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return ", ".join(str(i) for i in ids[:_NAMED]) + more


def _size_of(image: dict[str, Any]) -> tuple[int, int] | None:
    size = (image.get("height"), image.get("width"))
    return size if all(isinstance(length, int) for length in size) else None


def _check_entry(root: Path, contiguous: dict[int, int], entry: _Entry) -> Finding:
    finding = Finding()
    png = relative(entry.png, root)

    def error(path: Path, message: str) -> None:
        finding.problems.append(Problem(relative(path, root), message))

    image = ids = None
    if entry.image.is_file():
        image = attempt(read_image, entry.image, root, finding.problems)
    else:
        error(entry.image, "is missing: the JSON has an annotation of this image")
    if entry.png.is_file():
        ids = attempt(read_panoptic_png, entry.png, root, finding.problems)
    else:
        error(entry.png, f"is missing: no ground truth of {relative(entry.image, root)}")
    if image is not None and entry.size not in (None, image.shape[:2]):
        height, width = entry.size
        finding.problems.append(
            Problem(
                relative(entry.image, root),
                f"{image.shape[0]} x {image.shape[1]} pixels (H x W), the JSON says {height} x {width}",
                is_error=False,
            )
        )
    if ids is None:
        return finding
    if image is not None and (difference := size_difference(ids, image)):
        error(entry.png, difference)
        return finding
    values, areas = np.unique(ids, return_counts=True)
    area_of = dict(zip(values.tolist(), areas.tolist(), strict=True))
    listed = {segment["id"]: segment for segment in entry.annotation["segments_info"]}
    if unlisted := [f"{i} on {area} pixels" for i, area in area_of.items() if i and i not in listed]:
        error(entry.png, f"holds segment {_named(unlisted)}, which the JSON does not list")
    if empty := [i for i in listed if i not in area_of]:
        error(entry.png, f"has no pixel of segment {_named(empty)}, which the JSON lists")
    if wrong := [
        f"{i} has {area_of[i]} and not {segment['area']}"
        for i, segment in listed.items()
        if i in area_of and "area" in segment and segment["area"] != area_of[i]
    ]:
        message = f"areas differ from the JSON's: segment {_named(wrong)}"
        finding.problems.append(Problem(png, message, is_error=False))
    if image is None:
        return finding
    finding.pixels = ids.size
    finding.segments = [
        (
            Segment(id=i, category_id=contiguous[segment["category_id"]], iscrowd=segment["iscrowd"]),
            area_of[i],
        )
        for i, segment in listed.items()
        if i in area_of
    ]
    return finding


def check_coco_panoptic(
    images: str | Path,
    annotations: str | Path,
    pngs: str | Path | None = None,
    *,
    name: str | None = None,
    classes: ClassTable | None = None,
) -> Report:
    """Open every image and PNG of a COCO panoptic JSON, say what is wrong, and count what they hold.

    Only a wrong folder or a JSON that breaks the format raises; what is wrong with a file goes into the
    report. Shows a progress bar.

    Args:
        images: folder of the pictures.
        annotations: the panoptic JSON.
        pngs: folder of the panoptic PNGs; None: the path of the JSON without its ending.
        name: of the split in the report; None: the JSON's.
        classes: the classes to use, by their label ids; None: all categories of the JSON.

    Raises:
        FileNotFoundError: no JSON.
        ValueError: no folder, or the JSON breaks the format; the message names the image and the segment.
    """
    images, annotations = Path(images), Path(annotations)
    name = name or annotations.stem
    if not images.is_dir():
        raise ValueError(f"images: no folder {images}")
    content = load_panoptic_json(annotations)
    file_names = image_file_names(annotations, content)
    folder = png_folder(annotations, pngs)
    classes = classes or classes_of_categories(content["categories"])
    contiguous = contiguous_ids(annotations, content, classes)
    sizes = {image["id"]: _size_of(image) for image in content["images"]}
    # Where all lies in one folder, paths are shown below it.
    root = annotations.parent.parent
    report = Report(str(annotations))
    entries, paths = [], set()
    for annotation in content["annotations"]:
        image_id = annotation["image_id"]
        if image_id not in file_names:
            message = f"image {image_id!r} has an annotation, but is not in 'images'"
            report.problems.append(Problem(relative(annotations, root), message))
            continue
        png = folder / annotation["file_name"]
        if png in paths:
            message = f"image {image_id!r} has the PNG of another image, {annotation['file_name']}"
            report.problems.append(Problem(relative(annotations, root), message))
        paths.add(png)
        entries.append(_Entry(annotation, images / file_names[image_id], png, sizes[image_id]))
    annotated = {entry.annotation["image_id"] for entry in entries}
    if left := [file for image_id, file in file_names.items() if image_id not in annotated]:
        message = f"{number(len(left), 'image')} without annotation, left out: {_named(left)}"
        report.problems.append(Problem(relative(annotations, root), message, is_error=False))
    if not entries:
        report.problems.append(Problem(relative(annotations, root), "has no image in 'annotations'"))
    with tqdm(total=len(entries), desc="checking", unit="image") as bar:
        count(
            report,
            name,
            classes=classes,
            folder=relative(folder, root),
            labels=[relative(entry.png, root) for entry in entries],
            findings=examine(entries, partial(_check_entry, root, contiguous), bar),
        )
    return report
