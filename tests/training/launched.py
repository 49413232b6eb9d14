"""What each of several processes does, and how torchrun's launcher starts them, with one import of torch."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock
from uuid import uuid4

import torch
from small_run import make_config
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from panodeeplab.data.scenes import StreetScenes
from panodeeplab.inference.predictor import Predictor
from panodeeplab.training import step, train
from panodeeplab.training.distributed import process_group
from panodeeplab.training.evaluation import evaluate_together


def launch(function: Callable, *arguments: Any, processes: int = 2, restarts: int = 0) -> list[Any]:
    """What a function of this module returns in each process, by rank; started as `torchrun --standalone`."""
    # Importing torch is most of the time of a small run: one process does, and the others are its copies.
    multiprocessing.set_forkserver_preload([module.__module__ for module in (train, Predictor, StreetScenes)])
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        max_restarts=restarts,
        run_id=str(uuid4()),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        start_method="forkserver",
    )
    environment = {"OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
    before = [signal.getsignal(number) for number in signals]
    try:
        with mock.patch.dict(os.environ, environment):
            results = elastic_launch(config, function)(*arguments)
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
    return [results[rank] for rank in range(processes)]


def run(output: Path, overrides: tuple[str, ...], die_at: int | None = None) -> None:
    """A small run, or what is left of it; the last process dies at iteration `die_at`, once."""
    torch.set_num_threads(1)
    if die_at is not None:
        _die_once(output, die_at)
    train(make_config(*overrides), output=output, resume="auto")


def _die_once(output: Path, iteration: int) -> None:
    rate, marker = step.learning_rate, output / "died"

    def learning_rate(now, config):
        if now == iteration and not marker.exists() and os.environ["RANK"] != "0":
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return rate(now, config)

    step.learning_rate = learning_rate


def scores() -> dict[str, Any]:
    """The bundled model's on five streets, counted by all processes together."""
    torch.set_num_threads(1)
    predictor = Predictor.from_checkpoint("street-tiny", class_map=True, backend="eager")
    with process_group(torch.device("cpu")):
        streets = StreetScenes(5, size=(128, 256), seed=1)
        return evaluate_together(predictor, streets, label_divisor=1000, stop=lambda: False)
