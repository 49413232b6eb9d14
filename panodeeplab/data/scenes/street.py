"""A random street: its plan, what lines it, what stands at its curbs."""

import math

import numpy as np

from panodeeplab.data.scenes import actors, posts, surroundings, textures
from panodeeplab.data.scenes.ground import SIDEWALK, TERRAIN, Plan
from panodeeplab.data.scenes.items import VIEW, Builder, Item, Street, choose, crosses
from panodeeplab.data.scenes.traffic import add_parked, add_people, add_traffic
from panodeeplab.data.scenes.vehicles import palette, street_bin
from panodeeplab.data.scenes.weather import draw_weather

_BLOCK = 300.0  # meters by which a street for a clip grows


def build_street(rng: np.random.Generator, duration: float) -> Street:
    """A street long enough for a drive of `duration` seconds."""
    weather = draw_weather(rng)
    style = choose(rng, ("city", "suburb", "avenue"), (0.5, 0.28, 0.22))
    speed = float(rng.uniform(4, 11))
    # whole blocks, so that a longer clip begins like a shorter one
    length = VIEW + 20 + _BLOCK * math.ceil(speed * duration / _BLOCK)
    plan = _plan(rng, style, length)
    build = Builder(rng, length)
    lane = _ego_lane(plan)
    eye = (lane + rng.uniform(-0.5, 0.5), rng.uniform(1.25, 1.9))
    _sides(build, plan, style)
    _furniture(build, plan, style)
    add_parked(build, plan)
    add_traffic(build, plan, lane, speed)
    add_people(build, plan, style)
    hood = float(rng.uniform(0.05, 0.11)) if rng.random() < 0.22 else 0.0
    return Street(plan, weather, build.items, build.ids, eye, speed, hood)


def _plan(rng, style: str, length: float) -> Plan:
    lanes = choose(rng, (1, 2), (0.7, 0.3) if style != "avenue" else (0.4, 0.6))
    wide = rng.uniform(3.0, 3.6)
    tracks: tuple[float, ...] = ()
    middle = 0.0
    if rng.random() < 0.3 and style != "suburb":
        tracks = (-1.65, 1.65) if rng.random() < 0.5 else (-1.7,)
        middle = 3.4
        if lanes == 2:
            lanes = 1
    parking = tuple(2.2 if rng.random() < p else 0.0 for p in (0.55, 0.5))
    left = -(middle + lanes * wide + parking[0])
    right = middle + lanes * wide + parking[1]
    if len(tracks) == 1:
        right = lanes * wide + parking[1] + 0.2
    dashed, solid = [], []
    if not tracks:
        dashed.append(0.0)
        if rng.random() < 0.25:
            dashed, solid = [], [-0.12, 0.12]
        if lanes == 2:
            dashed += [-wide, wide]
    else:
        dashed += [t + s for t in tracks for s in (-1.6, 1.6)]
    if rng.random() < 0.3:
        solid += [x for x, p in ((left + 0.35, parking[0]), (right - 0.35, parking[1])) if not p]
    crossings, zebras, at = [], [], rng.uniform(14, 60)
    while at < length:
        if rng.random() < 0.6:
            span = rng.uniform(8, 13)
            crossings.append((at, at + span))
            if rng.random() < 0.75:
                zebras += [at - 2.6, at + span + 2.6]
            at += span
        elif rng.random() < 0.5:
            zebras.append(at)
        at += rng.uniform(45, 90)
    arrows = []
    if crossings and rng.random() < 0.5:
        arrows = [(wide * (k + 0.5) + (middle if tracks else 0), crossings[0][0] - 14) for k in range(lanes)]
    gray = rng.uniform(72, 126)
    paving = np.array((168, 162, 154.0)) * rng.uniform(0.85, 1.15) * (1 + rng.uniform(-0.05, 0.05, 3))
    if rng.random() < 0.18:
        paving = np.array((172, 122, 106.0)) * rng.uniform(0.85, 1.1)
    verge = {"city": 0.08, "suburb": 0.6, "avenue": 0.5}[style]
    return Plan(
        left=left,
        right=right,
        verges=tuple(rng.uniform(1.2, 3.0) if rng.random() < verge else 0.0 for _ in range(2)),
        walks=tuple(rng.uniform(2.2, 4.6) if style != "suburb" else rng.uniform(1.8, 2.8) for _ in range(2)),
        lanes=tuple(dashed),
        solid=tuple(solid),
        parking=parking,
        tracks=tracks,
        crossings=tuple(crossings),
        zebras=tuple(zebras),
        arrows=tuple(arrows),
        bend=float(rng.uniform(-0.0022, 0.0022)) if rng.random() < 0.6 else 0.0,
        behind=SIDEWALK if style == "city" else TERRAIN,
        asphalt=gray * (1 + rng.uniform(-0.04, 0.04, 3)),
        paving=paving,
        grass=np.array((104, 122, 62.0)) * rng.uniform(0.8, 1.15) * (1 + rng.uniform(-0.08, 0.08, 3)),
        marks=np.array((226, 226, 222.0)) * rng.uniform(0.88, 1.0),
    )


def _ego_lane(plan: Plan) -> float:
    if plan.tracks:
        inner = 3.4 if len(plan.tracks) == 2 else 0.2
        return (inner + plan.right - plan.parking[1]) / 2
    outer = plan.right - plan.parking[1]
    return outer - 1.7 if outer < 5 else outer - 1.7 - 0.5 * (outer - 3.4)


_GREEN, _AUTUMN = np.array((0.62, 0.86, 0.38)), np.array((1.05, 0.72, 0.28))


def _leaves(roll: np.ndarray) -> np.ndarray:
    """Gains that turn the gray crowns into leaves, from five random numbers; a few trees are autumnal."""
    tone = _GREEN if roll[0] < 0.88 else _AUTUMN
    return tone * ((0.75 + 0.45 * roll[1]) * (0.92 + 0.16 * roll[2:5]))


def _tree(build: Builder, u: float, along: float, size: float, bush: bool = False) -> None:
    roll = build.rng.random(8)
    kind = int(roll[5] * textures.CROWNS)
    conifer = kind % 4 == 3
    slim = conifer and not bush
    wide = size * (0.85 + 0.3 * float(roll[6])) * (0.7 if slim else 1)
    high = wide * (
        1.7 + 0.5 * float(roll[7]) if slim else (1.3 + 0.25 * float(roll[7])) * (0.7 if bush else 1.0)
    )
    crown = high * (0.5 if bush or conifer else 0.66)
    paint = surroundings.paint_tree(kind, not bush, wide, high, _leaves(roll))
    build.items.append(Item(u, along, (0.3, 0.3), high, paint, crown=(crown, wide * 0.42), spread=wide / 2))


def _sides(build: Builder, plan: Plan, style: str) -> None:
    """What lines the street: lots with a house, a garden behind a wall or a fence, a park, a hedge."""
    rng = build.rng
    chances = {
        "city": ("house", "house", "house", "house", "house", "house", "wall", "fence", "park"),
        "suburb": ("garden wall", "garden fence", "garden fence", "hedge", "park", "house", "garden wall"),
        "avenue": ("house", "park", "fence", "wall", "house", "garden fence", "garden wall"),
    }[style]
    for side in (-1, 1):
        line = plan.lines[0 if side < 0 else 1]
        along = rng.uniform(-14, -4)
        before = 0.0  # height of the house that hides the flank of the next one
        while along < build.length:
            gap = next(((a, b) for a, b in plan.crossings if a - 3 < along + 6 and b + 3 > along), None)
            if gap:
                along, before = gap[1] + 3.0, 0.0
                continue
            limit = min((a - 3 for a, _ in plan.crossings if a - 3 > along), default=1e9)
            kind = choose(rng, chances)
            room = limit - along
            tint = rng.uniform(0.84, 1.12) * (1 + rng.uniform(-0.05, 0.05, 3))
            if kind == "house":
                length, before = _house(build, plan, line, along, room, tint, before)
            else:
                length, before = min(rng.uniform(9, 26), room), 0.0
                _lot(build, plan, kind, line, side, along, length)
            between = 0.0 if style == "city" else rng.uniform(0, 2.5)
            if between > 0.5:
                before = 0.0
            along += length + between
    _vista(build, plan, style)


def _house(build, plan, u, along, room, tint, before) -> tuple[float, float]:
    """Adds a house behind one that is `before` meters high; returns its length and height."""
    rng = build.rng
    kind = int(rng.integers(textures.FACADES))
    _, width, height = textures.facade(kind, False)
    length = min(width * rng.uniform(0.92, 1.1), room)
    stretch = rng.uniform(0.9, 1.1)
    height *= stretch
    paint = surroundings.paint_house(plan, kind, u, length, stretch, tint, height > before + 0.3)
    deep = 12.0 if u > 0 else -12.0
    half = (6.0, length / 2)
    build.items.append(Item(u + deep / 2, along + length / 2, half, height, paint, front=u))
    return length, height


def _lot(build, plan, kind, line, side, along, length) -> None:
    rng = build.rng
    tint = rng.uniform(0.8, 1.15)
    back = line + side * rng.uniform(6, 12)
    if kind.startswith("garden"):
        _house(build, plan, back, along + 1, max(length - 2, 4.0), tint, 0.0)
    else:
        for at in np.arange(along, along + length, 7.0):
            _tree(build, back + side * rng.uniform(0, 3), at + rng.uniform(0, 3), rng.uniform(7, 10))
    if kind in ("park", "garden fence", "garden wall") and rng.random() < 0.75:
        for _ in range(int(rng.integers(1, 3))):
            _tree(
                build,
                line + side * rng.uniform(2, 4.5),
                along + rng.uniform(0.1, 0.9) * length,
                rng.uniform(3.5, 6),
            )
    if kind == "hedge":
        for at in np.arange(along, along + length, 1.5):
            _tree(build, line + side * 0.9, at, rng.uniform(2.3, 3.0), bush=True)
    if "wall" in kind or "fence" in kind:
        what = "wall" if "wall" in kind else "fence"
        high = rng.uniform(1.3, 2.5) if what == "wall" else rng.uniform(1.0, 1.9)
        style = int(rng.integers(4))
        if what == "fence" and style == 3:
            high = 0.9
        paint = surroundings.paint_strip(plan, what, style, line, length, high, tint)
        build.items.append(Item(line, along + length / 2, (0.1, length / 2), high, paint))


def _vista(build, plan, style) -> None:
    """Houses and trees far away, where the street ends or bends."""
    rng = build.rng
    far = build.length + 40
    u = -120.0
    while u < 120:
        wide = rng.uniform(9, 26)
        free = plan.lines[0] - 1 < u + wide and u < plan.lines[1] + 1
        if style == "city" or rng.random() < 0.4:
            color = np.array((190, 176, 156.0)) * rng.uniform(0.7, 1.15) * (1 + rng.uniform(-0.1, 0.1, 3))
            high = rng.uniform(9, 24)
            paint = surroundings.paint_block(u, u + wide, high, color, windows=abs(u) < 40)
            build.items.append(
                Item(u + wide / 2, far + (60 if free else 0), (wide / 2, 1), high, paint, vista=True)
            )
        u += wide
    for _ in range(2):
        paint = surroundings.paint_treeline(
            int(rng.integers(4)), rng.uniform(200, 280), _leaves(rng.random(5))
        )
        where = far + rng.uniform(-12, 30)
        build.items.append(Item(rng.uniform(-40, 40), where, (1, 1), 19.0, paint, vista=True, spread=140.0))


def _furniture(build: Builder, plan: Plan, style: str) -> None:
    rng = build.rng
    gray = round(rng.uniform(0.6, 1.25), 1)
    arm, tall = round(rng.uniform(1.0, 2.2), 1), round(rng.uniform(6.0, 9.0), 1)
    for side, edge in ((-1, plan.left), (1, plan.right)):
        curb = edge + side * 0.55
        for along in np.arange(rng.uniform(2, 24), build.length, rng.uniform(22, 32)):
            if not crosses(plan, along, 1.0):
                paint = posts.paint_lamp_post(tall, -side * arm, gray)
                build.items.append(Item(curb, along, (0.1, 0.1), tall + 0.5, paint, spread=1.4 * arm))
        if rng.random() < (0.55 if style == "city" else 0.8):
            step = rng.uniform(7, 13)
            size = rng.uniform(3.2, 5.2)
            verge = plan.verges[0 if side < 0 else 1]
            for along in np.arange(rng.uniform(4, 14), build.length, step):
                if not crosses(plan, along, 2.5) and rng.random() < 0.85:
                    _tree(build, edge + side * (verge / 2 if verge else 1.0), along, size)
        for along in np.arange(rng.uniform(5, 18), build.length, rng.uniform(12, 26)):
            if crosses(plan, along, 0.5):
                continue
            roll = rng.random()
            u = edge + side * rng.uniform(0.4, 0.9)
            if roll < (0.75 if side > 0 else 0.45):
                kind = int(rng.integers(9))
                size = choose(rng, (0.74, 0.84, 0.94)) * (1.25 if kind == 6 else 1)
                color = choose(rng, ((24, 78, 164), (30, 110, 70), (236, 190, 30)))
                paint = posts.paint_sign(kind, choose(rng, (2.3, 2.6, 2.9)), size, color)
                build.items.append(
                    Item(u, along, (0.1, 0.1), 3.6, paint, heading=rng.uniform(-0.25, 0.25), spread=1.0)
                )
            elif roll < 0.92:
                kind = int(rng.integers(4))
                paint = actors.paint_bin(kind, palette("bin", rng))
                u = edge + side * rng.uniform(0.8, 1.6)
                build.items.append(
                    Item(u, along, (0.35, 0.35), street_bin(kind)[1], paint, heading=rng.normal(0, 0.3))
                )
    for start, end in plan.crossings:
        if rng.random() < 0.7:
            state = choose(rng, (0, 1, 2), (0.5, 0.15, 0.35))
            hang = rng.random() < 0.35
            for along in (start - 1.2, end + 1.0):
                for side, edge in ((-1, plan.left), (1, plan.right)):
                    arm_ = -side * choose(rng, (2.5, 3.2, 4.0)) if hang and side > 0 else 0.0
                    high = 5.2 if arm_ else choose(rng, (2.6, 2.9, 3.2))
                    away = side < 0 and along < end and rng.random() < 0.5
                    paint = posts.paint_traffic_light(state, high, arm_, away)
                    build.items.append(
                        Item(
                            edge + side * 0.6, along, (0.15, 0.15), high + 0.6, paint, spread=0.3 + abs(arm_)
                        )
                    )
    if style == "avenue" and rng.random() < 0.35:
        color = choose(rng, ((24, 78, 164), (20, 100, 60)))
        paint = posts.paint_sign(9, 5.2, 1.0, color)
        build.items.append(Item(plan.right - 2.2, rng.uniform(30, 60), (2.6, 0.1), 7.0, paint))
