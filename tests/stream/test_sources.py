"""Frames from files, folders and cameras, broken ones among them."""

import struct
import sys
import time

import cv2
import numpy as np
import pytest
from fake_stream import picture

from panodeeplab.stream.outputs import VideoFile
from panodeeplab.stream.sources import open_capture, open_source


def write_video(path, count=20, size=(48, 64), rate=10):
    pytest.importorskip("av")
    video = VideoFile(path, rate=rate)
    for index in range(count):
        video.show(picture(index, *size), index / rate)
    video.close()
    return path


def read(source):
    failures = []
    return list(source.frames(failures.append)), failures


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_a_video_is_read_as_it_was_written(tmp_path, suffix):
    source = open_source(write_video(tmp_path / f"video{suffix}"))
    assert (source.live, source.size) == (False, (48, 64))
    assert source.rate == pytest.approx(10, rel=0.1)
    frames, failures = read(source)
    assert failures == []
    assert [frame.index for frame in frames] == list(range(20))
    assert [round(frame.time_s, 2) for frame in frames] == [n / 10 for n in range(20)]
    for index, frame in enumerate(frames):
        assert np.abs(frame.image.astype(int) - picture(index)).mean() < 4
        assert frame.image.flags.c_contiguous


def test_opencv_and_pyav_agree_on_a_video_that_was_turned(tmp_path):
    """The matrix of a track, by which phones say how they were held."""
    path = write_video(tmp_path / "video.mp4", count=3)
    data = bytearray(path.read_bytes())
    place = (
        data.index(b"tkhd") + 4 + 4 + 20 + 8 + 8
    )  # version and flags, times and ids, reserved, layer and volume
    for degrees, matrix in {90: (0, 1, 0, -1, 0, 0, 48, 0), 180: (-1, 0, 0, 0, -1, 0, 64, 48)}.items():
        values = [round(v * 65536) for v in matrix] + [1 << 30]
        data[place : place + 36] = struct.pack(">9i", *values)
        path.write_bytes(data)
        capture = cv2.VideoCapture(str(path))
        assert capture.get(cv2.CAP_PROP_ORIENTATION_META) % 360 in (degrees, 360 - degrees)
        expected = cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB)
        capture.release()
        image = read(open_source(path))[0][0].image
        assert image.shape == expected.shape
        assert np.abs(image.astype(int) - expected).mean() < 2


def test_damage_in_a_video_is_reported_and_survived(tmp_path):
    path = write_video(tmp_path / "video.mkv", count=60)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 60] = bytes(60)
    path.write_bytes(data)
    frames, failures = read(open_source(path))
    assert failures
    assert 20 < len(frames) < 60
    path.write_bytes(data[:middle])  # and one that ends in the middle
    assert len(read(open_source(path))[0]) > 10


def test_images_of_a_folder_come_in_order_and_broken_ones_are_reported(tmp_path):
    for index in range(3):
        cv2.imwrite(str(tmp_path / f"{index}.png"), picture(index)[..., ::-1])
    (tmp_path / "1.png").write_bytes(b"no image")
    source = open_source(tmp_path, rate=4)
    assert (source.length, source.rate, source.live) == (3, 4, False)
    frames, failures = read(source)
    assert [(frame.index, frame.time_s) for frame in frames] == [(0, 0.0), (2, 0.5)]
    assert (frames[1].image == picture(2)).all()
    assert len(failures) == 1
    assert "1.png" in failures[0]


class Camera:
    """Plays the part of cv2.VideoCapture: frames, None for one that cannot be read, and then it is gone."""

    def __init__(self, frames, *, count=0, opened=True):
        self._frames, self._opened, self._count = list(frames), opened, count

    def isOpened(self):
        return self._opened

    def get(self, what):
        return {cv2.CAP_PROP_FPS: 30.0, cv2.CAP_PROP_FRAME_COUNT: self._count}.get(what, 48.0)

    def read(self):
        frame = self._frames.pop(0) if self._frames else None
        return frame is not None, frame

    def release(self):
        self._opened = False


def test_a_camera_that_goes_is_connected_again_then_given_up(monkeypatch):
    cameras = [
        Camera([picture(0), None, picture(1), None, None]),  # a frame that fails is not the end
        Camera([], opened=False),
        Camera([picture(2)]),
        *(Camera([]) for _ in range(2)),
    ]
    connected = iter(cameras)
    source = open_capture("cam", lambda: next(connected), retries=2)
    assert (source.live, source.length, source.rate) == (True, None, 30.0)
    waits = []
    monkeypatch.setattr(source.stopped, "wait", lambda seconds: waits.append(seconds))
    frames, failures = read(source)
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert [frame.image[0, 5, 0] for frame in frames] == [40, 41, 42]
    assert waits == [0.5, 1.0, 0.5, 1.0]  # longer each time, from the start again once it has worked
    assert len(failures) == 5
    assert failures[-1] == "cam is gone; tried 2 times to connect again"


def test_waiting_for_a_camera_can_be_ended():
    source = open_capture("cam", lambda: Camera([picture(0)]), retries=1000)
    frames = source.frames(lambda text: None)
    next(frames)
    source.stopped.set()
    start = time.monotonic()
    assert list(frames) == []
    assert time.monotonic() - start < 5


def test_what_has_an_end_is_not_connected_again():
    source = open_capture("http://file.mp4", lambda: Camera([picture(0), picture(1)], count=2))
    assert (source.live, source.length) == (False, 2)
    assert len(read(source)[0]) == 2


def test_bad_sources_are_named(tmp_path):
    (tmp_path / "no.mp4").write_bytes(b"no video")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no file or folder missing\.mp4"):
        open_source("missing.mp4")
    with pytest.raises(ValueError, match="no image below"):
        open_source(tmp_path / "empty")
    with pytest.raises(ValueError, match=r"cannot open http://127\.0\.0\.1:9/"):
        open_source("http://127.0.0.1:9/")
    with pytest.raises(ValueError, match="cannot open camera 7"):
        open_capture("7", lambda: Camera([], opened=False))
    with pytest.raises(ValueError, match="rate must be"):
        open_source(tmp_path, rate=0)
    with pytest.raises(ValueError, match="retries must be"):
        open_source(tmp_path, retries=-1)
    pytest.importorskip("av")
    with pytest.raises(ValueError, match=r"cannot open .*no.mp4 as a video"):
        open_source(tmp_path / "no.mp4")


def test_without_pyav_the_error_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "video.mp4").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "panodeeplab\[video\]"'):
        open_source(tmp_path / "video.mp4")
