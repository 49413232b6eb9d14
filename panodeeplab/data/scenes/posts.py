"""Painters of what stands on a post: street lamps, traffic lights, traffic signs."""

from functools import lru_cache

import numpy as np

from panodeeplab.data.scenes.camera import NEAR
from panodeeplab.data.scenes.canvas import LAMP, POLE, SIGN, Canvas
from panodeeplab.data.scenes.painting import Painter, Pose


class Posts:
    """Round posts and arms: rows of (from, to, radius there, radius here, color)."""

    def __init__(self, rows: list, number: int):
        self._ends = np.array([row[:2] for row in rows], float)
        self._radii = np.array([row[2:4] for row in rows], float)
        self._colors = np.array([row[4] for row in rows], float)
        self._number = number

    def __call__(self, canvas: Canvas, pose: Pose) -> None:
        light = canvas.light
        colors = self._colors * (light.ambient + (0.5 * pose.sunlit) * light.sun_color)
        ends = self._ends @ pose.turn.T + pose.place
        canvas.capsules(ends, self._radii, light.fade(colors, pose.ahead), self._number, least=0.6)


@lru_cache(maxsize=256)
def paint_lamp_post(height: float, arm: float, gray: float) -> Painter:
    """A street lamp; arm: meters towards u > 0 (negative to the left); gray: brightness of its paint."""
    color = np.array((104, 108, 110)) * gray
    rows = [
        ((0, 0, 0), (0, 1.0, 0), 0.12, 0.11, color * 0.9),
        ((0, 0.9, 0), (0, height, 0), 0.085, 0.06, color),
        ((0, height, 0), (arm, height + 0.35, 0), 0.05, 0.05, color),
        ((arm, height + 0.33, 0), (arm * 1.35, height + 0.35, 0), 0.11, 0.08, color * 0.8),
    ]

    bulb = (arm * 1.2, height + 0.24, 0)
    post, lamp = Posts(rows, POLE), Posts([(bulb, bulb, 0.12, 0.12, (640, 560, 400))], POLE)

    def paint(canvas: Canvas, pose: Pose) -> None:
        post(canvas, pose)
        if canvas.light.night:
            lamp(canvas, pose)

    return paint


class Boards:
    """Flat convex boards that face the camera: (outline (K, 2) of (x, y), color, own light 0 .. 1)."""

    def __init__(self, boards: list, number: int):
        self._points = np.concatenate([outline for outline, _, _ in boards])
        self._stops = np.cumsum([0] + [len(outline) for outline, _, _ in boards]).tolist()
        self._colors = np.array([color for _, color, _ in boards], float)
        self._shine = np.array([share for _, _, share in boards], float)[:, None]
        self._number = number

    def __call__(self, canvas: Canvas, pose: Pose) -> None:
        light = canvas.light
        viewed = canvas.camera.view(self._points @ pose.turn[:, :2].T + pose.place)
        if viewed[:, 2].min() < NEAR:
            return
        gain = light.gain(_BACKWARD, pose.sunlit)
        paints = light.fade(self._colors * (gain * (1 - self._shine) + self._shine), pose.ahead)
        canvas.polygons(canvas.camera.project(viewed), self._stops, paints, self._number)


_BACKWARD = np.array([[0.0, 0.1, -0.99]])


def _round(x: float, y: float, radius: float, corners: int = 14, turn: float = 0.0) -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False) + turn
    return np.stack([x + radius * np.sin(angles), y + radius * np.cos(angles)], 1)


def rectangle(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], float)


@lru_cache(maxsize=256)
def paint_traffic_light(state: int, height: float, arm: float, away: bool) -> Painter:
    """state: 0 red, 1 yellow, 2 green; arm: meters over the road, 0 = on the post; away: seen from behind."""
    shown = ((235, 40, 36), (250, 190, 40), (60, 220, 120))
    gray = np.array((88, 92, 94.0))
    top = height + (0.5 if arm else 0.1)
    boards = [
        (rectangle(arm - 0.24, top - 1.12, arm + 0.24, top), (26, 28, 28), 0.0),
        (rectangle(arm - 0.19, top - 1.07, arm + 0.19, top - 0.05), (44, 48, 46), 0.0),
    ]
    if not away:
        for k in range(3):
            color = shown[k] if k == state else tuple(0.22 * v for v in shown[k])
            boards.append((_round(arm, top - 0.22 - 0.33 * k, 0.145, 10), color, 0.9 if k == state else 0.0))
    rows = [((0, 0, 0), (0, height, 0), 0.09, 0.075, gray)]
    if arm:
        rows.append(((0, height, 0), (arm, height + 0.2, 0), 0.06, 0.05, gray))

    post, face = Posts(rows, POLE), Boards(boards, LAMP)

    def paint(canvas: Canvas, pose: Pose) -> None:
        post(canvas, pose)
        face(canvas, pose._replace(place=pose.place - _IN_FRONT))

    return paint


@lru_cache(maxsize=512)
def paint_sign(kind: int, height: float, size: float, color: tuple[int, int, int]) -> Painter:
    """A traffic sign on its post; kind is one of SIGNS' positions, color that of a direction board."""
    gray = np.array((140, 144, 146.0))
    if SIGNS[kind] == "gantry":
        rows = [
            ((-2.6, 0, 0), (-2.6, height + 1.6, 0), 0.1, 0.1, gray),
            ((-2.6, height + 1.5, 0), (2.6, height + 1.5, 0), 0.08, 0.08, gray),
        ]
    else:
        rows = [((0, 0, 0), (0, height + size * 0.4, 0), 0.05, 0.05, gray)]
    boards = [(outline * size + (0, height), paint, 0.0) for outline, paint in _sign_face(SIGNS[kind], color)]

    post, face = Posts(rows, POLE), Boards(boards, SIGN)

    def paint(canvas: Canvas, pose: Pose) -> None:
        post(canvas, pose)
        face(canvas, pose._replace(place=pose.place - _IN_FRONT))

    return paint


SIGNS = (
    "limit",
    "warning",
    "stop",
    "parking",
    "one way",
    "priority",
    "direction",
    "no entry",
    "mandatory",
    "gantry",
)
_IN_FRONT = np.array([0.0, 0.0, 0.1])


def _sign_face(name: str, color) -> list[tuple[np.ndarray, tuple]]:
    """Outlines and colors of a sign of size 1 around (0, 0)."""
    red, white, blue, yellow, black = (
        (196, 26, 34),
        (240, 240, 236),
        (24, 78, 164),
        (246, 196, 30),
        (24, 24, 26),
    )
    if name == "limit":
        face = [(_round(0, 0, 0.5), red), (_round(0, 0, 0.37), white)]
        for x in (-0.15, 0.15):
            face.append((rectangle(x - 0.12, -0.2, x + 0.12, 0.2), black))
        face.append((rectangle(0.1, -0.12, 0.2, 0.12), white))
        face += [(rectangle(-0.28, 0.05, -0.1, 0.12), white), (rectangle(-0.28, -0.12, -0.1, -0.05), white)]
        return face
    if name == "warning":
        bar = rectangle(-0.05, -0.18, 0.05, 0.14)
        return [(_round(0, -0.05, 0.6, 3), red), (_round(0, -0.05, 0.4, 3), white), (bar, black)]
    if name == "stop":
        bar = rectangle(-0.34, -0.1, 0.34, 0.1)
        return [
            (_round(0, 0, 0.53, 8, np.pi / 8), white),
            (_round(0, 0, 0.48, 8, np.pi / 8), red),
            (bar, white),
        ]
    if name == "parking":
        return [
            (rectangle(-0.5, -0.5, 0.5, 0.5), blue), (rectangle(-0.18, -0.34, -0.05, 0.34), white),
            (_round(0.05, 0.14, 0.2, 10), white), (_round(0.04, 0.14, 0.09, 8), blue),
        ]  # fmt: skip
    if name == "one way":
        return [
            (rectangle(-0.75, -0.28, 0.75, 0.28), blue), (rectangle(-0.55, -0.06, 0.25, 0.06), white),
            (np.array([(0.2, -0.2), (0.6, 0), (0.2, 0.2)]), white),
        ]  # fmt: skip
    if name == "priority":
        return [(_round(0, 0, 0.58, 4), white), (_round(0, 0, 0.45, 4), yellow)]
    if name == "direction":
        face = [(rectangle(-0.9, -0.55, 0.9, 0.55), white), (rectangle(-0.86, -0.51, 0.86, 0.51), color)]
        for k in range(3):
            face.append((rectangle(-0.72, 0.25 - 0.3 * k, -0.07 - 0.17 * k, 0.37 - 0.3 * k), white))
        return face
    if name == "no entry":
        return [(_round(0, 0, 0.5), red), (rectangle(-0.34, -0.09, 0.34, 0.09), white)]
    if name == "mandatory":
        return [
            (_round(0, 0, 0.5), blue), (np.array([(-0.22, -0.02), (0, 0.3), (0.22, -0.02)]), white),
            (rectangle(-0.07, -0.27, 0.07, 0), white),
        ]  # fmt: skip
    face = [(rectangle(-2.4, 0, 2.4, 1.5), white), (rectangle(-2.32, 0.08, 2.32, 1.42), color)]
    for k in range(2):
        face.append((rectangle(-2.0, 0.85 - 0.6 * k, -0.2, 1.15 - 0.6 * k), white))
        face.append((rectangle(0.9, 0.85 - 0.6 * k, 1.7, 1.15 - 0.6 * k), white))
    return face
