"""Line plots with nothing but Pillow: a row of panels that share their lines' names and colors."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from panodeeplab.files import replacing

_COLORS = ((31, 97, 165), (214, 97, 20), (38, 140, 77), (130, 70, 150), (90, 90, 90))
_INK, _GRID = (40, 40, 40), (225, 225, 225)
_SCALE, _REDUCE = 4, 2  # drawn larger, then reduced: smooth lines
_PANEL = (420, 300)
_MARGIN = (60, 34, 16, 46)  # left, top, right, bottom
_LEGEND_LINE = 17
_LOG_TICKS = 8  # of 1, 2 and 5; where there would be more, powers of ten

Place = tuple[float, float]


class Panel(NamedTuple):
    """One plot.

    Attributes:
        title, x_name, y_name: written above, below, and above at the left.
        lines: the (x, y) points of each line, in order, at least one.
        x_log, y_log: whether equal ratios, not differences, are equally far apart; such values are positive.
    """

    title: str
    x_name: str
    y_name: str
    lines: dict[str, list[Place]]
    x_log: bool = False
    y_log: bool = False


class Scale(NamedTuple):
    """The values along an axis."""

    low: float
    high: float
    log: bool = False

    def share(self, value: float) -> float:
        """0 at `low`, 1 at `high`."""
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return (value - low) / (high - low) if high > low else 0.5

    def ticks(self) -> list[float]:
        """A few round numbers from `low` to `high`."""
        return log_ticks(self.low, self.high) if self.log else ticks(self.low, self.high)


def ticks(low: float, high: float) -> list[float]:
    """About five round numbers from `low` to `high`."""
    raw = (high - low) / 5 or 1.0
    power = 10 ** math.floor(math.log10(raw))
    step = power * next(m for m in (1, 2, 5, 10) if m * power >= raw)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten from `low` to `high`, or the powers alone if those are too many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    # Built from text, as 2 * 10.0**-1 and the like are not the nearest float to what they mean.
    values = [float(f"{m}e{power}") for power in powers for m in (1, 2, 5)]
    within = [v for v in values if low * (1 - 1e-9) <= v <= high * (1 + 1e-9)]
    if len(within) <= _LOG_TICKS:
        return within
    return [v for v in within if v == float(f"1e{round(math.log10(v))}")]


def x_scale(panel: Panel) -> Scale:
    """From the least to the largest x."""
    values = _values(panel, 0, panel.x_log)
    return Scale(min(values), max(values), panel.x_log)


def y_scale(panel: Panel) -> Scale:
    """From 0 to a little above the largest y; if logarithmic, from a little below the least."""
    values = _values(panel, 1, panel.y_log)
    if panel.y_log:
        return Scale(min(values) / 1.6, max(values) * 1.6, log=True)
    return Scale(0.0, max(values) * 1.08)


def _values(panel: Panel, axis: int, log: bool) -> list[float]:
    values = [point[axis] for line in panel.lines.values() for point in line]
    if log and min(values) <= 0:
        raise ValueError(
            f"lines of {panel.title!r} have {min(values):g} on a logarithmic axis, wanted more than 0"
        )
    return values


def line_plot(path: str | Path, panels: list[Panel]) -> None:
    """Write a PNG with the panels side by side and one legend.

    Raises:
        ValueError: a value on a logarithmic axis is not positive.
    """
    width, height = (side * _SCALE for side in _PANEL)
    picture = Image.new("RGB", (width * len(panels), height), "white")
    draw = ImageDraw.Draw(picture)
    for number, panel in enumerate(panels):
        _draw_panel(draw, panel, number * width, legend=number == 0)
    size = picture.width // _REDUCE, picture.height // _REDUCE
    reduced = picture.resize(size, Image.Resampling.LANCZOS)
    with replacing(path) as temporary:
        reduced.quantize(64).save(temporary, "PNG", optimize=True)


def _draw_panel(draw: ImageDraw.ImageDraw, panel: Panel, at: int, legend: bool) -> None:
    small, large = (ImageFont.load_default(size * _SCALE) for size in (11, 13))
    left, top, right, bottom = (m * _SCALE for m in _MARGIN)
    x0, x1 = at + left, at + _PANEL[0] * _SCALE - right
    y0, y1 = _PANEL[1] * _SCALE - bottom, top
    along, up = x_scale(panel), y_scale(panel)

    def place(x: float, y: float) -> Place:
        return x0 + along.share(x) * (x1 - x0), y0 + up.share(y) * (y1 - y0)

    for value in up.ticks():
        y = place(along.low, value)[1]
        draw.line((x0, y, x1, y), fill=_GRID, width=_SCALE)
        draw.text((x0 - 6 * _SCALE, y), f"{value:g}", _INK, small, anchor="rm")
    for value in along.ticks():
        x = place(value, up.low)[0]
        draw.line((x, y0, x, y0 + 4 * _SCALE), fill=_INK, width=_SCALE)
        draw.text((x, y0 + 8 * _SCALE), f"{value:g}", _INK, small, anchor="mt")
    draw.line((x0, y0, x1, y0), fill=_INK, width=_SCALE)
    draw.text(((x0 + x1) / 2, _PANEL[1] * _SCALE - 6 * _SCALE), panel.x_name, _INK, small, anchor="mb")
    draw.text((at + 8 * _SCALE, y1 - 16 * _SCALE), panel.y_name, _INK, small, anchor="lm")
    draw.text(((x0 + x1) / 2, y1 - 16 * _SCALE), panel.title, _INK, large, anchor="mm")
    colors = dict(zip(panel.lines, _COLORS * len(panel.lines), strict=False))
    lines = {name: [place(*point) for point in line] for name, line in panel.lines.items()}
    for name, places in lines.items():
        draw.line(places, fill=colors[name], width=2 * _SCALE, joint="curve")
        for x, y in places:
            draw.ellipse((x - 3 * _SCALE, y - 3 * _SCALE, x + 3 * _SCALE, y + 3 * _SCALE), fill=colors[name])
    if legend:
        # With half a line of room above and below.
        height = (len(lines) + 1) * _LEGEND_LINE * _SCALE
        name_width = max(draw.textlength(name, small) for name in lines)
        y = freest(lines.values(), x0 + 56 * _SCALE + name_width, height, y0, y1)
        for name in lines:
            y += _LEGEND_LINE * _SCALE
            draw.line((x0 + 12 * _SCALE, y, x0 + 36 * _SCALE, y), fill=colors[name], width=3 * _SCALE)
            draw.text((x0 + 44 * _SCALE, y), name, _INK, small, anchor="lm")


def freest(lines: Iterable[list[Place]], right: float, height: float, bottom: float, top: float) -> float:
    """Upper edge of a box of that height, from the left end to `right`, that hides least of the lines, the
    lowest of several; y grows downwards.
    """
    steps = 50
    drawn = [
        (xa + (xb - xa) * i / steps, ya + (yb - ya) * i / steps)
        for line in lines
        for (xa, ya), (xb, yb) in zip(line, line[1:] or line, strict=False)
        for i in range(steps + 1)
    ]
    heights = [y for x, y in drawn if x <= right]
    room = bottom - top - height
    edges = [bottom - height - room * i / steps for i in range(steps + 1)]
    return min(edges, key=lambda edge: sum(edge < y < edge + height for y in heights))
