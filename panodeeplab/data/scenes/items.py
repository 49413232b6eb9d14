"""What a street is made of, and how its things get their segment ids."""

from dataclasses import dataclass, field

import numpy as np

from panodeeplab.classes import CITYSCAPES
from panodeeplab.data.scenes.ground import Plan
from panodeeplab.data.scenes.painting import Painter
from panodeeplab.data.scenes.weather import Weather

VIEW = 120.0  # meters of street that are furnished in front of the camera
_MOST_NUMBERS = 255  # on the canvas: 0 void, 1..11 the stuff classes, then instances


@dataclass
class Item:
    """One thing in the street, in meters and seconds.

    Attributes:
        u, along, heading: where it is at time 0; heading 0 = with the camera, pi = towards it.
        half: (u, along) half of its footprint in the street's directions.
        speed: (u, along).
        face: square meters of its picture as the camera sees it, 0 for what is painted however small it is.
        vista: closes the view, behind everything and without a shadow.
        crown: (height of the middle, radius) of a tree's shadow, None for what casts that of its box.
        spread: how far it reaches sideways beyond half.
        front: u of a house's front, 0 for anything else.
    """

    u: float
    along: float
    half: tuple[float, float]
    height: float
    paint: Painter
    heading: float = 0.0
    speed: tuple[float, float] = (0.0, 0.0)
    face: float = 0.0
    vista: bool = False
    spread: float = 0.0
    front: float = 0.0
    crown: tuple[float, float] | None = None


@dataclass
class Street:
    """Everything that a scene is made of.

    Attributes:
        ids: (segment id, class id, is crowd) of each canvas number.
        eye: u and height of the camera; speed: of the camera; hood: share of the image that its car covers.
    """

    plan: Plan
    weather: Weather
    items: list[Item] = field(default_factory=list)
    ids: list[tuple[int, int, int]] = field(default_factory=list)
    eye: tuple[float, float] = (0.0, 1.4)
    speed: float = 0.0
    hood: float = 0.0


class Builder:
    def __init__(self, rng: np.random.Generator, length: float):
        self.rng = rng
        self.length = length
        self.items: list[Item] = []
        self.ids = [(0, -1, 0)] + [(CITYSCAPES.label_ids[i], i, 0) for i in range(11)]
        self.counts: dict[int, int] = {}

    def number(self, name: str) -> int | None:
        """A canvas number for a new instance of a class; None once they are used up."""
        if len(self.ids) >= _MOST_NUMBERS:
            return None
        category = CITYSCAPES.names.index(name)
        count = self.counts.get(category, 0)
        self.counts[category] = count + 1
        self.ids.append((CITYSCAPES.label_ids[category] * 1000 + count, category, 0))
        return len(self.ids) - 1

    def crowd(self, name: str) -> int | None:
        category = CITYSCAPES.names.index(name)
        label = CITYSCAPES.label_ids[category]
        if len(self.ids) >= _MOST_NUMBERS or any(i[0] == label for i in self.ids):
            return None
        self.ids.append((label, category, 1))
        return len(self.ids) - 1


def choose(rng: np.random.Generator, options, shares=None):
    """One of the options; `Generator.choice` takes twenty times as long."""
    roll = rng.random()
    if shares is None:
        return options[int(roll * len(options))]
    total = 0.0
    for option, share in zip(options, shares, strict=True):
        total += share
        if roll < total:
            return option
    return options[-1]


def crosses(plan: Plan, along: float, margin: float) -> bool:
    return any(a - margin < along < b + margin for a, b in plan.crossings)
