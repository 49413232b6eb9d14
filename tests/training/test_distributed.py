"""Several processes, and several micro-batches, are the run of one process that takes the batch at once."""

import json
from pathlib import Path

import launched
import pytest
import torch
from safetensors.torch import load_file
from small_run import make_config

from panodeeplab.data.scenes import StreetScenes
from panodeeplab.evaluation.evaluate import evaluate
from panodeeplab.inference.predictor import Predictor
from panodeeplab.training import train

LOSSES = ("semantic", "center", "offset", "total", "gradient_norm")
# Dropout draws other numbers in each process; nothing else depends on their number.
SETTINGS = (
    "model.aspp_dropout=0",
    "training.batch_size=4",
    "training.ema_decay=0.9",
    "training.iterations=5",
)


def curve(folder: Path) -> dict[str, list[float]]:
    entries = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {name: [e[name] for e in entries if e["kind"] == "train"] for name in LOSSES}


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    launched.launch(launched.run, folder, SETTINGS)
    return folder


def test_two_processes_train_as_one_with_twice_the_batch(two, tmp_path):
    train(make_config(*SETTINGS), output=tmp_path)
    one = curve(tmp_path)
    assert len(one["total"]) == 5
    for name, values in curve(two).items():
        # Adam divides by the size of a gradient, so the rounding of those near zero grows with the steps.
        for step, (value, wanted) in enumerate(zip(values, one[name], strict=True)):
            error = (1e-5, 1e-4)[step] if step < 2 else 1e-3
            assert value == pytest.approx(wanted, rel=5e-3 if name == "gradient_norm" else error), (
                name,
                step,
            )
    # Statistics of batch norm are of the whole batch, too.
    ours, theirs = (load_file(folder / "last.safetensors") for folder in (tmp_path, two))
    for name, value in ours.items():
        if name.endswith(("running_mean", "running_var")):
            assert torch.allclose(value, theirs[name], rtol=0.05, atol=0.05), name


def test_a_process_that_dies_is_started_again_and_nothing_is_lost(two, tmp_path):
    launched.launch(launched.run, tmp_path, SETTINGS, 3, restarts=1)
    assert (tmp_path / "died").exists()
    assert (tmp_path / "last.safetensors").read_bytes() == (two / "last.safetensors").read_bytes()
    assert curve(tmp_path) == curve(two)


def test_scores_of_two_processes_are_those_of_one_to_the_last_bit():
    together = launched.launch(launched.scores)
    alone = evaluate(
        Predictor.from_checkpoint("street-tiny", class_map=True, backend="eager"),
        StreetScenes(5, size=(128, 256), seed=1),
        progress=False,
    )
    assert together == [alone, alone]
    assert alone["All"]["pq"] > 0.1


@pytest.mark.parametrize("per", ["batch", "image"])
def test_micro_batches_add_up_to_the_batch(tmp_path, per):
    """But for batch norm's statistics, which are those of a micro-batch: frozen here."""
    settings = (*SETTINGS, "training.batch_norm=frozen", f"loss.normalization={per}")
    train(make_config(*settings), output=tmp_path / "whole")
    train(make_config(*settings, "training.micro_batch_size=3"), output=tmp_path / "parts")
    whole = curve(tmp_path / "whole")
    for name, values in curve(tmp_path / "parts").items():
        assert values == pytest.approx(whole[name], rel=5e-3 if name == "gradient_norm" else 1e-4), name


def test_a_batch_that_processes_cannot_share_is_refused(monkeypatch, tmp_path):
    from panodeeplab.training import trainer

    monkeypatch.setattr(trainer, "world_size", lambda: 3)
    with pytest.raises(
        ValueError, match=r"batch_size must be a multiple of the number of processes, got 2 for 3"
    ):
        train(make_config(), output=tmp_path)
