"""Generated streets as every model is given them, and what a network that sees them would put out.

Random weights see nothing, and post-processing of nothing takes no time. Where a model has no trained
weights, its post-processing is fed with outputs made from the street's ground truth, in the shapes of its
own.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from panodeeplab.classes import CITYSCAPES, ClassTable
from panodeeplab.data.sample import Sample
from panodeeplab.data.scenes import render_scene
from panodeeplab.evaluation.oracle import oracle_outputs
from panodeeplab.model import STRIDE, Predictions

STREETS = 4  # as many differ; runs take them in turn
_CONFIDENT = 9.0  # logit of what is seen


class Street(NamedTuple):
    """One image of a benchmark.

    Attributes:
        encoded: bytes of an image file.
        sample: of the street; None for an image of the user's.
    """

    encoded: bytes
    sample: Sample | None


def generated_streets(size: tuple[int, int], seed: int) -> list[Street]:
    """Streets as JPEG files in memory, quality 95; the same seed gives the same files.

    Args:
        size: (H, W) in pixels, each at least 32.
        seed: of the first; the others have those that follow.
    """
    samples = [render_scene(seed + number, size) for number in range(STREETS)]
    return [Street(_jpeg(sample.image), sample) for sample in samples]


def image_file(path: Path) -> list[Street]:
    """An image file of the user's, as the only street.

    Raises:
        FileNotFoundError: no such file.
        ValueError: OpenCV cannot decode it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"image: no file {path}")
    street = Street(path.read_bytes(), None)
    if cv2.imdecode(np.frombuffer(street.encoded, np.uint8), cv2.IMREAD_COLOR) is None:
        raise ValueError(f"image: OpenCV cannot decode {path}")
    return [street]


def decode(encoded: bytes) -> np.ndarray:
    """(H, W, 3) uint8, RGB, from the bytes of an image file."""
    bgr = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def street_predictions(sample: Sample, classes: ClassTable, *, align_corners: bool) -> Predictions:
    """What a good network of this project would say of a street, batch of 1, with a little noise.

    Args:
        sample: with Cityscapes' categories; where `classes` are others, things stay things.
        classes: of the network.
        align_corners: of the network; its grid then has one cell more.
    """
    segments = [{**s, "category_id": class_in(classes, s["category_id"])} for s in sample.segments_info]
    outputs = oracle_outputs(
        sample.panoptic, segments, num_classes=len(classes), thing_ids=classes.thing_ids, stride=STRIDE
    )
    generator = torch.Generator().manual_seed(0)

    def noisy(maps: Tensor, deviation: float) -> Tensor:
        maps = maps + deviation * torch.randn(maps.shape, generator=generator)
        return F.pad(maps, (0, 1, 0, 1), mode="replicate") if align_corners else maps

    return Predictions(
        noisy(_CONFIDENT * outputs.semantic, 0.2), noisy(outputs.center, 0.01), noisy(outputs.offset, 0.05)
    )


def street_queries(
    sample: Sample, classes: ClassTable, *, queries: int, grid: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """What a good network that predicts masks by queries would say of a street.

    Each segment has a query of its own, the largest first; the others see nothing.

    Args:
        sample: as for `street_predictions`.
        classes: of the network.
        queries: of the network, Q.
        grid: (h, w) of its masks.

    Returns:
        (1, Q, C + 1) logits of the classes, the last of which is no object, and (1, Q, h, w) of the masks.
    """
    masks = [(s, sample.panoptic == s["id"]) for s in sample.segments_info]
    masks = sorted(masks, key=lambda pair: -pair[1].sum())[:queries]
    logits = torch.zeros(1, queries, len(classes) + 1)
    logits[0, len(masks) :, -1] = _CONFIDENT
    seen = torch.full((1, queries, *grid), -_CONFIDENT)
    for query, (segment, mask) in enumerate(masks):
        logits[0, query, class_in(classes, segment["category_id"])] = _CONFIDENT
        share = F.adaptive_avg_pool2d(torch.from_numpy(mask)[None].float(), grid)
        seen[0, query] = 2 * _CONFIDENT * (share[0] - 0.5)
    return logits, seen


def class_in(classes: ClassTable, cityscapes_id: int) -> int:
    """A class that stands for one of Cityscapes': itself, or another thing or stuff class."""
    if classes == CITYSCAPES:
        return cityscapes_id
    is_thing = cityscapes_id in CITYSCAPES.thing_ids
    kind = [i for i in range(len(classes)) if (i in classes.thing_ids) == is_thing]
    return kind[cityscapes_id % len(kind)]


def stuff_ids(classes: ClassTable) -> Sequence[int]:
    """The classes that are not countable."""
    return [i for i in range(len(classes)) if i not in classes.thing_ids]


def _jpeg(image: np.ndarray) -> bytes:
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 95])
    return encoded.tobytes()
