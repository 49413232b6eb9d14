"""Painters of what moves, and of what people leave in the street."""

import cv2
import numpy as np

from panodeeplab.data.scenes import figures
from panodeeplab.data.scenes.camera import NEAR
from panodeeplab.data.scenes.canvas import Canvas
from panodeeplab.data.scenes.painting import Painter, Pose
from panodeeplab.data.scenes.vehicles import street_bin, vehicle

_CIRCLE = np.array([(0, np.sin(a), np.cos(a)) for a in np.linspace(0, 2 * np.pi, 15)[:-1]])


def paint_vehicle(kind: str, variant: int, palette: np.ndarray, number: int) -> Painter:
    mesh = vehicle(kind, variant)[0]

    def paint(canvas: Canvas, pose: Pose) -> None:
        canvas.mesh(mesh, palette, pose.turn, pose.place, number, pose.sunlit)

    return paint


def _figure(canvas: Canvas, figure: figures.Figure, pose: Pose, number: int) -> None:
    ends, radii, colors = figure
    size = canvas.camera.focal / max(pose.place[2], 0.5)  # pixels per meter
    if size < 13:  # too far for hands and shoes
        stout = radii.max(1) > 0.055
        ends, radii, colors = ends[stout], radii[stout], colors[stout]
    ends = ends @ pose.turn.T + pose.place
    light = canvas.light
    gain = light.ambient + light.sun_color * (0.35 + 0.4 * max(-float(light.sun[2]), 0.0)) * pose.sunlit
    colors = light.fade(colors * gain, pose.ahead)
    if size > 38:  # the side that faces the light
        stripe = np.array([0.035 if light.sun[0] >= 0 else -0.035, 0.02, 0])
        order = np.repeat(np.arange(len(ends)), 2)
        second = np.arange(len(order)) % 2 == 1
        ends, radii, colors = ends[order], radii[order], colors[order]
        ends[second] += stripe
        radii[second] *= 0.5
        colors[second] = colors[second] * 1.1 + 4
    canvas.capsules(ends, radii, colors, number)


def paint_person(wear: figures.Clothes, stride: float, phase: float, number: int) -> Painter:
    def paint(canvas: Canvas, pose: Pose) -> None:
        _figure(
            canvas, figures.walker(wear, phase + pose.time * 2 * np.pi * 0.9 * stride, stride), pose, number
        )

    return paint


def paint_cyclist(
    wear: figures.Clothes, color: np.ndarray, phase: float, numbers: tuple[int, int]
) -> Painter:
    """numbers: of the bicycle and of its rider."""

    def paint(canvas: Canvas, pose: Pose) -> None:
        turn = phase + pose.time * 7.0
        _wheels(canvas, pose, numbers[0])
        _figure(canvas, figures.bicycle(color, turn), pose, numbers[0])
        _figure(canvas, figures.rider(wear, turn, motor=False), pose, numbers[1])

    return paint


def paint_biker(
    wear: figures.Clothes, variant: int, palette: np.ndarray, numbers: tuple[int, int]
) -> Painter:
    """numbers: of the motorcycle and of its rider."""
    machine = paint_vehicle("motorcycle", variant, palette, numbers[0])

    def paint(canvas: Canvas, pose: Pose) -> None:
        machine(canvas, pose)
        _figure(canvas, figures.rider(wear, 0.0, motor=True), pose, numbers[1])

    return paint


def paint_bicycle(color: np.ndarray, number: int) -> Painter:
    def paint(canvas: Canvas, pose: Pose) -> None:
        _wheels(canvas, pose, number)
        _figure(canvas, figures.bicycle(color, 0.5), pose, number)

    return paint


def _wheels(canvas: Canvas, pose: Pose, number: int) -> None:
    """Between the spokes one sees the ground, but the annotator draws the wheel whole."""
    for z in (0.54, -0.52):
        rings = np.array([(0, 0.34, z)]) + _CIRCLE[:, None] * np.array([[0.36], [0.27]])
        viewed = canvas.camera.view(rings.reshape(-1, 3) @ pose.turn.T + pose.place)
        if viewed[:, 2].min() < NEAR:
            return
        flat = canvas.camera.project(viewed).reshape(len(_CIRCLE), 2, 2)
        window = canvas.window(flat[:, 0])
        if window is None:
            continue
        y0, x0, y1, x1 = window
        part = canvas.pixels[y0:y1, x0:x1]
        inner = cv2.convertScaleAbs(part, alpha=0.72)
        inner[..., 3] = number
        tyre = canvas.light.fade(np.array([(34, 34, 36.0)]) * canvas.light.ambient, pose.ahead)[0]
        canvas.polygon(flat[:, 0], tyre, number)
        if np.ptp(flat[:, 0, 0]) < 0.2 * np.ptp(
            flat[:, 0, 1]
        ):  # from the front or from behind only the tyre is left
            ends = np.array([[(0, 0.04, z), (0, 0.66, z)]]) @ pose.turn.T + pose.place
            canvas.capsules(ends, np.array([(0.035, 0.035)]), tyre[None], number)
            continue
        mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
        cv2.fillConvexPoly(mask, ((flat[:, 1] - (x0, y0)) * 16).astype(np.int32), 255, cv2.LINE_8, 4)
        cv2.copyTo(inner, mask, part)


def paint_group(figures_: list[tuple[Painter, float, float]]) -> Painter:
    """Several painters at offsets (sideways, along) around one place, far to near."""

    def paint(canvas: Canvas, pose: Pose) -> None:
        for one, du, dz in sorted(figures_, key=lambda f: -f[2]):
            one(canvas, pose._replace(place=pose.place + np.array([du, 0, dz])))

    return paint


def paint_bin(kind: int, palette: np.ndarray) -> Painter:
    """Street furniture that no class claims; void."""
    mesh = street_bin(kind)[0]

    def paint(canvas: Canvas, pose: Pose) -> None:
        canvas.mesh(mesh, palette, pose.turn, pose.place, 0, pose.sunlit)

    return paint
