"""Painters of what lines the street: houses, walls, fences, trees."""

import cv2
import numpy as np

from panodeeplab.data.scenes import textures
from panodeeplab.data.scenes.camera import Camera
from panodeeplab.data.scenes.canvas import BUILDING, FENCE, VEGETATION, WALL, Canvas
from panodeeplab.data.scenes.ground import Plan
from panodeeplab.data.scenes.painting import Painter, Pose
from panodeeplab.data.scenes.posts import Boards, rectangle
from panodeeplab.data.scenes.textures import PIXELS_PER_METER


def paint_tree(kind: int, standing: bool, width: float, height: float, gain: np.ndarray) -> Painter:
    """A tree, or a bush if it is not `standing` on a trunk; gain (3,) tints its leaves."""
    return _paint_leaves(textures.trees(standing)[kind], width, height, gain)


def paint_treeline(kind: int, width: float, gain: np.ndarray) -> Painter:
    return _paint_leaves(textures.treelines()[kind], width, width / 15, gain)


def _paint_leaves(levels: list[np.ndarray], width: float, height: float, gain: np.ndarray) -> Painter:
    full = levels[0].shape[1]

    def paint(canvas: Canvas, pose: Pose) -> None:
        picture = textures.level(levels, full * pose.ahead / (width * canvas.camera.focal))
        light = canvas.light
        lit = gain * (light.ambient + (0.19 + 0.43 * pose.sunlit) * light.sun_color)
        canvas.billboard(pose.place, width, height, picture, lit, VEGETATION)

    return paint


def side_quad(
    camera: Camera, plan: Plan, u: float, start: float, end: float, height: float
) -> tuple[np.ndarray, tuple[float, float], float] | None:
    """An upright rectangle along the street at u, from `start` to `end` ahead, as far as it lies in front.

    Returns:
        corners (4, 3) as `Canvas.textured` wants them; its `part`, with the picture's left at `start`; and
        where the rectangle begins. None if nothing of it lies in front.
    """
    begin = max(start, 1.0 + 0.14 * abs(u - camera.position[0]))
    if end <= begin + 0.05:
        return None
    up = np.array([0.0, height, 0.0])
    near, far = plan.place(u, begin), plan.place(u, end)
    cut = (begin - start) / (end - start)
    if u < camera.position[0]:
        return np.array([near + up, far + up, far, near]), (cut, 1.0), begin
    return np.array([far + up, near + up, near, far]), (1.0, cut), begin


def paint_house(
    plan: Plan, kind: int, u: float, length: float, stretch: float, tint: np.ndarray, flank: bool
) -> Painter:
    """A house whose front stands at u along the street, its middle at the item's place.

    stretch: of the picture's height; flank: its wall towards the camera is seen too.
    """

    def paint(canvas: Canvas, pose: Pose) -> None:
        levels, _, height = textures.facade(kind, canvas.light.night > 0)
        camera = canvas.camera
        start, end = pose.ahead - length / 2, pose.ahead + length / 2
        left = u < camera.position[0]
        if flank and start > 3.2 + 0.14 * abs(u):
            picture = textures.level(levels, PIXELS_PER_METER * start / camera.focal)
            inner = plan.place(u, start)
            outer = inner + np.array([-12.0 if left else 12.0, 0, 0])
            a, b = (outer, inner) if left else (inner, outer)
            up = np.array([0.0, height * stretch, 0.0])
            gain = canvas.light.gain(_FLANK)[0] * tint
            canvas.textured(np.array([a + up, b + up, b, a]), picture, BUILDING, gain, (0.0, 0.6))
        quad = side_quad(camera, plan, u, start, end, height * stretch)
        if quad is None:
            return
        corners, part, begin = quad
        shrink = PIXELS_PER_METER * (begin + 0.25 * (end - begin)) / camera.focal
        gain = canvas.light.gain(_TO_RIGHT if left else -_TO_RIGHT)[0] * tint
        canvas.textured(corners, textures.level(levels, shrink), BUILDING, gain, part)

    return paint


_FLANK = np.array([[0.0, 0.0, -1.0]])
_TO_RIGHT = np.array([[1.0, 0.0, 0.0]])


def paint_strip(
    plan: Plan, kind: str, style: int, u: float, length: float, height: float, tint: float
) -> Painter:
    """A wall or a fence along the street at u, its middle at the item's place.

    Its picture is repeated every four heights.
    """
    count = max(round(length / (4 * height)), 1)

    def paint(canvas: Canvas, pose: Pose) -> None:
        camera = canvas.camera
        start, end = pose.ahead - length / 2, pose.ahead + length / 2
        quad = side_quad(camera, plan, u, start, end, height)
        if quad is None:
            return
        corners, part, begin = quad
        shrink = 64 / height * (begin + 0.2 * (end - begin)) / camera.focal
        normal = np.array([[0.9 if u < camera.position[0] else -0.9, 0.0, -0.44]])
        gain = canvas.light.gain(normal)[0] * tint
        if kind == "wall":
            picture = cv2.repeat(textures.level(textures.walls()[style], shrink), 1, count)
            canvas.textured(corners, picture, WALL, gain, part)
        else:
            colors, opaque = textures.fences()[style]
            picture = cv2.repeat(textures.level(colors, shrink), 1, count)
            bars = cv2.repeat(textures.level(opaque, shrink), 1, count)
            canvas.textured(corners, picture, FENCE, gain, part, bars)

    return paint


def paint_block(u0: float, u1: float, height: float, color: np.ndarray, windows: bool) -> Painter:
    """A far building that closes the view, seen from the front, from u0 to u1."""
    half = (u1 - u0) / 2
    outlines = [rectangle(-half, 0, half, height)]
    if windows:
        outlines += [
            rectangle(x, y, x + 1.8, y + 1.9)
            for y in np.arange(2.0, height - 2.0, 4.0)
            for x in np.arange(-half + 1.5, half - 2.0, 4.4)
        ]

    day = Boards(
        [(outline, color if k == 0 else color * 0.62, 0.0) for k, outline in enumerate(outlines)], BUILDING
    )

    def paint(canvas: Canvas, pose: Pose) -> None:
        day(canvas, pose._replace(turn=np.eye(3), sunlit=1.0))

    return paint
