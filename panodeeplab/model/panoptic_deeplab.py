"""The network: one backbone, a semantic and an instance branch, three heads."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from panodeeplab.config import ModelConfig
from panodeeplab.model.backbones import Backbone
from panodeeplab.model.decoder import Decoder
from panodeeplab.model.heads import Head

STRIDE = 4  # pixels in a grid cell of the predictions

# Mean and standard deviation of ImageNet's pixels, RGB, 0-255.
_PIXEL_MEAN = (123.675, 116.28, 103.53)
_PIXEL_STD = (58.395, 57.12, 57.375)


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

    Images go in as they are read, 0-255; the normalisation is part of the model.

    Args:
        config: backbone, output stride, widths.
        num_classes: of the semantic head.

    Source: Panoptic-DeepLab (Cheng et al., CVPR 2020), section 3.
    """

    def __init__(self, config: ModelConfig, *, num_classes: int) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}")
        self.output_stride = config.output_stride
        self.register_buffer("pixel_mean", torch.tensor(_PIXEL_MEAN).view(1, 3, 1, 1))
        self.register_buffer("pixel_std", torch.tensor(_PIXEL_STD).view(1, 3, 1, 1))
        self.backbone = Backbone(
            config.backbone, output_stride=config.output_stride, weights=config.backbone_weights
        )

        def decoder(branch):
            return Decoder(
                self.backbone.channels,
                branch,
                output_stride=config.output_stride,
                separable=config.separable,
            )

        def head(branch, outputs):
            return Head(branch.channels, branch.head_channels, outputs, separable=config.separable)

        self.semantic_decoder = decoder(config.semantic)
        self.instance_decoder = decoder(config.instance)
        self.semantic_head = head(config.semantic, num_classes)
        self.center_head = head(config.instance, 1)
        self.offset_head = head(config.instance, 2)
        self._initialize()

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

    def forward(self, images: Tensor) -> Predictions:
        """Predictions for a batch.

        Args:
            images: (N, 3, H, W), RGB, 0-255, uint8 or floating point, any H and W from 1.

        Returns:
            Maps of h = ceil(H / 4) and w = ceil(W / 4).

        Raises:
            ValueError: not a batch of three-channel images.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must be (N, 3, H, W), got {tuple(images.shape)}")
        height, width = images.shape[-2:]
        x = (images.to(self.pixel_mean.dtype) - self.pixel_mean) / self.pixel_std
        # Zeros are the mean colour here.
        x = F.pad(x, (0, -width % self.output_stride, 0, -height % self.output_stride))
        features = self.backbone(x.contiguous(memory_format=torch.channels_last))
        semantic = self.semantic_head(self.semantic_decoder(features))
        instance = self.instance_decoder(features)
        predictions = (semantic, self.center_head(instance), self.offset_head(instance))
        h, w = -(-height // STRIDE), -(-width // STRIDE)
        return Predictions(*(x[..., :h, :w] for x in predictions))
