"""Fine-tuning: what a checkpoint of other classes and other heads gives."""

import dataclasses

import pytest
import torch

from panodeeplab import config as configuration
from panodeeplab.classes import CITYSCAPES
from panodeeplab.model import (
    Initialization,
    PanopticDeepLab,
    initialize_from,
    load_checkpoint,
    save_checkpoint,
)

NARROW = {"aspp_channels": 8, "channels": 8, "skip_channels": [8, 8], "head_channels": 8}
TREE = {
    "data": {"dataset": "scenes"},
    "augmentation": {"crop_size": [64, 96]},
    "model": {"backbone": "mobilenet_v2", "output_stride": 32, "semantic": NARROW, "instance": NARROW},
    "training": {"iterations": 1, "batch_size": 1},
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    config = configuration.validate(TREE)
    torch.manual_seed(0)
    model = PanopticDeepLab(config.model, num_classes=19)
    path = tmp_path_factory.mktemp("checkpoint") / "model.safetensors"
    save_checkpoint(path, model, config=config, classes=CITYSCAPES, iteration=1)
    return load_checkpoint(path)


def _model(classes, *overrides):
    config = configuration.override(configuration.validate(TREE), overrides).model
    torch.manual_seed(1)
    return PanopticDeepLab(config, num_classes=len(classes)), config


def test_the_same_classes_take_over_everything(checkpoint):
    model, config = _model(CITYSCAPES)
    result = initialize_from(model, checkpoint, config=config, classes=CITYSCAPES)
    assert result == Initialization((), (), ())
    assert result.lines() == []
    for name, value in checkpoint.model.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


def test_classes_keep_their_rows_by_name(checkpoint):
    names = ("tricycle", "car", "road", "sky")
    classes = dataclasses.replace(
        CITYSCAPES, names=names, colors=CITYSCAPES.colors[:4], label_ids=(1, 2, 3, 4), thing_ids=(0, 1)
    )
    model, config = _model(classes)
    before = model.semantic_head[1].weight.clone()
    result = initialize_from(model, checkpoint, config=config, classes=classes)
    theirs = checkpoint.model.semantic_head[1]
    weight, bias = model.semantic_head[1].weight, model.semantic_head[1].bias
    assert torch.equal(weight[0], before[0])
    for row, name in enumerate(names[1:], start=1):
        assert torch.equal(weight[row], theirs.weight[CITYSCAPES.names.index(name)])
        assert torch.equal(bias[row], theirs.bias[CITYSCAPES.names.index(name)])
    assert torch.equal(model.center_head[1].weight, checkpoint.model.center_head[1].weight)
    assert result.new_classes == ("tricycle",)
    assert set(result.dropped_classes) == set(CITYSCAPES.names) - set(names)
    assert "1 classes start anew, the checkpoint does not know them: tricycle" in result.lines()[0]


def test_heads_that_do_not_fit_start_anew_and_are_named(checkpoint):
    model, config = _model(CITYSCAPES, "model.semantic.head_channels=12")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    result = initialize_from(model, checkpoint, config=config, classes=CITYSCAPES)
    assert result == Initialization(("semantic_head",), (), ())
    assert result.lines() == ["init_checkpoint: semantic_head starts anew, it has another size there"]
    for name, value in model.state_dict().items():
        theirs = checkpoint.model.state_dict()[name]
        assert torch.equal(value, before[name] if name.startswith("semantic_head.") else theirs), name


def test_another_network_is_refused(checkpoint):
    model, config = _model(CITYSCAPES, "model.semantic.channels=12", "model.skip_first=true")
    message = r"model.skip_first is True, the checkpoint has False; model.semantic.channels is 12, .* 8$"
    with pytest.raises(ValueError, match=message):
        initialize_from(model, checkpoint, config=config, classes=CITYSCAPES)
