"""The configuration of a run: one typed tree, one complete YAML file, no inheritance between files."""

import contextlib
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

Size = tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _DataSection(_Section):
    # Folder that `panodeeplab cache` made, to read decoded samples from; null: the files themselves.
    cache: Path | None = None


class CityscapesConfig(_DataSection):
    """Cityscapes' official folders, or any data in their layout."""

    dataset: Literal["cityscapes"]
    root: Path
    train_split: str = "train"
    val_split: str = "val"
    # YAML table of the classes of your own data; null: Cityscapes' 19.
    classes: Path | None = None


class CocoFiles(_Section):
    """One split in COCO panoptic format."""

    # Folder of the pictures.
    images: Path
    # The panoptic JSON.
    annotations: Path
    # Folder of the panoptic PNGs; null: the path of the JSON without its ending.
    pngs: Path | None = None


class CocoPanopticConfig(_DataSection):
    """COCO panoptic, or your own data in its format; the JSON says the classes."""

    dataset: Literal["coco_panoptic"]
    train: CocoFiles
    val: CocoFiles


class KittiStepConfig(_DataSection):
    """KITTI-STEP: a folder with `images` and `panoptic_maps`."""

    dataset: Literal["kitti_step"]
    root: Path


class MapillaryVistasConfig(_DataSection):
    """Mapillary Vistas with the 65 classes of version 1.2: a folder with `training` and `validation`."""

    dataset: Literal["mapillary_vistas"]
    root: Path


class Bdd100kConfig(_DataSection):
    """BDD100K panoptic segmentation: a folder with `images/10k` and `labels/pan_seg`."""

    dataset: Literal["bdd100k"]
    root: Path


class ScenesConfig(_DataSection):
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


DataConfig = (
    CityscapesConfig
    | CocoPanopticConfig
    | KittiStepConfig
    | MapillaryVistasConfig
    | Bdd100kConfig
    | ScenesConfig
)
_DATA_CONFIGS: tuple[type[BaseModel], ...] = get_args(DataConfig)


class CopyPasteConfig(_Section):
    """Objects of other images in front of what an image shows; see `panodeeplab.data.copy_paste`."""

    # Names of the things to copy, each as often as the others; null: all things.
    classes: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    probability: float = Field(0.5, ge=0, le=1)
    max_objects: int = Field(3, ge=1)


class AugmentationConfig(_Section):
    """How training samples are chosen and varied."""

    # (H, W) in pixels.
    crop_size: Size
    # Relative to inference.input_size, or to each image's own size where that is null.
    scale: tuple[float, float] = (0.5, 2.0)
    flip: float = Field(0.5, ge=0, le=1)
    color_jitter: float = Field(0.0, ge=0, le=1)
    # DeepLab2's AutoAugment policy of color changes; see `panodeeplab.data.auto_augment`.
    auto_augment: bool = False
    # Images with a class that is in fewer than this share of the images come more often; null: all alike.
    repeat_threshold: float | None = Field(None, gt=0, le=1)
    copy_paste: CopyPasteConfig | None = None

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
    """One branch: ASPP, then a decoder that takes in the skip features."""

    aspp_channels: int = Field(256, ge=1)
    channels: int = Field(..., ge=1)
    # Width of the projected skip features, coarse to fine: strides 8 and 4, or 16, 8 and 4.
    skip_channels: Annotated[tuple[int, ...], Field(min_length=2, max_length=3)]
    head_channels: int = Field(..., ge=1)


# The networks that have a name of their own here; "timm/NAME" is any of timm's.
BACKBONES = (
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "resnet50",
    "resnet52",
    "resnet101",
    "resnext101_32x8d",
    "xception65",
    "xception71",
    "hrnet_w18",
    "hrnet_w32",
    "hrnet_w48",
)


class ModelConfig(_Section):
    """The network; see `panodeeplab.model.PanopticDeepLab`, and docs/differences.md for the switches."""

    # One of BACKBONES, or "timm/NAME".
    backbone: str
    # "imagenet" has torchvision or timm download theirs, a path reads a file, null starts from scratch.
    backbone_weights: Literal["imagenet"] | Path | None = None
    output_stride: Literal[8, 16, 32] = 16
    # Dilations of the three blocks of the last stage of a ResNet or a MobileNetV3; null: as torchvision has
    # them (1, 2, 2 and 2, 2, 2 at 16).
    last_stage_dilations: tuple[int, int, int] | None = None
    # A ResNet's max pooling; else the block that follows has its stride, as in DeepLab2.
    stem_pooling: bool = True
    # MobileNetV3: skips are the wide features inside the last block of a stage, after its depthwise
    # convolution, as in DeepLab2; else the block's output.
    expanded_skips: bool = False
    # null: 12, 24, 36 at output stride 8, half of that at 16, a quarter at 32.
    aspp_dilations: tuple[int, int, int] | None = None
    aspp_dropout: float = Field(0.1, ge=0, lt=1)
    # Of the convolution after the image pooling: a bias, nothing, or batch norm.
    pooling_conv: Literal["bias", "plain", "batch_norm"] = "bias"
    # (H, W) in pixels that the image pooling averages over; null: the whole image.
    pooling_window: Size | None = None
    # Resize so that corner pixels stay corners; images are then padded to k * output_stride + 1.
    align_corners: bool = False
    # Order of concatenation: skip features, then upsampled ones; else the other way round.
    skip_first: bool = False
    # Depthwise-separable convolutions in decoders and heads; else full ones.
    separable: bool = True
    separable_aspp: bool = True
    separable_center_head: bool = True
    # Of every batch norm; null: what each network comes with.
    batch_norm_eps: float | None = Field(None, gt=0)
    batch_norm_momentum: float | None = Field(None, gt=0, le=1)
    semantic: DecoderConfig = DecoderConfig(channels=256, skip_channels=(64, 32), head_channels=256)
    instance: DecoderConfig = DecoderConfig(channels=128, skip_channels=(32, 16), head_channels=32)

    @field_validator("backbone")
    @classmethod
    def _known_backbone(cls, name: str) -> str:
        if name not in BACKBONES and not name.startswith("timm/"):
            raise ValueError(f"wanted one of {', '.join(BACKBONES)}, or timm/NAME")
        return name


class LossConfig(_Section):
    """Weights of the losses and the fraction of hardest pixels that the semantic loss keeps."""

    semantic_weight: float = 1.0
    semantic_top_k: float = Field(0.2, gt=0, le=1)
    center_weight: float = 200.0
    offset_weight: float = 0.01
    # "batch": divided by the weights of the batch, as in Detectron2. "image": the mean over the pixels that
    # have a loss, then over the images, as in DeepLab2; see panodeeplab.losses_per_image.
    normalization: Literal["batch", "image"] = "batch"


class TrainingConfig(_Section):
    """Optimisation: Adam with a polynomial learning rate after a linear warm-up."""

    iterations: int = Field(..., ge=1)
    # Of one step, over all processes.
    batch_size: int = Field(..., ge=1)
    # Images that go through the network at once in each process, which accumulates the gradients of its part
    # of the batch; null: the whole part.
    micro_batch_size: int | None = Field(None, ge=1)
    # A checkpoint of this project to start from, with the same model section: fine-tuning.
    init_checkpoint: Path | None = None
    # Layers whose weights stay as they are, by name: backbone, backbone.layer1, *.aspp.
    frozen: tuple[str, ...] = ()
    # What the learning rate is multiplied by in layers, by name: {backbone: 0.1}; the last that fits counts.
    learning_rate_factors: dict[str, Annotated[float, Field(gt=0)]] = {}
    learning_rate: float = Field(1e-3, gt=0)
    # The batch that `learning_rate` is for: with another batch_size it is scaled in proportion. null: never.
    base_batch_size: int | None = Field(None, ge=1)
    poly_power: float = Field(0.9, gt=0)
    warmup_iterations: int = Field(0, ge=0)
    weight_decay: float = Field(0.0, ge=0)
    # Added to the root of Adam's second moment: smaller gradients than this hardly move a weight.
    adam_epsilon: float = Field(1e-8, gt=0)
    # Gradients are scaled down to this norm; null: left as they are.
    max_gradient_norm: float | None = Field(None, gt=0)
    # Evaluate and publish the moving average of the weights with this decay, as 0.999; null: the weights.
    ema_decay: float | None = Field(None, gt=0, lt=1)
    # Statistics of batch norm: of all processes, of each one, or those that the weights came with.
    batch_norm: Literal["synchronized", "local", "frozen"] = "synchronized"
    # Of the network; losses, weights and optimizer are float32 always.
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    # Run the backbone's blocks again in the backward pass instead of keeping what is in them.
    activation_checkpointing: bool = False
    # Have torch.compile make kernels for this network: minutes at the start, faster steps.
    compile: bool = False
    evaluate_every: int = Field(1000, ge=1)
    checkpoint_every: int = Field(500, ge=1)
    log_every: int = Field(20, ge=1)
    seed: int = Field(0, ge=0)
    # Only deterministic algorithms; slower on a GPU.
    deterministic: bool = False
    workers: int = Field(2, ge=0)
    # Training samples that cannot be read are replaced; one more than this stops the run.
    max_bad_samples: int = Field(0, ge=0)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    # Precision of the weight files; states are in float32.
    weights_dtype: Literal["float32", "float16"] = "float32"
    # Log to this project of Weights & Biases too; needs the extra `wandb`.
    wandb_project: str | None = None

    @property
    def peak_learning_rate(self) -> float:
        """`learning_rate` for the batch that is used; see docs/recipes.md."""
        return self.learning_rate * self.batch_size / (self.base_batch_size or self.batch_size)


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

    # null in an imported checkpoint: it does not say where data are.
    data: Annotated[DataConfig, Field(discriminator="dataset")] | None
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
            model = {get_args(m.model_fields["dataset"].annotation)[0]: m for m in _DATA_CONFIGS}
        elif isinstance(model, dict):
            model = model[step]
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
        if node.get(key) is None:
            node[key] = {}
        node = node[key]
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
