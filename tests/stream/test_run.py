"""The whole stream, with a predictor that needs no network, and what is left of it when it is killed."""

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from fake_stream import Collect, picture, predict

from panodeeplab.inference.tracking import Tracker
from panodeeplab.stream import Source, StageError, VideoFile, open_source, run_stream
from panodeeplab.stream.frame import Frame


def source_of(count, *, live=False, pause=0.0, broken=()):
    def frames(failed):
        for index in range(count):
            if index in broken:
                failed(f"frame {index} is broken")
                continue
            if pause:
                time.sleep(pause)
            yield Frame(index, index / 10, picture(index), time.perf_counter())

    return Source("pictures", live, 10.0, count, (48, 64), frames)


@pytest.mark.parametrize("tracker", [None, Tracker()])
def test_every_frame_is_drawn_in_order(tracker):
    output = Collect()
    summary = run_stream(source_of(30), predict, [output], tracker=tracker, labels=False, alpha=0.0)
    assert (summary.frames_in, summary.processed, summary.dropped, summary.failed) == (30, 30, 0, 0)
    assert not summary.interrupted
    assert output.times_s == [n / 10 for n in range(30)]
    for index, shown in enumerate(output.pictures):
        assert (shown[-4:] == picture(index)[-4:]).all()
    assert output.closed
    stages = {"decode", "preprocess", "network", "postprocess", "predict", "draw", "output"}
    assert set(summary.stages_ms) == stages | ({"track"} if tracker else set())
    assert summary.stages_ms["network"]["p50"] == pytest.approx(1.0, rel=0.02)
    assert summary.fps > 0
    assert summary.latency_ms["p50"] <= summary.latency_ms["p99"]
    assert "30 processed" in summary.table()


def test_rate_and_latency_are_written_into_the_picture():
    output = Collect()

    def wide(failed):
        for index in range(6):
            yield Frame(index, index / 10, np.full((120, 400, 3), 90, np.uint8), time.perf_counter())

    source = Source("wide", False, 10.0, 6, None, wide)
    run_stream(source, predict, [output], labels=False)
    plain, written = output.pictures[0], output.pictures[-1]
    assert (plain[:8, :150] == plain[0, 0]).all()
    # Light letters on a dark ground; how light the thinnest is depends on the digits.
    assert written[:10, :150].max() > 200
    assert written[:10, :150].min() < 60


def test_broken_frames_are_reported_and_survived(capsys):
    output = Collect()
    summary = run_stream(source_of(60, broken=range(5, 40)), predict, [output])
    assert (summary.processed, summary.failed) == (25, 35)
    shown = capsys.readouterr().err
    assert "frame 5 is broken" in shown
    assert "frame 14 is broken" in shown
    assert "frame 15 is broken" not in shown
    assert "further failures are only counted" in shown


def test_a_camera_never_lags():
    """A network of 20 ms on a camera of 2 ms: most frames are dropped, and those shown are fresh."""
    ages = []

    def slow(image):
        time.sleep(0.02)
        return predict(image)

    class Watch(Collect):
        def show(self, shown, time_s):
            ages.append(time_s)
            return super().show(shown, time_s)

    summary = run_stream(source_of(150, live=True, pause=0.002), slow, [Watch()])
    assert summary.policy == "newest"
    assert summary.dropped + summary.processed == summary.frames_in == 150
    assert summary.dropped > summary.processed
    assert ages == sorted(ages)
    assert ages[-1] == 14.9  # the last frame is never the one that is dropped


def test_an_output_that_wants_no_more_and_a_limit_end_it():
    summary = run_stream(source_of(10_000), predict, [Collect(stop_after=5)])
    assert summary.interrupted
    assert 5 <= summary.processed < 100
    output = Collect()
    summary = run_stream(source_of(10_000), predict, [output], limit=7)
    assert (summary.frames_in, len(output.pictures), summary.interrupted) == (7, 7, False)


def broken_source():
    def frames(failed):
        yield Frame(0, 0.0, picture(0), time.perf_counter())
        raise OSError("the cause")

    return Source("broken", False, 10.0, None, None, frames)


def fails(*arguments):
    raise OSError("the cause")


class BrokenTracker(Tracker):
    def update(self, result):
        return fails()


@pytest.mark.parametrize("stage", ["decode", "predict", "track", "draw", "output"])
def test_any_stage_that_fails_ends_the_stream_with_its_name(stage, monkeypatch):
    if stage == "draw":
        monkeypatch.setattr("panodeeplab.stream.run.draw_caption", fails)
    good, output = Collect(), Collect(error=OSError("the cause") if stage == "output" else None)
    with pytest.raises(StageError, match=f"stage {stage} failed: OSError: the cause"):
        run_stream(
            broken_source() if stage == "decode" else source_of(1000),
            fails if stage == "predict" else predict,
            [good, output],
            tracker=BrokenTracker() if stage == "track" else Tracker(),
        )
    assert good.closed
    assert output.closed
    left = {thread.name for thread in threading.enumerate()}
    assert not left & {"decode", "predict", "track", "draw"}


def test_ctrl_c_finishes_what_is_on_its_way():
    class Interrupt(Collect):
        def show(self, shown, time_s):
            if len(self.pictures) == 4:
                signal.raise_signal(signal.SIGINT)
            return super().show(shown, time_s)

    output, before = Interrupt(), signal.getsignal(signal.SIGINT)
    summary = run_stream(source_of(10_000), predict, [output])
    assert summary.interrupted
    assert summary.processed == summary.frames_in == len(output.pictures) < 100
    assert signal.getsignal(signal.SIGINT) is before


def test_folders_and_files_end_to_end(tmp_path):
    pytest.importorskip("av")
    folder = tmp_path / "frames"
    folder.mkdir()
    for index in range(12):
        cv2.imwrite(str(folder / f"{index:03d}.png"), picture(index)[..., ::-1])
    (folder / "005.png").write_bytes(b"broken")
    source = open_source(folder, rate=5)
    summary = run_stream(source, predict, [VideoFile(tmp_path / "one.mp4", rate=source.rate)], alpha=0.0)
    assert (summary.processed, summary.failed) == (11, 1)
    source = open_source(tmp_path / "one.mp4")
    times = [round(frame.time_s, 3) for frame in source.frames(pytest.fail)]
    assert times == [n / 5 for n in range(12) if n != 5]  # the gap stays


CHILD = """
import itertools, sys, time
sys.path.insert(0, {tests!r})
from fake_stream import picture, predict
from panodeeplab.stream import Source, VideoFile, run_stream
from panodeeplab.stream.frame import Frame

def frames(failed):
    for index in itertools.count():
        if index == 100:
            print("ready", flush=True)
        time.sleep(0.002)
        yield Frame(index, index / 10, picture(index), time.perf_counter())

source = Source("endless", False, 10.0, None, None, frames)
summary = run_stream(source, predict, [VideoFile({path!r}, rate=10)])
print(summary.processed, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_stream_leaves_a_file_that_plays(tmp_path, number):
    pytest.importorskip("av")
    path = tmp_path / "video.mp4"
    code = CHILD.format(tests=str(Path(__file__).parent), path=str(path))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "ready\n"
        child.send_signal(number)
        printed = child.stdout.read()
    images = [frame.image for frame in open_source(path).frames(pytest.fail)]
    if number == signal.SIGTERM:
        assert child.returncode == 0
        assert len(images) == int(printed) >= 90
    else:
        assert child.returncode == -signal.SIGKILL
        assert len(images) >= 80  # of the last second all may be lost
    assert all(image.shape == (48, 64, 3) for image in images)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"policy": "all"}, "policy must be"),
        ({"limit": 0}, "limit must be"),
        ({"alpha": 2.0}, "alpha must lie"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        run_stream(source_of(1), predict, [], **arguments)


def test_a_summary_without_a_frame_is_valid_json():
    summary = run_stream(source_of(3, broken=range(3)), predict, [Collect()])
    data = json.loads(json.dumps(summary.as_json(), allow_nan=False))
    assert data["latency_ms"] == {"p50": None, "p99": None}
    assert (data["processed"], data["failed"]) == (0, 3)
