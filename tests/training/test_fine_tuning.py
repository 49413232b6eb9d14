"""Names of layers: what they freeze, and which learning rate they set."""

import pytest
import torch
from torch import nn

from panodeeplab.training.fine_tuning import freeze, parameter_groups, train_mode


def _model() -> nn.Module:
    def block():
        return nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2))

    return nn.ModuleDict({"body": nn.ModuleDict({"one": block(), "two": block()}), "head": block()})


def _trained(model):
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def test_a_name_freezes_all_that_is_in_it():
    model = _model()
    freeze(model, ["body.one", "head.0.bias"])
    assert _trained(model) == [
        *(f"body.two.{name}" for name in ("0.weight", "0.bias", "1.weight", "1.bias")),
        *(f"head.{name}" for name in ("0.weight", "1.weight", "1.bias")),
    ]
    # body.one is not the beginning of a name.
    with pytest.raises(ValueError, match=r"'body.o' matches no weights; the nearest name is 'body"):
        freeze(model, ["body.o"])


def test_stars_stand_for_any_letters():
    model = _model()
    freeze(model, ["*.two", "h*"])
    assert all(name.startswith("body.one.") for name in _trained(model))


def test_frozen_batch_norms_stay_in_evaluation_mode():
    model = _model()
    freeze(model, ["body"])
    for _ in range(2):
        train_mode(model)
        training = {name for name, module in model.named_modules() if module.training}
        assert not {"body.one.1", "body.two.1"} & training
        assert {"head.1", "head.0", "body.one.0"} <= training
        model.eval()


def test_groups_have_the_factor_of_the_last_name_that_fits():
    model = _model()
    freeze(model, ["body.one.0"])
    groups = parameter_groups(model, {"body": 0.1, "body.two.0": 0.5, "*.1": 1.0})
    names = {parameter: name for name, parameter in model.named_parameters()}
    found = {group["lr_scale"]: [names[p] for p in group["params"]] for group in groups}
    assert found == {
        1.0: [
            "body.one.1.weight",
            "body.one.1.bias",
            "body.two.1.weight",
            "body.two.1.bias",
            "head.0.weight",
            "head.0.bias",
            "head.1.weight",
            "head.1.bias",
        ],
        0.5: ["body.two.0.weight", "body.two.0.bias"],
    }
    torch.optim.Adam(groups)
    with pytest.raises(ValueError, match=r"learning_rate_factors: 'tail' matches no weights"):
        parameter_groups(model, {"tail": 0.1})
