"""Drawing over enlarged parts of an image, and putting such parts together to a picture with a legend."""

from collections.abc import Iterable
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

WIDTH = 1280  # of the pictures
FINE = 2  # drawn larger, then reduced: smooth lines
WHITE, BLACK = (255, 255, 255), (0, 0, 0)

Color = tuple[int, ...]  # red, green, blue and, where it is not opaque, alpha
Place = tuple[float, float]  # (y, x) in the image; pixel (y, x) fills y..y+1, x..x+1
Box = tuple[float, float, float, float]  # y0, x0, y1, x1


class View:
    """A part of an image, enlarged, to be drawn on in coordinates of the image.

    Widths and radii are in pixels of the finished picture.
    """

    def __init__(self, pixels: np.ndarray, box: Box, smooth: bool = True) -> None:
        y0, x0, y1, x1 = box
        self.origin, self.scale = (y0, x0), FINE * WIDTH / (x1 - x0)
        size = (FINE * WIDTH, round(self.scale * (y1 - y0)))
        resampling = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
        self.picture = Image.fromarray(pixels).resize(size, resampling, box=(x0, y0, x1, y1))
        self.draw = ImageDraw.Draw(self.picture, "RGBA")

    def place(self, y: float, x: float) -> tuple[float, float]:
        """(x, y) in the enlarged part."""
        return (x - self.origin[1]) * self.scale, (y - self.origin[0]) * self.scale

    def fill(self, box: Box, color: Color) -> None:
        (left, top), (right, bottom) = self.place(*box[:2]), self.place(*box[2:])
        self.draw.rectangle((left, top, right - 1, bottom - 1), fill=color)

    def frame(self, box: Box, color: Color, width: float) -> None:
        y0, x0, y1, x1 = box
        for ends in (((y0, x0), (y0, x1)), ((y1, x0), (y1, x1)), ((y0, x0), (y1, x0)), ((y0, x1), (y1, x1))):
            self.line(*ends, color, width)

    def hull(self, places: list[Place], color: Color) -> None:
        """Fills the convex hull."""
        corners = cv2.convexHull(np.array([self.place(*place) for place in places], np.float32))
        self.draw.polygon([tuple(corner) for corner in corners[:, 0].tolist()], fill=color)

    def line(self, start: Place, end: Place, color: Color, width: float) -> None:
        self.draw.line((*self.place(*start), *self.place(*end)), fill=color, width=round(FINE * width))

    def dot(self, y: float, x: float, radius: float, color: Color, rim: float = 0.0) -> None:
        left, top = self.place(y, x)
        for reach, shade in ((radius + rim, BLACK), (radius, color)):
            r = FINE * reach
            self.draw.ellipse((left - r, top - r, left + r, top + r), fill=shade)

    def text(self, y: float, x: float, words: str, size: int, color: Color, anchor: str = "mm") -> None:
        font = ImageFont.load_default(FINE * size)
        self.draw.text(self.place(y, x), words, color, font, anchor)


class Entry(NamedTuple):
    """Of a legend."""

    color: Color
    words: str
    shape: str = "square"  # or "dot", "small dot", "point", "line"


def legend(entries: Iterable[Entry], size: int = 21) -> Image.Image:
    """A strip of shapes with their meaning, side by side."""
    font, height = ImageFont.load_default(FINE * size), FINE * 44
    strip = Image.new("RGB", (FINE * WIDTH, height), "white")
    draw, x, side, middle = ImageDraw.Draw(strip), FINE * 4, FINE * 20, height / 2
    for entry in entries:
        center = x + side / 2
        if entry.shape == "square":
            box = (x, middle - side / 2, x + side, middle + side / 2)
            draw.rectangle(box, fill=entry.color, outline=(120, 120, 120))
        elif entry.shape == "line":
            draw.line((x, middle, x + side, middle), fill=entry.color, width=FINE * 2)
        else:
            radius, rim = {"dot": (6, 3), "small dot": (4, 2), "point": (2, 1.5)}[entry.shape]
            for r, color in ((FINE * (radius + rim), BLACK), (FINE * radius, entry.color)):
                draw.ellipse((center - r, middle - r, center + r, middle + r), fill=color)
        draw.text((x + side + FINE * 8, middle), entry.words, (40, 40, 40), font, "lm")
        x += side + FINE * 34 + draw.textlength(entry.words, font)
    return strip


def stacked(parts: Iterable[Image.Image], gap: int = 8) -> Image.Image:
    """Parts of one width, one below the other, at the size of the picture."""
    parts = list(parts)
    height = sum(part.height for part in parts) + FINE * gap * (len(parts) - 1)
    picture, y = Image.new("RGB", (FINE * WIDTH, height), "white"), 0
    for part in parts:
        picture.paste(part, (0, y))
        y += part.height + FINE * gap
    return picture.resize((WIDTH, height // FINE), Image.Resampling.LANCZOS)


def dimmed(image: np.ndarray, light: float) -> np.ndarray:
    """Gray, and darker."""
    gray = image @ np.array((0.299, 0.587, 0.114)) * light
    return np.repeat(gray[..., None], 3, 2).round().astype(np.uint8)
