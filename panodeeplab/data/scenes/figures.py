"""People, riders and bicycles as jointed limbs.

Local coordinates as for vehicles: x right, y up, z forward, origin on the ground. A figure is a list of
rounded limbs: ends (N, 2, 3) and radii (N, 2) in meters, colors (N, 3).
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

_SKIN = ((236, 196, 168), (214, 164, 130), (170, 118, 84), (112, 76, 54), (242, 210, 186))
_HAIR = ((40, 30, 24), (90, 60, 36), (170, 130, 70), (24, 22, 24), (150, 148, 146), (120, 50, 30))
_TOPS = (
    (196, 40, 44), (40, 70, 140), (226, 222, 214), (40, 42, 48), (230, 170, 40), (60, 130, 90),
    (120, 60, 130), (226, 120, 60), (96, 150, 190), (110, 110, 116), (150, 40, 70), (70, 90, 60),
    (240, 190, 190),
)  # fmt: skip
_TROUSERS = (
    (44, 56, 92),
    (36, 36, 42),
    (110, 100, 84),
    (80, 84, 92),
    (150, 140, 120),
    (30, 44, 60),
    (90, 50, 44),
)
_SHOES = ((30, 28, 28), (220, 220, 216), (90, 60, 40), (150, 40, 40))


class Figure(NamedTuple):
    ends: np.ndarray
    radii: np.ndarray
    colors: np.ndarray


class Clothes(NamedTuple):
    """How one person looks; `build` scales widths, `height` is in meters."""

    skin: np.ndarray
    hair: np.ndarray
    top: np.ndarray
    trousers: np.ndarray
    shoes: np.ndarray
    height: float
    build: float
    skirt: bool
    long_hair: bool
    bag: int  # 0 none, 1 backpack, 2 hand bag
    helmet: bool
    bag_color: np.ndarray


def clothes(rng: np.random.Generator) -> Clothes:
    """One of 600 outfits, which are put together once a process."""
    wardrobe = _wardrobe()
    return wardrobe[int(rng.random() * len(wardrobe))]


@lru_cache(maxsize=1)
def _wardrobe() -> list[Clothes]:
    rng = np.random.default_rng(109)
    return [_dress(rng.random(32).tolist()) for _ in range(600)]


def _dress(roll: list[float]) -> Clothes:

    def pick(table, k):
        color = table[int(roll[k] * len(table))]
        return np.array([v + 24 * (r - 0.5) for v, r in zip(color, roll[k + 1 : k + 4], strict=True)])

    child = roll[24] < 0.1
    return Clothes(
        pick(_SKIN, 0), pick(_HAIR, 4), pick(_TOPS, 8), pick(_TROUSERS, 12), pick(_SHOES, 16),
        1.1 + 0.3 * roll[25] if child else 1.6 + 0.28 * roll[25], 0.92 + 0.3 * roll[26], roll[27] < 0.2,
        roll[28] < 0.35, 0 if roll[29] < 0.6 else 1 if roll[29] < 0.82 else 2, roll[30] < 0.7,
        pick(_TOPS, 20),
    )  # fmt: skip


def _limbs(rows, wear: Clothes, scale: float) -> Figure:
    ends = np.array([(a, b) for a, b, _, _, _ in rows], float) * scale
    radii = np.array([(r, s) for _, _, r, s, _ in rows], float) * scale
    colors = np.array([c for *_, c in rows], float)
    return Figure(ends, radii, colors)


def walker(wear: Clothes, phase: float, stride: float) -> Figure:
    """A person in the step `phase` (radians), with `stride` 0 (standing) .. 1."""
    k = wear.build
    swing = 0.42 * stride * np.sin(phase)
    hip, chest, neck = 0.92, 1.40, 1.48
    rows = []
    for side, s in ((-1, swing), (1, -swing)):
        bend = 0.5 * stride * max(0.0, np.cos(phase) * side)
        knee = (side * 0.1, 0.5, s * 0.55 + 0.12 * bend)
        foot = (side * 0.1, 0.08 + 0.10 * bend, s - 0.22 * bend)
        leg = wear.skin if wear.skirt else wear.trousers
        rows.append(((side * 0.09, hip, 0), knee, 0.095 * k, 0.07 * k, leg))
        rows.append((knee, foot, 0.068 * k, 0.05 * k, leg * 0.94))
        rows.append((foot, (side * 0.1, foot[1] - 0.03, foot[2] + 0.15), 0.055, 0.045, wear.shoes))
    far, near = [], []
    for side, s in ((-1, -swing), (1, swing)):
        shoulder = (side * 0.2 * k, chest - 0.02, 0)
        elbow = (side * 0.245 * k, 1.13, s * 0.35)
        hand = (side * 0.25 * k, 0.9, s * 0.7 + 0.08)
        arm = [
            (shoulder, elbow, 0.065 * k, 0.05 * k, wear.top * 0.88),
            (elbow, hand, 0.05 * k, 0.04, wear.top * 0.84),
            (hand, (hand[0], hand[1] - 0.06, hand[2]), 0.045, 0.035, wear.skin),
        ]
        (far if side < 0 else near).extend(arm)
    body = []
    if wear.bag == 1:
        body.append(((0, 1.02, -0.18), (0, 1.34, -0.18), 0.15, 0.14, wear.bag_color))
    low = wear.trousers
    if wear.skirt:
        body.append(((-0.05, 0.95, 0), (-0.09, 0.62, 0), 0.13 * k, 0.17 * k, low))
        body.append(((0.05, 0.95, 0), (0.09, 0.62, 0), 0.13 * k, 0.17 * k, low * 0.95))
    body += [
        ((-0.05, 0.92, 0), (0.05, 0.92, 0), 0.13 * k, 0.13 * k, low),
        ((-0.1 * k, chest - 0.06, 0), (-0.05 * k, 1.0, 0), 0.125 * k, 0.12 * k, wear.top),
        ((0.1 * k, chest - 0.06, 0), (0.05 * k, 1.0, 0), 0.125 * k, 0.12 * k, wear.top * 0.96),
        ((0, chest, 0), (0, 1.0, 0), 0.12 * k, 0.12 * k, wear.top * 1.04),
    ]
    head = [
        ((0, neck - 0.06, 0), (0, neck + 0.04, 0.01), 0.055, 0.05, wear.skin * 0.9),
        ((0, neck + 0.10, 0.015), (0, neck + 0.19, 0.015), 0.088, 0.1, wear.skin),
        ((0, neck + 0.2, -0.02), (0, neck + 0.22, -0.02), 0.103, 0.095, wear.hair),
    ]
    if wear.long_hair:
        head.append(((0, neck + 0.18, -0.06), (0, neck - 0.06, -0.08), 0.09, 0.08, wear.hair))
    if wear.bag == 2:
        near.append(((0.3 * k, 0.72, 0.05), (0.3 * k, 0.64, 0.05), 0.11, 0.13, wear.bag_color))
    return _limbs(rows + far + body + near + head, wear, wear.height / 1.75)


def rider(wear: Clothes, phase: float, motor: bool) -> Figure:
    """A person who sits on a bicycle (or a motorcycle) whose origin it shares; `phase` turns the pedals."""
    k = wear.build
    seat, lean = (0.88, 0.22) if motor else (1.0, 0.3)
    back = -0.3 if motor else -0.22
    hip = np.array([0, seat + 0.05, back])
    chest = hip + np.array([0, 0.46, lean])
    rows = []
    for side in (-1, 1):
        if motor:
            foot = np.array([side * 0.2, 0.36, -0.05])
            knee = np.array([side * 0.22, 0.78, 0.2])
        else:
            turn = phase + (np.pi if side > 0 else 0)
            foot = np.array([side * 0.1, 0.3 + 0.17 * np.cos(turn), 0.02 + 0.17 * np.sin(turn)])
            knee = (hip + foot) / 2 + np.array([side * 0.06, 0.1, 0.24])
        rows.append((hip + np.array([side * 0.09, 0, 0]), knee, 0.1 * k, 0.07 * k, wear.trousers))
        rows.append((knee, foot, 0.068 * k, 0.05 * k, wear.trousers * 0.92))
        rows.append((foot, foot + np.array([0, -0.02, 0.15]), 0.055, 0.045, wear.shoes))
    arms = []
    for side in (-1, 1):
        hand = np.array([side * 0.3, 1.06, 0.4])
        shoulder = chest + np.array([side * 0.19 * k, -0.02, 0])
        elbow = (shoulder + hand) / 2 + np.array([side * 0.07, -0.08, -0.04])
        arms.append((shoulder, elbow, 0.065 * k, 0.052 * k, wear.top * 0.88))
        arms.append((elbow, hand, 0.05 * k, 0.042, wear.top * 0.84))
        arms.append((hand, hand + np.array([0, 0, 0.04]), 0.045, 0.04, wear.skin))
    body = [
        (hip + np.array([-0.05, 0, 0]), hip + np.array([0.05, 0, 0]), 0.14 * k, 0.14 * k, wear.trousers),
        (
            chest + np.array([-0.1 * k, -0.04, 0]),
            hip + np.array([-0.05, 0.08, 0]),
            0.125 * k,
            0.12 * k,
            wear.top,
        ),
        (
            chest + np.array([0.1 * k, -0.04, 0]),
            hip + np.array([0.05, 0.08, 0]),
            0.125 * k,
            0.12 * k,
            wear.top * 0.96,
        ),
    ]
    if wear.bag == 1:
        body.append(
            (chest + np.array([0, -0.05, -0.2]), hip + np.array([0, 0.15, -0.16]), 0.14, 0.14, wear.bag_color)
        )
    head = chest + np.array([0, 0.24, 0.08])
    top = [
        (chest + np.array([0, 0.05, 0.02]), head, 0.06, 0.055, wear.skin * 0.9),
        (head - np.array([0, 0.02, 0]), head + np.array([0, 0.08, 0]), 0.09, 0.1, wear.skin),
    ]
    if motor or wear.helmet:
        top.append(
            (
                head + np.array([0, 0.05 if not motor else 0.02, -0.01]),
                head + np.array([0, 0.1, -0.01]),
                0.13,
                0.12,
                wear.bag_color,
            )
        )
    else:
        top.append(
            (head + np.array([0, 0.1, -0.03]), head + np.array([0, 0.12, -0.03]), 0.103, 0.095, wear.hair)
        )
    return _limbs(rows + body + arms + top, wear, 1.0)


def bicycle(color: np.ndarray, phase: float) -> Figure:
    """A bicycle along z without its tyres, whose radius is 0.34: spokes, frame, saddle, handlebar."""
    tyre, metal = np.array((30, 30, 32.0)), np.array((150, 152, 156.0))
    rows = []
    front, rear, radius = 0.54, -0.52, 0.34
    for z in (front, rear):
        spokes = [(0, radius + 0.3 * np.sin(a), z + 0.3 * np.cos(a)) for a in (0.4, 2.5, 4.6)]
        rows += [((0, radius, z), tip, 0.008, 0.008, metal) for tip in spokes]
    crank, saddle, head = (0, 0.3, 0.0), (0, 0.9, -0.18), (0, 0.86, 0.38)
    hub = (0, radius, rear)
    for a, b in ((crank, saddle), (crank, head), (saddle, head), (hub, crank), (hub, saddle)):
        rows.append((a, b, 0.032, 0.032, color))
    rows.append(((0, 1.0, 0.35), (0, radius, front), 0.028, 0.028, color * 0.9))
    rows.append(((-0.28, 1.06, 0.36), (0.28, 1.06, 0.36), 0.025, 0.025, metal * 0.6))
    rows.append(((0, 1.06, 0.36), (0, 0.9, 0.37), 0.025, 0.025, metal))
    rows.append(((0, 0.98, -0.3), (0, 0.99, -0.06), 0.06, 0.035, tyre))
    foot = (0.1, 0.3 + 0.17 * np.cos(phase), 0.02 + 0.17 * np.sin(phase))
    rows.append(((0, 0.3, 0.0), foot, 0.02, 0.02, metal))
    return _limbs(rows, None, 1.0)
