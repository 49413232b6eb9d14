"""Backbones that timm has: the aligned Xceptions of DeepLab, and any network that gives features by name.

timm is an optional dependency (`pip install 'panodeeplab[timm]'`) and imported when a network asks for it.
"""

from collections.abc import Callable
from types import ModuleType

from torch import Tensor, nn

_STRIDES = (4, 8, 16, 32)

# Where features come from in timm's sequence of blocks. Those of stride 4 and 8 are the second of the three
# convolutions of the block that leaves that stride (DeepLabv3+, as bowenc0221 has it), before the activation;
# those of 16 are the end of the middle flow, two blocks before the last.
XCEPTIONS = {"xception65": (1, 2), "xception71": (2, 4)}


def _timm(needed_for: str) -> ModuleType:
    try:
        import timm
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f"{needed_for} comes from timm, which is not installed: pip install 'panodeeplab[timm]'"
        ) from None
    return timm


def imagenet_state(name: str) -> dict[str, Tensor]:
    """The state dict of one of timm's networks with ImageNet weights, which timm downloads."""
    timm = _timm(f"the ImageNet weights of {name}")
    return timm.create_model(name, pretrained=True).state_dict()


def _create(
    name: str, *, output_stride: int, weights: str | dict[str, Tensor] | None, **options
) -> nn.Module:
    timm = _timm(f"the backbone {name}")
    if not timm.is_model(name):
        near = timm.list_models(f"*{name}*")[:5]
        hint = f"; there are {', '.join(near)}" if near else ""
        raise ValueError(f"backbone: timm {timm.__version__} has no network {name!r}{hint}")
    if output_stride != 32:
        options["output_stride"] = output_stride
    if isinstance(weights, dict):
        # With features_only timm would leave out without a word what does not fit.
        _load_strictly(timm.create_model(name), weights)
        options["pretrained_cfg_overlay"] = {"state_dict": weights}
    try:
        return timm.create_model(name, pretrained=weights is not None, **options)
    except (TypeError, AssertionError, NotImplementedError) as error:
        if output_stride == 32:
            raise ValueError(f"backbone: timm's {name} gives no features by stride: {error}") from error
        raise ValueError(
            f"output_stride must be 32 for timm's {name}, got {output_stride}: it cannot be dilated ({error})"
        ) from error


def _load_strictly(model: nn.Module, state: dict[str, Tensor]) -> None:
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"backbone_weights does not fit the backbone: {error}") from None


def _normalization(network: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the images that one of timm's networks was trained on, 0-255."""
    mean, std = (network.pretrained_cfg[key] for key in ("mean", "std"))
    return tuple(255 * x for x in mean), tuple(255 * x for x in std)


class TimmFeatures(nn.Module):
    """Features of any of timm's networks; see `panodeeplab.model.backbones` for the contract.

    Args:
        name: of the network in timm, as in "convnext_tiny" or "regnety_032.ra_in1k".
        output_stride: 8, 16 or 32, as far as timm can dilate the network.
        weights: "imagenet" for those of timm, a state dict in timm's naming, or None for a random start.

    Raises:
        ValueError: timm has no such network, or it does not give features of stride 4, 8, 16 and 32.
        ModuleNotFoundError: timm is not installed.
    """

    def __init__(
        self, name: str, *, output_stride: int, weights: str | dict[str, Tensor] | None = None
    ) -> None:
        super().__init__()
        self.network = _create(name, output_stride=output_stride, weights=weights, features_only=True)
        strides = self.network.feature_info.reduction()
        wanted = [min(stride, output_stride) for stride in _STRIDES]
        if strides[-4:] != wanted:
            raise ValueError(
                f"backbone: timm's {name} gives features of strides {strides}, wanted {wanted} at the end"
            )
        self.pixel_mean, self.pixel_std = _normalization(self.network)

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        return dict(zip(_STRIDES, self.network(images)[-4:], strict=True))


class Xception(nn.Module):
    """Features of timm's aligned Xception-65 or -71; see `panodeeplab.model.backbones` for the contract.

    Args:
        name: a key of `XCEPTIONS`.
        output_stride: 8, 16 or 32.
        weights: "imagenet" for those of timm, a state dict in timm's naming, or None for a random start.

    Source: Chen et al., Encoder-Decoder with Atrous Separable Convolution (DeepLabv3+, ECCV 2018), figure 4.
    """

    def __init__(
        self, name: str, *, output_stride: int, weights: str | dict[str, Tensor] | None = None
    ) -> None:
        super().__init__()
        if name == "xception71" and output_stride == 8:
            raise ValueError(
                f"output_stride must be 16 or 32 for {name}, got {output_stride}: timm drops a shortcut at 8"
            )
        model = _create(name, output_stride=output_stride, weights=weights)
        self.stem, self.blocks = model.stem, model.blocks
        self._skips = dict(zip(XCEPTIONS[name], _STRIDES, strict=False))
        for index in self._skips:
            # It would write its result over the features.
            self.blocks[index].stack.act3.inplace = False
        self.pixel_mean, self.pixel_std = _normalization(model)

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        features, x = {}, self.stem(images)
        for index, block in enumerate(self.blocks):
            if index == len(self.blocks) - 2:
                features[16] = x
            if index in self._skips:
                features[self._skips[index]], x = _with_second_convolution(block, x)
            else:
                x = block(x)
        return features | {32: x}


def _with_second_convolution(block: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """What a block of three convolutions has after the second, and at its end."""
    layers: list[Callable[[Tensor], Tensor]] = list(block.stack)
    *first, act3, conv3 = layers
    second = x
    for layer in first:
        second = layer(second)
    return second, conv3(act3(second)) + block.shortcut(x)
