"""A street of a car that drives to the right, small pictures of it, and a predictor that needs no network."""

import numpy as np

from panodeeplab.classes import CITYSCAPES
from panodeeplab.postprocess import PanopticResult, PanopticSegment

CAR = 13


def picture(index: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Gray that grows with the index, and a white bar whose place tells it."""
    image = np.full((height, width, 3), 40 + index % 100, np.uint8)
    image[:, index % width] = 255
    return image


def predict(image: np.ndarray) -> PanopticResult:
    """Road with a car on it, whatever is in the image."""
    height, width = image.shape[:2]
    panoptic = np.zeros((height, width), np.int32)
    panoptic[height // 4 : height // 2, : width // 2] = CAR * 1000 + 1
    box = (height // 4, 0, height // 2, width // 2)
    segments = (
        PanopticSegment(0, 0, "road", False, 0.9, int((panoptic == 0).sum()), (0, 0, height, width), None),
        PanopticSegment(CAR * 1000 + 1, CAR, "car", True, 0.8, int((panoptic > 0).sum()), box, None),
    )
    timings_ms = {"preprocess": 0.1, "network": 1.0, "postprocess": 0.2}
    return PanopticResult(panoptic, segments, CITYSCAPES, 1000, image, timings_ms)


class Collect:
    """An output that keeps what it is shown."""

    def __init__(self, stop_after: int | None = None, error: Exception | None = None) -> None:
        self.pictures: list[np.ndarray] = []
        self.times_s: list[float] = []
        self.closed = False
        self._stop_after, self._error = stop_after, error

    def show(self, picture: np.ndarray, time_s: float) -> bool:
        if self._error is not None:
            raise self._error
        self.pictures.append(picture)
        self.times_s.append(time_s)
        return len(self.pictures) != self._stop_after

    def close(self) -> None:
        self.closed = True
