"""Where frames come from: video files, folders of images, cameras, addresses."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from panodeeplab.inference.images import read_image
from panodeeplab.inference.predict import find_images
from panodeeplab.stream.frame import Frame

_ADDRESS = re.compile(r"(rtsps?|rtmp|https?|udp|tcp|srt)://\S+", re.IGNORECASE)
_TIMEOUT_MS = 10_000
_FAILED_READS = 3  # in a row, after which a camera counts as gone
_LONGEST_WAIT_S = 10.0

Failure = Callable[[str], None]


@dataclass
class Source:
    """Frames and what is known of them beforehand.

    Attributes:
        name: as it was given.
        live: whether frames come by a clock, wanted or not.
        rate: frames per second, as far as known.
        length: number of frames, if known.
        size: (H, W) of the frames, if known.
        frames: gives them once; calls its argument with a text for each frame that is broken.
        stopped: set it to end waiting for a camera.
    """

    name: str
    live: bool
    rate: float
    length: int | None
    size: tuple[int, int] | None
    frames: Callable[[Failure], Iterator[Frame]]
    stopped: threading.Event = field(default_factory=threading.Event)


def open_source(source: str | Path, *, rate: float = 10.0, retries: int = 5) -> Source:
    """Open what frames come from.

    Args:
        source: a video file, a folder of images (taken in the order of their paths), the number of a camera,
            or an address such as rtsp://... or http://...
        rate: frames per second that a folder of images stands for.
        retries: how often in a row to try to connect to a camera or address again once it has gone, waiting
            longer each time.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: it cannot be opened, or has no image or video; or `rate` or `retries` is out of range.
        ModuleNotFoundError: a video file, but PyAV is not installed.
    """
    if not 0 < rate <= 1000:
        raise ValueError(f"rate must be frames per second above 0, at most 1000, got {rate}")
    if retries < 0:
        raise ValueError(f"retries must be at least 0, got {retries}")
    text = str(source)
    if _ADDRESS.fullmatch(text):
        return open_capture(text, lambda: _capture(text, cv2.CAP_FFMPEG, _FFMPEG_TIMEOUTS), retries=retries)
    path = Path(source)
    if not path.exists():
        if text.isdecimal():
            return open_capture(text, lambda: _capture(int(text), cv2.CAP_ANY, []), retries=retries)
        raise FileNotFoundError(
            f"source: no file or folder {source}, and neither the number of a camera nor an address"
        )
    return _open_folder(path, rate) if path.is_dir() else _open_video(path)


def import_pyav():
    """PyAV, which reads and writes video files.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    try:
        import av
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError('video files need PyAV: pip install "panodeeplab[video]"') from error
    # Its warnings about damaged data would tear the progress line; what matters comes as an error or a flag.
    av.logging.set_level(av.logging.PANIC)
    return av


def _open_folder(path: Path, rate: float) -> Source:
    paths = find_images(path)

    def frames(failed: Failure) -> Iterator[Frame]:
        for index, image_path in enumerate(paths):
            try:
                image = read_image(image_path)
            # ValueError for damaged files, OSError for those that may not be read.
            except (ValueError, OSError) as error:
                failed(f"{image_path}: {error}")
                continue
            yield Frame(index, index / rate, image, time.perf_counter())

    return Source(str(path), False, rate, len(paths), None, frames)


def _open_video(path: Path) -> Source:
    av = import_pyav()
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError) as error:
        raise ValueError(f"source: cannot open {path} as a video: {error}") from error
    if not container.streams.video:
        container.close()
        raise ValueError(f"source: no video in {path}")
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    rate = float(stream.average_rate or stream.guessed_rate or 25)
    size = (stream.codec_context.height, stream.codec_context.width)

    def decoded(failed: Failure):
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets)
                pictures = packet.decode()
            except (StopIteration, EOFError):
                return
            except av.error.InvalidDataError as error:
                failed(f"a packet of {path} cannot be decoded: {error.strerror}")
                continue
            except (av.FFmpegError, OSError) as error:
                failed(f"{path} breaks off: {error}")
                return
            yield from pictures

    def frames(failed: Failure) -> Iterator[Frame]:
        index, start = -1, None
        with container:
            for index, picture in enumerate(decoded(failed)):
                if picture.is_corrupt:
                    failed(f"frame {index} of {path} is damaged")
                    continue
                # Turned as a phone was held when it filmed.
                image = np.rot90(picture.to_ndarray(format="rgb24"), picture.rotation // 90)
                seconds = index / rate if picture.time is None else picture.time
                start = seconds if start is None else start
                yield Frame(index, seconds - start, np.ascontiguousarray(image), time.perf_counter())
        if index < 0:
            failed(f"{path} has no frame that can be decoded")

    return Source(str(path), False, rate, stream.frames or None, size, frames)


_FFMPEG_TIMEOUTS = [
    cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
    _TIMEOUT_MS,
    cv2.CAP_PROP_READ_TIMEOUT_MSEC,
    _TIMEOUT_MS,
]


def _capture(source: str | int, backend: int, parameters: list[int]) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(source, backend, parameters)
    # One frame at most in the driver, where it can be said: old frames are of no use.
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return capture


def open_capture(name: str, connect: Callable[[], cv2.VideoCapture], *, retries: int = 5) -> Source:
    """Frames of a camera or an address, with connecting again when it goes away.

    Args:
        name: of the camera, for messages.
        connect: opens it; called again after it has gone.
        retries: see `open_source`.

    Raises:
        ValueError: it cannot be opened.
    """
    capture = connect()
    if not capture.isOpened():
        capture.release()
        raise ValueError(f"source: cannot open {f'camera {name}' if name.isdecimal() else name}")
    rate = capture.get(cv2.CAP_PROP_FPS)
    # A file behind an address has an end; a camera says -1, 0 or nonsense.
    length = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    length = length if 0 < length < 2**31 else None
    rate = rate if 0 < rate <= 1000 else 25.0
    size = (int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)), int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)))
    stopped = threading.Event()

    def frames(failed: Failure) -> Iterator[Frame]:
        nonlocal capture
        index, start, tries = 0, None, 0
        while True:
            misses = 0
            while misses < _FAILED_READS and capture.isOpened() and not stopped.is_set():
                read, bgr = capture.read()
                if not read:
                    misses += 1
                    continue
                misses = tries = 0
                now = time.perf_counter()
                start = now if start is None else start
                seconds = now - start if length is None else index / rate
                yield Frame(index, seconds, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), now)
                index += 1
            capture.release()
            if length is not None or stopped.is_set():
                return
            if tries == retries:
                failed(f"{name} is gone; tried {retries} times to connect again")
                return
            tries += 1
            wait = min(0.25 * 2**tries, _LONGEST_WAIT_S)
            failed(f"{name} gives no frames; connecting again in {wait:g} s ({tries} of {retries})")
            if stopped.wait(wait):
                return
            capture = connect()

    return Source(name, length is None, rate, length, size if min(size) > 0 else None, frames, stopped)
