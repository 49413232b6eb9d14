"""Starting a model from the weights of a checkpoint that may know other classes."""

from typing import Any, NamedTuple

from torch import Tensor

from panodeeplab.classes import ClassTable
from panodeeplab.config import ModelConfig
from panodeeplab.model.checkpoint import Checkpoint
from panodeeplab.model.panoptic_deeplab import PanopticDeepLab

_HEADS = ("semantic_head", "center_head", "offset_head")
_LAST = "semantic_head.1."  # its layer that has a row for each class

# What a run may set otherwise than the checkpoint that it starts from: none of it is in the weights, or it is
# in the heads, which start anew where they do not fit.
_FREE = {
    "backbone_weights",
    "aspp_dropout",
    "pooling_window",
    "batch_norm_momentum",
    "separable_center_head",
    "semantic.head_channels",
    "instance.head_channels",
}


class Initialization(NamedTuple):
    """What became of the weights of a checkpoint.

    Attributes:
        new_heads: heads that start anew, for theirs did not fit.
        new_classes: classes that the checkpoint does not know, whose rows in the last layer of the semantic
            head start anew; none if the whole head does.
        dropped_classes: those that only the checkpoint knows.
    """

    new_heads: tuple[str, ...]
    new_classes: tuple[str, ...]
    dropped_classes: tuple[str, ...]

    def lines(self) -> list[str]:
        """The same in words, a line each; nothing where all weights were taken over."""
        lines = [f"init_checkpoint: {head} starts anew, it has another size there" for head in self.new_heads]
        for names, what in (
            (self.new_classes, "start anew, the checkpoint does not know them"),
            (self.dropped_classes, "of the checkpoint are left out"),
        ):
            if names:
                lines.append(f"init_checkpoint: {len(names)} classes {what}: {', '.join(names)}")
        return lines


def _flat(config: ModelConfig) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.model_dump().items():
        flat |= {f"{key}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {key: value}
    return flat


def _shapes(state: dict[str, Tensor], prefix: str) -> dict[str, Any]:
    """Shapes of a head without the number of classes."""
    return {
        name: tensor.shape[1:] if name.startswith(_LAST) else tensor.shape
        for name, tensor in state.items()
        if name.startswith(f"{prefix}.")
    }


def initialize_from(
    model: PanopticDeepLab, checkpoint: Checkpoint, *, config: ModelConfig, classes: ClassTable
) -> Initialization:
    """Start a model from the weights of a checkpoint, for fine-tuning.

    Heads of another size keep their own random start. In the last layer of the semantic head, classes that
    both know, by name, take over their rows, wherever they stand in the two tables.

    Args:
        model: of the run that starts; changed in place.
        checkpoint: to start from.
        config: that `model` was built from.
        classes: that it is to learn.

    Raises:
        ValueError: the checkpoint holds another model; the settings that differ are named.
    """
    theirs, ours = _flat(checkpoint.config.model), _flat(config)
    differ = [
        f"model.{key} is {value!r}, the checkpoint has {theirs[key]!r}"
        for key, value in ours.items()
        if key not in _FREE and value != theirs[key]
    ]
    if differ:
        raise ValueError(f"init_checkpoint holds another model than this run: {'; '.join(differ)}")
    own, state = model.state_dict(), checkpoint.model.state_dict()
    new_heads = tuple(head for head in _HEADS if _shapes(own, head) != _shapes(state, head))
    for head in new_heads:
        state = {name: value for name, value in state.items() if not name.startswith(f"{head}.")}
        state |= {name: value for name, value in own.items() if name.startswith(f"{head}.")}
    rows = {name: row for row, name in enumerate(checkpoint.classes.names)}
    known = [(row, rows[name]) for row, name in enumerate(classes.names) if name in rows]
    if "semantic_head" not in new_heads:
        to, taken = [row for row, _ in known], [row for _, row in known]
        for name in [name for name in own if name.startswith(_LAST)]:
            layer = own[name].clone()
            layer[to] = state[name][taken]
            state[name] = layer
    model.load_state_dict(state)
    return Initialization(
        new_heads=new_heads,
        new_classes=()
        if "semantic_head" in new_heads
        else tuple(name for name in classes.names if name not in rows),
        dropped_classes=tuple(name for name in rows if name not in classes.names),
    )
