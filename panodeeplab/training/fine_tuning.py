"""Parts of the network by name: frozen ones, and ones with a learning rate of their own."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")


def _check_patterns(setting: str, patterns: Iterable[str], model: nn.Module) -> None:
    parameters = [name for name, _ in model.named_parameters()]
    for pattern in patterns:
        if not any(_matches(name, pattern) for name in parameters):
            names = [name for name, _ in model.named_modules() if name] + parameters
            nearest = difflib.get_close_matches(pattern, names, n=1, cutoff=0.0)
            raise ValueError(f"{setting}: {pattern!r} matches no weights; the nearest name is {nearest[0]!r}")


def freeze(model: nn.Module, patterns: Sequence[str]) -> None:
    """Take the weights that a pattern matches out of the training; see `train_mode` for their batch norms.

    A pattern is the name of a layer, which stands for all that is in it, or has `*` for any letters:
    `backbone`, `backbone.layer1`, `*.aspp`.

    Args:
        model: changed in place.
        patterns: of names of layers or weights.

    Raises:
        ValueError: a pattern matches nothing, or nothing is left to train.
    """
    _check_patterns("training.frozen", patterns, model)
    for name, parameter in model.named_parameters():
        if any(_matches(name, pattern) for pattern in patterns):
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"training.frozen: {list(patterns)} freeze all weights; nothing is left to train")


def train_mode(model: nn.Module) -> None:
    """Put a model into training mode, but batch norms whose weights are frozen: their statistics stay too."""
    model.train()
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.weight is not None and not module.weight.requires_grad:
            module.eval()


def parameter_groups(model: nn.Module, factors: Mapping[str, float]) -> list[dict[str, Any]]:
    """The weights that are trained, in a group for each learning rate.

    Args:
        model: frozen weights are left out.
        factors: of the learning rate, by pattern as in `freeze`; of several that match the last one counts,
            and 1 where none does.

    Returns:
        Groups for an optimizer: "params", and "lr_scale", the factor. The factor 1 comes first.

    Raises:
        ValueError: a pattern matches nothing.
    """
    _check_patterns("training.learning_rate_factors", factors, model)
    groups: dict[float, list[nn.Parameter]] = {1.0: []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            matching = [factor for pattern, factor in factors.items() if _matches(name, pattern)]
            groups.setdefault(matching[-1] if matching else 1.0, []).append(parameter)
    return [{"params": params, "lr_scale": factor} for factor, params in groups.items() if params]
