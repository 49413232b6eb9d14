"""What travels through the stages of a stream."""

from dataclasses import dataclass

import numpy as np

from panodeeplab.postprocess import PanopticResult


@dataclass
class Frame:
    """One frame on its way.

    Attributes:
        index: number of the frame among those that the source gave.
        time_s: when it is to be shown, seconds from the start of the stream.
        image: (H, W, 3) uint8, RGB.
        decoded_at: `time.perf_counter()` when it was decoded or came from the camera.
        result: what is seen in it, once the network has run.
        picture: (H, W, 3) uint8, RGB, what is shown of it, once it is drawn.
    """

    index: int
    time_s: float
    image: np.ndarray
    decoded_at: float
    result: PanopticResult | None = None
    picture: np.ndarray | None = None
