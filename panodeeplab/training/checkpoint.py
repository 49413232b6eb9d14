"""What a run needs, beside the weights, to go on where it stopped."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch.optim import Optimizer

from panodeeplab.config import RunConfig
from panodeeplab.files import replacing
from panodeeplab.model import PanopticDeepLab

# Settings that may change when a run goes on: they say how long and how watched it is, not what it computes.
_FREE = {
    "iterations",
    "evaluate_every",
    "checkpoint_every",
    "log_every",
    "workers",
    "max_bad_samples",
    "device",
    "weights_dtype",
}


@dataclass
class Progress:
    """How far a run is: iterations done, and the best PQ that an evaluation gave so far (0 to 1)."""

    iteration: int = 0
    best_pq: float = -1.0


def _fixed_settings(config: RunConfig) -> dict:
    tree = config.model_dump(mode="json")
    for name in _FREE:
        del tree["training"][name]
    return tree


def save_state(
    path: Path, model: PanopticDeepLab, optimizer: Optimizer, *, config: RunConfig, progress: Progress
) -> None:
    """Write model, optimizer, random state and progress to `path`; never half of it."""
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "rng": torch.get_rng_state(),
        "config": config.model_dump_json(),
        "iteration": progress.iteration,
        "best_pq": progress.best_pq,
    }
    with replacing(path) as temporary:
        torch.save(state, temporary)


def load_state(path: Path, model: PanopticDeepLab, optimizer: Optimizer, *, config: RunConfig) -> Progress:
    """Put model, optimizer and random state back as `save_state` found them.

    Raises:
        ValueError: the run that wrote `path` had another configuration; the settings that differ are named.
    """
    state = torch.load(path, map_location="cpu", weights_only=True)
    before = _fixed_settings(RunConfig.model_validate_json(state["config"]))
    now = _fixed_settings(config)
    changed = [
        f"{section}.{key} was {before[section].get(key)!r} and is {value!r}"
        for section, values in now.items()
        for key, value in values.items()
        if before[section].get(key) != value
    ]
    if changed:
        raise ValueError(f"{path} belongs to a run with another configuration: {'; '.join(changed)}")
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["rng"])
    return Progress(iteration=state["iteration"], best_pq=state["best_pq"])
