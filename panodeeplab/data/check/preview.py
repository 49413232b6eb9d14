"""Draws the first samples of a data set: the image beside its ground truth, and a legend with counts."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from panodeeplab.classes import ClassTable
from panodeeplab.data.sample import PanopticDataset, Sample, Segment
from panodeeplab.data.training_set import TrainingSet
from panodeeplab.data.transforms import EvalTransform
from panodeeplab.files import replacing
from panodeeplab.visualize import draw_panoptic, panoptic_from_segments

# (H, W) that one of the two pictures fits into, and is enlarged to.
_SIZE = (720, 960)
_GAP = 8
_STRIPE = 6
_LINE = 30  # of the legend, pixels


def _legend_entries(
    segments_info: list[Segment], classes: ClassTable
) -> list[tuple[str, tuple[int, int, int]]]:
    """Text and color of each class there is: its name, and for things how many."""
    entries = []
    for category, (name, color) in enumerate(zip(classes.names, classes.colors, strict=True)):
        crowds = [segment["iscrowd"] for segment in segments_info if segment["category_id"] == category]
        if not crowds:
            continue
        counts = []
        if category in classes.thing_ids and crowds.count(0):
            counts.append(str(crowds.count(0)))
        if crowds.count(1):
            counts.append(f"{crowds.count(1)} crowd")
        entries.append((f"{name}: {', '.join(counts)}" if counts else name, color))
    return entries


def _draw_legend(width: int, segments_info: list[Segment], classes: ClassTable) -> np.ndarray:
    """(h, width, 3) uint8 RGB: the classes there are, with their colors, in as many lines as need be."""
    font = ImageFont.load_default(16)
    places, x, y = [], _GAP, 0
    for text, color in _legend_entries(segments_info, classes):
        length = round(font.getlength(text)) + _LINE + 2 * _GAP
        if x + length > width and x > _GAP:
            x, y = _GAP, y + _LINE
        places.append((x, y, text, color))
        x += length
    canvas = Image.new("RGB", (width, y + _LINE), "white")
    draw = ImageDraw.Draw(canvas)
    for x, y, text, color in places:
        draw.rectangle((x, y + 7, x + 16, y + _LINE - 7), fill=color, outline="black")
        draw.text((x + 22, y + _LINE / 2), text, fill="black", font=font, anchor="lm")
    return np.asarray(canvas)


def draw_sample(sample: Sample, classes: ClassTable) -> np.ndarray:
    """The image beside its ground truth, and below them the classes there are, things with their number.

    Crowd regions are striped, void is dark.

    Returns:
        (H, W, 3) uint8, RGB.
    """
    image, ids, segments_info, _ = EvalTransform(_SIZE)(sample)
    # More than any number of instances, for data such as cells have thousands.
    divisor = max(1000, len(segments_info) + 1)
    panoptic = panoptic_from_segments(ids, segments_info, classes, label_divisor=divisor)
    drawn = draw_panoptic(image, panoptic, classes, label_divisor=divisor, alpha=0.7)
    crowd = np.isin(ids, [segment["id"] for segment in segments_info if segment["iscrowd"]])
    y, x = np.nonzero(crowd)
    striped = (y + x) // _STRIPE % 2 == 0
    drawn[y[striped], x[striped]] //= 2
    gap = np.full((image.shape[0], _GAP, 3), 255, np.uint8)
    pair = np.hstack([image, gap, drawn])
    return np.vstack([pair, _draw_legend(pair.shape[1], sample.segments_info, classes)])


def write_previews(
    dataset: PanopticDataset, folder: str | Path, *, prefix: str = "", count: int = 8
) -> list[Path]:
    """Draw the first samples of a data set that can be read, each in a file `{prefix}{image_id}.jpg`.

    Args:
        dataset: images with ground truth.
        folder: to write to; made if need be.
        prefix: of the file names.
        count: pictures at most.

    Returns:
        The paths written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for index in range(len(dataset)):
        if len(written) == count:
            break
        try:
            sample = dataset[index]
        # The check names files that cannot be read.
        except (ValueError, OSError):
            continue
        written.append(_write_picture(sample, dataset.classes, folder, f"{prefix}{sample.image_id}"))
    return written


def write_augmented_previews(samples: TrainingSet, folder: str | Path, *, count: int = 8) -> list[Path]:
    """Draw the first samples of a run as the network is given them: `augmented_{number}_{image_id}.jpg`.

    Args:
        samples: of the run.
        folder: to write to; made if need be.
        count: pictures.

    Returns:
        The paths written.

    Raises:
        ValueError: too many samples in a row cannot be read.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number in range(count):
        sample, _ = samples.augmented(number)
        name = f"augmented_{number}_{sample.image_id}"
        written.append(_write_picture(sample, samples.dataset.classes, folder, name))
    return written


def _write_picture(sample: Sample, classes: ClassTable, folder: Path, name: str) -> Path:
    _, encoded = cv2.imencode(".jpg", draw_sample(sample, classes)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    path = folder / f"{name.replace('/', '_')}.jpg"
    with replacing(path) as temporary:
        temporary.write_bytes(encoded)
    return path
