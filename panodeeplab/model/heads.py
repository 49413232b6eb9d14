"""The prediction heads: a 5x5 field of view, then a 1x1 convolution to what is predicted."""

from torch import nn

from panodeeplab.model.decoder import ConvBNReLU, SeparableConv


class Head(nn.Sequential):
    """(N, in_channels, h, w) → (N, outputs, h, w), linear. One each for classes, centers and offsets.

    The field of view is one separable 5x5 convolution, or two full 3x3 ones, of which the first keeps the
    width (as Detectron2 has them).

    Source: Panoptic-DeepLab, section 3.1.
    """

    def __init__(self, in_channels: int, channels: int, outputs: int, *, separable: bool) -> None:
        if separable:
            conv = SeparableConv(in_channels, channels, 5)
        else:
            conv = nn.Sequential(
                ConvBNReLU(in_channels, in_channels, 3), ConvBNReLU(in_channels, channels, 3)
            )
        super().__init__(conv, nn.Conv2d(channels, outputs, 1))
