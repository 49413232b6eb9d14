"""Checkpoints of other implementations of Panoptic-DeepLab: Detectron2's and bowenc0221's.

Which model a checkpoint holds is read off its keys and shapes. It is then built with the switches of that
implementation (`ModelConfig`), and every weight must find its place.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from panodeeplab import config as configuration
from panodeeplab.classes import CITYSCAPES, COCO, ClassTable
from panodeeplab.config import ModelConfig, RunConfig
from panodeeplab.model import foreign_keys
from panodeeplab.model.backbones import IMAGENET_MEAN, IMAGENET_STD
from panodeeplab.model.checkpoint import Checkpoint
from panodeeplab.model.misfit import misfit
from panodeeplab.model.panoptic_deeplab import PanopticDeepLab
from panodeeplab.model.pickled import load_arrays

Implementation = Literal["detectron2", "bowenc0221"]

# Crops that the published models of Detectron2 were trained on, by number of classes.
_DETECTRON2_CROPS = {len(CITYSCAPES): (512, 1024), len(COCO): (640, 640)}
_TENSORFLOW = re.compile(r"(\.index|\.meta|\.data-\d+-of-\d+|saved_model\.pb|\.h5|ckpt(-\d+)?)$")


def import_checkpoint(
    source: str | Path | Mapping[str, Any],
    *,
    pooling_window: tuple[int, int] | Literal["image"] | None = None,
    classes: ClassTable | None = None,
) -> Checkpoint:
    """Read a Panoptic-DeepLab checkpoint of Detectron2 or bowenc0221.

    The model gives the maps that it gave there, for the same image: RGB, 0-255; the normalization comes with
    the model. The configuration is that of the published recipe, so that `panodeeplab.training.train` can go
    on with it. Nothing in the file is run: a `.pkl` may hold arrays, numbers, text and dictionaries only, a
    `.pth` is read by `torch.load(weights_only=True)`.

    Args:
        source: file ending in .pkl, .pth, .pt or .safetensors, or its content: tensors or NumPy arrays by
            key.
        pooling_window: (H, W) in pixels that the image pooling of a Detectron2 model averages over, the crop
            of its training; the weights do not tell. "image" is all of the image. By default that of the
            published models: 512 x 1024 for 19 classes, 640 x 640 for 133.
        classes: what the model predicts; by default Cityscapes for 19 classes, COCO for 133.

    Returns:
        The model in evaluation mode with its configuration and classes; iteration 0.

    Raises:
        FileNotFoundError: no such file.
        ValueError: `source` is no such checkpoint (a TensorFlow checkpoint of DeepLab2, for one), weights are
            missing or left over (the first are named), or an argument does not fit the model.
        ModuleNotFoundError: the model needs timm, which is not installed.
    """
    state = _weights(source)
    implementation, named = foreign_keys.translate(state)
    settings = _settings(implementation, named)
    num_classes = _width(named, "semantic_head.1.weight")
    table = _classes(num_classes, classes)
    settings["pooling_window"] = _window(pooling_window, implementation, num_classes)
    config = _run_config(ModelConfig.model_validate(settings), implementation, table)
    # Without memory: all that is in it comes from the checkpoint.
    with torch.device("meta"):
        model = PanopticDeepLab(config.model, num_classes=num_classes)
    _load(model, named | _normalization(state, implementation, config.model.backbone))
    model = model.eval().to(memory_format=torch.channels_last)
    return Checkpoint(model=model, config=config, classes=table, iteration=0)


def _weights(source: str | Path | Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a checkpoint by their foreign names."""
    content, name = (source, "the mapping") if isinstance(source, Mapping) else _read(Path(source))
    for wrapper in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content:
        raise ValueError(f"source: {name} holds {type(content).__name__}, wanted tensors by name")
    state = {}
    for key, value in content.items():
        if isinstance(value, np.ndarray | np.generic):
            value = torch.from_numpy(np.array(value))
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ValueError(
                f"source: {name} has {type(value).__name__} under {key!r}, wanted tensors by name"
            )
        # DataParallel, with which a model may have been wrapped, puts itself in front of all names.
        state[key.removeprefix("module.")] = value.detach().cpu()
    return state


def _read(path: Path) -> tuple[Any, str]:
    if path.is_dir() or _TENSORFLOW.search(path.name):
        raise ValueError(
            f"source: {path} looks like a TensorFlow checkpoint, as DeepLab2 writes them; they are not read. "
            "Detectron2's .pkl and .pth and bowenc0221's .pth are"
        )
    if not path.is_file():
        raise FileNotFoundError(f"source: no file {path}")
    if path.suffix == ".pkl":
        return load_arrays(path), str(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path), str(path)
        return torch.load(path, map_location="cpu", weights_only=True), str(path)
    # torch.load and safetensors raise nearly anything for a file that is not theirs.
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"source: {path} is not a file of tensors alone: {reason}") from None


def _width(named: dict[str, Tensor], key: str) -> int:
    """Number of output channels of a convolution."""
    if key not in named or named[key].ndim != 4:
        raise ValueError(f"source: an incomplete checkpoint, without the convolution {key}")
    return named[key].shape[0]


def _settings(implementation: Implementation, named: dict[str, Tensor]) -> dict[str, Any]:
    """The model section that weights under our names, and the habits of an implementation, make up."""

    def branch(decoder: str, head: str) -> dict[str, Any]:
        skips = [f"{decoder}.skips.{i}.0.weight" for i in range(3)]
        count = 3 if skips[2] in named else 2
        return {
            "aspp_channels": _width(named, f"{decoder}.aspp.project.0.0.weight"),
            "channels": _width(named, f"{decoder}.fuse.0.1.0.weight"),
            "skip_channels": [_width(named, key) for key in skips[:count]],
            "head_channels": _width(named, f"{head}.0.1.0.weight"),
        }

    backbone = foreign_keys.recognize_backbone(named)
    common = {
        "backbone": backbone,
        "semantic": branch("semantic_decoder", "semantic_head"),
        "instance": branch("instance_decoder", "center_head"),
        "batch_norm_eps": 1e-5,
    }
    if implementation == "bowenc0221":
        # Of its two recipes, the one for output stride 16 takes in two skip features, the other three.
        return common | {
            "output_stride": 16 if len(common["semantic"]["skip_channels"]) == 2 else 32,
            "aspp_dropout": 0.5,
            "pooling_conv": "plain",
            "align_corners": True,
            "separable_aspp": False,
            "batch_norm_momentum": 0.001 if backbone == "xception65" else 0.01,
        }
    return common | {
        "output_stride": 32 if backbone.startswith("hrnet") else 16,
        "last_stage_dilations": (2, 4, 8) if backbone.startswith("res") else None,
        "skip_first": True,
        # The second convolution is the 1x1 of a separable one, or the second of two full ones.
        "separable": named["semantic_decoder.fuse.0.1.0.weight"].shape[-1] == 1,
        "separable_aspp": "semantic_decoder.aspp.convs.1.0.0.weight" in named,
        "separable_center_head": False,
        "batch_norm_momentum": 0.1,
    }


def _classes(count: int, given: ClassTable | None) -> ClassTable:
    if given is not None:
        if len(given) != count:
            raise ValueError(f"classes has {len(given)} classes, the checkpoint predicts {count}")
        return given
    tables = {len(table): table for table in (CITYSCAPES, COCO)}
    if count not in tables:
        raise ValueError(
            f"classes must be given for a checkpoint of {count} classes, as a class table in YAML "
            f"(panodeeplab import-checkpoint --classes): Cityscapes has {len(CITYSCAPES)}, COCO {len(COCO)}"
        )
    return tables[count]


def _window(
    given: tuple[int, int] | Literal["image"] | None, implementation: Implementation, num_classes: int
) -> tuple[int, int] | None:
    if isinstance(given, str) and given != "image":
        raise ValueError(f"pooling_window must be (H, W) in pixels, 'image' or None, got {given!r}")
    if implementation != "detectron2":
        # Theirs is the size of the padded test image, which is the image.
        if given not in (None, "image"):
            raise ValueError(f"pooling_window is {given}, but bowenc0221's models pool over the whole image")
        return None
    if given is None and num_classes not in _DETECTRON2_CROPS:
        raise ValueError(
            f"pooling_window must be given for a Detectron2 model of {num_classes} classes: the crop (H, W) "
            "that it was trained on, or 'image' if it had none"
        )
    return None if given == "image" else given or _DETECTRON2_CROPS[num_classes]


def _normalization(
    state: dict[str, Tensor], implementation: Implementation, backbone: str
) -> dict[str, Tensor]:
    """Mean and standard deviation, (1, 3, 1, 1), RGB, 0-255: from the checkpoint, or as published."""
    mean, std = IMAGENET_MEAN, IMAGENET_STD
    if backbone == "xception65":
        mean = std = (128.0,) * 3 if implementation == "detectron2" else (127.5,) * 3
    values = {}
    for key, published in (("pixel_mean", mean), ("pixel_std", std)):
        value = state.get(key, torch.tensor(published))
        if value.numel() != 3:
            raise ValueError(f"source: {key} has shape {tuple(value.shape)}, wanted a value for R, G and B")
        values[key] = value.reshape(1, 3, 1, 1)
    return values


def _load(model: PanopticDeepLab, state: dict[str, Tensor]) -> None:
    own = model.state_dict()
    # Old files do not count batches; nothing that a model says depends on the count.
    counts = (key for key in own if key.endswith(".num_batches_tracked"))
    state = {key: torch.zeros((), dtype=torch.int64) for key in counts} | state
    if problem := misfit(own, state):
        raise ValueError(f"source does not fit the model that it looks like; {problem}")
    # Copies: the tensors of a mapping stay their owner's.
    model.load_state_dict({k: state[k].to(v.dtype, copy=True) for k, v in own.items()}, assign=True)


def _data(classes: ClassTable) -> dict[str, Any] | None:
    """The data section of configs/ for a known data set."""
    if classes == CITYSCAPES:
        return {"dataset": "cityscapes", "root": "data/cityscapes"}
    if classes != COCO:
        return None
    splits = {
        split: {
            "images": f"data/coco/{split}2017",
            "annotations": f"data/coco/annotations/panoptic_{split}2017.json",
        }
        for split in ("train", "val")
    }
    return {"dataset": "coco_panoptic", **splits}


def _run_config(model: ModelConfig, implementation: Implementation, classes: ClassTable) -> RunConfig:
    """A run that would train this model: the published recipe, as far as it is known."""
    coco = classes == COCO
    tree: dict[str, Any] = {
        "data": _data(classes),
        "model": model.model_dump(mode="json"),
        "postprocess": {"nms_kernel": 41, "stuff_area": 4096} if coco else {},
        "inference": {"input_size": (640, 640) if coco else None},
    }
    if implementation == "detectron2":
        tree |= {
            "augmentation": {"crop_size": (640, 640) if coco else (512, 1024)},
            "targets": {"sigma": 8 if coco else 10},
            # Their offset loss is the sum over both axes, ours the mean.
            "loss": {"semantic_top_k": 1.0 if coco else 0.2, "offset_weight": 0.02},
            "training": {
                "iterations": 200_000 if coco else 90_000,
                "batch_size": 64 if coco else 32,
                "base_batch_size": 64 if coco else 32,
                "learning_rate": 5e-4 if coco else 1e-3,
                "warmup_iterations": 1000,
            },
        }
    else:
        rate, batch = {"mobilenet_v2": (1e-4, 16), "xception65": (5e-4, 8)}.get(model.backbone, (5e-5, 8))
        tree |= {
            "augmentation": {"crop_size": (641, 641) if coco else (1025, 2049)},
            "training": {
                "iterations": 90_000,
                "batch_size": batch,
                "base_batch_size": batch,
                "learning_rate": rate,
            },
        }
    return configuration.validate(tree)
