"""Checkpoints: what goes in comes out, and nothing else is taken for one."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import save_file

from panodeeplab import config as configuration
from panodeeplab.classes import CITYSCAPES
from panodeeplab.model import PanopticDeepLab, load_checkpoint, save_checkpoint

NARROW = {"aspp_channels": 16, "channels": 16, "skip_channels": [8, 8], "head_channels": 8}


def make_config(**training) -> configuration.RunConfig:
    return configuration.validate(
        {
            "data": {"dataset": "scenes", "image_size": [32, 64], "val_count": 2},
            "augmentation": {"crop_size": [32, 64]},
            "model": {"backbone": "mobilenet_v2", "semantic": NARROW, "instance": NARROW},
            "training": {"iterations": 1, "batch_size": 1, **training},
        }
    )


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_round_trip(tmp_path, dtype):
    config = make_config(weights_dtype=dtype)
    model = PanopticDeepLab(config.model, num_classes=19).eval()
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, model, config=config, classes=CITYSCAPES, iteration=7)
    loaded = load_checkpoint(path)
    assert (loaded.config, loaded.classes, loaded.iteration) == (config, CITYSCAPES, 7)
    assert not loaded.model.training
    for name, value in model.state_dict().items():
        expected = value.to(getattr(torch, dtype)).to(value.dtype) if value.is_floating_point() else value
        assert torch.equal(loaded.model.state_dict()[name], expected), name
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def test_backbone_weights_are_not_fetched_again(tmp_path):
    config = make_config()
    model = PanopticDeepLab(config.model, num_classes=19)
    gone = config.model_copy(
        update={"model": config.model.model_copy(update={"backbone_weights": tmp_path / "gone.pth"})}
    )
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, model, config=gone, classes=CITYSCAPES, iteration=0)
    assert load_checkpoint(path).config.model.backbone_weights == tmp_path / "gone.pth"


def test_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="street-tiny"):
        load_checkpoint(tmp_path / "absent.safetensors")
    text = tmp_path / "text.safetensors"
    text.write_text("no checkpoint")
    with pytest.raises(ValueError, match="not a safetensors file"):
        load_checkpoint(text)
    with pytest.raises(ValueError, match=r"street_tiny_int8\.onnx is not a safetensors file"):
        load_checkpoint("street-tiny-int8")
    foreign = tmp_path / "foreign.safetensors"
    save_file({"a": torch.zeros(1)}, foreign)
    with pytest.raises(ValueError, match="not written by panodeeplab"):
        load_checkpoint(foreign)
    short = tmp_path / "short.safetensors"
    metadata = {
        "format": "panodeeplab",
        "config": make_config().model_dump_json(),
        "classes": json.dumps(dataclasses.asdict(CITYSCAPES)),
        "iteration": "0",
    }
    save_file({"a": torch.zeros(1)}, short, metadata=metadata)
    with pytest.raises(
        ValueError, match=r"do not fit its configuration; missing: .* more; left over: a$"
    ) as caught:
        load_checkpoint(short)
    assert len(str(caught.value)) < 500
