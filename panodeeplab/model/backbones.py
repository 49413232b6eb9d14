"""torchvision's classification networks as feature extractors, dilated to an output stride."""

from pathlib import Path

import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn

# Per network: the weights that torchvision offers, and where features of stride 4, 8, 16 and 32 end in its
# sequence of stages (exclusive).
_MOBILENETS = {
    "mobilenet_v2": (torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1, (4, 7, 14, 18)),
    "mobilenet_v3_large": (torchvision.models.MobileNet_V3_Large_Weights.IMAGENET1K_V2, (4, 7, 13, 17)),
}
_RESNET50_WEIGHTS = torchvision.models.ResNet50_Weights.IMAGENET1K_V2


def _dilate(stage: nn.Module) -> None:
    """Trade a stage's stride of 2 for a dilation of 2 in every spatial convolution."""
    for module in stage.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size[0] > 1:
            module.stride = (1, 1)
            module.dilation = (2, 2)
            module.padding = (module.kernel_size[0] - 1, module.kernel_size[1] - 1)


def _load_weights(model: nn.Module, path: Path) -> None:
    """Load a torchvision state dict; nothing may be missing or left over."""
    if not path.is_file():
        raise FileNotFoundError(f"backbone_weights: no file {path}")
    if path.suffix == ".safetensors":
        state = load_file(path)
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"backbone_weights: {path} does not fit the backbone: {error}") from None


class Backbone(nn.Module):
    """Features of an image by stride.

    With `output_stride` 16 the last stage keeps the resolution of the one before and is dilated by 2; its
    features then are the ones of stride 16, and stride 32 is absent.

    Args:
        name: "mobilenet_v2", "mobilenet_v3_large" or "resnet50".
        output_stride: 16 or 32.
        weights: "imagenet" (torchvision downloads them), path of a state dict in torchvision's naming
            (.pth or .safetensors), or None for a random start.

    Attributes:
        channels: width of the features, by stride.

    Raises:
        ValueError: unknown `name` or `output_stride`, or weights that do not fit.
        FileNotFoundError: `weights` names no file.
    """

    def __init__(self, name: str, *, output_stride: int, weights: str | Path | None = None) -> None:
        super().__init__()
        if output_stride not in (16, 32):
            raise ValueError(f"output_stride must be 16 or 32, got {output_stride}")
        download = weights == "imagenet"
        if name in _MOBILENETS:
            enum, ends = _MOBILENETS[name]
            model = getattr(torchvision.models, name)(weights=enum if download else None)
        elif name == "resnet50":
            model = torchvision.models.resnet50(
                weights=_RESNET50_WEIGHTS if download else None,
                replace_stride_with_dilation=[False, False, output_stride == 16],
            )
        else:
            raise ValueError(f"name must be one of {[*_MOBILENETS, 'resnet50']}, got {name!r}")
        if weights is not None and not download:
            _load_weights(model, Path(weights))

        if name == "resnet50":
            stem = nn.Sequential(model.conv1, model.bn1, model.relu, model.maxpool)
            stages = [nn.Sequential(stem, model.layer1), model.layer2, model.layer3, model.layer4]
        else:
            stages = [model.features[start:end] for start, end in zip((0, *ends[:-1]), ends, strict=True)]
            if output_stride == 16:
                _dilate(stages[-1])
        self.stages = nn.ModuleList(stages)
        self.output_stride = output_stride
        with torch.no_grad():
            features = self.eval()(torch.zeros(1, 3, output_stride, output_stride))
        self.train()
        self.channels = {stride: x.shape[1] for stride, x in features.items()}

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        """Features of normalised images.

        Args:
            images: (N, 3, H, W) float, H and W multiples of the output stride.

        Returns:
            By stride s, (N, channels[s], H / s, W / s).
        """
        features = {}
        x = images
        for stride, stage in zip((4, 8, 16, 32), self.stages, strict=True):
            x = stage(x)
            features[min(stride, self.output_stride)] = x
        return features
