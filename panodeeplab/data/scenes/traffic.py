"""Who is in the street: vehicles that drive or park, riders, people, bicycles in a row, crowds."""

import numpy as np

from panodeeplab.data.scenes import actors
from panodeeplab.data.scenes.figures import clothes
from panodeeplab.data.scenes.ground import Plan
from panodeeplab.data.scenes.items import VIEW, Builder, Item, choose, crosses
from panodeeplab.data.scenes.painting import Painter, turned
from panodeeplab.data.scenes.vehicles import VARIANTS, palette, vehicle


def _put_vehicle(build, kind, u, along, heading, speed=(0.0, 0.0)) -> float:
    """Adds a vehicle; returns its length."""
    rng = build.rng
    variant = int(rng.integers(VARIANTS))
    _, length, width, height = vehicle(kind, variant)
    number = build.number(kind)
    if number is None:
        return length
    paint = actors.paint_vehicle(kind, variant, palette(kind, rng), number)
    c, s = abs(np.cos(heading)), abs(np.sin(heading))
    half = ((width * c + length * s) / 2, (length * c + width * s) / 2)
    face = half[0] * 2 * height * 0.8
    build.items.append(Item(u, along, half, height, paint, heading, speed, face=face))
    return length


def add_parked(build: Builder, plan: Plan) -> None:
    rng = build.rng
    for side, edge, wide in ((-1, plan.left, plan.parking[0]), (1, plan.right, plan.parking[1])):
        if not wide:
            continue
        along = rng.uniform(-2, 8)
        dense = rng.uniform(0.35, 0.85)
        while along < build.length:
            if crosses(plan, along, 7) or any(abs(along - z) < 5 for z in plan.zebras):
                along += 3
                continue
            if rng.random() < dense and along > 4:
                roll = rng.random()
                kind = "car" if roll < 0.9 else ("truck" if roll < 0.96 else "motorcycle")
                heading = 0.0 if side > 0 else np.pi
                along += (
                    _put_vehicle(build, kind, edge - side * 1.12, along, heading + rng.uniform(-0.04, 0.04))
                    - 4.4
                )
            along += rng.uniform(5.2, 7.5)


def add_traffic(build: Builder, plan: Plan, lane: float, speed: float) -> None:
    rng = build.rng
    kinds = ("car", "truck", "bus", "motorcycle", "rider")
    shares = (0.64, 0.11, 0.09, 0.07, 0.09)
    inner_left = plan.tracks[0] - 1.7 if plan.tracks else 0.0
    outer_left = plan.left + plan.parking[0]
    lanes = [(lane, 0.0)]
    room = inner_left - outer_left
    for k in range(max(round(room / 3.3), 1) if room > 2 else 0):
        lanes.append((inner_left - 1.65 - 3.3 * k, np.pi))
    inner_right = plan.tracks[-1] + 1.7 if plan.tracks else 0.0
    if lane - inner_right > 4:
        lanes.append((lane - 3.3, 0.0))
    elif plan.right - plan.parking[1] - lane > 4:
        lanes.append((lane + 3.3, 0.0))
    for u, heading in lanes:
        ahead = heading == 0.0
        along = rng.uniform(9, 34) if ahead else rng.uniform(5, 26)
        pace = speed * rng.uniform(0.85, 1.2) if ahead else -rng.uniform(4, 11)
        while along < build.length * 0.8:
            kind = choose(rng, kinds, shares)
            shift = rng.uniform(-0.3, 0.3)
            if kind == "rider":
                _rider(build, u + shift + (0.7 if ahead else -0.7), along, heading, pace, rng.random() < 0.4)
                size = 2.0
            else:
                reserve = {"bus": 6.0, "truck": 4.0}.get(kind, 2.0)
                along += reserve
                size = _put_vehicle(
                    build, kind, u + shift, along, heading + rng.uniform(-0.03, 0.03), (0.0, pace)
                )
                size -= reserve
            along += size + rng.uniform(5, 24)
    for track in plan.tracks:
        if rng.random() < 0.75:
            toward = track < 0
            pace = -rng.uniform(3, 8) if toward else speed * rng.uniform(0.8, 1.2)
            _put_vehicle(build, "train", track, rng.uniform(20, 60), np.pi if toward else 0.0, (0.0, pace))
    for start, end in plan.crossings:
        for direction in (-1, 1):
            edge = plan.left if direction > 0 else plan.right
            along = start + (end - start) * (0.28 if direction > 0 else 0.72)
            if rng.random() < 0.3:  # on its way over
                _across(build, rng.uniform(plan.left, plan.right), along, direction, rng.uniform(3, 6))
            u = edge - direction * rng.uniform(4.5, 9)  # those who wait
            while abs(u) < 40 and rng.random() < 0.6:
                u -= direction * (_across(build, u, along, direction, 0.0) + rng.uniform(2, 8))
    if rng.random() < 0.45:
        u = plan.right - plan.parking[1] - rng.uniform(0.5, 0.9)
        _rider(build, u, rng.uniform(7, 24), 0.0, speed * 0.9, rng.random() < 0.3)


def _across(build: Builder, u: float, along: float, direction: int, pace: float) -> float:
    """Adds a vehicle in a street that crosses, bound to the right for direction 1; returns its length."""
    kind = choose(build.rng, ("car", "truck", "bus", "rider"), (0.6, 0.15, 0.15, 0.1))
    heading = direction * np.pi / 2
    if kind == "rider":
        _rider(build, u, along, heading, direction * pace, False, across=True)
        return 2.5
    return _put_vehicle(build, kind, u, along, heading, (direction * pace, 0.0))


def _rider(build, u, along, heading, pace, motor, across=False) -> None:
    rng = build.rng
    machine, person = build.number("motorcycle" if motor else "bicycle"), build.number("rider")
    if machine is None or person is None:
        return
    wear = clothes(rng)
    if motor:
        paint = actors.paint_biker(
            wear, int(rng.integers(VARIANTS)), palette("motorcycle", rng), (machine, person)
        )
    else:
        color = rng.uniform(30, 220, 3)
        paint = actors.paint_cyclist(wear, color, rng.uniform(0, 6.28), (machine, person))
    speed = (pace, 0.0) if across else (0.0, pace)
    half = (0.9, 0.35) if across else (0.35, 0.9)
    build.items.append(Item(u, along, half, 1.9, paint, heading, speed, face=0.55))


def add_people(build: Builder, plan: Plan, style: str) -> None:
    rng = build.rng
    busy = {"city": 9, "suburb": 4, "avenue": 5}[style]

    def person(u, along, heading, pace, stride):
        number = build.number("person")
        if number is None:
            return
        wear = clothes(rng)
        paint = actors.paint_person(wear, stride, rng.uniform(0, 6.28), number)
        speed = (pace * np.sin(heading), pace * np.cos(heading))
        build.items.append(
            Item(
                u,
                along,
                (0.25, 0.25),
                wear.height + 0.1,
                paint,
                heading,
                speed,
                face=0.5 * wear.height / 1.75,
            )
        )

    for _ in range(int(rng.poisson(busy * build.length / VIEW))):
        side = int(rng.integers(2))
        edge = plan.left - plan.verges[0] if side == 0 else plan.right + plan.verges[1]
        u = edge + (-1 if side == 0 else 1) * rng.uniform(0.9, max(plan.walks[side] - 0.4, 1.2))
        along = 5 + 45 * rng.random() ** 1.2 if rng.random() < 0.8 else rng.uniform(5, build.length)
        heading = (0.0 if rng.random() < 0.5 else np.pi) + rng.normal(0, 0.15)
        walks = rng.random() < 0.8
        if not walks:
            heading = rng.uniform(0, 2 * np.pi)
        person(
            u,
            along,
            heading,
            rng.uniform(0.9, 1.6) if walks else 0.0,
            rng.uniform(0.7, 1.0) if walks else 0.1,
        )
        if rng.random() < 0.25:
            person(u + 0.6, along + 0.2, heading, 1.2 if walks else 0.0, 0.9 if walks else 0.1)
    for middle in plan.zebras:
        for _ in range(choose(rng, (0, 1, 2, 3), (0.35, 0.3, 0.2, 0.15))):
            heading = np.pi / 2 if rng.random() < 0.5 else -np.pi / 2
            person(
                rng.uniform(plan.left, plan.right),
                middle + rng.uniform(-1.2, 1.2),
                heading,
                rng.uniform(1.0, 1.6),
                1.0,
            )
    for _ in range(choose(rng, (0, 1, 2, 3), (0.4, 0.3, 0.2, 0.1))):  # parked two-wheelers
        side = int(rng.integers(2))
        u = plan.left - 0.9 if side == 0 else plan.right + 0.9
        along, heading = rng.uniform(6, 34), rng.uniform(0, 2 * np.pi)
        if crosses(plan, along, 2):
            continue
        if rng.random() < 0.45:
            _put_vehicle(build, "motorcycle", u, along, heading)
            build.items[-1].face = 1.0
            continue
        number = build.number("bicycle")
        if number is not None:
            paint = actors.paint_bicycle(rng.uniform(30, 220, 3), number)
            build.items.append(Item(u, along, (0.4, 0.4), 1.1, paint, heading, face=0.5))
    if rng.random() < 0.18:
        number = build.crowd("person")
        if number is not None:
            crowd = []
            for _ in range(int(rng.integers(9, 16))):
                paint = actors.paint_person(clothes(rng), 0.2, rng.uniform(0, 6.28), number)
                crowd.append((paint, rng.uniform(-1.6, 1.6), rng.uniform(-1.2, 1.2)))
            side = -1 if rng.random() < 0.5 else 1
            u = (plan.left - 2.0 - plan.verges[0]) if side < 0 else (plan.right + 2.0 + plan.verges[1])
            build.items.append(
                Item(
                    u,
                    rng.uniform(24, 40),
                    (1.8, 1.3),
                    2.0,
                    actors.paint_group(crowd),
                    rng.uniform(-0.3, 0.3),
                    face=4.0,
                    spread=0.5,
                )
            )
    if rng.random() < 0.14:
        number = build.crowd("bicycle")
        if number is not None:
            row = [
                (actors.paint_bicycle(rng.uniform(30, 220, 3), number), 0.0, 0.75 * k)
                for k in range(int(rng.integers(5, 9)))
            ]
            side = -1 if rng.random() < 0.5 else 1
            u = (plan.left - 1.1) if side < 0 else (plan.right + 1.1)
            turn = turned(np.array([rng.uniform(0.9, 1.3)]))[0]
            paint = _turned_group(actors.paint_group(row), turn)
            build.items.append(Item(u, rng.uniform(10, 24), (0.5, 3.0), 1.2, paint, face=2.5, spread=1.5))


def _turned_group(paint: Painter, turn: np.ndarray) -> Painter:
    return lambda canvas, pose: paint(canvas, pose._replace(turn=turn @ pose.turn))
