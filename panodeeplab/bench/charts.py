"""Stages as bars, and accuracy against latency as labelled points, with nothing but Pillow."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from panodeeplab.bench.plot import Scale
from panodeeplab.files import replacing

_INK, _GRID = (40, 40, 40), (225, 225, 225)
_COLORS = ((31, 97, 165), (214, 97, 20), (38, 140, 77), (130, 70, 150), (90, 90, 90))
_DRAWN, _REDUCE = 4, 2  # drawn larger, then reduced: smooth edges
_FONT, _TITLE = 11, 13

Box = tuple[float, float, float, float]


class Bars(NamedTuple):
    """Stacked horizontal bars.

    Attributes:
        names: of the bars, from top to bottom.
        parts: the lengths of each part, by its name, one for each bar; 0 where a bar lacks it.
        unit: of the lengths.
    """

    names: Sequence[str]
    parts: dict[str, Sequence[float]]
    unit: str


class Scatter(NamedTuple):
    """Labelled points.

    Attributes:
        title, x_name, y_name: written above, below, and above at the left.
        groups: (x, y, label) of the points, by the name of their group; x is positive.
    """

    title: str
    x_name: str
    y_name: str
    groups: dict[str, Sequence[tuple[float, float, str]]]


def bar_chart(path: str | Path, bars: Bars) -> None:
    """Write a PNG. Every bar has its total at its end, and its parts in one order."""
    small = _font(_FONT)
    line, gap, top = 24 * _DRAWN, 8 * _DRAWN, 34 * _DRAWN
    left = max(small.getlength(name) for name in bars.names) + 16 * _DRAWN
    right, length = 70 * _DRAWN, 420 * _DRAWN
    size = (round(left + length + right), round(top + len(bars.names) * (line + gap) + gap))
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    x = left
    for color, part in zip(_COLORS, bars.parts, strict=False):
        draw.rectangle((x, 10 * _DRAWN, x + 10 * _DRAWN, 20 * _DRAWN), fill=color)
        draw.text((x + 14 * _DRAWN, 15 * _DRAWN), part, _INK, small, anchor="lm")
        x += 28 * _DRAWN + small.getlength(part)
    totals = [sum(lengths[i] for lengths in bars.parts.values()) for i in range(len(bars.names))]
    for i, name in enumerate(bars.names):
        y = top + i * (line + gap)
        draw.text((left - 8 * _DRAWN, y + line / 2), name, _INK, small, anchor="rm")
        x = left
        for color, lengths in zip(_COLORS, bars.parts.values(), strict=False):
            end = x + length * lengths[i] / max(totals)
            draw.rectangle((x, y, end, y + line), fill=color)
            x = end
        draw.text((x + 6 * _DRAWN, y + line / 2), f"{totals[i]:.4g} {bars.unit}", _INK, small, anchor="lm")
    _write(path, picture)


def scatter_plot(path: str | Path, panels: Sequence[Scatter]) -> None:
    """Write a PNG with the panels side by side; x is logarithmic. Each group has its color in all panels."""
    width, height = 560 * _DRAWN, 400 * _DRAWN
    picture = Image.new("RGB", (width * len(panels), height), "white")
    draw = ImageDraw.Draw(picture)
    colors = dict(zip(dict.fromkeys(g for p in panels for g in p.groups), _COLORS, strict=False))
    for number, panel in enumerate(panels):
        _draw_scatter(draw, panel, (number * width, 0, (number + 1) * width, height), colors)
    _write(path, picture)


def _draw_scatter(
    draw: ImageDraw.ImageDraw, panel: Scatter, at: Box, colors: dict[str, tuple[int, int, int]]
) -> None:
    small, large = _font(_FONT), _font(_TITLE)
    x0, x1 = at[0] + 50 * _DRAWN, at[2] - 24 * _DRAWN
    y0, y1 = at[3] - 46 * _DRAWN, at[1] + 58 * _DRAWN
    points = [point for group in panel.groups.values() for point in group]
    xs, ys = [x for x, _, _ in points], [y for _, y, _ in points]
    along = Scale(min(xs) / 1.3, max(xs) * 1.8, log=True)
    room = 0.08 * (max(ys) - min(ys)) or 1.0
    up = Scale(min(ys) - room, max(ys) + room)
    for value in up.ticks():
        y = y0 + up.share(value) * (y1 - y0)
        draw.line((x0, y, x1, y), fill=_GRID, width=_DRAWN)
        draw.text((x0 - 6 * _DRAWN, y), f"{value:g}", _INK, small, anchor="rm")
    for value in along.ticks():
        x = x0 + along.share(value) * (x1 - x0)
        draw.line((x, y0, x, y1), fill=_GRID, width=_DRAWN)
        draw.text((x, y0 + 8 * _DRAWN), f"{value:g}", _INK, small, anchor="mt")
    draw.line((x0, y0, x1, y0), fill=_INK, width=_DRAWN)
    draw.text(((x0 + x1) / 2, at[3] - 6 * _DRAWN), panel.x_name, _INK, small, anchor="mb")
    draw.text((at[0] + 8 * _DRAWN, y1 - 14 * _DRAWN), panel.y_name, _INK, small, anchor="lm")
    draw.text(((x0 + x1) / 2, at[1] + 14 * _DRAWN), panel.title, _INK, large, anchor="mm")
    legend_x = x0
    for name in panel.groups:
        _dot(draw, (legend_x, at[1] + 32 * _DRAWN), colors[name])
        draw.text((legend_x + 8 * _DRAWN, at[1] + 32 * _DRAWN), name, _INK, small, anchor="lm")
        legend_x += 30 * _DRAWN + small.getlength(name)

    taken: list[Box] = []
    placed = []
    for name, group in panel.groups.items():
        for x, y, label in group:
            middle = x0 + along.share(x) * (x1 - x0), y0 + up.share(y) * (y1 - y0)
            _dot(draw, middle, colors[name])
            reach = 5 * _DRAWN
            taken.append((middle[0] - reach, middle[1] - reach, middle[0] + reach, middle[1] + reach))
            placed.append((middle, label, colors[name]))
    for middle, label, color in sorted(placed, key=lambda p: -p[0][0]):
        box = _free_place(middle, small.getlength(label), (x0, y1, at[2] - 4 * _DRAWN, y0), taken)
        taken.append(box)
        if abs(box[1] - middle[1]) > 16 * _DRAWN:  # far enough that a line must say whose label it is
            draw.line((*middle, box[0], (box[1] + box[3]) / 2), fill=color, width=_DRAWN // 2)
        draw.text((box[0], (box[1] + box[3]) / 2), label, _INK, small, anchor="lm")


def _free_place(middle: tuple[float, float], width: float, inside: Box, taken: Sequence[Box]) -> Box:
    """The nearest place for a label that hides no point and no other label; beside its point if none does."""
    height, away = 13 * _DRAWN, 8 * _DRAWN
    places = []
    for step in range(0, 12):
        for sign in (1, -1):
            y = middle[1] + sign * step * height * 0.6
            for x in (middle[0] + away, middle[0] - away - width, middle[0] - width / 2):
                places.append((x, y - height / 2, x + width, y + height / 2))
    free = (
        place
        for place in places
        if inside[0] <= place[0]
        and place[2] <= inside[2]
        and inside[1] <= place[1]
        and place[3] <= inside[3]
        and not any(_overlap(place, other) for other in taken)
    )
    return next(free, places[0])


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _dot(draw: ImageDraw.ImageDraw, middle: tuple[float, float], color: tuple[int, int, int]) -> None:
    x, y = middle
    draw.ellipse((x - 4 * _DRAWN, y - 4 * _DRAWN, x + 4 * _DRAWN, y + 4 * _DRAWN), fill=color)


def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size * _DRAWN)


def _write(path: str | Path, picture: Image.Image) -> None:
    size = picture.width // _REDUCE, picture.height // _REDUCE
    with replacing(path) as temporary:
        picture.resize(size, Image.Resampling.LANCZOS).quantize(64).save(temporary, "PNG", optimize=True)
