"""Files that can be played whatever happens, and the page for browsers."""

import threading
import urllib.error
import urllib.request

import cv2
import numpy as np
import pytest
from fake_stream import picture

from panodeeplab.stream import MjpegServer, VideoFile, Window, open_source


def frames_of(path):
    return [frame.image for frame in open_source(path).frames(lambda text: None)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_what_was_shown_can_be_read_before_the_file_is_closed(tmp_path, suffix):
    pytest.importorskip("av")
    video = VideoFile(tmp_path / f"video{suffix}", rate=10)
    for index in range(35):
        video.show(picture(index), index / 10)
    seen = frames_of(video.path)
    assert 20 <= len(seen) <= 35  # all but the last second
    video.close()
    video.close()
    assert len(frames_of(video.path)) == 35


def test_pictures_of_other_and_odd_sizes_are_fitted(tmp_path):
    pytest.importorskip("av")
    video = VideoFile(tmp_path / "video.mp4", rate=10)
    for index, size in enumerate([(47, 63), (47, 63), (94, 126), (94, 63), (10, 200)]):
        video.show(np.full((*size, 3), 200, np.uint8), index / 10)
    video.close()
    first, _, double, tall, flat = frames_of(video.path)
    assert first.shape == (48, 64, 3)
    assert first[:47, :63].mean() > 190
    assert double.mean() > 190
    assert tall[24, 32].mean() > 190
    assert tall[24, [4, -4]].mean() < 30
    assert flat[24, 32].mean() > 190
    assert flat[[4, -4], 32].mean() < 30


def test_times_that_stand_still_are_no_error(tmp_path):
    pytest.importorskip("av")
    video = VideoFile(tmp_path / "video.mp4", rate=30)
    for time_s in (0.0, 0.5, 0.5, 0.4, 0.6):
        video.show(picture(0), time_s)
    video.close()
    assert len(frames_of(video.path)) == 5


@pytest.mark.parametrize("name", ["video.avi", "video", "missing/video.mp4", ".mp4/"])
def test_bad_files_are_named_before_anything_is_written(tmp_path, name):
    with pytest.raises(ValueError, match="output must"):
        VideoFile(tmp_path / name, rate=10)
    assert list(tmp_path.iterdir()) == []


def test_an_opencv_without_windows_says_what_to_do():
    if "GUI:                           NONE" not in cv2.getBuildInformation():
        pytest.skip("this OpenCV has windows")
    with pytest.raises(ModuleNotFoundError, match="opencv-python; or look with a browser, --serve"):
        Window()


@pytest.fixture
def server():
    server = MjpegServer(0)
    yield server
    server.close()


def test_browsers_get_the_newest_picture(server):
    server.show(picture(3, 40, 60), 0.0)
    with urllib.request.urlopen(server.url, timeout=10) as page:
        assert b"/stream.mjpg" in page.read()
    with urllib.request.urlopen(server.url + "stream.mjpg", timeout=10) as stream:
        for index in (3, 90):
            if index != 3:
                server.show(picture(index, 40, 60), 0.0)
            while not (line := stream.readline()).startswith(b"Content-Length"):
                pass
            assert stream.readline() == b"\r\n"
            data = stream.read(int(line.split()[1]))
            shown = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            assert shown.shape == (40, 60, 3)
            assert abs(int(shown[20, 50, 0]) - (40 + index)) < 8


def test_other_hosts_paths_and_too_many_viewers_are_refused(server):
    for headers, path, code in (
        ({"Host": "evil.example:80"}, "", 403),
        ({}, "secret", 404),
    ):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(urllib.request.Request(server.url + path, headers=headers), timeout=10)
        with caught.value as answer:
            assert answer.code == code
    server.show(picture(0), 0.0)
    viewers = [urllib.request.urlopen(server.url + "stream.mjpg", timeout=10) for _ in range(8)]
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(server.url + "stream.mjpg", timeout=10)
    with caught.value as answer:
        assert answer.code == 503
    for viewer in viewers:
        viewer.close()


def test_a_port_that_is_taken_is_an_error(server):
    port = int(server.url.rsplit(":", 1)[1].strip("/"))
    for wrong in (port, 70000):
        with pytest.raises(ValueError, match=f"cannot listen on port {wrong}"):
            MjpegServer(wrong)


def test_a_served_stream_is_a_source(server):
    """What --serve gives can be taken as a camera by its address."""
    done = threading.Event()

    def feed():
        index = 0
        while not done.wait(0.01):
            server.show(picture(index, 64, 96), 0.0)
            index += 1

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        source = open_source(server.url + "stream.mjpg", retries=0)
        assert source.live
        frames = source.frames(lambda text: None)
        images = [next(frames).image for _ in range(5)]
        frames.close()
    finally:
        done.set()
        thread.join()
    assert all(image.shape == (64, 96, 3) for image in images)
