"""ASPP and the decoder that each branch, semantic and instance, has its own of."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from panodeeplab.config import DecoderConfig, ModelConfig


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


class ImagePooling(nn.Module):
    """The branch of ASPP that sees the whole image, or a window as large as the crops of training.

    Its map may be one pixel, of which a batch of one has no statistics: batch norm is not the default.

    Args:
        window: (H, W) in cells, cut to the features where they are smaller; None: all of them.
    """

    def __init__(
        self, in_channels: int, out_channels: int, config: ModelConfig, window: tuple[int, int] | None
    ) -> None:
        super().__init__()
        self.window = window
        self.align_corners = config.align_corners
        bias, norm = config.pooling_conv == "bias", config.pooling_conv == "batch_norm"
        self.conv = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1, bias=bias),
            nn.BatchNorm2d(out_channels) if norm else nn.Identity(),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor, zoom: tuple[float, float] = (1.0, 1.0)) -> Tensor:
        """(N, in_channels, h, w) → (N, out_channels, h, w); the window grows with `zoom`."""
        size = x.shape[-2:]
        if self.window is None:
            return self.conv(F.adaptive_avg_pool2d(x, 1)).expand(-1, -1, *size)
        window = zoomed_window(self.window, zoom, less=int(self.align_corners))
        window = tuple(min(length, limit) for length, limit in zip(window, size, strict=True))
        # One axis after the other: a window of 32 x 64 cells takes 96 additions then, not 2048.
        pooled = F.avg_pool2d(F.avg_pool2d(x, (window[0], 1), stride=1), (1, window[1]), stride=1)
        pooled = self.conv(pooled)
        return F.interpolate(pooled, size=size, mode="bilinear", align_corners=self.align_corners)


def zoomed_window(window: tuple[int, int], zoom: tuple[float, float], *, less: int = 0) -> tuple[int, int]:
    """Cells of a pooling window of (H, W) cells in images that are enlarged; at least one.

    Args:
        window: at the usual size of images.
        zoom: of height and width.
        less: 1 where corners are aligned: between n cells there are n - 1 steps, which grow.
    """
    return tuple(
        max(1, round((cells - less) * factor) + less) for cells, factor in zip(window, zoom, strict=True)
    )


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: context at five ranges, from one pixel to the whole image.

    Source: DeepLabv3 (Chen et al., 2017), section 3.3.
    """

    def __init__(self, in_channels: int, out_channels: int, config: ModelConfig) -> None:
        super().__init__()
        stride = config.output_stride
        dilations = config.aspp_dilations or tuple(96 * i // stride for i in (1, 2, 3))
        window = config.pooling_window
        if window is not None:
            window = tuple(-(-pixels // stride) for pixels in window)
        conv = SeparableConv if config.separable_aspp else ConvBNReLU
        self.convs = nn.ModuleList(
            [ConvBNReLU(in_channels, out_channels, 1)]
            + [conv(in_channels, out_channels, 3, dilation=dilation) for dilation in dilations]
        )
        self.pool = ImagePooling(in_channels, out_channels, config, window)
        self.project = nn.Sequential(
            ConvBNReLU(5 * out_channels, out_channels, 1), nn.Dropout(config.aspp_dropout)
        )

    def forward(self, x: Tensor, zoom: tuple[float, float] = (1.0, 1.0)) -> Tensor:
        """(N, in_channels, h, w) → (N, out_channels, h, w)."""
        return self.project(torch.cat([*(conv(x) for conv in self.convs), self.pool(x, zoom)], dim=1))


class Decoder(nn.Module):
    """From the deepest features to stride 4, taking in the skip features of strides 8 and 4, or 16, 8 and 4.

    Source: Panoptic-DeepLab, section 3.1 and figure 2.
    """

    def __init__(self, backbone_channels: dict[int, int], branch: DecoderConfig, config: ModelConfig) -> None:
        super().__init__()
        self.align_corners = config.align_corners
        self.skip_first = config.skip_first
        self.aspp = ASPP(backbone_channels[32], branch.aspp_channels, config)
        self.strides = (16, 8, 4)[-len(branch.skip_channels) :]
        self.skips = nn.ModuleList()
        self.fuse = nn.ModuleList()
        width = branch.aspp_channels
        for stride, skip_width in zip(self.strides, branch.skip_channels, strict=True):
            self.skips.append(ConvBNReLU(backbone_channels[stride], skip_width, 1))
            self.fuse.append(fuse_conv(width + skip_width, branch.channels, separable=config.separable))
            width = branch.channels

    def forward(self, features: dict[int, Tensor], zoom: tuple[float, float] = (1.0, 1.0)) -> Tensor:
        """Features by stride → (N, channels, h, w) of stride 4."""
        x = self.aspp(features[32], zoom)
        for stride, skip, fuse in zip(self.strides, self.skips, self.fuse, strict=True):
            detail = skip(features[stride])
            x = F.interpolate(x, size=detail.shape[-2:], mode="bilinear", align_corners=self.align_corners)
            x = fuse(torch.cat([detail, x] if self.skip_first else [x, detail], dim=1))
        return x
