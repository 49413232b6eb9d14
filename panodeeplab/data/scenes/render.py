"""From a street to a picture with its panoptic ground truth."""

from heapq import heapify, heappop, heappush

import cv2
import numpy as np

from panodeeplab.data.sample import Sample, Segment
from panodeeplab.data.scenes.camera import NEAR, Camera, rotation
from panodeeplab.data.scenes.canvas import SKY, Canvas
from panodeeplab.data.scenes.ground import Plan, Shadows, paint_ground
from panodeeplab.data.scenes.items import VIEW, Item, Street
from panodeeplab.data.scenes.painting import Pose, turned
from panodeeplab.data.scenes.street import build_street
from panodeeplab.data.scenes.surroundings import side_quad
from panodeeplab.data.scenes.weather import (
    Sensor,
    Weather,
    add_glow,
    draw_sensor,
    expose,
    horizon_row,
    mirror_wet_ground,
    paint_sky,
)

SMALLEST_SIDE = 32
_LEAST_AREA = 30 / (
    256 * 512
)  # of the image; a smaller instance is not painted, or void if it is hidden so far


class Scene:
    """A street and the camera that drives through it; `frame` renders one moment."""

    def __init__(self, seeds: np.random.SeedSequence, duration: float):
        world, view, self._grain = seeds.spawn(3)
        self.street: Street = build_street(np.random.default_rng(world), duration)
        rng = np.random.default_rng(view)
        self._zoom = rng.uniform(0.72, 1.05)
        self._horizon = rng.uniform(0.40, 0.50)
        self._angles = (rng.normal(0, 0.035), rng.normal(0, 0.012), rng.normal(0, 0.008))
        self._sensor: Sensor = draw_sensor(rng)
        self._shake = rng.uniform(0, 2 * np.pi, 3)
        self._table = np.array([(i.u, i.along, *i.speed, *i.half) for i in self.street.items])

    def _camera(self, size: tuple[int, int], time: float) -> Camera:
        height, width = size
        focal = self._zoom * max(width, 1.2 * height)
        yaw, pitch, roll = self._angles
        if time:
            pitch += 0.004 * np.sin(7.0 * time + self._shake[0]) - 0.004 * np.sin(self._shake[0])
            roll += 0.003 * np.sin(5.0 * time + self._shake[1]) - 0.003 * np.sin(self._shake[1])
        u, high = self.street.eye
        return Camera(
            size,
            focal,
            (self._horizon * height, width / 2),
            np.array([u, high, 0.0]),
            rotation(yaw, pitch, roll),
        )

    def frame(self, size: tuple[int, int], time: float, index: int, image_id: str) -> Sample:
        """The picture at `time` seconds; `index` of the frame seeds the noise of its sensor."""
        street, weather = self.street, self.street.weather
        camera = self._camera(size, time)
        canvas = Canvas(camera, weather.light)
        gone = street.speed * time
        area = _least_area(size)
        items, u, ahead, corners = self._standing(time, gone)
        shadows = _cast(weather, items, corners)
        tilt = abs(self._angles[2]) * size[1] / 2 + 0.03 * size[0] + 4
        paint_sky(canvas, weather, min(round(horizon_row(canvas) + tilt), size[0]), gone * 0.2)
        paint_ground(canvas, street.plan, weather, shadows.finish(), gone)
        seen = self._seen(camera, items, u, ahead, corners, area)
        places = np.stack([corners[seen].mean(1)[:, 0], np.zeros(len(seen)), ahead[seen]], 1)
        headings = np.array([items[k].heading for k in seen]) + np.arctan(street.plan.bend * ahead[seen])
        sunlit = shadows.sunlit(places).tolist()
        lamps = []
        for k, place, turn, lit in zip(seen, places, turned(headings), sunlit, strict=True):
            item = items[k]
            item.paint(canvas, Pose(place, turn, float(place[2]), time, lit))
            if weather.light.night and item.face > 2 and item.half[0] < 2:
                lamps.append((place, turn, item))
        mirror_wet_ground(canvas, weather)
        if street.hood:
            _paint_hood(canvas, street.hood)
        if weather.light.night:
            add_glow(canvas, _lamps(lamps, camera), 0.55)
        noise = np.random.default_rng([*self._grain.generate_state(2).tolist(), index])
        image = expose(canvas, weather, self._sensor, noise)
        panoptic, segments = _truth(cv2.extractChannel(canvas.pixels, 3), street.ids, area)
        return Sample(image, panoptic, segments, image_id)

    def _standing(self, time: float, gone: float) -> tuple[list[Item], np.ndarray, np.ndarray, np.ndarray]:
        """What stands between the camera and the end of the view at `time`.

        Returns:
            N items, their u and meters ahead (N,), and the corners (N, 4, 2) of their ground, (x, z).
        """
        table = self._table
        u, ahead = table[:, 0] + table[:, 2] * time, table[:, 1] + table[:, 3] * time - gone
        kept = np.flatnonzero((ahead + table[:, 5] > 0.6) & (ahead - table[:, 5] < VIEW + 130))
        u, ahead, half = u[kept], ahead[kept], table[kept, 4:6]
        middle = np.stack([u + 0.5 * self.street.plan.bend * ahead * ahead, ahead], 1)
        corners = middle[:, None] + half[:, None] * _CORNERS
        return [self.street.items[k] for k in kept], u, ahead, corners

    def _seen(self, camera: Camera, items, u, ahead, corners, area: int) -> list[int]:
        """The items that can be seen, in painting order.

        Left out is what lies outside the image, what is too small to count, and what stands behind a house
        that covers all of its bounding box.
        """
        height, width = camera.size
        bottom = np.concatenate([corners, np.zeros((len(items), 4, 1))], 2)[..., [0, 2, 1]]
        spread = np.array([item.spread for item in items])[:, None] * _CORNERS[:, 0]
        bottom[..., 0] += spread
        top = bottom + np.array([item.height for item in items])[:, None, None] * np.array([0, 1, 0])
        viewed = camera.view(np.concatenate([bottom, top], 1))
        near = viewed[..., 2].min(1) < NEAR
        viewed[..., 2] = np.maximum(viewed[..., 2], 0.05)
        flat = camera.project(viewed)
        low, high = flat.min(1), flat.max(1)
        outside = (high[:, 0] < 0) | (low[:, 0] > width) | (low[:, 1] > height) | (high[:, 1] < 0)
        face = np.array([item.face for item in items])
        scale = camera.focal / np.maximum(ahead, 1.0)
        kept = ~outside & ((face == 0) | (face * scale * scale > 1.6 * area))
        shown = np.flatnonzero(kept)
        ranges = np.stack([corners[shown, 0, 1], corners[shown, 2, 1]], 1)
        side = np.abs(u[shown] - camera.position[0])
        left, right = self.street.plan.lines
        inside = (u[shown] > left) & (u[shown] < right)
        layer = inside & ~np.array([items[k].vista for k in shown])
        order = shown[_far_to_near(ranges, side, layer, low[shown], high[shown])].tolist()
        roof = np.full(
            width, height, float
        )  # the highest row, per column, that a nearer house covers down to the ground
        seen = []
        low, high = low.tolist(), high.tolist()
        for k in reversed(order):
            a, b = max(int(low[k][0]), 0), min(int(high[k][0]) + 1, width)
            if not near[k] and (a >= b or roof[a:b].max() < low[k][1]):
                continue
            seen.append(k)
            if items[k].front:
                _cover(roof, camera, self.street.plan, items[k], u[k], ahead[k])
        return seen[::-1]


_CORNERS = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], float)


def _cover(roof: np.ndarray, camera: Camera, plan: Plan, item: Item, u: float, ahead: float) -> None:
    quad = side_quad(camera, plan, item.front, ahead - item.half[1], ahead + item.half[1], item.height)
    if quad is None:
        return
    (x0, y0), (x1, y1) = camera.project(camera.view(quad[0][:2])).tolist()
    a, b = max(int(np.ceil(x0)) + 1, 0), min(int(x1) - 1, len(roof))
    if a < b:
        line = y0 + (np.arange(a, b) - x0) * ((y1 - y0) / (x1 - x0)) + 2
        np.minimum(roof[a:b], line, out=roof[a:b])


def _least_area(size: tuple[int, int]) -> int:
    return max(round(_LEAST_AREA * size[0] * size[1]), 4)


def _cast(weather: Weather, items: list[Item], corners: np.ndarray) -> Shadows:
    shadows = Shadows(weather)
    solid = [k for k, item in enumerate(items) if not item.vista and not item.crown and corners[k, 0, 1] < 90]
    heights = np.array([items[k].height for k in solid])
    shadows.boxes(corners[solid], heights, [not items[k].front for k in solid])
    for k, item in enumerate(items):
        if item.crown and not item.vista and corners[k, 0, 1] < 80:
            shadows.ball(*corners[k].mean(0).tolist(), *item.crown)
    return shadows


def _far_to_near(
    depth: np.ndarray, side: np.ndarray, layer: np.ndarray, low: np.ndarray, high: np.ndarray
) -> list[int]:
    """Painting order of N things whose boxes in the image are low .. high, (N, 2) each.

    Only the order of boxes that meet matters. Of two things that share no depth the farther is painted first;
    of two that do, the one farther from the line of sight.

    Args:
        depth: (N, 2) from and to.
        side: (N,) distance from the line of sight.
        layer: (N,) the lower layer is painted first.
    """
    farther = depth[:, None, 0] >= depth[None, :, 1]
    first = farther | (~farther.T & (side[:, None] > side[None]))
    first = (layer[:, None] < layer[None]) | ((layer[:, None] == layer[None]) & first)
    meet = (low[:, None] <= high[None]).all(-1)
    first &= meet & meet.T
    waits = first.sum(0).tolist()
    stops = first.sum(1).cumsum().tolist()
    later = first.nonzero()[1].tolist()
    after = [later[a:b] for a, b in zip([0, *stops], stops, strict=False)]
    rank = (-depth.sum(1)).tolist()
    ready = [(rank[k], k) for k, count in enumerate(waits) if count == 0]
    heapify(ready)
    order, waiting = [], {k for k, count in enumerate(waits) if count}
    while ready or waiting:
        if not ready:  # three that cover each other in a ring
            k = min(waiting, key=lambda k: (waits[k], rank[k]))
            waiting.discard(k)
            heappush(ready, (rank[k], k))
        _, k = heappop(ready)
        order.append(k)
        for other in after[k]:
            waits[other] -= 1
            if waits[other] == 0 and other in waiting:
                waiting.discard(other)
                heappush(ready, (rank[other], other))
    return order


def _lamps(shown: list, camera: Camera) -> list:
    """Where the lamps of vehicles are in the image."""
    spots = []
    for place, turn, item in shown:
        toward = turn[2, 2] < 0
        color, size = ((255, 240, 200), 0.28) if toward else ((170, 30, 20), 0.17)
        for side in (-0.65, 0.65):
            point = camera.view(place + np.array([side, 0.75, -item.half[1]]))
            if point[2] > 2:
                x, y = camera.project(point)
                spots.append((x, y, size * camera.focal / point[2], color))
    return spots


def _paint_hood(canvas: Canvas, share: float) -> None:
    """The car that carries the camera: void."""
    height, width = canvas.camera.size
    x = np.linspace(-1, 1, 25)
    y = height * (1 - share * (1 - 0.55 * x * x))
    outline = np.concatenate([np.stack([(x + 1) / 2 * width, y], 1), [(width, height + 2), (0, height + 2)]])
    points = np.rint(outline).astype(np.int32)
    cv2.fillPoly(canvas.pixels, [points], (46, 48, 54, 0))
    inner = outline.copy()
    inner[:25, 1] += height * share * 0.25
    cv2.fillPoly(canvas.pixels, [np.rint(inner).astype(np.int32)], (30, 31, 36, 0))


def _truth(numbers: np.ndarray, ids: list, area: int) -> tuple[np.ndarray, list[Segment]]:
    """The panoptic map and its segments; instances of fewer than `area` pixels become void."""
    counts = np.bincount(numbers.ravel(), minlength=256)
    table = np.zeros(256, np.int32)
    segments: list[Segment] = []
    for number, (segment, category, crowd) in enumerate(ids):
        if number == 0 or counts[number] == 0 or (number > SKY and counts[number] < area):
            continue
        table[number] = segment
        segments.append({"id": segment, "category_id": category, "iscrowd": crowd})
    segments.sort(key=lambda s: s["id"])
    return np.take(table, numbers, mode="clip"), segments


def check_size(size) -> tuple[int, int]:
    """(H, W) as ints.

    Raises:
        ValueError: size is not two whole numbers of at least 32.
    """
    try:
        height, width = (int(v) for v in size)
    except (TypeError, ValueError):
        raise ValueError(f"size must be (height, width), got {size!r}") from None
    if min(height, width) < SMALLEST_SIDE or (height, width) != tuple(size):
        raise ValueError(
            f"size must be (height, width) of at least {SMALLEST_SIDE} pixels each, got {size!r}"
        )
    return height, width
