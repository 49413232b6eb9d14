"""Detectron2's and bowenc0221's Panoptic-DeepLab in a few lines, from what is known of them, not of ours.

A network is run on weights that are made up as it asks for them: the run defines names and shapes of the
state dict, and gives the maps that belong to it.
"""

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor

Maps = tuple[Tensor, Tensor, Tensor]


class Weights:
    """A state dict that grows: each weight is drawn when its name is first used."""

    def __init__(self, seed: int) -> None:
        self.state: dict[str, Tensor] = {}
        self._generator = torch.Generator().manual_seed(seed)

    def _draw(self, name: str, *shape: int, mean: float = 0.0, std: float = 0.1) -> Tensor:
        self.state[name] = mean + std * torch.randn(shape, generator=self._generator)
        return self.state[name]

    def conv(self, x: Tensor, name: str, channels: int, kernel: int = 1, *, bias: bool = False, **options):
        """A convolution that keeps the resolution, unless it is given a stride."""
        inputs = x.shape[1] // options.get("groups", 1)
        weight = self._draw(
            f"{name}.weight", channels, inputs, kernel, kernel, std=(1.5 / (inputs * kernel**2)) ** 0.5
        )
        b = self._draw(f"{name}.bias", channels) if bias else None
        padding = options.get("dilation", 1) * (kernel // 2)
        return F.conv2d(x, weight, b, padding=padding, **options)

    def norm(self, x: Tensor, name: str) -> Tensor:
        channels = x.shape[1]
        mean, bias = (self._draw(f"{name}.{leaf}", channels) for leaf in ("running_mean", "bias"))
        weight = self._draw(f"{name}.weight", channels, mean=1)
        variance = self._draw(f"{name}.running_var", channels).abs_().add_(0.5)
        return F.batch_norm(x, mean, variance, weight, bias, eps=1e-5)

    def unit(self, x: Tensor, conv: str, norm: str, channels: int, kernel: int = 1, **options) -> Tensor:
        return F.relu(self.norm(self.conv(x, conv, channels, kernel, **options), norm))


def bowenc(weights: Weights, image: Tensor, classes: int = 19) -> Maps:
    """MobileNetV2 at output stride 32, narrow decoders; `image` is (1, 3, 32 k + 1, 32 l + 1), RGB, 0-255."""
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).view(2, 1, 3, 1, 1)
    x = (image / 255 - mean) / std
    network = torchvision.models.mobilenet_v2().eval().features[:18]
    weights.state |= {f"backbone.features.{k}": v for k, v in network.state_dict().items()}
    features = []
    for index, layer in enumerate(network, start=1):
        x = layer(x)
        if index in (4, 7, 14, 18):
            features.append(x)

    def grow(x: Tensor, size) -> Tensor:
        return F.interpolate(x, size=size, mode="bilinear", align_corners=True)

    def separable(x: Tensor, name: str, channels: int) -> Tensor:
        x = weights.unit(x, f"{name}.0.0", f"{name}.0.1", x.shape[1], 5, groups=x.shape[1])
        return weights.unit(x, f"{name}.1", f"{name}.2", channels)

    def decode(name: str, aspp: int, channels: int, skips: tuple[int, ...]) -> Tensor:
        deep = features[-1]
        maps = [weights.unit(deep, f"{name}.aspp.convs.0.0", f"{name}.aspp.convs.0.1", aspp)]
        for i, rate in enumerate((3, 6, 9), start=1):
            part = f"{name}.aspp.convs.{i}"
            maps.append(weights.unit(deep, f"{part}.0", f"{part}.1", aspp, 3, dilation=rate))
        pooled = deep.mean((2, 3), keepdim=True)
        pooled = F.relu(weights.conv(pooled, f"{name}.aspp.convs.4.aspp_pooling.1", aspp))
        maps.append(grow(pooled, deep.shape[2:]))
        x = weights.unit(torch.cat(maps, 1), f"{name}.aspp.project.0", f"{name}.aspp.project.1", aspp)
        for i, (skip, width) in enumerate(zip(features[-2::-1], skips, strict=True)):
            detail = weights.unit(skip, f"{name}.project.{i}.0", f"{name}.project.{i}.1", width)
            x = separable(torch.cat((grow(x, skip.shape[2:]), detail), 1), f"{name}.fuse.{i}.0", channels)
        return x

    def head(x: Tensor, name: str, channels: int, outputs: int) -> Tensor:
        return weights.conv(separable(x, f"{name}.0.0", channels), f"{name}.1", outputs, bias=True)

    semantic = decode("decoder.semantic_decoder", 16, 24, (12, 8, 4))
    instance = decode("decoder.instance_decoder", 16, 12, (8, 6, 4))
    return (
        head(semantic, "decoder.semantic_head.classifier.semantic", 24, classes),
        head(instance, "decoder.instance_head.classifier.center", 8, 1),
        head(instance, "decoder.instance_head.classifier.offset", 8, 2),
    )


def detectron2(
    weights: Weights, image: Tensor, window: tuple[int, int], classes: int, *, separable: bool
) -> Maps:
    """R52, output stride 16, narrow decoders; `image` is (1, 3, 16 k, 16 l), RGB; `window` is in cells."""
    mean, std = torch.tensor([[123.675, 116.28, 103.53], [58.395, 57.12, 57.375]]).view(2, 1, 3, 1, 1)
    x = (image - mean) / std

    def unit(x: Tensor, name: str, channels: int, kernel: int = 1, **options) -> Tensor:
        return weights.unit(x, name, f"{name}.norm", channels, kernel, **options)

    for i, (channels, stride) in enumerate(((64, 2), (64, 1), (128, 1)), start=1):
        x = unit(x, f"backbone.stem.conv{i}", channels, 3, stride=stride)
    x = F.max_pool2d(x, 3, 2, 1)
    features = []
    for level, blocks, stride in ((2, 3, 1), (3, 4, 2), (4, 6, 2), (5, 3, 1)):
        middle = 32 * 2 ** (level - 1)
        for block in range(blocks):
            name, first = f"backbone.res{level}.{block}", block == 0
            dilation = 2 * (1, 2, 4)[block] if level == 5 else 1
            y = unit(x, f"{name}.conv1", middle)
            y = unit(y, f"{name}.conv2", middle, 3, stride=stride if first else 1, dilation=dilation)
            y = weights.norm(weights.conv(y, f"{name}.conv3", 4 * middle), f"{name}.conv3.norm")
            if first:
                shortcut = weights.conv(x, f"{name}.shortcut", 4 * middle, stride=stride)
                x = weights.norm(shortcut, f"{name}.shortcut.norm")
            x = F.relu(x + y)
        features.append(x)

    def grow(x: Tensor, size) -> Tensor:
        return F.interpolate(x, size=size, mode="bilinear", align_corners=False)

    def split(x: Tensor, name: str, channels: int, kernel: int, dilation: int = 1) -> Tensor:
        x = unit(x, f"{name}.depthwise", x.shape[1], kernel, dilation=dilation, groups=x.shape[1])
        return unit(x, f"{name}.pointwise", channels)

    def fuse(x: Tensor, name: str, first: int, second: int, separable: bool = separable) -> Tensor:
        if separable:
            return split(x, name, second, 5)
        return unit(unit(x, f"{name}.0", first, 3), f"{name}.1", second, 3)

    def decode(head: str, aspp: int, channels: int) -> Tensor:
        deep, name = features[-1], f"{head}.decoder.res5.project_conv"
        maps = [unit(deep, f"{name}.convs.0", aspp)]
        for i, rate in enumerate((6, 12, 18), start=1):
            conv = split if separable else unit
            maps.append(conv(deep, f"{name}.convs.{i}", aspp, 3, dilation=rate))
        pooled = F.relu(weights.conv(F.avg_pool2d(deep, window, 1), f"{name}.convs.4.1", aspp, bias=True))
        maps.append(grow(pooled, deep.shape[2:]))
        x = unit(torch.cat(maps, 1), f"{name}.project", aspp)
        for level, width in ((3, 8), (2, 4)):
            skip = features[level - 2]
            detail = unit(skip, f"{head}.decoder.res{level}.project_conv", width)
            x = torch.cat((detail, grow(x, skip.shape[2:])), 1)
            x = fuse(x, f"{head}.decoder.res{level}.fuse_conv", channels, channels)
        return x

    semantic = decode("sem_seg_head", 16, 24)
    instance = decode("ins_embed_head", 16, 12)
    heads = {
        "sem_seg_head.predictor": (fuse(semantic, "sem_seg_head.head", 24, 20), classes),
        "ins_embed_head.center_predictor": (fuse(instance, "ins_embed_head.center_head", 12, 8, False), 1),
        "ins_embed_head.offset_predictor": (fuse(instance, "ins_embed_head.offset_head", 12, 8), 2),
    }
    return tuple(weights.conv(x, name, outputs, bias=True) for name, (x, outputs) in heads.items())
