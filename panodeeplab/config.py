"""The configuration of a run: one typed tree, one complete YAML file, no inheritance between files."""

import contextlib
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Size = tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CityscapesConfig(_Section):
    """Cityscapes' official folders, or any data in their layout."""

    dataset: Literal["cityscapes"]
    root: Path
    train_split: str = "train"
    val_split: str = "val"


class ScenesConfig(_Section):
    """Generated streets: nothing to download, nothing on disk."""

    dataset: Literal["scenes"]
    image_size: Size = (256, 512)
    train_count: int = Field(100_000, ge=1)
    train_seed: int = Field(0, ge=0)
    val_count: int = Field(100, ge=1)
    val_seed: int = Field(1, ge=0)

    @model_validator(mode="after")
    def _disjoint(self) -> "ScenesConfig":
        if self.train_seed == self.val_seed:
            raise ValueError(f"val_seed must differ from train_seed, got {self.val_seed} for both")
        return self


class AugmentationConfig(_Section):
    """How training samples are varied."""

    # (H, W) in pixels.
    crop_size: Size
    # Relative to inference.input_size, or to each image's own size where that is null.
    scale: tuple[float, float] = (0.5, 2.0)
    flip: float = Field(0.5, ge=0, le=1)
    color_jitter: float = Field(0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _scale_range(self) -> "AugmentationConfig":
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale must be (low, high) with 0 < low <= high, got {self.scale}")
        return self


class TargetsConfig(_Section):
    """See `panodeeplab.targets.panoptic_targets`."""

    sigma: int = Field(8, ge=1)
    small_instance_area: int = Field(4096, ge=0)
    small_instance_weight: float = Field(3.0, gt=0)
    ignore_crowd_in_semantic: bool = False


class DecoderConfig(_Section):
    """One branch: ASPP, then a decoder that takes in the skip features of strides 8 and 4."""

    aspp_channels: int = Field(256, ge=1)
    channels: int = Field(..., ge=1)
    # Width of the projected skip features, stride 8 then stride 4.
    skip_channels: tuple[int, int]
    head_channels: int = Field(..., ge=1)


class ModelConfig(_Section):
    """The network; see `panodeeplab.model.PanopticDeepLab`."""

    backbone: Literal["mobilenet_v2", "mobilenet_v3_large", "resnet50"]
    # "imagenet" lets torchvision download its weights, a path reads a file, null starts from scratch.
    backbone_weights: Literal["imagenet"] | Path | None = None
    output_stride: Literal[16, 32] = 16
    # Depthwise-separable convolutions in ASPP, decoders and heads; else full ones.
    separable: bool = True
    semantic: DecoderConfig = DecoderConfig(channels=256, skip_channels=(64, 32), head_channels=256)
    instance: DecoderConfig = DecoderConfig(channels=128, skip_channels=(32, 16), head_channels=32)


class LossConfig(_Section):
    """Weights of the losses and the fraction of hardest pixels that the semantic loss keeps."""

    semantic_weight: float = 1.0
    semantic_top_k: float = Field(0.2, gt=0, le=1)
    center_weight: float = 200.0
    offset_weight: float = 0.01


class TrainingConfig(_Section):
    """Optimisation: Adam with a polynomial learning rate after a linear warm-up."""

    iterations: int = Field(..., ge=1)
    batch_size: int = Field(..., ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    poly_power: float = Field(0.9, gt=0)
    warmup_iterations: int = Field(0, ge=0)
    weight_decay: float = Field(0.0, ge=0)
    evaluate_every: int = Field(1000, ge=1)
    checkpoint_every: int = Field(500, ge=1)
    log_every: int = Field(20, ge=1)
    seed: int = Field(0, ge=0)
    # Only deterministic algorithms; slower on a GPU.
    deterministic: bool = False
    workers: int = Field(2, ge=0)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    # Precision of the weight files; training itself is in float32.
    weights_dtype: Literal["float32", "float16"] = "float32"


class PostprocessConfig(_Section):
    """See `panodeeplab.ops.panoptic_segmentation`."""

    center_threshold: float = 0.1
    nms_kernel: int = Field(7, ge=1)
    top_k: int = Field(200, ge=1)
    center_source: Literal["heatmap", "votes", "both"] = "heatmap"
    vote_threshold: int = Field(64, ge=0)
    class_aware_votes: bool = False
    stuff_area: int = Field(2048, ge=0)
    label_divisor: int = Field(1000, ge=1)
    # Score of an instance: the mean probability of its class, the height of its center, or both multiplied.
    instance_score: Literal["semantic", "center", "product"] = "product"


class InferenceConfig(_Section):
    """What the network is given in evaluation and prediction."""

    # (H, W) that images are scaled to fit into, and that augmentation.scale refers to; null: their own size.
    input_size: Size | None = None
    # Test-time augmentation: predictions at these sizes, relative to input_size, and mirrored, are averaged.
    scales: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (1.0,)
    flip: bool = False


class RunConfig(_Section):
    """A complete run: what `configs/*.yaml` hold and every checkpoint carries."""

    data: Annotated[CityscapesConfig | ScenesConfig, Field(discriminator="dataset")]
    augmentation: AugmentationConfig
    targets: TargetsConfig = TargetsConfig()
    model: ModelConfig
    loss: LossConfig = LossConfig()
    training: TrainingConfig
    inference: InferenceConfig = InferenceConfig()
    postprocess: PostprocessConfig = PostprocessConfig()


def _field_names(location: Sequence[str | int], root: type[BaseModel]) -> list[str]:
    """Names that are legal where pydantic reports an error at `location`."""
    model: Any = root
    for step in location:
        if step == "data":
            model = (CityscapesConfig, ScenesConfig)
        elif isinstance(model, tuple):
            model = CityscapesConfig if step == "cityscapes" else ScenesConfig
        else:
            field = model.model_fields.get(str(step))
            model = field.annotation if field is not None else None
            if model is None or not isinstance(model, type) or not issubclass(model, BaseModel):
                return []
    return list(model.model_fields)


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        # The tag of the data set's kind stands in pydantic's location, not in the file.
        path = [p for i, p in enumerate(problem["loc"]) if not (i == 1 and problem["loc"][0] == "data")]
        key = ".".join(str(p) for p in path)
        if problem["type"] == "extra_forbidden":
            names = _field_names(problem["loc"][:-1], RunConfig)
            nearest = difflib.get_close_matches(str(path[-1]), names, n=1, cutoff=0.0)
            lines.append(f"unknown key {key!r}; the nearest known one is {nearest[0]!r}")
        else:
            lines.append(f"{key}: {problem['msg']}, got {problem.get('input')!r}")
    return "; ".join(lines)


def validate(tree: Any) -> RunConfig:
    """The configuration that a tree of plain values describes.

    Raises:
        ValueError: an unknown key (named with the nearest known one), a missing or an illegal value.
    """
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        raise ValueError(_explain(error)) from None


def _apply(tree: dict[str, Any], setting: str) -> None:
    path, equals, text = setting.partition("=")
    keys = path.split(".")
    if not equals or not all(keys):
        raise ValueError(f"an override must read section.key=value, got {setting!r}")
    node = tree
    for depth, key in enumerate(keys[:-1]):
        node = node.setdefault(key, {})
        if not isinstance(node, dict):
            raise ValueError(f"override {setting!r}: {'.'.join(keys[: depth + 1])} is a value, not a section")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"override {setting!r}: {text!r} is not a YAML value") from error
    # YAML 1.1 reads 1e-3 as a string: it wants 1.0e-3, which nobody types.
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = float(value)
    node[keys[-1]] = value


def load(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a YAML file, apply `section.key=value` overrides, and check the result.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a YAML mapping, or what `validate` refuses.
    """
    path = Path(path)
    try:
        tree = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(tree, dict):
        raise ValueError(f"{path} must hold a mapping of sections, got {type(tree).__name__}")
    for text in overrides:
        _apply(tree, text)
    try:
        return validate(tree)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def override(config: RunConfig, overrides: Sequence[str]) -> RunConfig:
    """A copy of a configuration with `section.key=value` overrides applied.

    Raises:
        ValueError: what `validate` refuses.
    """
    tree = config.model_dump(mode="json")
    for text in overrides:
        _apply(tree, text)
    return validate(tree)
