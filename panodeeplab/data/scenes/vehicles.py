"""Vehicles as small shaded solids: body, cabin, windows, wheels, lights, licence plate.

Local coordinates: x right, y up, z forward, origin on the ground under the middle of the vehicle; meters.
"""

from functools import lru_cache

import numpy as np

from panodeeplab.data.scenes.canvas import Mesh
from panodeeplab.data.scenes.solids import (
    DARK,
    DISPLAY,
    GLASS,
    HEAD,
    LIGHT,
    PAINT,
    PLATE,
    RIM,
    SECOND,
    SHADE,
    SKYLIT,
    TAIL,
    TRIM,
    TYRE,
    Solid,
)

VARIANTS = 10

_FIXED = np.array(
    [
        (0, 0, 0), (46, 56, 68), (26, 26, 28), (150, 152, 156), (34, 34, 38), (250, 248, 226),
        (206, 26, 24), (236, 236, 228), (120, 122, 126), (0, 0, 0), (250, 180, 60),
        (0, 0, 0), (0, 0, 0), (0, 0, 0),
    ],
    np.float32,
)  # fmt: skip
_PAINTS = {
    "car": (
        (228, 228, 226),
        (196, 198, 202),
        (132, 136, 142),
        (62, 64, 70),
        (30, 32, 36),
        (160, 28, 30),
        (36, 62, 120),
        (44, 92, 160),
        (96, 26, 36),
        (170, 160, 138),
        (52, 82, 64),
        (196, 120, 40),
        (214, 196, 60),
        (110, 140, 170),
    ),
    "truck": ((222, 222, 220), (190, 40, 36), (36, 70, 140), (230, 150, 30), (60, 110, 70), (90, 94, 100)),
    "bus": ((214, 170, 30), (200, 40, 44), (38, 92, 168), (228, 226, 218), (60, 130, 90), (90, 60, 120)),
    "train": ((196, 36, 40), (232, 206, 90), (40, 100, 150), (70, 140, 96), (210, 210, 206)),
    "bin": ((60, 62, 66), (40, 84, 56), (214, 176, 40), (90, 66, 48), (44, 70, 120)),
    "motorcycle": ((34, 34, 38), (176, 26, 28), (34, 60, 130), (60, 62, 66), (200, 120, 30)),
}


def palette(kind: str, rng: np.random.Generator) -> np.ndarray:
    """(roles, 3) float32 colors of one vehicle, out of 300 that are mixed once a process."""
    mixed = _palettes(kind)
    return mixed[int(rng.random() * len(mixed))]


@lru_cache(maxsize=len(_PAINTS))
def _palettes(kind: str) -> list[np.ndarray]:
    rng = np.random.default_rng(110)
    return [_mix(kind, rng.random(9)) for _ in range(300)]


def _mix(kind: str, roll: np.ndarray) -> np.ndarray:
    colors = _FIXED.copy()
    choices = _PAINTS[kind]
    colors[PAINT] = choices[int(roll[0] * len(choices))] + 20 * (roll[1:4] - 0.5)
    colors[SECOND] = (226, 226, 222) if roll[4] < 0.6 else 40 + 180 * roll[5:8]
    colors[GLASS] *= 0.7 + 0.65 * roll[8]
    colors[LIGHT] = np.minimum(colors[PAINT] * 1.08 + 7, 255)
    colors[SHADE] = colors[PAINT] * 0.72
    colors[SKYLIT] = colors[GLASS] * 1.15 + 16
    return colors


@lru_cache(maxsize=64)
def vehicle(kind: str, variant: int) -> tuple[Mesh, float, float, float]:
    """Mesh, length, width and height of a vehicle; `kind` is its Cityscapes class, variant 0..VARIANTS-1."""
    build = Solid()
    rng = np.random.default_rng([107, variant, len(kind)])
    shape = {"car": _car, "truck": _truck, "bus": _bus, "train": _tram, "motorcycle": _motorcycle}[kind]
    length, width, height = shape(build, rng, variant)
    return build.mesh(), length, width, height


def _wheels(build, half, at, radius):
    for side in (-1, 1):
        for z in at:
            arch = np.linspace(0, np.pi, 8)
            ring = np.stack(
                [
                    np.full(8, side * (half + 0.004)),
                    radius + radius * 1.2 * np.sin(arch),
                    z + radius * 1.2 * np.cos(arch),
                ],
                1,
            )
            build.face(ring, DARK, outward=np.array([side, 0, 0]))
            build.wheel(side * (half + 0.008), z, radius, side)


def _car(build, rng, variant):
    style = ("sedan", "hatch", "suv", "wagon", "van", "sedan", "hatch", "suv", "coupe", "hatch")[variant]
    length = {"sedan": 4.6, "hatch": 3.95, "suv": 4.6, "wagon": 4.7, "van": 4.9, "coupe": 4.4}[
        style
    ] * rng.uniform(0.96, 1.04)
    width = {"suv": 1.9, "van": 1.95}.get(style, 1.78)
    height = {"sedan": 1.46, "hatch": 1.5, "suv": 1.72, "wagon": 1.5, "van": 1.98, "coupe": 1.36}[style]
    belt = {"suv": 1.06, "van": 1.12}.get(style, 0.92)
    floor = 0.24 if style in ("suv", "van") else 0.17
    half, nose, tail = width / 2, length / 2, -length / 2
    # where the cabin stands on the body, and its roof
    z1, z0 = (
        nose - {"van": 0.5, "coupe": 1.35}.get(style, 1.12),
        tail + {"sedan": 0.62, "coupe": 0.5}.get(style, 0.04),
    )
    r1 = z1 - {"van": 0.55}.get(style, 0.72)
    r0 = z0 + {"sedan": 0.55, "coupe": 0.75, "hatch": 0.36, "wagon": 0.3, "suv": 0.26, "van": 0.12}[style]
    # three tiers: sill to bumper, bumper to shoulder with the lamps, cabin
    mid = floor + (belt - floor) * 0.5
    lower = build.frustum(
        (-half * 0.94, half * 0.94, tail + 0.16, nose - 0.16, floor), (-half, half, tail, nose, mid), PAINT
    )
    for side in ("left", "right"):
        build.patch(lower[side], 0.0, 0.0, 1.0, 0.3, DARK)
    for name in ("front", "back"):
        build.patch(lower[name], 0.0, 0.0, 1.0, 0.34, DARK)
    build.patch(lower["front"], 0.22, 0.3, 0.78, 0.72, DARK)
    build.patch(lower["front"], 0.38, 0.42, 0.62, 0.66, PLATE)
    if style not in ("hatch", "suv"):
        build.patch(lower["back"], 0.37, 0.45, 0.63, 0.8, PLATE)
    drop = 0.0 if style == "van" else 0.17
    upper = build.frustum(
        (-half, half, tail, nose, mid),
        (-half * 0.94, half * 0.94, tail + 0.08, nose - 0.3, belt),
        PAINT,
        LIGHT,
        drop,
    )
    back, front = upper["back"], upper["front"]
    tall = style in ("hatch", "suv", "van", "wagon")
    for u0, u1 in ((0.02, 0.2), (0.8, 0.98)):
        build.patch(back, u0, 0.12 if tall else 0.3, u1, 0.94 if tall else 0.8, TAIL, lamp=True)
    if tall:
        build.patch(back, 0.37, 0.14, 0.63, 0.42, PLATE)
    else:
        build.patch(back, 0.2, 0.62, 0.8, 0.66, DARK)
    for u0, u1 in ((0.02, 0.27), (0.73, 0.98)):
        build.patch(front, u0, 0.28, u1, 0.86, DARK)
        build.patch(front, u0 + 0.02, 0.36, u1 - 0.02, 0.8, HEAD, lamp=True)
    build.patch(front, 0.3, 0.2, 0.7, 0.8, DARK)
    build.patch(front, 0.32, 0.44, 0.68, 0.52, TRIM)
    for side, forward in (("left", False), ("right", True)):
        face = upper[side]
        build.patch(face, 0.0, 0.62, 1.0, 1.0, LIGHT)
        build.patch(face, 0.0, 0.0, 1.0, 0.08, SHADE)
        for u in (0.34, 0.56):
            u = 1 - u if forward else u
            build.patch(face, u, 0.0, u + 0.004, 0.95, DARK)
            build.patch(face, u + 0.02, 0.66, u + 0.055, 0.76, DARK)
        u0, u1 = (0.965, 1.0) if not forward else (0.0, 0.035)
        build.patch(face, u0, 0.3, u1, 0.85, TAIL, lamp=True)
        build.patch(face, 1 - u1, 0.36, 1 - u0, 0.8, HEAD, lamp=True)
    _wheels(build, half, (nose - 0.85, tail + 0.78), 0.33 if style != "suv" else 0.37)
    cabin = build.frustum(
        (-half * 0.92, half * 0.92, z0, z1, belt - 0.03),
        (-half * 0.7, half * 0.7, r0, r1, height),
        PAINT,
        LIGHT,
        0.04,
    )
    for name, low in (("front", 0.04), ("back", 0.12 if style != "van" else 0.3)):
        build.patch(cabin[name], 0.05, low, 0.95, 0.93, GLASS)
        build.patch(cabin[name], 0.06, 0.62, 0.94, 0.92, SKYLIT)
    for side, forward in (("left", False), ("right", True)):
        spans = (
            ((0.07, 0.34), (0.37, 0.64), (0.67, 0.92))
            if style in ("wagon", "suv", "van")
            else ((0.1, 0.46), (0.49, 0.88))
        )
        for u0, u1 in spans:
            u0, u1 = (1 - u1, 1 - u0) if forward else (u0, u1)
            build.patch(cabin[side], u0, 0.08, u1, 0.88, GLASS)
            build.patch(cabin[side], u0, 0.58, u1, 0.88, SKYLIT)
    hood = belt - 0.05
    for side in (-1, 1):  # mirrors
        build.part = 0
        build.box(
            *sorted((side * half * 0.94, side * (half + 0.14))),
            hood + 0.02,
            hood + 0.16,
            z1 - 0.42,
            z1 - 0.3,
            DARK,
        )
    return length, width, height


def _truck(build, rng, variant):
    long = variant % 2 == 0
    length, width, height = (8.6, 2.45, 3.5) if long else (6.4, 2.15, 2.9)
    half, nose, tail = width / 2, length / 2, -length / 2
    cab = 2.0 if long else 1.8
    build.part = 0
    cargo_floor = 1.0 if long else 0.8
    flat = variant % 5 == 3
    build.box(-half * 0.8, half * 0.8, 0.5, cargo_floor, tail + 0.1, nose - cab, DARK)
    _wheels(build, half * 0.97, (tail + 1.1, tail + 2.2) if long else (tail + 1.2,), 0.48 if long else 0.38)
    top = 1.9 if flat else height
    cargo = build.box(
        -half,
        half,
        cargo_floor,
        top,
        tail,
        nose - cab - 0.12,
        SECOND if variant % 3 else PAINT,
        TRIM if flat else None,
    )
    for side in ("left", "right"):
        build.patch(cargo[side], 0.0, 0.0, 1.0, 0.05, TRIM)
        build.patch(cargo[side], 0.0, 0.95, 1.0, 1.0, TRIM)
        if variant % 2:
            build.patch(cargo[side], 0.15, 0.3, 0.85, 0.7, PAINT)
        else:
            for k in range(6):
                build.patch(cargo[side], 0.16 * k + 0.08, 0.05, 0.16 * k + 0.086, 0.95, TRIM)
    back = cargo["back"]
    build.patch(back, 0.03, 0.04, 0.97, 0.96, TRIM)
    build.patch(back, 0.05, 0.06, 0.495, 0.94, SECOND if variant % 3 else PAINT)
    build.patch(back, 0.505, 0.06, 0.95, 0.94, SECOND if variant % 3 else PAINT)
    build.patch(back, 0.45, 0.2, 0.47, 0.8, DARK)
    build.patch(back, 0.53, 0.2, 0.55, 0.8, DARK)
    bumper = build.box(-half * 0.95, half * 0.95, 0.45, cargo_floor - 0.02, tail - 0.02, tail + 0.15, DARK)
    for u in (0.02, 0.84):
        build.patch(bumper["back"], u, 0.3, u + 0.14, 0.8, TAIL, lamp=True)
    build.patch(bumper["back"], 0.4, 0.2, 0.6, 0.6, PLATE)
    build.part = 1
    roof = 2.85 if long else 2.35
    lower = build.box(-half * 0.98, half * 0.98, 0.4, roof * 0.52, nose - cab, nose, PAINT)
    for u in (0.05, 0.79):
        build.patch(lower["front"], u, 0.18, u + 0.16, 0.4, HEAD, lamp=True)
    build.patch(lower["front"], 0.25, 0.35, 0.75, 0.8, DARK)
    build.patch(lower["front"], 0.0, 0.0, 1.0, 0.12, DARK)
    build.patch(lower["front"], 0.4, 0.14, 0.6, 0.26, PLATE)
    _wheels(build, half * 0.985, (nose - 0.95,), 0.48 if long else 0.38)
    upper = build.frustum(
        (-half * 0.98, half * 0.98, nose - cab, nose, roof * 0.52),
        (-half * 0.92, half * 0.92, nose - cab, nose - 0.25, roof),
        PAINT,
    )
    build.patch(upper["front"], 0.06, 0.08, 0.94, 0.75, GLASS)
    build.patch(upper["front"], 0.06, 0.5, 0.94, 0.75, SKYLIT)
    build.patch(upper["left"], 0.12, 0.08, 0.7, 0.72, GLASS)
    build.patch(upper["right"], 0.3, 0.08, 0.88, 0.72, GLASS)
    for side in (-1, 1):
        build.box(
            *sorted((side * half, side * (half + 0.2))), roof * 0.6, roof * 0.8, nose - 0.3, nose - 0.15, DARK
        )
    return length, width, height


def _bus(build, rng, variant):
    length, width, height = (12.0 if variant % 2 else 10.5), 2.5, (3.1 if variant % 4 else 4.1)
    half, nose, tail = width / 2, length / 2, -length / 2
    decks = ((0.42, 0.8),) if height < 4 else ((0.28, 0.52), (0.66, 0.88))
    body = build.frustum(
        (-half, half, tail, nose, 0.3),
        (-half * 0.98, half * 0.98, tail + 0.05, nose - 0.15, height),
        PAINT,
        SECOND,
    )
    for name in ("left", "right"):
        side = body[name]
        build.patch(side, 0.0, 0.0, 1.0, 0.08, DARK)
        if variant % 3 == 0:
            build.patch(side, 0.0, 0.1, 1.0, 0.26, SECOND)
        for v0, v1 in decks:
            build.patch(side, 0.02, v0 - 0.02, 0.98, v1 + 0.03, DARK)
            count = 8
            for k in range(count):
                u = 0.03 + 0.94 * k / count
                build.patch(side, u + 0.005, v0, u + 0.94 / count - 0.008, v1, GLASS)
                build.patch(side, u + 0.005, v0 + 0.6 * (v1 - v0), u + 0.94 / count - 0.008, v1, SKYLIT)
        if name == "right":
            for u in (0.45, 0.86):
                build.patch(side, u, 0.04, u + 0.1, decks[0][1] + 0.02, DARK)
                build.patch(side, u + 0.008, 0.07, u + 0.048, decks[0][1], GLASS)
                build.patch(side, u + 0.052, 0.07, u + 0.092, decks[0][1], GLASS)
    for name in ("front", "back"):
        face = body[name]
        front = name == "front"
        build.patch(face, 0.0, 0.0, 1.0, 0.08, DARK)
        build.patch(face, 0.05, 0.3 if front else 0.4, 0.95, 0.82 if height < 4 else 0.5, GLASS)
        build.patch(face, 0.05, 0.66 if height < 4 else 0.43, 0.95, 0.82 if height < 4 else 0.5, SKYLIT)
        if height > 4:
            build.patch(face, 0.05, 0.64, 0.95, 0.9, GLASS)
        low, high = (0.86, 0.96) if height < 4 else (0.53, 0.61)
        build.patch(face, 0.15, low, 0.85, high, DARK)
        build.patch(face, 0.22, low + 0.02, 0.62 if front else 0.45, high - 0.02, DISPLAY, lamp=True)
        for u in (0.04, 0.80):
            build.patch(face, u, 0.14, u + 0.16, 0.24, HEAD if front else TAIL, lamp=True)
        build.patch(face, 0.38, 0.1, 0.62, 0.17, PLATE)
        if not front:
            build.patch(face, 0.25, 0.22, 0.75, 0.4, DARK)
    _wheels(build, half, (nose - 2.3, tail + 2.6), 0.48)
    for side in (-1, 1):
        build.box(*sorted((side * half, side * (half + 0.2))), 2.1, 2.6, nose - 0.2, nose - 0.05, DARK)
    return length, width, height


def _tram(build, rng, variant):
    sections = 2 + variant % 2
    one, width, height = 8.0, 2.4, 3.4
    length = one * sections
    half = width / 2
    for part in range(sections):
        build.part = part
        z1 = length / 2 - part * one - 0.25
        z0 = z1 - one + 0.5
        first, last = part == 0, part == sections - 1
        base = (-half * 0.96, half * 0.96, z0 + (0.1 if last else 0), z1 - (0.1 if first else 0))
        build.box(-half * 0.8, half * 0.8, 0.08, 0.35, z0 + 0.3, z1 - 0.3, DARK)
        body = build.frustum(
            (*base, 0.3),
            (-half * 0.94, half * 0.94, z0 + (0.7 if last else 0), z1 - (0.7 if first else 0), height),
            PAINT,
            TRIM,
        )
        for name in ("left", "right"):
            side = body[name]
            build.patch(side, 0.0, 0.0, 1.0, 0.1, DARK)
            build.patch(side, 0.0, 0.26, 1.0, 0.34, SECOND)
            build.patch(side, 0.0, 0.86, 1.0, 0.93, SECOND)
            build.patch(side, 0.03, 0.42, 0.97, 0.8, DARK)
            for k in range(5):
                u = 0.04 + 0.92 * k / 5
                build.patch(side, u + 0.01, 0.44, u + 0.174, 0.78, GLASS)
                build.patch(side, u + 0.01, 0.64, u + 0.174, 0.78, SKYLIT)
            for u in (0.22, 0.60):
                build.patch(side, u, 0.06, u + 0.15, 0.82, DARK)
                build.patch(side, u + 0.01, 0.1, u + 0.07, 0.78, GLASS)
                build.patch(side, u + 0.08, 0.1, u + 0.14, 0.78, GLASS)
        for name, shown in (("front", first), ("back", last)):
            face = body[name]
            if not shown:
                build.patch(face, 0.1, 0.0, 0.9, 1.0, DARK)
                continue
            build.patch(face, 0.0, 0.0, 1.0, 0.1, DARK)
            build.patch(face, 0.1, 0.4, 0.9, 0.82, DARK)
            build.patch(face, 0.13, 0.43, 0.87, 0.79, GLASS)
            build.patch(face, 0.13, 0.66, 0.87, 0.79, SKYLIT)
            build.patch(face, 0.3, 0.86, 0.7, 0.95, DARK)
            build.patch(face, 0.36, 0.88, 0.64, 0.93, DISPLAY, lamp=True)
            build.patch(face, 0.0, 0.26, 1.0, 0.34, SECOND)
            lamp = HEAD if name == "front" else TAIL
            for u in (0.08, 0.78):
                build.patch(face, u, 0.15, u + 0.14, 0.24, lamp, lamp=True)
        build.box(-half * 0.5, half * 0.5, height, height + 0.25, z0 + 1.5, z1 - 1.5, TRIM)
    return length, width, height


def _motorcycle(build, rng, variant):
    length, half = 2.05, 0.09
    for z in (0.72, -0.7):
        build.box(-0.07, 0.07, 0.06, 0.58, z - 0.2, z + 0.2, TYRE)
        for side in (-1, 1):
            build.wheel(side * 0.075, z, 0.33, side, rim=variant % 2 == 0)
    build.box(-0.16, 0.16, 0.22, 0.62, -0.32, 0.34, DARK)
    build.box(-0.18, -0.1, 0.24, 0.36, -0.9, 0.0, TRIM)
    build.box(0.1, 0.18, 0.24, 0.36, -0.9, 0.0, TRIM)
    build.frustum((-0.1, 0.1, -0.98, -0.2, 0.62), (-0.14, 0.14, -1.02, -0.12, 0.84), DARK)
    build.frustum((-0.12, 0.12, -0.2, 0.42, 0.6), (-0.15, 0.15, -0.14, 0.36, 0.98), PAINT)
    build.frustum((-0.09, 0.09, 0.6, 0.78, 0.3), (-0.06, 0.06, 0.4, 0.52, 1.02), TRIM)
    build.box(-half, half, 0.62, 0.72, 0.44, 1.0, PAINT)
    head = build.box(-0.12, 0.12, 0.76, 1.02, 0.5, 0.68, PAINT if variant % 3 else DARK)
    build.patch(head["front"], 0.15, 0.15, 0.85, 0.85, HEAD, lamp=True)
    build.box(-0.38, 0.38, 1.02, 1.08, 0.36, 0.42, DARK)
    if variant % 3:
        build.frustum((-0.12, 0.12, 0.5, 0.6, 1.0), (-0.1, 0.1, 0.34, 0.38, 1.3), GLASS)
    rear = build.box(-0.12, 0.12, 0.7, 0.84, -1.06, -0.96, PAINT)
    build.patch(rear["back"], 0.1, 0.1, 0.9, 0.9, TAIL, lamp=True)
    build.box(-0.1, 0.1, 0.5, 0.66, -1.06, -1.02, PLATE)
    return length, 0.76, 1.2


@lru_cache(maxsize=8)
def street_bin(kind: int) -> tuple[Mesh, float]:
    """Mesh and height of street furniture that no class claims: wheeled bin, crate, post box, planter."""
    build = Solid()
    if kind == 0:
        build.frustum((-0.24, 0.24, -0.26, 0.26, 0.06), (-0.3, 0.3, -0.34, 0.34, 0.98), PAINT)
        lid = build.frustum((-0.32, 0.32, -0.36, 0.36, 0.98), (-0.28, 0.28, -0.3, 0.34, 1.1), SHADE)
        build.patch(lid["back"], 0.2, 0.2, 0.8, 0.7, DARK)
        height = 1.1
    elif kind == 1:
        crate = build.box(-0.5, 0.5, 0.0, 0.75, -0.4, 0.4, TRIM)
        for v in (0.1, 0.42, 0.74):
            build.patch(crate["back"], 0.03, v, 0.97, v + 0.18, RIM)
        height = 0.75
    elif kind == 2:
        build.box(-0.12, 0.12, 0.0, 0.7, -0.12, 0.12, DARK)
        post = build.box(-0.32, 0.32, 0.7, 1.5, -0.25, 0.25, PAINT, LIGHT)
        build.patch(post["back"], 0.15, 0.68, 0.85, 0.8, DARK)
        build.patch(post["back"], 0.3, 0.25, 0.7, 0.5, PLATE)
        height = 1.5
    else:
        build.frustum((-0.4, 0.4, -0.4, 0.4, 0.0), (-0.5, 0.5, -0.5, 0.5, 0.6), RIM)
        height = 0.6
    return build.mesh(), height
