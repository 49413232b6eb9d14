"""Weights with all that is needed to use them, in one safetensors file."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from panodeeplab import config as configuration
from panodeeplab.bundled import model_path
from panodeeplab.classes import ClassTable
from panodeeplab.config import RunConfig
from panodeeplab.files import replacing
from panodeeplab.model.misfit import misfit
from panodeeplab.model.panoptic_deeplab import PanopticDeepLab


@dataclass(frozen=True)
class Checkpoint:
    """A model with what it was trained for.

    Attributes:
        model: in evaluation mode, float32, on the CPU.
        config: of the run that made it.
        classes: what it predicts.
        iteration: of training at which it was saved.
    """

    model: PanopticDeepLab
    config: RunConfig
    classes: ClassTable
    iteration: int


def save_checkpoint(
    path: Path, model: PanopticDeepLab, *, config: RunConfig, classes: ClassTable, iteration: int
) -> None:
    """Write the weights, in `config.training.weights_dtype`, with a checksum; never half of them."""
    dtype = getattr(torch, config.training.weights_dtype)
    state = {
        name: (value.to(dtype) if value.is_floating_point() else value).cpu().contiguous()
        for name, value in model.state_dict().items()
    }
    metadata = {
        "format": "panodeeplab",
        "config": config.model_dump_json(),
        "classes": classes.to_json(),
        "iteration": str(iteration),
    }
    metadata["sha256"] = _checksum(state, metadata)
    with replacing(path, durable=True) as temporary:
        temporary.write_bytes(_ordered(save(state, metadata=metadata)))


def _ordered(file: bytes) -> bytes:
    """A safetensors file whose metadata are in order, so that equal checkpoints are equal files."""
    length = int.from_bytes(file[:8], "little")
    header = json.loads(file[8 : 8 + length])
    header = {"__metadata__": dict(sorted(header.pop("__metadata__").items())), **header}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    # The tensors begin at a multiple of 8.
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + file[8 + length :]


def _checksum(state: dict[str, torch.Tensor], metadata: dict[str, str]) -> str:
    """SHA-256 of all that is in a checkpoint, in an order of its own."""
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name, value in sorted(state.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def load_checkpoint(source: str | Path) -> Checkpoint:
    """Read a checkpoint that `save_checkpoint` wrote, or a bundled one by its name ("street-tiny").

    Raises:
        FileNotFoundError: no such file and no such bundled model.
        ValueError: no checkpoint of this project, a damaged one, or weights that do not fit its settings.
        ModuleNotFoundError: the backbone comes from timm, which is not installed.
    """
    path = model_path(source)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except SafetensorError as error:
        raise ValueError(f"checkpoint: {path} is not a safetensors file ({error})") from None
    if metadata.get("format") != "panodeeplab":
        raise ValueError(f"checkpoint: {path} was not written by panodeeplab")
    # The bundled model and imported ones of earlier versions carry none.
    wanted = metadata.pop("sha256", None)
    if wanted is not None and wanted != _checksum(state, metadata):
        raise ValueError(f"checkpoint: {path} is damaged: its checksum does not match")
    config = configuration.validate(json.loads(metadata["config"]))
    classes = ClassTable.from_json(metadata["classes"])
    # The weights are in this file: the backbone's own are not fetched again.
    architecture = config.model.model_copy(update={"backbone_weights": None})
    model = PanopticDeepLab(architecture, num_classes=len(classes))
    if problem := misfit(model.state_dict(), state):
        raise ValueError(f"checkpoint: the weights of {path} do not fit its configuration; {problem}")
    model.load_state_dict(state)
    return Checkpoint(
        model=model.eval().to(memory_format=torch.channels_last),
        config=config,
        classes=classes,
        iteration=int(metadata["iteration"]),
    )
