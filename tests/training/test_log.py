"""What a run leaves to look at: record, metrics, Weights & Biases, a profile."""

import gzip
import json
import re
import subprocess
import sys

import pytest
import torch
from small_run import make_config

from panodeeplab.data.scenes import StreetScenes
from panodeeplab.training import train
from panodeeplab.training.record import data_fingerprint, git_state, write_record


def test_the_record_says_what_the_run_was_made_of(tmp_path):
    config = make_config(iterations=1)
    train(config, output=tmp_path)
    (start,) = json.loads((tmp_path / "run.json").read_text())["starts"]
    assert start["config"] == config.model_dump(mode="json")
    assert start["versions"]["torch"] == torch.__version__.split("+")[0] or start["versions"]["torch"]
    assert start["machine"]["world_size"] == 1
    assert start["data"]["train"] == data_fingerprint(StreetScenes(5, size=(64, 128), seed=0))
    assert start["data"]["val"]["sha256"] != start["data"]["train"]["sha256"]


def test_a_run_that_goes_on_with_other_data_says_so(tmp_path):
    options = {"iteration": 0, "world_size": 1, "device": torch.device("cpu")}
    data = {"train": data_fingerprint(StreetScenes(3, size=(64, 128)))}
    assert write_record(tmp_path, make_config(), data=data, **options) == []
    assert write_record(tmp_path, make_config(), data=data, **options | {"iteration": 2}) == []
    data = {"train": data_fingerprint(StreetScenes(3, size=(64, 128), seed=9))}
    changes = write_record(tmp_path, make_config(), data=data, **options | {"iteration": 3})
    assert changes == ["the train data are not those that the run started with"]
    starts = json.loads((tmp_path / "run.json").read_text())["starts"]
    assert [start["iteration"] for start in starts] == [0, 2, 3]


def test_git_state_names_commit_and_changes(tmp_path):
    assert git_state(tmp_path) is None

    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", tmp_path, *identity, *arguments], check=True, capture_output=True)

    git("init")
    (tmp_path / "__init__.py").write_text("one\n")
    git("add", ".")
    git("commit", "-m", "first")
    assert re.fullmatch(r"[0-9a-f]{40}", git_state(tmp_path)["commit"])
    assert git_state(tmp_path)["changed"] == []
    (tmp_path / "__init__.py").write_text("two\n")
    assert git_state(tmp_path)["changed"] == ["__init__.py"]
    assert "+two" in git_state(tmp_path)["diff"]


def test_a_profile_says_where_the_time_goes(tmp_path, capsys):
    train(make_config(iterations=5), output=tmp_path, profile=2)
    table = capsys.readouterr().out
    times = dict(re.findall(r"^(\w+(?: \w+)?) +([\d.]+) +-?\d+%$", table, re.MULTILINE))
    assert {"data", "forward", "loss", "backward", "optimizer", "communication", "step"} <= times.keys()
    assert float(times["backward"]) > 0
    parts = sum(float(time) for name, time in times.items() if name != "step")
    assert parts == pytest.approx(float(times["step"]), rel=0.02, abs=1)
    with gzip.open(tmp_path / "trace.json.gz") as file:
        names = {event.get("name") for event in json.load(file)["traceEvents"]}
    assert {"forward", "backward"} <= names


def test_wandb_gets_the_figures_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    for name, value in {"MODE": "offline", "SILENT": "true", "DISABLE_GIT": "true"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    train(make_config(iterations=2, wandb_project="streets"), output=tmp_path)
    name = (tmp_path / "wandb_id.txt").read_text()
    (log,) = tmp_path.glob(f"wandb/offline-run-*-{name}/run-{name}.wandb")
    assert b"train/learning_rate" in log.read_bytes()


def test_wandb_that_is_not_installed_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'panodeeplab\[wandb\]'"):
        train(make_config(wandb_project="streets"), output=tmp_path)
