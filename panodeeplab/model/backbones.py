"""Backbones: classification networks as feature extractors, dilated to an output stride.

They have one contract. A backbone is a module that turns normalized images (N, 3, H, W) into features by
stride, {4: (N, C, h, w), 8: ..., 16: ..., 32: ...}; the stride is the one of the network as it was trained on
ImageNet, so that with output stride 16 the features of "stride" 32 lie on the grid of stride 16. Its
attributes say more:

- `channels`: width of the features, by stride;
- `pixel_mean`, `pixel_std`: of the images that it was trained on, RGB, 0-255.

Parameters keep the names that they have upstream: a state dict of torchvision, timm or HRNet fits.
"""

from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn

from panodeeplab.config import ModelConfig
from panodeeplab.model import timm_backbones
from panodeeplab.model.hrnet import HRNet
from panodeeplab.model.mobilenet import ExpandedBlock, MobileNet

STRIDES = (4, 8, 16, 32)

# Mean and standard deviation of ImageNet's pixels, RGB, 0-255.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)

_RESNETS = {
    "resnet50": (torchvision.models.resnet50, torchvision.models.ResNet50_Weights.IMAGENET1K_V2),
    "resnet101": (torchvision.models.resnet101, torchvision.models.ResNet101_Weights.IMAGENET1K_V2),
    "resnext101_32x8d": (
        torchvision.models.resnext101_32x8d,
        torchvision.models.ResNeXt101_32X8D_Weights.IMAGENET1K_V2,
    ),
}
# With where features of stride 4, 8, 16 and 32 end in torchvision's sequence of layers (exclusive).
_MOBILENETS = {
    "mobilenet_v2": (
        torchvision.models.mobilenet_v2,
        torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1,
        (4, 7, 14, 18),
    ),
    "mobilenet_v3_large": (
        torchvision.models.mobilenet_v3_large,
        torchvision.models.MobileNet_V3_Large_Weights.IMAGENET1K_V2,
        (4, 7, 13, 17),
    ),
    "mobilenet_v3_small": (
        torchvision.models.mobilenet_v3_small,
        torchvision.models.MobileNet_V3_Small_Weights.IMAGENET1K_V1,
        (2, 4, 9, 13),
    ),
}
_HRNET_WIDTHS = {"hrnet_w18": 18, "hrnet_w32": 32, "hrnet_w48": 48}


def build_backbone(config: ModelConfig) -> nn.Module:
    """The backbone that a configuration names, with the weights that it names.

    Raises:
        ValueError: the network cannot have this output stride or these dilations, or the weights do not fit.
        FileNotFoundError: `backbone_weights` names no file.
        ModuleNotFoundError: the network or its weights come from timm, which is not installed.
    """
    name, output_stride, weights = config.backbone, config.output_stride, config.backbone_weights
    _check_switches(config)
    if name == "resnet52":
        network = _resnet52(config)
    elif name in _RESNETS:
        network = _resnet(config)
    elif name in _MOBILENETS:
        network = _mobilenet(config)
    elif name in _HRNET_WIDTHS:
        network = _hrnet(config)
    elif name in timm_backbones.XCEPTIONS:
        network = timm_backbones.Xception(name, output_stride=output_stride, weights=_from_timm(weights))
    else:
        network = timm_backbones.TimmFeatures(
            name.removeprefix("timm/"), output_stride=output_stride, weights=_from_timm(weights)
        )
    # Two cells of the coarsest grid each way; a network that needs one more pixel is found out here.
    side = 2 * output_stride + (1 if config.align_corners else 0)
    try:
        with torch.no_grad():
            features = network.eval()(torch.zeros(1, 3, side, side))
    except (AssertionError, RuntimeError) as error:
        raise ValueError(f"backbone: {name} does not take images of any size: {error}") from error
    network.train()
    for stride, feature in features.items():
        grid = min(stride, output_stride)
        wanted = side // grid + (1 if config.align_corners else 0)
        if feature.shape[-2:] != (wanted, wanted):
            setting = "align_corners" if config.align_corners else f"output_stride {output_stride}"
            raise ValueError(
                f"{setting} needs features of {wanted} x {wanted} cells at stride {stride} for an image of "
                f"{side} x {side}: {name} gives {feature.shape[-2]} x {feature.shape[-1]}"
            )
    network.channels = {stride: feature.shape[1] for stride, feature in features.items()}
    return network


def _check_switches(config: ModelConfig) -> None:
    """Refuse switches of one kind of network in another."""
    name, dilations = config.backbone, config.last_stage_dilations
    is_resnet, is_mobilenet_v3 = name in (*_RESNETS, "resnet52"), name.startswith("mobilenet_v3")
    if dilations is not None and not (is_resnet or is_mobilenet_v3):
        raise ValueError(f"last_stage_dilations is {dilations}, but {name} is no ResNet and no MobileNetV3")
    if dilations is not None and config.output_stride == 32:
        raise ValueError(f"last_stage_dilations is {dilations}, but with output_stride 32 nothing is dilated")
    if not config.stem_pooling and not is_resnet:
        raise ValueError(f"stem_pooling is false, but {name} is no ResNet")
    if config.expanded_skips and not is_mobilenet_v3:
        raise ValueError(f"expanded_skips is true, but {name} is no MobileNetV3")


class _ResNet(nn.Module):
    """Features of torchvision's ResNets and ResNeXts."""

    pixel_mean, pixel_std = IMAGENET_MEAN, IMAGENET_STD

    def __init__(self, model: torchvision.models.ResNet) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu, self.maxpool = model.conv1, model.bn1, model.relu, model.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            model.layer1,
            model.layer2,
            model.layer3,
            model.layer4,
        )

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        features = {}
        for stride, layer in zip(STRIDES, (self.layer1, self.layer2, self.layer3, self.layer4), strict=True):
            x = features[stride] = layer(x)
        return features


def _resnet(config: ModelConfig) -> _ResNet:
    build, imagenet = _RESNETS[config.backbone]
    model = build(
        weights=imagenet if config.backbone_weights == "imagenet" else None,
        replace_stride_with_dilation=_replaced_strides(config.output_stride),
    )
    _load_local(model, config.backbone_weights)
    return _dilated_resnet(model, config)


def _resnet52(config: ModelConfig) -> _ResNet:
    """ResNet-50 with three 3x3 convolutions for its 7x7: DeepLab's. timm has ImageNet weights (resnet50s)."""
    model = torchvision.models.resnet50(
        weights=None, replace_stride_with_dilation=_replaced_strides(config.output_stride)
    )
    model.conv1 = nn.Sequential(
        nn.Conv2d(3, 64, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(inplace=True),
        nn.Conv2d(64, 64, 3, padding=1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(inplace=True),
        nn.Conv2d(64, 128, 3, padding=1, bias=False),
    )
    model.bn1 = nn.BatchNorm2d(128)
    first = model.layer1[0]
    first.conv1 = nn.Conv2d(128, 64, 1, bias=False)
    first.downsample[0] = nn.Conv2d(128, 256, 1, bias=False)
    for module in (*model.conv1, first.conv1, first.downsample[0]):
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    if config.backbone_weights == "imagenet":
        model.load_state_dict(timm_backbones.imagenet_state("resnet50s"))
    _load_local(model, config.backbone_weights)
    return _dilated_resnet(model, config)


def _replaced_strides(output_stride: int) -> list[bool]:
    return [False, output_stride < 16, output_stride < 32]


def _dilated_resnet(model: torchvision.models.ResNet, config: ModelConfig) -> _ResNet:
    if config.last_stage_dilations is not None:
        for block, dilation in zip(model.layer4, config.last_stage_dilations, strict=True):
            _dilate(block.conv2, dilation)
    if not config.stem_pooling:
        # The first block halves the resolution instead, where all other stages do: in its 3x3 convolution.
        model.maxpool = nn.Identity()
        first = model.layer1[0]
        first.conv2.stride = first.downsample[0].stride = (2, 2)
    return _ResNet(model)


def _mobilenet(config: ModelConfig) -> MobileNet:
    build, imagenet, ends = _MOBILENETS[config.backbone]
    model = build(weights=imagenet if config.backbone_weights == "imagenet" else None)
    _load_local(model, config.backbone_weights)
    for stride, start, end in zip(STRIDES[1:], ends, ends[1:], strict=False):
        if stride > config.output_stride:
            _dilate(model.features[start:end], stride // config.output_stride)
    if config.last_stage_dilations is not None:
        # The last layer of the stage is a 1x1 convolution.
        blocks = model.features[ends[-2] : ends[-1] - 1]
        for block, dilation in zip(blocks, config.last_stage_dilations, strict=True):
            _dilate(block, dilation)
    if config.expanded_skips:
        for end in ends[:-1]:
            model.features[end - 1] = ExpandedBlock(model.features[end - 1])
    network = MobileNet(model.features[: ends[-1]], dict(zip(ends, STRIDES, strict=True)))
    network.pixel_mean, network.pixel_std = IMAGENET_MEAN, IMAGENET_STD
    return network


def _dilate(layers: nn.Module, dilation: int) -> None:
    """Dilate all spatial convolutions, and take their stride away."""
    for module in layers.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size[0] > 1:
            module.stride = (1, 1)
            module.dilation = (dilation, dilation)
            module.padding = tuple(dilation * (k // 2) for k in module.kernel_size)


def _hrnet(config: ModelConfig) -> HRNet:
    if config.output_stride != 32:
        raise ValueError(
            f"output_stride must be 32 for {config.backbone}, got {config.output_stride}: an HRNet keeps "
            "fine features from the start, nothing of it is dilated"
        )
    network = HRNet(_HRNET_WIDTHS[config.backbone])
    network.pixel_mean, network.pixel_std = IMAGENET_MEAN, IMAGENET_STD
    if config.backbone_weights == "imagenet":
        network.load_state_dict(HRNet.without_classifier(timm_backbones.imagenet_state(config.backbone)))
    _load_local(network, config.backbone_weights, HRNet.without_classifier)
    return network


def _from_timm(weights: str | Path | None) -> str | dict[str, Tensor] | None:
    return weights if weights in (None, "imagenet") else _read_state(Path(weights))


def _read_state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"backbone_weights: no file {path}")
    if path.suffix == ".safetensors":
        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _load_local(
    model: nn.Module,
    weights: str | Path | None,
    keep: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict,
) -> None:
    """Load a state dict from a file; nothing may be missing or left over."""
    if weights is None or weights == "imagenet":
        return
    try:
        model.load_state_dict(keep(_read_state(Path(weights))))
    except RuntimeError as error:
        raise ValueError(f"backbone_weights: {weights} does not fit the backbone: {error}") from None
