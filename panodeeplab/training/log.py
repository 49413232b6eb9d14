"""What a run says while it goes on: one line, a JSONL file, TensorBoard and, if wanted, Weights & Biases."""

import json
import os
import secrets
import sys
import time
from pathlib import Path
from typing import Any, Self

import torch
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from panodeeplab.config import RunConfig
from panodeeplab.files import replacing
from panodeeplab.training.checkpoint import Progress

METRICS = "metrics.jsonl"


class Pace:
    """Samples a second, and the share of the time that was spent on waiting for data, since the last look."""

    def __init__(self) -> None:
        self._looked = self._mark = time.perf_counter()
        self._waited, self._samples = 0.0, 0

    def waiting(self) -> None:
        """The next batch is asked for."""
        self._mark = time.perf_counter()

    def working(self, samples: int) -> None:
        """It is there, with so many samples in all processes."""
        self._waited += time.perf_counter() - self._mark
        self._samples += samples

    def look(self) -> dict[str, float]:
        """ "samples_per_second", and "data_wait" from 0 to 1; counting starts anew."""
        now = time.perf_counter()
        elapsed = max(now - self._looked, 1e-9)
        figures = {"samples_per_second": self._samples / elapsed, "data_wait": self._waited / elapsed}
        self._looked, self._waited, self._samples = now, 0.0, 0
        return figures


def peak_memory_gb(device: torch.device) -> float:
    """The most memory that torch had on a GPU so far, or that the process had; in 10^9 bytes.

    0 on systems that do not say.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    if os.name != "posix":
        return 0.0
    import resource

    # Kilobytes, but on macOS.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e9


class RunLog:
    """The log of a run in its folder; in all processes but the writing one, a log that does nothing.

    A run that goes on takes out what was logged after the checkpoint: these iterations come again.

    Args:
        output: folder of the run.
        config: of the run.
        progress: where the run starts.
        writes: whether this process is the one that writes.

    Raises:
        ModuleNotFoundError: `training.wandb_project` is set, and the extra is not installed.
    """

    def __init__(self, output: Path, config: RunConfig, progress: Progress, *, writes: bool) -> None:
        self._writes = writes
        self._wandb = None
        self.bar = tqdm(
            desc="train",
            total=config.training.iterations,
            initial=progress.iteration,
            unit="it",
            # A file gets a line a minute, not ten a second.
            mininterval=0.1 if sys.stderr.isatty() else 60,
            disable=not writes,
        )
        if not writes:
            return
        _drop_later(output / METRICS, progress)
        self._file = (output / METRICS).open("a")
        # A run that starts anew in a folder hides what TensorBoard finds of an earlier attempt, too.
        self.board = SummaryWriter(output, purge_step=progress.iteration + 1)
        if config.training.wandb_project is not None:
            self._wandb = _start_wandb(config.training.wandb_project, output, config, progress)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.close()
        if self._writes:
            self._file.close()
            self.board.close()
        if self._wandb is not None:
            self._wandb.finish(exit_code=0 if exception[0] is None else 1)

    def record(self, kind: str, figures: dict[str, float], iteration: int) -> None:
        """Write figures to all logs; they are in the file when this returns."""
        if not self._writes:
            return
        self._file.write(json.dumps({"kind": kind, "iteration": iteration, **figures}) + "\n")
        self._file.flush()
        for name, value in figures.items():
            self.board.add_scalar(f"{kind}/{name}", value, iteration)
        if self._wandb is not None:
            self._wandb.log({f"{kind}/{name}": value for name, value in figures.items()}, step=iteration)

    def show(self, figures: dict[str, float]) -> None:
        """Update the line."""
        self.bar.set_postfix_str(
            f"loss {figures['total']:.3f}, lr {figures['learning_rate']:.1e}, "
            f"{figures['samples_per_second']:.1f} samples/s, data wait {figures['data_wait']:.0%}, "
            f"{figures['memory_gb']:.1f} GB",
            refresh=False,
        )

    def say(self, text: str) -> None:
        """Print above the line."""
        if self._writes:
            self.bar.write(text)

    def to_disk(self) -> None:
        """Wait until all that was recorded is on the disk."""
        if self._writes:
            os.fsync(self._file.fileno())


def _drop_later(path: Path, progress: Progress) -> None:
    """Keep the lines up to where a run goes on; a last line that was cut off goes, too."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        until = progress.evaluated if entry["kind"] == "evaluation" else progress.iteration
        if entry["iteration"] <= until:
            kept.append(line + "\n")
    with replacing(path, durable=True) as temporary:
        temporary.write_text("".join(kept))


def _start_wandb(project: str, output: Path, config: RunConfig, progress: Progress) -> Any:
    try:
        import wandb
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "training.wandb_project is set, and wandb is not installed: pip install 'panodeeplab[wandb]'"
        ) from None
    # A run that goes on is the same run there.
    name_file = output / "wandb_id.txt"
    if progress.iteration == 0 or not name_file.exists():
        with replacing(name_file) as temporary:
            temporary.write_text(secrets.token_hex(4))
    return wandb.init(
        project=project,
        id=name_file.read_text(),
        name=output.name,
        dir=output,
        resume="allow",
        config=config.model_dump(mode="json"),
    )
