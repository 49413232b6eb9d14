"""Names of weights: from those of Detectron2 and bowenc0221 to ours, and what they say of the backbone.

Ours are the ones of torchvision, timm and HRNet below `backbone.`, and those of `panodeeplab.model`
elsewhere, where a convolution with its batch norm is a pair, `X.0` and `X.1`.
"""

import re
from collections.abc import Callable
from typing import Literal

from torch import Tensor

from panodeeplab.model.misfit import some_of

# (beginning of the foreign name, beginning of ours). The first that matches is taken.
_Rules = tuple[tuple[str, str | Callable[[re.Match], str]], ...]

_BOWENC: _Rules = (
    (r"decoder\.(\w+)_decoder\.aspp\.convs\.4\.aspp_pooling\.1\.", r"\1_decoder.aspp.pool.conv.0."),
    (r"decoder\.(\w+)_decoder\.aspp\.convs\.", r"\1_decoder.aspp.convs."),
    (r"decoder\.(\w+)_decoder\.aspp\.project\.", r"\1_decoder.aspp.project.0."),
    (r"decoder\.(\w+)_decoder\.project\.", r"\1_decoder.skips."),
    # Depthwise convolution and norm, pointwise convolution, its norm.
    (r"decoder\.(\w+)_decoder\.fuse\.(\d)\.0\.0\.", r"\1_decoder.fuse.\2.0."),
    (r"decoder\.(\w+)_decoder\.fuse\.(\d)\.0\.1\.", r"\1_decoder.fuse.\2.1.0."),
    (r"decoder\.(\w+)_decoder\.fuse\.(\d)\.0\.2\.", r"\1_decoder.fuse.\2.1.1."),
    (r"decoder\.\w+_head\.classifier\.(\w+)\.0\.0\.0\.", r"\1_head.0.0."),
    (r"decoder\.\w+_head\.classifier\.(\w+)\.0\.0\.1\.", r"\1_head.0.1.0."),
    (r"decoder\.\w+_head\.classifier\.(\w+)\.0\.0\.2\.", r"\1_head.0.1.1."),
    (r"decoder\.\w+_head\.classifier\.(\w+)\.1\.", r"\1_head.1."),
)

# Below `sem_seg_head.` and `ins_embed_head.`. A convolution carries its norm: `X.weight` and `X.norm.weight`.
_DETECTRON2_PAIRS: _Rules = (
    (r"decoder\.res5\.project_conv\.project\.", r"decoder.aspp.project.0."),
    (r"decoder\.res5\.project_conv\.convs\.(\d)\.depthwise\.", r"decoder.aspp.convs.\1.0."),
    (r"decoder\.res5\.project_conv\.convs\.(\d)\.pointwise\.", r"decoder.aspp.convs.\1.1."),
    (r"decoder\.res5\.project_conv\.convs\.([0-3])\.", r"decoder.aspp.convs.\1."),
    (r"decoder\.(res\d)\.project_conv\.", r"decoder.skips.\1."),
    (r"decoder\.(res\d)\.fuse_conv\.(?:depthwise|0)\.", r"decoder.fuse.\1.0."),
    (r"decoder\.(res\d)\.fuse_conv\.(?:pointwise|1)\.", r"decoder.fuse.\1.1."),
    (r"((?:center_|offset_)?head)\.(?:depthwise|0)\.", r"\1.0.0."),
    (r"((?:center_|offset_)?head)\.(?:pointwise|1)\.", r"\1.0.1."),
)
# The ones that have a bias in its place.
_DETECTRON2_BIASED: _Rules = (
    (r"decoder\.res5\.project_conv\.convs\.4\.1\.", r"decoder.aspp.pool.conv.0."),
    (r"((?:center_|offset_)?)predictor\.", r"\1head.1."),
)
_DETECTRON2_STEM = {
    "conv1": ("conv1.0", "conv1.1"),
    "conv2": ("conv1.3", "conv1.4"),
    "conv3": ("conv1.6", "bn1"),
}

_XCEPTION: _Rules = (
    (r"conv([12])\.", lambda m: f"stem.{int(m[1]) - 1}.conv."),
    (r"bn([12])\.", lambda m: f"stem.{int(m[1]) - 1}.bn."),
    (r"block(\d+)\.(conv|bn)\.", lambda m: f"blocks.{int(m[1]) - 1}.shortcut.{m[2]}."),
    (
        r"block(\d+)\.sep_(conv\d)\.block\.(depthwise|bn_depth|pointwise|bn_point)\.",
        lambda m: f"blocks.{int(m[1]) - 1}.stack.{m[2]}.{_SEPARABLE[m[3]]}.",
    ),
)
_SEPARABLE = {"depthwise": "conv_dw", "bn_depth": "bn_dw", "pointwise": "conv_pw", "bn_point": "bn_pw"}


def translate(state: dict[str, Tensor]) -> tuple[Literal["detectron2", "bowenc0221"], dict[str, Tensor]]:
    """The implementation that a checkpoint comes from, and its weights by our names.

    Detectron2's `pixel_mean` and `pixel_std` are left out: they are no weights.

    Raises:
        ValueError: a checkpoint of neither, or one with names that the implementation does not use.
    """
    if any(key.startswith(("sem_seg_head.", "ins_embed_head.")) for key in state):
        implementation, rename = "detectron2", _Detectron2(state)
    elif any(key.startswith("decoder.semantic_decoder.") for key in state):
        implementation, rename = "bowenc0221", _bowenc
    else:
        raise ValueError(
            "source: neither a checkpoint of Detectron2's Panoptic-DeepLab nor of bowenc0221's; it has "
            f"{len(state)} keys such as {', '.join(list(state)[:3])}"
        )
    xception = any(key.startswith("backbone.block1.") for key in state)
    named, unknown = {}, []
    for key, value in state.items():
        if key in ("pixel_mean", "pixel_std"):
            continue
        name = rename(key)
        if name is not None and xception and name.startswith("backbone."):
            name = _apply(_XCEPTION, name.removeprefix("backbone."))
            name = None if name is None else f"backbone.{name}"
        if name is None or name in named:
            unknown.append(key)
        else:
            named[name] = value
    if unknown:
        raise ValueError(f"source: no place in a {implementation} model for {some_of(unknown)}")
    return implementation, named


def _apply(rules: _Rules, key: str) -> str | None:
    for pattern, ours in rules:
        renamed, matched = re.subn(rf"\A{pattern}", ours, key)
        if matched:
            return renamed
    return None


def _bowenc(key: str) -> str | None:
    return key if key.startswith("backbone.") else _apply(_BOWENC, key)


class _Detectron2:
    """Renames the keys of one checkpoint: stem and skips depend on which others there are."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        self._deep_stem = "backbone.stem.conv2.weight" in state
        levels = {found[1] for key in state if (found := re.search(r"decoder\.(res[2-4])\.", key))}
        self._skips = {level: str(i) for i, level in enumerate(sorted(levels, reverse=True))}

    def __call__(self, key: str) -> str | None:
        head, _, rest = key.partition(".")
        if head == "backbone":
            return self._backbone(rest)
        if head not in ("sem_seg_head", "ins_embed_head"):
            return None
        name = _apply(_DETECTRON2_BIASED, rest)
        if name is None and (name := _apply(_DETECTRON2_PAIRS, rest)) is not None:
            name = _paired(name)
        if name is None:
            return None
        name = re.sub(r"\.(res\d)\.", lambda level: f".{self._skips.get(level[1])}.", name)
        if head == "sem_seg_head":
            return f"semantic_{name}"
        return f"instance_{name}" if name.startswith("decoder.") else name

    def _backbone(self, rest: str) -> str | None:
        """A ResNet's own names; HRNet and Xception have those of bowenc0221."""
        found = re.fullmatch(r"stem\.(conv[123])\.(norm\.)?(\w+)", rest)
        if found:
            conv, norm, leaf = found.groups()
            places = _DETECTRON2_STEM[conv] if self._deep_stem else ("conv1", "bn1")
            return f"backbone.{places[norm is not None]}.{leaf}"
        found = re.fullmatch(r"res([2-5])\.(\d+)\.(shortcut|conv[123])\.(norm\.)?(\w+)", rest)
        if not found:
            return f"backbone.{rest}"
        level, block, conv, norm, leaf = found.groups()
        if conv == "shortcut":
            place = f"downsample.{1 if norm else 0}"
        else:
            place = conv.replace("conv", "bn") if norm else conv
        return f"backbone.layer{int(level) - 1}.{block}.{place}.{leaf}"


def _paired(name: str) -> str | None:
    """`X.weight` → `X.0.weight`, `X.norm.weight` → `X.1.weight`."""
    found = re.fullmatch(r"(.+?)\.(norm\.)?(\w+)", name)
    return None if found is None else f"{found[1]}.{1 if found[2] else 0}.{found[3]}"


def recognize_backbone(named: dict[str, Tensor]) -> str:
    """The backbone that weights under our names belong to.

    Raises:
        ValueError: none that Detectron2 and bowenc0221 publish.
    """

    def shape(key: str) -> tuple[int, ...] | None:
        return tuple(named[f"backbone.{key}"].shape) if f"backbone.{key}" in named else None

    def layers(pattern: str) -> int:
        return len({found[1] for key in named if (found := re.match(rf"backbone\.{pattern}\.", key))})

    if width := shape("stage4.0.branches.0.0.conv1.weight"):
        name = {18: "hrnet_w18", 32: "hrnet_w32", 48: "hrnet_w48"}.get(width[0])
    elif layers(r"blocks\.(\d+)"):
        name = "xception65" if layers(r"blocks\.(\d+)") == 21 else None
    elif layers(r"features\.(\d+)"):
        name = "mobilenet_v2"
    else:
        stem = "deep" if shape("conv1.0.weight") else "plain"
        grouped = shape("layer1.0.conv2.weight") == (256, 8, 3, 3)
        name = {
            ("plain", False, 6): "resnet50",
            ("plain", False, 23): "resnet101",
            ("plain", True, 23): "resnext101_32x8d",
            ("deep", False, 6): "resnet52",
        }.get((stem, grouped, layers(r"layer3\.(\d+)")))
    if name is None:
        raise ValueError(
            "source: the backbone is none of ResNet-50, -52 and -101, ResNeXt-101 32x8d, MobileNetV2, "
            "Xception-65 and HRNet-W18, -W32 and -W48"
        )
    return name
