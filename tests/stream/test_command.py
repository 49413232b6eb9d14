"""The command `panodeeplab stream`."""

import json
import os
import socket

import cv2
import pytest
from fake_stream import picture

from panodeeplab.cli import main
from panodeeplab.inference.predictor import Predictor


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for index in range(4):
        cv2.imwrite(str(folder / f"{index}.png"), picture(index)[..., ::-1])
    return folder


def test_a_folder_becomes_a_video_and_a_summary(folder, tmp_path, capsys):
    pytest.importorskip("av")
    output = tmp_path / "out.mp4"
    arguments = ["stream", str(folder), "--output", str(output), "--size", "32", "64", "--json"]
    assert main(arguments) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["processed"], summary["dropped"], summary["failed"]) == (4, 0, 0)
    assert {"decode", "network", "track", "draw", "output"} <= set(summary["stages_ms"])
    assert main(["stream", str(output), "--output", str(tmp_path / "again.mkv"), "--no-track"]) == 0
    assert "4 processed" in capsys.readouterr().out


def test_a_stage_that_fails_is_one_line_and_status_1(folder, tmp_path, capsys, monkeypatch):
    pytest.importorskip("av")

    def fails(self, image):
        raise RuntimeError("the cause")

    monkeypatch.setattr(Predictor, "__call__", fails)
    assert main(["stream", str(folder), "--output", str(tmp_path / "out.mp4")]) == 1
    assert "panodeeplab: stage predict failed: RuntimeError: the cause" in capsys.readouterr().err


@pytest.fixture
def no_model(monkeypatch):
    """A model that must not be loaded."""

    def loads(*arguments, **options):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(Predictor, "from_checkpoint", loads)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --output FILE, --show or --serve"),
        (["--output", "out.avi"], "output must end in one of .mp4, .mov, .mkv"),
        (["--output", "missing/out.mp4"], "output must be a file in a folder that exists"),
        (["--serve", "70000"], "cannot listen on port 70000"),
        (["--serve", "0", "--rate", "0"], "rate must be"),
        (["--serve", "0", "--retries", "-1"], "retries must be"),
        (["--serve", "0", "--alpha", "2"], "alpha must lie"),
        (["--serve", "0", "--frames", "0"], "limit must be at least 1"),
        (["--serve", "0", "--size", "0", "64"], "--size must be"),
        (["--serve", "0", "--device", "gpu"], "--device must be"),
    ],
)
def test_wrong_arguments_are_one_line_and_status_2_before_the_model_is_loaded(
    folder, no_model, arguments, message, capsys
):
    assert main(["stream", str(folder), *arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("panodeeplab: ")
    assert message in error


def test_without_a_model_the_port_is_free_again(folder, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert main(["stream", str(folder), "--serve", str(port), "--checkpoint", "missing.safetensors"]) == 2
    assert "missing.safetensors" in capsys.readouterr().err
    socket.create_server(("127.0.0.1", port)).close()


def test_an_output_that_may_not_be_written_is_refused(folder, no_model, tmp_path, capsys, monkeypatch):
    pytest.importorskip("av")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert main(["stream", str(folder), "--output", str(tmp_path / "out.mp4")]) == 2
    assert "output must be a file that may be written" in capsys.readouterr().err


def test_a_missing_source_and_an_output_onto_the_source_are_refused(tmp_path, capsys):
    assert main(["stream", "missing.mp4", "--serve", "0"]) == 2
    assert "no file or folder missing.mp4" in capsys.readouterr().err
    pytest.importorskip("av")
    from panodeeplab.stream import VideoFile

    video = VideoFile(tmp_path / "video.mp4", rate=10)
    video.show(picture(0), 0.0)
    video.close()
    before = (tmp_path / "video.mp4").read_bytes()
    assert main(["stream", str(tmp_path / "video.mp4"), "--output", str(tmp_path / "video.mp4")]) == 2
    assert "--output is the source" in capsys.readouterr().err
    assert main(["stream", str(tmp_path / "video.mp4"), "--serve", "0", "--rate", "5"]) == 2
    assert "--rate is for a folder" in capsys.readouterr().err
    assert (tmp_path / "video.mp4").read_bytes() == before
