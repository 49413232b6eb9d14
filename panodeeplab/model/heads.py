"""The prediction heads: a 5x5 field of view, then a 1x1 convolution to what is predicted."""

from torch import nn

from panodeeplab.model.decoder import fuse_conv


class Head(nn.Sequential):
    """(N, in_channels, h, w) → (N, outputs, h, w), linear. One each for classes, centres and offsets.

    Source: Panoptic-DeepLab, section 3.1.
    """

    def __init__(self, in_channels: int, channels: int, outputs: int, *, separable: bool) -> None:
        super().__init__(
            fuse_conv(in_channels, channels, separable=separable), nn.Conv2d(channels, outputs, 1)
        )
