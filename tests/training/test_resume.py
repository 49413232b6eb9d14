"""Nothing is lost: wherever a run dies, it goes on to the weights of the run that did not."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open
from small_run import make_config

from panodeeplab.files import remove_leftovers, replacing
from panodeeplab.model import load_checkpoint
from panodeeplab.training import RunStopped, train
from panodeeplab.training.checkpoint import (
    DamagedStateError,
    Progress,
    newest_state,
    random_state,
    read_state,
    save_run,
)

# Everything that has a state: momentum, a moving average, a loss scale, dropout's random numbers.
RICH = {"ema_decay": 0.9, "precision": "float16", "max_gradient_norm": 1.0, "checkpoint_every": 1}


class Killed(BaseException):
    """Ends a run as SIGKILL does: nothing may catch it, and no clean-up may count."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    train(make_config(**RICH), output=folder)
    return folder


def _metrics(folder: Path) -> list[dict]:
    entries = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    clock = {"samples_per_second", "data_wait", "memory_gb"}
    return [{key: value for key, value in entry.items() if key not in clock} for entry in entries]


def assert_same_end(folder: Path, whole: Path) -> None:
    for name in ("last.safetensors", "best.safetensors"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name
    assert _metrics(folder) == _metrics(whole)
    assert sorted(p.name for p in (folder / "state").iterdir()) == ["00000003.state", "00000004.state"]
    assert not [p for p in folder.rglob(".*") if p.is_file()]


def assert_weights_have_their_state(folder: Path) -> None:
    """What a killed run leaves: whole files, and the state of the weights among them."""
    weights = folder / "last.safetensors"
    if weights.exists():
        iteration = load_checkpoint(weights).iteration
        assert read_state(folder / "state" / f"{iteration:08d}.state").progress.iteration == iteration


def die_at(patch: pytest.MonkeyPatch, number: int) -> list[int]:
    """Have this process die before its disk operation `number`, from 1 on; the counter of the operations."""
    seen = [0]

    def wrap(call):
        def counted(*arguments, **options):
            seen[0] += 1
            if seen[0] >= number:  # dead: nothing more reaches the disk, not even a clean-up
                raise Killed
            return call(*arguments, **options)

        return counted

    for owner, name in ((os, "fsync"), (os, "replace"), (Path, "unlink"), (Path, "mkdir")):
        patch.setattr(owner, name, wrap(getattr(owner, name)))
    return seen


class _Part:
    """Has a state: the iteration, many times."""

    def __init__(self, iteration: int) -> None:
        self.values = torch.full((1000,), float(iteration))

    def state_dict(self) -> dict:
        return {"values": self.values}

    def load_state_dict(self, state: dict) -> None:
        self.values = state["values"]


def _save(output: Path, iteration: int) -> None:
    def save_weights(path: Path) -> None:
        with replacing(path, durable=True) as temporary:
            temporary.write_text(str(iteration))

    save_run(
        output,
        {"part": _Part(iteration)},
        config=make_config(),
        progress=Progress(iteration),
        random=[random_state(torch.device("cpu"))],
        save_weights=save_weights,
    )


def test_a_checkpoint_that_dies_at_any_disk_operation_leaves_a_good_one(tmp_path):
    number, died = 0, True
    while died:
        number, died = number + 1, False
        output = tmp_path / str(number)
        output.mkdir()
        # Two to begin with, so that there is one to remove, and one to fall back to.
        _save(output, 1)
        _save(output, 2)
        with pytest.MonkeyPatch.context() as patch:
            die_at(patch, number)
            try:
                _save(output, 3)
            except Killed:
                died = True
        state = newest_state(output, warn=pytest.fail)
        assert state.progress.iteration in (2, 3)
        part = _Part(0)
        state.restore({"part": part}, config=make_config())
        assert part.values.tolist() == [state.progress.iteration] * 1000
        # The weights are whole, and their own state is there.
        weights = int((output / "last.safetensors").read_text())
        assert read_state(output / f"state/{weights:08d}.state").progress.iteration == weights
        # And one more, in case that the newest is damaged.
        assert len(list((output / "state").glob("0*.state"))) >= 2
        # It goes on as if nothing had been.
        remove_leftovers(output)
        for later in range(state.progress.iteration + 1, 7):
            _save(output, later)
        assert sorted(p.name for p in (output / "state").iterdir()) == ["00000005.state", "00000006.state"]
        assert [p.name for p in output.iterdir() if p.is_file()] == ["last.safetensors"]
    assert number > 8


@pytest.mark.parametrize("number", [1, 12, 27])
def test_a_run_that_dies_at_a_write_goes_on_to_the_same_end(tmp_path, whole, number):
    with pytest.MonkeyPatch.context() as patch:
        die_at(patch, number)
        with pytest.raises(Killed):
            train(make_config(**RICH), output=tmp_path, resume="auto")
    assert_weights_have_their_state(tmp_path)
    train(make_config(**RICH), output=tmp_path, resume="auto")
    assert_same_end(tmp_path, whole)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_stops(tmp_path, whole, number, monkeypatch):
    from panodeeplab.training import step

    rate, before = step.learning_rate, signal.getsignal(number)

    def interrupted(iteration, config):
        if iteration == 1 and not (tmp_path / "state").exists():
            os.kill(os.getpid(), number)
        return rate(iteration, config)

    monkeypatch.setattr(step, "learning_rate", interrupted)
    config = make_config(**RICH | {"checkpoint_every": 3})
    with pytest.raises(RunStopped, match=r"iteration 2 is saved in .*, go on with --resume") as stopped:
        train(config, output=tmp_path)
    assert stopped.value.exit_status == 128 + number
    assert load_checkpoint(tmp_path / "last.safetensors").iteration == 2
    assert signal.getsignal(number) is before
    train(make_config(**RICH), output=tmp_path, resume="yes")
    assert_same_end(tmp_path, whole)


def test_a_signal_during_an_evaluation_does_not_wait_for_its_end(tmp_path, whole, monkeypatch):
    from panodeeplab.training import evaluation

    update = evaluation.Scores.update

    def interrupted(self, *arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        update(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(evaluation.Scores, "update", interrupted)
        with pytest.raises(RunStopped, match="iteration 4 is saved"):
            train(make_config(**RICH), output=tmp_path)
    assert not (tmp_path / "best.safetensors").exists()
    train(make_config(**RICH), output=tmp_path, resume="auto")
    assert_same_end(tmp_path, whole)


def _damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "cut off":
        del data[len(data) // 2 :]
    elif how == "empty":
        data.clear()
    else:
        data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["cut off", "empty", "one bit"])
def test_a_damaged_state_falls_back_to_the_one_before(tmp_path, whole, how, capsys):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    _damage(tmp_path / "state/00000004.state", how)
    train(make_config(**RICH), output=tmp_path, resume="auto")
    said = capsys.readouterr().out
    assert (
        "00000004.state is damaged: its checksum does not match; going back to the checkpoint before" in said
    )
    assert_same_end(tmp_path, whole)


def test_no_intact_state_is_an_error_not_a_new_run(tmp_path):
    train(make_config(iterations=2), output=tmp_path)
    for path in (tmp_path / "state").iterdir():
        _damage(path, "one bit")
        with pytest.raises(DamagedStateError, match="checksum"):
            read_state(path)
    before = (tmp_path / "last.safetensors").read_bytes()
    with pytest.raises(ValueError, match=r"none of the states .* is intact"):
        train(make_config(), output=tmp_path, resume="auto")
    for path in (tmp_path / "state").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match="no state to go on from"):
        train(make_config(), output=tmp_path, resume="auto")
    assert (tmp_path / "last.safetensors").read_bytes() == before


def test_damaged_weights_are_noticed_and_made_anew(tmp_path):
    train(make_config(iterations=2), output=tmp_path)
    path = tmp_path / "last.safetensors"
    good = path.read_bytes()
    with safe_open(path, framework="pt") as file:
        assert len(file.metadata()["sha256"]) == 64
    _damage(path, "one bit")
    with pytest.raises(ValueError, match=r"last\.safetensors is damaged: its checksum does not match"):
        load_checkpoint(path)
    train(make_config(iterations=2), output=tmp_path, resume="yes")
    assert path.read_bytes() == good


@pytest.mark.parametrize("full", ["state", "last.safetensors"])
def test_a_full_disk_keeps_the_last_checkpoint(tmp_path, whole, full, monkeypatch):
    replace = os.replace

    def refuse(source, target):
        # The file system gives the error where it likes: at a write, or at the fsync before this.
        if full in str(target) and (tmp_path / "state/00000002.state").exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        with pytest.raises(OSError, match=r"^could not write .* of iteration . .*the disk is full") as raised:
            train(make_config(**RICH), output=tmp_path)
    assert "is kept; go on with --resume" in str(raised.value)
    assert_weights_have_their_state(tmp_path)
    assert not [p for p in tmp_path.rglob(".*") if p.is_file()]
    train(make_config(**RICH), output=tmp_path, resume="auto")
    assert_same_end(tmp_path, whole)


def test_a_run_that_is_over_stays_as_it_is(tmp_path, whole):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    for _ in range(2):
        train(make_config(**RICH), output=tmp_path, resume="auto")
        assert_same_end(tmp_path, whole)


def test_a_first_attempt_without_a_checkpoint_leaves_no_trace(tmp_path, whole):
    (tmp_path / "metrics.jsonl").write_text('{"kind": "train", "iteration": 1, "total": 1.0}\n{"kind": "tr')
    (tmp_path / ".77.config.yaml").write_text("half")
    train(make_config(**RICH), output=tmp_path, resume="auto")
    assert_same_end(tmp_path, whole)


def test_what_changes_nothing_may_change_when_a_run_goes_on(tmp_path, whole):
    shutil.copytree(whole, tmp_path / "run")
    config = make_config(**RICH | {"log_every": 2, "checkpoint_every": 4, "activation_checkpointing": True})
    train(config, output=tmp_path / "run", resume="yes")
    with pytest.raises(ValueError, match=r"training.ema_decay was 0.9 and is 0.5"):
        train(make_config(**RICH | {"ema_decay": 0.5}), output=tmp_path / "run", resume="yes")


def test_replacing_leaves_the_old_file_when_the_block_fails(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def fail():
        with replacing(path, durable=True) as temporary:
            temporary.write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"


def test_the_state_is_read_without_running_code_from_it(tmp_path):
    train(make_config(iterations=1), output=tmp_path)
    state = read_state(tmp_path / "state/00000001.state")
    assert set(state.parts) == {"model", "optimizer", "scaler"}
    assert state.progress.iteration == state.progress.evaluated == 1
    assert isinstance(state.parts["optimizer"]["state"][0]["exp_avg"], torch.Tensor)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_ends_with_the_status_of_the_signal(tmp_path, number):
    """Sent to the whole group of processes, as a terminal does; those that load data must not die of it."""
    config = make_config(workers=1, iterations=100_000, evaluate_every=100_000, checkpoint_every=100_000)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    command = ["-m", "panodeeplab", "train", "--config", "run.yaml", "--output", "run"]
    run = subprocess.Popen(
        [sys.executable, *command],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parent.parent.parent)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    metrics = tmp_path / "run" / "metrics.jsonl"
    while run.poll() is None and not (metrics.exists() and metrics.read_text()):
        time.sleep(0.1)
    os.killpg(run.pid, number)
    said = run.communicate(timeout=120)[1]
    assert run.returncode == 128 + number, said
    assert f"stopped by {number.name}; iteration" in said
    assert f"(exit status {128 + number})" in said
    assert "Traceback" not in said
    iteration = load_checkpoint(tmp_path / "run" / "last.safetensors").iteration
    assert iteration == json.loads(metrics.read_text().splitlines()[-1])["iteration"] >= 1


def test_a_second_signal_ends_the_process_at_once():
    program = (
        "import os, signal, time\n"
        "from panodeeplab.training.stopping import StopRequest\n"
        "with StopRequest() as stop:\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    assert stop.signal == signal.SIGTERM\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(60)\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "TORCHELASTIC_RUN_ID"}
    environment["PYTHONPATH"] = str(Path(__file__).resolve().parent.parent.parent)
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == -signal.SIGINT
    assert "saving and stopping; once more to stop at once" in done.stderr
