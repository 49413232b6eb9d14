"""What a painter is: a function that paints one thing where it stands."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from panodeeplab.data.scenes.canvas import Canvas


class Pose(NamedTuple):
    """Where a thing stands at one moment.

    Attributes:
        place: (3,) of its origin.
        turn: (3, 3) from its own axes to the street's.
        ahead: meters in front of the camera.
        time: in seconds.
        sunlit: 0 in shadow .. 1.
    """

    place: np.ndarray
    turn: np.ndarray
    ahead: float
    time: float
    sunlit: float


Painter = Callable[[Canvas, Pose], None]


def turned(headings: np.ndarray) -> np.ndarray:
    """(N, 3, 3) of things that look along the street for 0, to the right for pi / 2."""
    turn = np.zeros((len(headings), 3, 3))
    turn[:, 1, 1] = 1
    turn[:, 0, 0] = turn[:, 2, 2] = np.cos(headings)
    turn[:, 0, 2] = np.sin(headings)
    turn[:, 2, 0] = -turn[:, 0, 2]
    return turn
