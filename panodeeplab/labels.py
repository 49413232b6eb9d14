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
    label_height = _line_height(font_size)
    # The cheap tests first: most segments of a crowded street are too small for any text.
    least_area = 2 * font_size * font_size / step**2
    for segment_id, y, x, radius in _interior_points(small, least_area):
        label = label_of(segment_id)
        if label is None or label_height > height or label_height > 2.2 * step * radius:
            continue
        label_width = _line_width(label.text, font_size)
        if label_width > width:
            continue
        top = min(max(round(step * y - label_height / 2), 0), height - label_height)
        left = min(max(round(step * x - label_width / 2), 0), width - label_width)
        bottom, right = top + label_height, left + label_width
        covered = taken[top // step : -(-bottom // step), left // step : -(-right // step)]
        if covered.any():
            continue
        # A segment is at least as long as twice the radius; what is longer is looked at only where it counts.
        if label_width > 3.0 * step * radius:
            if not label.is_thing:
                continue
            sides = cv2.boundingRect((small == segment_id).view(np.uint8))[2:]
            if label_width > 1.5 * step * max(sides):
                continue
        covered[:] = True
        _write(picture[top:bottom, left:right], _blank(label.text, font_size), label.color)


def write_line(picture: np.ndarray, text: str) -> None:
    """Write a line of text into the upper left corner; nothing if it is empty or does not fit."""
    height, width = picture.shape[:2]
    size = _font_size(height, width)
    if text and _line_height(size) <= height and _line_width(text, size) <= width:
        region = picture[: _line_height(size), : _line_width(text, size)]
        _write(region, _blank(text, size), np.zeros(3, np.uint8))


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


@lru_cache(maxsize=1024)
def _line_width(text: str, size: int) -> int:
    return sum(_fine_letter(letter, size).shape[1] for letter in f" {text} ") // _FINE


@lru_cache(maxsize=256)
def _blank(text: str, size: int) -> np.ndarray:
    """(h, 3 * w) uint16: how far, of 256, each channel of a line's pixels is free of ink.

    It is put together from letters: a text with a score changes with every picture.
    """
    # A letter that ends between two pixels shares one with the next.
    ink = np.zeros((_line_height(size), _line_width(text, size) + 1), np.uint8)
    begin = 0
    for letter in f" {text} ":
        mask = _letter(letter, size, begin % _FINE)
        ink[:, begin // _FINE : begin // _FINE + mask.shape[1]] += mask
        begin += _fine_letter(letter, size).shape[1]
    ink = ink[:, :-1]
    return cv2.merge([256 - ink.astype(np.uint16) - (ink >> 7)] * 3).reshape(len(ink), -1)


def _line_height(size: int) -> int:
    return _fine_letter(" ", size).shape[0] // _FINE


@lru_cache(maxsize=4096)
def _letter(letter: str, size: int, shift: int) -> np.ndarray:
    """Coverage of a letter that begins `shift` times a `_FINE`th of a pixel behind the first one."""
    fine = _fine_letter(letter, size)
    height, width = fine.shape
    padded = np.pad(fine, ((0, 0), (shift, -(shift + width) % _FINE)))
    # Rounded down, so that what two letters put into one pixel is no more than 255.
    sums = padded.reshape(height // _FINE, _FINE, -1, _FINE).sum((1, 3), dtype=np.int64)
    return (sums // _FINE**2).astype(np.uint8)


@lru_cache(maxsize=1024)
def _fine_letter(letter: str, size: int) -> np.ndarray:
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


def _write(region: np.ndarray, blank: np.ndarray, color: np.ndarray) -> None:
    """Write white text on a dark plate of the color's hue, in place; `blank` as `_blank` gives it."""
    color = color.astype(np.float64)
    brightness = max(float(color @ (0.299, 0.587, 0.114)), 1.0)
    plate = np.rint(_PLATE * color * min(1.0, _PLATE_BRIGHTNESS / brightness)).astype(np.uint16)
    # In whole numbers of 16 bits. What the plate lacks to white is left where there is no ink.
    missing = region.astype(np.uint16).reshape(blank.shape)
    missing *= _THROUGH_PLATE
    missing >>= 8
    missing += np.tile(plate, region.shape[1])
    np.subtract(255, missing, out=missing)
    missing *= blank
    missing >>= 8
    np.subtract(255, missing.reshape(region.shape), out=region, casting="unsafe")
