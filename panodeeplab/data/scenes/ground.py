"""The ground: asphalt with its markings, pavement, grass, tracks, and the shadows that lie on them."""

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from panodeeplab.data.scenes import textures
from panodeeplab.data.scenes.canvas import ROAD, SIDEWALK, TERRAIN, Canvas
from panodeeplab.data.scenes.weather import Weather

FARTHEST = 260.0
_REACH, _STEP = 64.0, 0.04
_SHADE = (-32.0, 32.0, -6.0, 96.0, 0.2)  # x and z range of the shadow map in meters, and its pixel


@dataclass(frozen=True)
class Plan:
    """What lies where across the street and along it, in meters.

    `u` runs to the right from the middle of the road and follows the bend; `along` runs with the traffic.

    Attributes:
        left, right: u of the road's edges.
        verges, walks: (left, right) widths of the grass strips next to the road and of the sidewalks behind.
        lanes: u of the lane lines that are dashed; solid: u of those that are not.
        parking: (left, right) widths of the parking lanes, inside the road.
        tracks: u of the middle of each tram track.
        crossings: (from, to) along of the streets that cross; zebras: along of the zebra crossings' middles.
        arrows: (u, along) of the arrows on the lanes.
        bend: curvature in 1/m, to the right.
        behind: number of the ground behind the sidewalk.
        asphalt, paving, grass: (3,) colors.
        marks: (3,) color of the markings.
    """

    left: float
    right: float
    verges: tuple[float, float]
    walks: tuple[float, float]
    lanes: tuple[float, ...]
    solid: tuple[float, ...]
    parking: tuple[float, float]
    tracks: tuple[float, ...]
    crossings: tuple[tuple[float, float], ...]
    zebras: tuple[float, ...]
    arrows: tuple[tuple[float, float], ...]
    bend: float
    behind: int
    asphalt: np.ndarray
    paving: np.ndarray
    grass: np.ndarray
    marks: np.ndarray

    @property
    def lines(self) -> tuple[float, float]:
        """u of the building lines, left (negative) and right."""
        return (self.left - self.verges[0] - self.walks[0], self.right + self.verges[1] + self.walks[1])

    def lit(self, gain: np.ndarray) -> "Plan":
        """The same plan with its colors times gain (3,)."""
        names = ("asphalt", "paving", "grass", "marks")
        return replace(self, **{name: np.minimum(getattr(self, name) * gain, 255) for name in names})

    def place(self, u: float, ahead: float, y: float = 0.0) -> np.ndarray:
        """(3,) point of the street's coordinates, `ahead` meters in front of the camera's foot."""
        return np.array([u + 0.5 * self.bend * ahead * ahead, y, ahead])


_DASHED, _BAY, _LANE = 1, 2, 4  # what a position across the street may carry


def _cross_section(plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """(K, 4) uint8 color and number; (K, 4) uint8 strength of grain and stains, marks, free; by u."""
    u = np.arange(-_REACH, _REACH, _STEP)
    paint = np.empty((len(u), 4), np.float32)
    extra = np.zeros((len(u), 4), np.uint8)

    def band(a, b, color, number, grain, stain):
        i, j = round((a + _REACH) / _STEP), round((b + _REACH) / _STEP)
        paint[i:j, :3], paint[i:j, 3], extra[i:j, :2] = color, number, (grain, stain)

    line_left, line_right = plan.lines
    if plan.behind == TERRAIN:
        band(-_REACH, _REACH, plan.grass, TERRAIN, 160, 120)
    else:
        band(-_REACH, _REACH, plan.paving * 0.96, SIDEWALK, 50, 50)
    band(line_left, line_right, plan.paving, SIDEWALK, 50, 50)
    for x in np.arange(line_left, line_right, 1.0):  # slabs
        band(x, x + 0.05, plan.paving * 0.88, SIDEWALK, 50, 50)
    if plan.verges[0]:
        band(plan.left - plan.verges[0], plan.left, plan.grass, TERRAIN, 160, 120)
    if plan.verges[1]:
        band(plan.right, plan.right + plan.verges[1], plan.grass, TERRAIN, 160, 120)
    curb = np.minimum(plan.paving * 1.12, 240)
    band(plan.left - 0.22, plan.left, curb, SIDEWALK, 40, 30)
    band(plan.right, plan.right + 0.22, curb, SIDEWALK, 40, 30)
    band(plan.left, plan.right, plan.asphalt, ROAD, 70, 70)
    band(plan.left, plan.left + 0.25, plan.asphalt * 0.78, ROAD, 60, 60)
    band(plan.right - 0.25, plan.right, plan.asphalt * 0.78, ROAD, 60, 60)
    if plan.parking[0]:
        band(plan.left, plan.left + plan.parking[0], plan.asphalt * 1.1, ROAD, 80, 90)
    if plan.parking[1]:
        band(plan.right - plan.parking[1], plan.right, plan.asphalt * 1.1, ROAD, 80, 90)
    for track in plan.tracks:
        band(track - 1.25, track + 1.25, plan.asphalt * 1.18 + 6, ROAD, 60, 60)
        for rail in (-0.72, 0.72):
            band(track + rail - 0.12, track + rail + 0.12, plan.asphalt * 0.62, ROAD, 30, 0)
            band(track + rail - 0.05, track + rail + 0.05, plan.marks * 0.76, ROAD, 30, 0)
    for line in plan.solid:
        band(line - 0.07, line + 0.07, plan.marks, ROAD, 80, 50)

    def carry(a, b, what):
        extra[round((a + _REACH) / _STEP) : round((b + _REACH) / _STEP), 2] |= what

    for line in plan.lanes:
        carry(line - 0.075, line + 0.075, _DASHED)
    for side, width in ((-1, plan.parking[0]), (1, plan.parking[1])):
        if width:
            edge = plan.left if side < 0 else plan.right
            inner = edge - side * width
            carry(*sorted((edge - side * 0.2, inner)), _BAY)
            carry(inner - 0.06, inner + 0.06, _LANE)
    return np.clip(paint, 0, 255).astype(np.uint8), extra


def paint_ground(canvas: Canvas, plan: Plan, weather: Weather, shade: np.ndarray, along: float) -> None:
    """Paints the ground; `shade` is the map of `Shadows`, `along` how far the camera has come in meters."""
    light = canvas.light
    first, x, z, seen = canvas.camera.ground(FARTHEST)
    if not len(x):
        return
    u = x - np.float32(0.5 * plan.bend) * (z * z)
    way = z + np.float32(along)
    bright = light.ambient + max(light.sun[1], 0.0) * light.sun_color
    plan = plan.lit(0.7 * (1 - 0.25 * weather.wet) * bright)
    paint, extra = _cross_section(plan)
    place = ((u + np.float32(_REACH)) * np.float32(1 / _STEP)).astype(np.int32)
    ground, extra = (
        np.take(table.view(np.uint32), place, mode="clip").view(np.uint8).reshape(*place.shape, 4)
        for table in (paint, extra)
    )
    _mark(plan, ground, extra, u, way)
    level = _level(plan, weather, shade, extra, x, z, u, along)
    number = cv2.extractChannel(ground, 3)
    ground = cv2.multiply(ground, cv2.merge([level, level, level, level]), scale=1 / 89.6)
    share = cv2.resize(np.exp(-light.density * z[:, ::8]), (z.shape[1], z.shape[0]))
    fog = np.empty_like(ground)
    fog[:] = (*np.clip(light.haze, 0, 255).astype(np.uint8), 0)
    ground = cv2.blendLinear(ground, fog, share, 1 - share)
    cv2.insertChannel(number, ground, 3)
    cv2.copyTo(ground, seen.view(np.uint8), canvas.pixels[first:])


def _level(plan, weather, shade, extra, x, z, u, along) -> np.ndarray:
    """uint8, 128 = the ground as it is: texture times shadow."""
    shift = float(np.mod(along, 128.0))
    grain = cv2.remap(
        textures.grain(), u * np.float32(40), (z + np.float32(shift)) * np.float32(40), cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )  # fmt: skip
    stains = cv2.remap(
        textures.clouds(), u * np.float32(8), (z + np.float32(shift)) * np.float32(4), cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )  # fmt: skip
    near = np.minimum(14 / np.maximum(z[:, z.shape[1] // 2 :][:, :1], 1), 1) / np.float32(1000)
    calm = np.float32(0.7 if weather.wet else 1.0)
    # In place, for a fresh array of this size costs more than the sum that goes into it.
    for pattern, channel, depth in ((grain, 0, near), (stains, 1, near * np.float32(1.5))):
        pattern *= cv2.extractChannel(extra, channel)
        pattern *= depth
    ripple = np.add(grain, stains, out=grain)
    ripple *= calm
    ripple += 1
    x0, _, z0, _, pixel = _SHADE
    lit = cv2.remap(
        shade, (x - np.float32(x0)) / np.float32(pixel) - np.float32(0.5),
        (z - np.float32(z0)) / np.float32(pixel) - np.float32(0.5), cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    ripple *= lit
    return cv2.convertScaleAbs(ripple, alpha=128 / 255)


def _mark(plan: Plan, ground: np.ndarray, extra: np.ndarray, u: np.ndarray, way: np.ndarray) -> None:
    """Streets that cross, and all markings that do not run through."""
    low, high = np.minimum(way[:, 0], way[:, -1]), np.maximum(way[:, 0], way[:, -1])
    marks, asphalt, paving = (color.astype(np.uint8) for color in (plan.marks, plan.asphalt, plan.paving))

    def rows(start, end):
        hit = np.flatnonzero((high > start) & (low < end))
        return slice(int(hit[0]), int(hit[-1]) + 1) if len(hit) else None

    carries = np.flatnonzero(extra[..., 2])
    there, what = way.ravel()[carries], extra[..., 2].ravel()[carries]
    open_road = np.ones(len(there), bool)
    for start, end in plan.crossings:
        open_road &= (there < start - 4.5) | (there > end + 4.5)
    drawn = ((what & _DASHED) > 0) & (np.mod(there, 9.0) < 3.2) | ((what & _LANE) > 0)
    drawn |= ((what & _BAY) > 0) & (np.mod(there, 6.0) < 0.12)
    ground.reshape(-1, 4)[carries[drawn & open_road], :3] = marks

    for start, end in plan.crossings:
        part = rows(start - 3, end + 3)
        if part is None:
            continue
        g, e, w, v = ground[part], extra[part], way[part], u[part]
        inside = (w > start) & (w < end)
        aside = (v < plan.left + 0.3) | (v > plan.right - 0.3)
        across = inside & aside
        g[across] = (*asphalt, ROAD)
        e[across] = (70, 70, 0, 0)
        side = (w > start - 3) & (w < end + 3) & ~inside & ((v < plan.lines[0]) | (v > plan.lines[1]))
        g[side] = (*paving, SIDEWALK)
        e[side] = (50, 50, 0, 0)
        middle = across & (np.abs(w - (start + end) / 2) < 0.07) & (np.mod(v, 6) < 3)
        g[middle, :3] = marks
        if plan.solid and not plan.tracks:
            lines = inside & ~aside & (g[..., 1] > plan.asphalt[1] * 1.25)
            g[lines, :3] = asphalt
    for middle in plan.zebras:
        part = rows(middle - 3.4, middle + 1.8)
        if part is None:
            continue
        g, w, v = ground[part], way[part], u[part]
        on_road = (v > plan.left + 0.2) & (v < plan.right - 0.2)
        stripes = (np.abs(w - middle) < 1.7) & (np.mod(v - plan.left, 1.0) < 0.5)
        stop = (np.abs(w - (middle - 3.0)) < 0.2) & (v > 0)
        g[on_road & (stripes | stop), :3] = marks
    for lane, start in plan.arrows:
        part = rows(start, start + 3.6)
        if part is None:
            continue
        du, dz = np.abs(u[part] - lane), way[part] - start
        shaft = (du < 0.09) & (dz > 0) & (dz < 2.2)
        tip = (dz >= 2.2) & (dz < 3.5) & (du < 0.45 * (3.5 - dz) / 1.3)
        ground[part][shaft | tip, :3] = marks


class Shadows:
    """A map of the ground's light seen from above, uint8, 255 = all of it."""

    def __init__(self, weather: Weather):
        x0, x1, z0, z1, pixel = _SHADE
        self.map = np.full((round((z1 - z0) / pixel), round((x1 - x0) / pixel)), 255, np.uint8)
        self.contact = self.map.copy()
        self.dark = int(255 * float(weather.shadow.mean()))
        sun = weather.light.sun
        self.throw = np.array([-sun[0] / sun[1], -sun[2] / sun[1]])

    def _pixels(self, points: np.ndarray) -> np.ndarray:
        x0, _, z0, _, pixel = _SHADE
        return np.rint((points - np.array([x0, z0])) / pixel * 16).astype(np.int32)

    def boxes(self, corners: np.ndarray, heights: np.ndarray, touch: list[bool]) -> None:
        """Solids over the rectangles `corners` (N, 4, 2) of (x, z); those that touch darken what is below."""
        foot = self._pixels(corners)
        if self.dark < 235:
            both = np.concatenate([foot, self._pixels(corners + heights[:, None, None] * self.throw)], 1)
            for outline in both:
                cv2.fillConvexPoly(self.map, cv2.convexHull(outline), self.dark, cv2.LINE_8, 4)
        for outline, touches in zip(foot, touch, strict=True):
            if touches:
                cv2.fillConvexPoly(self.contact, outline, 105, cv2.LINE_8, 4)

    def ball(self, x: float, z: float, height: float, radius: float) -> None:
        """A round crown around the point at `height`."""
        if self.dark < 235:
            x0, _, z0, _, pixel = _SHADE
            dx, dz = self.throw.tolist()
            center = (round((x + dx * height - x0) / pixel), round((z + dz * height - z0) / pixel))
            stretch = min(math.hypot(dx, dz), 2.0)
            axes = (max(round(radius * math.hypot(1, stretch) / pixel), 1), max(round(radius / pixel), 1))
            cv2.ellipse(self.map, center, axes, math.degrees(math.atan2(dz, dx)), 0, 360, self.dark, -1)

    def finish(self) -> np.ndarray:
        soft = cv2.blur(self.contact, (5, 5))
        return cv2.multiply(cv2.GaussianBlur(self.map, (3, 3), 0.8), soft, scale=1 / 255)

    def sunlit(self, places: np.ndarray) -> np.ndarray:
        """0.2 in shadow .. 1 in the sun, of things that stand at (N, 3)."""
        x0, _, z0, _, pixel = _SHADE
        column = np.clip((places[:, 0] - x0) / pixel, 0, self.map.shape[1] - 1).astype(int)
        row = np.clip((places[:, 2] - z0) / pixel, 0, self.map.shape[0] - 1).astype(int)
        return np.where(self.map[row, column] < 255, 0.2, 1.0)
