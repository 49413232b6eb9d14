"""The maps that a network says of a batch; whoever makes them, the post-processing takes them."""

from typing import NamedTuple

from torch import Tensor

STRIDE = 4  # pixels in a grid cell of the predictions


class Predictions(NamedTuple):
    """What the network says of a batch, on a grid of stride 4.

    Attributes:
        semantic: (N, C, h, w) float logits.
        center: (N, 1, h, w) float heatmap, linear; a centre is near 1.
        offset: (N, 2, h, w) float, (dy, dx) from a grid cell to its instance's centre, in grid cells.
    """

    semantic: Tensor
    center: Tensor
    offset: Tensor
