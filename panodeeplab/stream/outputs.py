"""Where the drawn frames go: a video file or a window."""

import os
import sys
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from panodeeplab.stream.sources import import_pyav

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv")
_TIME_BASE = Fraction(1, 90_000)


class Output(Protocol):
    """Takes pictures one after another."""

    def show(self, picture: np.ndarray, time_s: float) -> bool:
        """Take a picture, (H, W, 3) uint8 RGB, to be seen at `time_s`; False if no more are wanted."""
        ...

    def close(self) -> None: ...


def check_video_path(path: Path) -> None:
    """Find out beforehand whether a video can be written there.

    Raises:
        ValueError: another ending than .mp4, .mov or .mkv, no such folder, or nothing may be written there.
        ModuleNotFoundError: PyAV is not installed.
    """
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        raise ValueError(f"output must end in one of {', '.join(VIDEO_SUFFIXES)}, got {path}")
    if path.is_dir() or not path.parent.is_dir():
        raise ValueError(f"output must be a file in a folder that exists, got {path}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ValueError(f"output must be a file that may be written, got {path}")
    import_pyav()


class VideoFile:
    """A video file that can be played whenever writing ends, also by a crash or a lost camera.

    It is written in pieces of a second, each complete in itself; at most the last one is lost. The file
    is created with the first picture; the others are fitted into its size.

    Args:
        path: ending in .mp4, .mov or .mkv; a file that is there is replaced.
        rate: frames per second, about; each picture says when it is to be seen.

    Raises:
        ValueError, ModuleNotFoundError: as `check_video_path`.
    """

    def __init__(self, path: str | Path, *, rate: float) -> None:
        self.path = Path(path)
        check_video_path(self.path)
        self._av = import_pyav()
        self._rate = rate
        self._container = None
        self._last = -1

    def show(self, picture: np.ndarray, time_s: float) -> bool:
        if self._container is None:
            self._open(*picture.shape[:2])
        picture = _fitted(picture, (self._stream.height, self._stream.width))
        frame = self._av.VideoFrame.from_ndarray(picture, format="rgb24")
        # Two pictures may not have one time, whatever the clock says.
        self._last = max(self._last + 1, round(time_s / _TIME_BASE))
        frame.pts, frame.time_base = self._last, _TIME_BASE
        self._container.mux(self._stream.encode(frame))
        return True

    def close(self) -> None:
        if self._container is None:
            return
        container, self._container = self._container, None
        try:
            container.mux(self._stream.encode(None))
        finally:
            container.close()

    def _open(self, height: int, width: int) -> None:
        if self.path.suffix.lower() == ".mkv":
            options = {"cluster_time_limit": "1000"}  # ms
        else:
            options = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
        self._container = self._av.open(str(self.path), "w", options={"flush_packets": "1", **options})
        rate = Fraction(self._rate).limit_denominator(1001)
        if "libx264" in self._av.codecs_available:
            # Without frames that wait for later ones, so that what was shown is in the file.
            self._stream = self._container.add_stream("libx264", rate=rate)
            self._stream.options = {"preset": "veryfast", "tune": "zerolatency", "crf": "23"}
        else:
            self._stream = self._container.add_stream("mpeg4", rate=rate)
            self._stream.bit_rate = 4 * height * width
        # 4:2:0 holds color for pairs of pixels.
        self._stream.height, self._stream.width = height + height % 2, width + width % 2
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.gop_size = max(1, round(self._rate))
        self._stream.time_base = self._stream.codec_context.time_base = _TIME_BASE


class Window:
    """A window of OpenCV; q, Escape or closing it ends the stream. For the main thread only.

    Args:
        title: of the window.

    Raises:
        ModuleNotFoundError: this OpenCV has no windows.
        ValueError: there is no screen.
    """

    def __init__(self, title: str = "panodeeplab") -> None:
        self._title = title
        screens = ("DISPLAY", "WAYLAND_DISPLAY")
        if "GUI:                           NONE" in cv2.getBuildInformation():
            raise ModuleNotFoundError(
                "this OpenCV has no windows (opencv-python-headless): for --show, replace it by "
                "opencv-python; or look with a browser, --serve"
            )
        # Asked for beforehand: without a screen some builds of OpenCV end the whole process.
        if sys.platform.startswith("linux") and not any(os.environ.get(name) for name in screens):
            raise ValueError(
                "--show needs a screen, and neither DISPLAY nor WAYLAND_DISPLAY is set; try --serve"
            )
        cv2.namedWindow(title, cv2.WINDOW_NORMAL)

    def show(self, picture: np.ndarray, time_s: float) -> bool:
        cv2.imshow(self._title, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        pressed = cv2.waitKey(1) & 0xFF
        return pressed not in (ord("q"), 27) and cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1

    def close(self) -> None:
        cv2.destroyWindow(self._title)


def _fitted(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scaled to fit into `size`, aspect ratio kept, in the middle of black; by a pixel, just filled up."""
    height, width = picture.shape[:2]
    if (height + height % 2, width + width % 2) != size:
        scale = min(size[0] / height, size[1] / width)
        height, width = (max(1, min(round(n * scale), m)) for n, m in zip((height, width), size, strict=True))
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    below, right = size[0] - height, size[1] - width
    if not below and not right:
        return picture
    return cv2.copyMakeBorder(
        picture, below // 2, below - below // 2, right // 2, right - right // 2, cv2.BORDER_CONSTANT
    )
