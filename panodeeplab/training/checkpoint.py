"""What a run needs, beside the weights, to go on where it stopped, and how it survives being killed.

A checkpoint of iteration i is two files, written in this order: `state/i.state`, which holds everything, the
weights included, and `last.safetensors`, the weights to use. Each appears whole or not at all, and a state is
removed only when two newer ones are complete. So at every moment the state that belongs to `last.safetensors`
is there, and one more in case that it is damaged; which one a run goes on from decides the newest intact
state, not a second file that could disagree.
"""

import errno
import hashlib
import io
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from panodeeplab.config import RunConfig
from panodeeplab.files import replacing, sync_folder

# Settings that may change when a run goes on: they say how long, how watched and on what machine it is, not
# what it computes.
_FREE = {
    "iterations",
    "micro_batch_size",
    "activation_checkpointing",
    "evaluate_every",
    "checkpoint_every",
    "log_every",
    "workers",
    "max_bad_samples",
    "device",
    "weights_dtype",
    "wandb_project",
}

# The newest, and the one before in case that the newest is damaged.
_KEPT = 2
_FORMAT = b"panodeeplab state 1 "


class _Stateful(Protocol):
    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> Any: ...


class DamagedStateError(ValueError):
    """A file that is not, or no longer, what was written."""


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        iteration: steps done.
        evaluated: iteration of the last evaluation that was finished; 0: none.
        best_pq: best PQ that an evaluation gave so far (0 to 1); -1: none.
    """

    iteration: int = 0
    evaluated: int = 0
    best_pq: float = -1.0


@dataclass(frozen=True)
class RunState:
    """A state as it was read.

    Attributes:
        parts: state dicts by name: model, optimizer and whatever else the run has.
        progress: of the run.
        random: state of the random numbers of each rank, see `random_state`.
    """

    path: Path
    parts: dict[str, dict[str, Any]]
    config: RunConfig
    progress: Progress
    random: list[dict[str, Any]]

    def restore(self, parts: Mapping[str, _Stateful], *, config: RunConfig) -> None:
        """Put `parts` back as `save_state` found them.

        Raises:
            ValueError: the run that wrote the state had another configuration; the settings that differ are
                named.
        """
        before, now = _fixed_settings(self.config), _fixed_settings(config)
        changed = [
            f"{section}.{key} was {before[section].get(key)!r} and is {value!r}"
            for section, values in now.items()
            for key, value in values.items()
            if before[section].get(key) != value
        ]
        if changed:
            raise ValueError(f"{self.path} belongs to a run with another configuration: {'; '.join(changed)}")
        for name, part in parts.items():
            part.load_state_dict(self.parts[name])


def _fixed_settings(config: RunConfig) -> dict[str, Any]:
    tree = config.model_dump(mode="json")
    for name in _FREE:
        del tree["training"][name]
    # The same samples, read from elsewhere.
    tree["data"].pop("cache", None)
    return tree


def random_state(device: torch.device) -> dict[str, Any]:
    """State of all generators that a process draws from."""
    algorithm, keys, *position = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "numpy": [algorithm, keys.tolist(), *position],
        "python": random.getstate(),
    }


def restore_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Put the generators back as `random_state` found them."""
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"], device)
    algorithm, keys, *position = state["numpy"]
    np.random.set_state((algorithm, np.array(keys, np.uint32), *position))
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))


def save_run(
    output: Path,
    parts: Mapping[str, _Stateful],
    *,
    config: RunConfig,
    progress: Progress,
    random: list[dict[str, Any]],
    save_weights: Callable[[Path], None],
) -> None:
    """Write a checkpoint: the state, then the weights; older states go when both are on the disk.

    Args:
        output: folder of the run.
        parts: what has a state, by name.
        config: of the run.
        progress: of the run.
        random: `random_state` of each rank.
        save_weights: writes the weights to a path, whole or not at all.

    Raises:
        OSError: the files could not be written, as on a full disk; the last checkpoint is as it was.
    """
    try:
        _write_state(_state_path(output, progress.iteration), parts, config, progress, random)
        save_weights(output / "last.safetensors")
    except OSError as error:
        reason = "the disk is full" if error.errno == errno.ENOSPC else str(error)
        kept = [iteration for iteration, _ in _states(output)]
        raise OSError(
            f"could not write the checkpoint of iteration {progress.iteration} to {output}: {reason}. "
            + (f"The checkpoint of iteration {kept[0]} is kept; " if kept else "There is none before it; ")
            + "go on with --resume when there is room",
        ) from error
    for _, path in _states(output)[_KEPT:]:
        path.unlink()


def _state_path(output: Path, iteration: int) -> Path:
    return output / "state" / f"{iteration:08d}.state"


def _states(output: Path) -> list[tuple[int, Path]]:
    """Iteration and path of the states in the folder of a run, newest first."""
    found = [
        (int(match[1]), path)
        for path in (output / "state").glob("*.state")
        if (match := re.fullmatch(r"(\d+)\.state", path.name))
    ]
    return sorted(found, reverse=True)


def _write_state(
    path: Path,
    parts: Mapping[str, _Stateful],
    config: RunConfig,
    progress: Progress,
    random: list[dict[str, Any]],
) -> None:
    buffer = io.BytesIO()
    state = {
        "parts": {name: part.state_dict() for name, part in parts.items()},
        "config": config.model_dump_json(),
        "progress": asdict(progress),
        "random": random,
    }
    torch.save(state, buffer)
    if not path.parent.is_dir():
        path.parent.mkdir()
        sync_folder(path.parent.parent)
    payload = buffer.getbuffer()
    with replacing(path, durable=True) as temporary, temporary.open("wb") as file:
        file.write(_FORMAT + hashlib.sha256(payload).hexdigest().encode() + b"\n")
        file.write(payload)


def read_state(path: Path) -> RunState:
    """Read a state, and verify that it is what was written.

    Raises:
        DamagedStateError: it is cut off, or its checksum does not match.
    """
    data = path.read_bytes()
    end = len(_FORMAT) + 2 * hashlib.sha256().digest_size
    payload = memoryview(data)[end + 1 :]
    if data[:end] != _FORMAT + hashlib.sha256(payload).hexdigest().encode():
        raise DamagedStateError(f"{path} is damaged: its checksum does not match")
    state = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    return RunState(
        path=path,
        parts=state["parts"],
        config=RunConfig.model_validate_json(state["config"]),
        progress=Progress(**state["progress"]),
        random=state["random"],
    )


def holds_run(output: Path) -> bool:
    """Whether a folder has a checkpoint, intact or not."""
    return bool(_states(output)) or (output / "last.safetensors").exists()


def newest_state(output: Path, warn: Callable[[str], None]) -> RunState | None:
    """The newest intact state of a run; None: it has written none yet.

    A damaged one is removed, so that it does not count among those that are kept.

    Args:
        output: folder of the run.
        warn: is told of every damaged state.

    Raises:
        ValueError: there are states, but none is intact, or there are weights without a state.
    """
    states = _states(output)
    for _, path in states:
        try:
            state = read_state(path)
        except DamagedStateError as error:
            warn(f"{error}; going back to the checkpoint before it")
            continue
        for newer, damaged in states:
            if newer > state.progress.iteration:
                damaged.unlink()
        return state
    if states:
        raise ValueError(f"output: none of the states in {output / 'state'} is intact; name another folder")
    if (output / "last.safetensors").exists():
        raise ValueError(
            f"output: {output} holds last.safetensors, but no state to go on from; start from these weights "
            "with training.init_checkpoint, and name another folder"
        )
    return None
