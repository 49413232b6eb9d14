"""Names on segments, and lines of text, written into pictures: (H, W, 3) uint8 RGB arrays, in place."""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from panodeeplab.ops import pair_counts

_PLACED_SIDE = 384  # cells along the longer side of the map that places are looked for in
_PLATE = 0.8  # weight of a label's plate
_THROUGH_PLATE = 51  # 256ths of the picture that are seen through it
_PLATE_BRIGHTNESS = 50.0  # at most
_FINE = 4  # letters are drawn so many times as large and averaged down: at their size hinting upsets spacing


class Label(NamedTuple):
    """What is written on a segment."""

    text: str
    is_thing: bool  # a thing's label may be wider than the thing, by a quarter to both sides
    color: np.ndarray  # (3,) uint8, whose hue the plate behind the text has


def draw_labels(picture: np.ndarray, panoptic: np.ndarray, label_of: Callable[[int], Label | None]) -> None:
    """Write names at the most interior point of each segment, the largest segment first, where there is room.

    Args:
        picture: (H, W, 3) uint8, RGB.
        panoptic: (H, W) integer ids.
        label_of: id of a segment to its label; None for no label.
    """
    height, width = panoptic.shape
    font_size = _font_size(height, width)
    # Where a label goes needs no full resolution; every step-th pixel of the map says it well enough.
    step = max(1, round(max(height, width) / _PLACED_SIDE))
    small = np.array(panoptic[step // 2 :: step, step // 2 :: step], np.int32, order="C")
    taken = np.zeros(small.shape, np.bool_)
    label_height = _letter(" ", font_size).shape[0] // _FINE
    # The cheap tests first: most segments of a crowded street are too small for any text.
    least_area = 2 * font_size * font_size / step**2
    for segment_id, y, x, radius in _interior_points(small, least_area):
        label = label_of(segment_id)
        if label is None or label_height > height or label_height > 2.2 * step * radius:
            continue
        label_width = _line_width(label.text, font_size)
        if label.is_thing:
            room = 1.5 * step * max(cv2.boundingRect((small == segment_id).view(np.uint8))[2:])
        else:
            room = 3.0 * step * radius
        if label_width > min(width, room):
            continue
        top = min(max(round(step * y - label_height / 2), 0), height - label_height)
        left = min(max(round(step * x - label_width / 2), 0), width - label_width)
        bottom, right = top + label_height, left + label_width
        covered = taken[top // step : -(-bottom // step), left // step : -(-right // step)]
        if covered.any():
            continue
        covered[:] = True
        _write(picture[top:bottom, left:right], _line_mask(label.text, font_size), label.color)


def write_line(picture: np.ndarray, text: str) -> None:
    """Write a line of text into the upper left corner; nothing if it is empty or does not fit."""
    height, width = picture.shape[:2]
    size = _font_size(height, width)
    if text and _letter(" ", size).shape[0] // _FINE <= height and _line_width(text, size) <= width:
        mask = _line_mask(text, size)
        _write(picture[: mask.shape[0], : mask.shape[1]], mask, np.zeros(3, np.uint8))


def _interior_points(ids: np.ndarray, least_area: float) -> list[tuple[int, float, float, float]]:
    """(id, y, x, radius) of segments of some area in a map of ids, the largest first.

    The point is the pixel farthest from the outside of its segment, the radius that distance.
    """
    whole = torch.from_numpy(ids)
    pairs, areas = (counted.numpy() for counted in pair_counts(whole, whole))
    large = np.flatnonzero(areas >= least_area)
    large = large[np.argsort(-areas[large], kind="stable")]
    # All segments at once: a pixel on the border of its segment is 0. The border of the picture counts, too,
    # or labels would hug it.
    inner = np.zeros(ids.shape, np.uint8)
    if min(ids.shape) > 2:
        middle = ids[1:-1, 1:-1]
        same = middle == ids[:-2, 1:-1]
        for other in (ids[2:, 1:-1], ids[1:-1, :-2], ids[1:-1, 2:]):
            same &= middle == other
        inner[1:-1, 1:-1] = same
    distance = cv2.distanceTransform(inner, cv2.DIST_L2, 3)
    # The farthest of a segment is a maximum among its neighbors: few pixels are left to be sorted. Segments
    # of nothing but border have no room for text.
    peaks = np.flatnonzero((distance == cv2.dilate(distance, None)) & (inner != 0))
    heights, ids_there = distance.ravel()[peaks], ids.ravel()[peaks]
    order = np.lexsort((-heights, ids_there))
    known, first = np.unique(ids_there[order], return_index=True)
    best = peaks[order[first]]
    points = []
    for segment_id in pairs[large, 0].tolist():
        place = np.searchsorted(known, segment_id)
        if place < len(known) and known[place] == segment_id:
            y, x = divmod(int(best[place]), ids.shape[1])
            points.append((segment_id, y + 0.5, x + 0.5, float(distance[y, x]) + 1.0))
    return points


def _font_size(height: int, width: int) -> int:
    return min(max(round(min(height, width * 0.6) / 46), 10), 40)


def _line_width(text: str, size: int) -> int:
    return sum(_letter(letter, size).shape[1] for letter in f" {text} ") // _FINE


def _line_mask(text: str, size: int) -> np.ndarray:
    """Coverage 0..255 of a line put together from letters: a text with a score changes with every picture."""
    line = np.concatenate([_letter(letter, size) for letter in f" {text} "], 1)
    return cv2.resize(line, (line.shape[1] // _FINE, line.shape[0] // _FINE), interpolation=cv2.INTER_AREA)


@lru_cache(maxsize=2048)
def _letter(letter: str, size: int) -> np.ndarray:
    """Coverage 0..255 of a letter, `_FINE` times as large, as wide as its advance."""
    font = _font(_FINE * size)
    top, bottom = font.getbbox("Ag")[1::2]
    margin = _FINE * max(2, size // 4)
    height = _FINE * -(-(int(bottom - top) + margin) // _FINE)
    canvas = Image.new("L", (round(font.getlength(letter)), height))
    ImageDraw.Draw(canvas).text((0, margin // 2 - top), letter, fill=255, font=font)
    return np.asarray(canvas)


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _write(region: np.ndarray, mask: np.ndarray, color: np.ndarray) -> None:
    """Write white text on a dark plate of the color's hue, in place."""
    color = color.astype(np.float64)
    brightness = max(float(color @ (0.299, 0.587, 0.114)), 1.0)
    plate = np.rint(_PLATE * color * min(1.0, _PLATE_BRIGHTNESS / brightness)).astype(np.uint16)
    # In whole numbers of 16 bits. What the plate lacks to white is left where there is no ink.
    shape, missing = region.shape, region.astype(np.uint16)
    missing *= _THROUGH_PLATE
    missing >>= 8
    missing += plate
    np.subtract(255, missing, out=missing)
    blank = 256 - mask.astype(np.uint16) - (mask >> 7)
    missing *= cv2.merge([blank] * 3).reshape(shape)
    missing >>= 8
    np.subtract(255, missing, out=region, casting="unsafe")
