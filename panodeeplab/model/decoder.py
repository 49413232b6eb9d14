"""ASPP and the decoder that each branch, semantic and instance, has its own of."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from panodeeplab.config import DecoderConfig


class ConvBNReLU(nn.Sequential):
    """Convolution that keeps the resolution, batch norm, ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, dilation: int = 1, groups: int = 1
    ) -> None:
        super().__init__(
            nn.Conv2d(
                in_channels,
                out_channels,
                kernel_size,
                padding=dilation * (kernel_size // 2),
                dilation=dilation,
                groups=groups,
                bias=False,
            ),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


class SeparableConv(nn.Sequential):
    """Depthwise convolution, then 1x1 across channels, each with batch norm and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, dilation: int = 1) -> None:
        super().__init__(
            ConvBNReLU(in_channels, in_channels, kernel_size, dilation=dilation, groups=in_channels),
            ConvBNReLU(in_channels, out_channels, 1),
        )


def fuse_conv(in_channels: int, out_channels: int, *, separable: bool) -> nn.Sequential:
    """A 5x5 field of view: one separable 5x5 convolution, or two full 3x3 ones (as Detectron2 has them)."""
    if separable:
        return SeparableConv(in_channels, out_channels, 5)
    return nn.Sequential(ConvBNReLU(in_channels, out_channels, 3), ConvBNReLU(out_channels, out_channels, 3))


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: context at five ranges, from one pixel to the whole image.

    The pooling branch has no batch norm: its map is one pixel, of which a batch of one has no statistics.

    Source: DeepLabv3 (Chen et al., 2017), section 3.3.
    """

    def __init__(
        self, in_channels: int, out_channels: int, rates: tuple[int, int, int], *, separable: bool
    ) -> None:
        super().__init__()
        conv = SeparableConv if separable else ConvBNReLU
        self.convs = nn.ModuleList(
            [ConvBNReLU(in_channels, out_channels, 1)]
            + [conv(in_channels, out_channels, 3, dilation=rate) for rate in rates]
        )
        self.pool = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(in_channels, out_channels, 1), nn.ReLU(inplace=True)
        )
        self.project = nn.Sequential(ConvBNReLU(5 * out_channels, out_channels, 1), nn.Dropout(0.1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, h, w) → (N, out_channels, h, w)."""
        branches = [conv(x) for conv in self.convs]
        branches.append(self.pool(x).expand_as(branches[0]))
        return self.project(torch.cat(branches, dim=1))


class Decoder(nn.Module):
    """From the deepest features to stride 4, taking in the skip features of strides 8 and 4.

    Source: Panoptic-DeepLab, section 3.1 and figure 2.
    """

    def __init__(
        self, backbone_channels: dict[int, int], config: DecoderConfig, *, output_stride: int, separable: bool
    ) -> None:
        super().__init__()
        self.output_stride = output_stride
        rates = (6, 12, 18) if output_stride == 16 else (3, 6, 9)
        self.aspp = ASPP(backbone_channels[output_stride], config.aspp_channels, rates, separable=separable)
        self.skips = nn.ModuleList()
        self.fuse = nn.ModuleList()
        width = config.aspp_channels
        for stride, skip_width in zip((8, 4), config.skip_channels, strict=True):
            self.skips.append(ConvBNReLU(backbone_channels[stride], skip_width, 1))
            self.fuse.append(fuse_conv(width + skip_width, config.channels, separable=separable))
            width = config.channels

    def forward(self, features: dict[int, Tensor]) -> Tensor:
        """Features by stride → (N, channels, H / 4, W / 4)."""
        x = self.aspp(features[self.output_stride])
        for stride, skip, fuse in zip((8, 4), self.skips, self.fuse, strict=True):
            detail = skip(features[stride])
            x = F.interpolate(x, size=detail.shape[-2:], mode="bilinear", align_corners=False)
            x = fuse(torch.cat([x, detail], dim=1))
        return x
