"""Masks as COCO's instance annotations hold them: polygons, and run lengths, plain or packed into text.

Format: https://cocodataset.org/#format-data; packing as in cocoapi's maskApi.c.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np


def polygon_mask(polygon: Sequence[float], height: int, width: int) -> np.ndarray:
    """The pixels whose middle lies inside a polygon, by the even-odd rule.

    Args:
        polygon: x0, y0, x1, y1, ... in pixels, (0, 0) the outer corner of the first pixel.
        height: of the image.
        width: of the image.

    Returns:
        (height, width) bool.

    Raises:
        ValueError: not three or more pairs of finite numbers.
    """
    try:
        points = np.asarray(polygon, np.float64)
    except (TypeError, ValueError):
        points = np.empty(0)
    if points.ndim != 1 or points.size < 6 or points.size % 2 or not np.isfinite(points).all():
        raise ValueError(f"a polygon needs 3 or more pairs of x and y, got {str(polygon)[:80]}")
    x, y = points.reshape(-1, 2).T
    # Where a row's middle line crosses an edge, in and out change places for all pixels to the right.
    flips = np.zeros((height, width + 1), np.int32)
    for x0, y0, x1, y1 in zip(x, y, np.roll(x, -1), np.roll(y, -1), strict=True):
        first, last = sorted((y0, y1))
        rows = np.arange(max(0, int(np.ceil(first - 0.5))), min(height, int(np.ceil(last - 0.5))))
        if rows.size == 0:
            continue
        crossing = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
        flips[rows, np.clip(np.ceil(crossing - 0.5), 0, width).astype(np.intp)] += 1
    return np.cumsum(flips, axis=1)[:, :width] % 2 == 1


def unpack_counts(text: str) -> list[int]:
    """The run lengths that COCO packs into text: 5 bits a character, from the third on as differences.

    Raises:
        ValueError: the text ends within a number, or has a character that does not belong there.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"packed counts hold {character!r}")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("packed counts end within a number")
    return counts


def run_length_mask(segmentation: dict[str, Any], height: int, width: int) -> np.ndarray:
    """The mask of {"size": [height, width], "counts": runs of 0 and 1 in turns, column by column}.

    Returns:
        (height, width) bool.

    Raises:
        ValueError: another size than the image's, or runs that do not fill it.
    """
    if segmentation.get("size") != [height, width]:
        raise ValueError(f"'size' must be the image's, {[height, width]}, got {segmentation.get('size')}")
    counts = segmentation.get("counts")
    if isinstance(counts, str):
        counts = unpack_counts(counts)
    if not isinstance(counts, list) or not all(isinstance(n, int) and n >= 0 for n in counts):
        raise ValueError("'counts' must be text or a list of run lengths")
    if sum(counts) != height * width:
        raise ValueError(f"'counts' fill {sum(counts)} pixels of {height} x {width}")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(width, height).T


def segmentation_mask(segmentation: Any, height: int, width: int) -> np.ndarray:
    """The mask of an annotation's `segmentation`: run lengths, or polygons, whose union it is.

    Returns:
        (height, width) bool.

    Raises:
        ValueError: neither of the two, or what `polygon_mask` and `run_length_mask` refuse.
    """
    if isinstance(segmentation, dict):
        return run_length_mask(segmentation, height, width)
    if not isinstance(segmentation, list) or not segmentation:
        raise ValueError("needs 'segmentation', polygons or run lengths")
    mask = np.zeros((height, width), bool)
    for polygon in segmentation:
        mask |= polygon_mask(polygon, height, width)
    return mask
