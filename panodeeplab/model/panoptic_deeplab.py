"""The network: one backbone, a semantic and an instance branch, three heads."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from panodeeplab.config import ModelConfig
from panodeeplab.model.backbones import build_backbone
from panodeeplab.model.decoder import Decoder, zoomed_window
from panodeeplab.model.heads import Head

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


class PanopticDeepLab(nn.Module):
    """Panoptic-DeepLab for images of any size.

    Images go in as they are read, 0-255; the normalization is part of the model. They are padded at the
    bottom and on the right with the mean color, to a multiple of the output stride, or of the pooling window
    where there is one (as Detectron2 wants it); with `align_corners` to k * output_stride + 1, so that the
    corners of all grids lie on pixels. What the padding adds is cut off the predictions.

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
        self.padding = (config.output_stride, config.output_stride)
        if config.pooling_window is not None and not config.align_corners:
            if any(length % config.output_stride for length in config.pooling_window):
                raise ValueError(
                    f"pooling_window is {config.pooling_window} pixels, wanted multiples of output_stride, "
                    f"{config.output_stride}"
                )
            self.padding = config.pooling_window
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

    def _padding(self, zoom: tuple[float, float]) -> tuple[int, int]:
        """What height and width are padded to multiples of, in pixels."""
        if self.pooling_window is None or self.align_corners:
            return self.padding
        cells = tuple(pixels // self.output_stride for pixels in self.pooling_window)
        return tuple(cells * self.output_stride for cells in zoomed_window(cells, zoom))

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
        # Zeros are the mean color here.
        padding = self._padding(zoom)
        x = F.pad(x, (0, -width % padding[1], 0, -height % padding[0]))
        features = self.backbone(x.contiguous(memory_format=torch.channels_last))
        semantic = self.semantic_head(self.semantic_decoder(features, zoom))
        instance = self.instance_decoder(features, zoom)
        predictions = (semantic, self.center_head(instance), self.offset_head(instance))
        h, w = -(-height // STRIDE) + extra, -(-width // STRIDE) + extra
        return Predictions(*(x[..., :h, :w] for x in predictions))
