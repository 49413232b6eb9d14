"""The network: one backbone, a semantic and an instance branch, three heads."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from panodeeplab.config import ModelConfig
from panodeeplab.model.backbones import build_backbone
from panodeeplab.model.decoder import Decoder, zoomed_window
from panodeeplab.model.heads import Head
from panodeeplab.predictions import STRIDE, Predictions


class PanopticDeepLab(nn.Module):
    """Panoptic-DeepLab for images of any size.

    Images go in as they are read, 0-255; the normalization is part of the model. They are padded at the
    bottom and on the right with the mean color, to a multiple of the output stride, or of the pooling window
    where there is one (as Detectron2 wants it); with `align_corners` to k * output_stride + 1, so that the
    corners of all grids lie on pixels, and at least to the pooling window (as DeepLab2 has it). What the
    padding adds is cut off the predictions.

    Args:
        config: backbone, output stride, widths, and the switches between the published implementations.
        num_classes: of the semantic head.

    Attributes:
        align_corners: how the predictions are to be upsampled to the image, see
            `panodeeplab.ops.panoptic_segmentation`.

        pooling_window: (H, W) in pixels, as configured.

    Raises:
        ValueError: settings that do not go together, or backbone weights that do not fit.
        FileNotFoundError: `config.backbone_weights` names no file.
        ModuleNotFoundError: the backbone comes from timm, which is not installed.

    Source: Panoptic-DeepLab (Cheng et al., CVPR 2020), section 3.
    """

    def __init__(self, config: ModelConfig, *, num_classes: int) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}")
        self.align_corners = config.align_corners
        self.pooling_window = config.pooling_window
        self.output_stride = config.output_stride
        window, stride = config.pooling_window, config.output_stride
        if window is not None and not config.align_corners and any(length % stride for length in window):
            raise ValueError(
                f"pooling_window is {window} pixels, wanted multiples of output_stride, {stride}"
            )
        self.backbone = build_backbone(config)
        for name in ("pixel_mean", "pixel_std"):
            self.register_buffer(name, torch.tensor(getattr(self.backbone, name)).view(1, 3, 1, 1))
        self.semantic_decoder = Decoder(self.backbone.channels, config.semantic, config)
        self.instance_decoder = Decoder(self.backbone.channels, config.instance, config)

        def head(branch, outputs, separable):
            return Head(branch.channels, branch.head_channels, outputs, separable=separable)

        self.semantic_head = head(config.semantic, num_classes, config.separable)
        self.center_head = head(config.instance, 1, config.separable_center_head)
        self.offset_head = head(config.instance, 2, config.separable)
        self._initialize()
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                if config.batch_norm_eps is not None:
                    module.eps = config.batch_norm_eps
                if config.batch_norm_momentum is not None:
                    module.momentum = config.batch_norm_momentum

    def _padded(self, size: tuple[int, int], zoom: tuple[float, float]) -> list[int]:
        """What height and width are padded to, in pixels; with aligned corners one less, like `size`."""
        steps = (self.output_stride, self.output_stride)
        if self.pooling_window is not None:
            less = int(self.align_corners)
            cells = tuple(-(-pixels // self.output_stride) for pixels in self.pooling_window)
            window = tuple((n - less) * self.output_stride for n in zoomed_window(cells, zoom, less=less))
            if self.align_corners:
                size = tuple(_at_least(n, least) for n, least in zip(size, window, strict=True))
            else:
                steps = window
        # Nothing is negative in what is divided: exporters differ in how they round that.
        return [(n + step - 1) // step * step for n, step in zip(size, steps, strict=True)]

    def _initialize(self) -> None:
        branches = [self.semantic_decoder, self.instance_decoder]
        heads = [self.semantic_head, self.center_head, self.offset_head]
        for module in (m for part in branches + heads for m in part.modules()):
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for head in heads:
            nn.init.normal_(head[-1].weight, std=0.001)

    def forward(self, images: Tensor, zoom: tuple[float, float] = (1.0, 1.0)) -> Predictions:
        """Predictions for a batch.

        Args:
            images: (N, 3, H, W), RGB, 0-255, uint8 or floating point, any H and W from 1.
            zoom: how much larger, in height and width, the images are than the network is meant to see them:
                a pooling window grows as much, so that it sees the same part of the scene, as DeepLab2
                has it. Without a window it does nothing.

        Returns:
            Maps of h = ceil(H / 4) and w = ceil(W / 4); with `align_corners` of h = ceil((H - 1) / 4) + 1 and
            w likewise.

        Raises:
            ValueError: not a batch of three-channel images.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must be (N, 3, H, W), got {tuple(images.shape)}")
        # Between the pixels of two corners, or from the edge of one to the edge of the other.
        extra = 1 if self.align_corners else 0
        height, width = (length - extra for length in images.shape[-2:])
        x = (images.to(self.pixel_mean.dtype) - self.pixel_mean) / self.pixel_std
        padded_height, padded_width = self._padded((height, width), zoom)
        # Zeros are the mean color here.
        x = F.pad(x, (0, padded_width - width, 0, padded_height - height))
        features = self.backbone(x.contiguous(memory_format=torch.channels_last))
        semantic = self.semantic_head(self.semantic_decoder(features, zoom))
        instance = self.instance_decoder(features, zoom)
        predictions = (semantic, self.center_head(instance), self.offset_head(instance))
        h, w = (height + STRIDE - 1) // STRIDE + extra, (width + STRIDE - 1) // STRIDE + extra
        return Predictions(*(x[..., :h, :w] for x in predictions))


def _at_least(pixels: int, least: int) -> int:
    """The larger; an exporter may give a symbol, torch.jit a tensor."""
    return pixels.clamp(min=least) if isinstance(pixels, Tensor) else torch.sym_max(pixels, least)
