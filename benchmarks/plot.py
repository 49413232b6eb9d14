"""Line plots with nothing but Pillow: a row of panels that share their lines' names and colors."""

import math
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

_COLORS = ((31, 97, 165), (214, 97, 20), (38, 140, 77), (130, 70, 150), (90, 90, 90))
_INK, _GRID = (40, 40, 40), (225, 225, 225)
_SCALE, _REDUCE = 4, 2  # drawn larger, then reduced: smooth lines
_PANEL = (420, 300)
_MARGIN = (60, 34, 16, 46)  # left, top, right, bottom


class Panel(NamedTuple):
    title: str
    x_name: str
    y_name: str
    lines: dict[str, list[tuple[float, float]]]


def ticks(low: float, high: float) -> list[float]:
    """About five round numbers from `low` to `high`."""
    raw = (high - low) / 5 or 1.0
    power = 10 ** math.floor(math.log10(raw))
    step = power * next(m for m in (1, 2, 5, 10) if m * power >= raw)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def line_plot(path: str | Path, panels: list[Panel]) -> None:
    """Write a PNG with the panels side by side and one legend."""
    width, height = (side * _SCALE for side in _PANEL)
    picture = Image.new("RGB", (width * len(panels), height), "white")
    draw = ImageDraw.Draw(picture)
    for number, panel in enumerate(panels):
        _draw_panel(draw, panel, number * width, legend=number == 0)
    size = picture.width // _REDUCE, picture.height // _REDUCE
    reduced = picture.resize(size, Image.Resampling.LANCZOS)
    reduced.quantize(64).save(path, optimize=True)


def _draw_panel(draw: ImageDraw.ImageDraw, panel: Panel, at: int, legend: bool) -> None:
    small, large = (ImageFont.load_default(size * _SCALE) for size in (11, 13))
    left, top, right, bottom = (m * _SCALE for m in _MARGIN)
    x0, x1 = at + left, at + _PANEL[0] * _SCALE - right
    y0, y1 = _PANEL[1] * _SCALE - bottom, top
    points = [point for line in panel.lines.values() for point in line]
    low_x, high_x = min(x for x, _ in points), max(x for x, _ in points)
    low_y, high_y = 0.0, max(y for _, y in points) * 1.08

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            x0 + (x - low_x) / (high_x - low_x) * (x1 - x0),
            y0 + (y - low_y) / (high_y - low_y) * (y1 - y0),
        )

    for value in ticks(low_y, high_y):
        y = place(low_x, value)[1]
        draw.line((x0, y, x1, y), fill=_GRID, width=_SCALE)
        draw.text((x0 - 6 * _SCALE, y), f"{value:g}", _INK, small, anchor="rm")
    for value in ticks(low_x, high_x):
        x = place(value, low_y)[0]
        draw.line((x, y0, x, y0 + 4 * _SCALE), fill=_INK, width=_SCALE)
        draw.text((x, y0 + 8 * _SCALE), f"{value:g}", _INK, small, anchor="mt")
    draw.line((x0, y0, x1, y0), fill=_INK, width=_SCALE)
    draw.text(((x0 + x1) / 2, _PANEL[1] * _SCALE - 6 * _SCALE), panel.x_name, _INK, small, anchor="mb")
    draw.text((at + 8 * _SCALE, y1 - 16 * _SCALE), panel.y_name, _INK, small, anchor="lm")
    draw.text(((x0 + x1) / 2, y1 - 16 * _SCALE), panel.title, _INK, large, anchor="mm")
    for number, (name, line) in enumerate(panel.lines.items()):
        color = _COLORS[number % len(_COLORS)]
        places = [place(*point) for point in line]
        draw.line(places, fill=color, width=2 * _SCALE, joint="curve")
        for x, y in places:
            draw.ellipse((x - 3 * _SCALE, y - 3 * _SCALE, x + 3 * _SCALE, y + 3 * _SCALE), fill=color)
        if legend:
            y = y0 - (len(panel.lines) - number) * 17 * _SCALE
            draw.line((x0 + 12 * _SCALE, y, x0 + 36 * _SCALE, y), fill=color, width=3 * _SCALE)
            draw.text((x0 + 44 * _SCALE, y), name, _INK, small, anchor="lm")
