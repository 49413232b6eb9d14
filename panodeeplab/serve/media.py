"""What may be uploaded, and how it is decoded: strangers' bytes to RGB frames, at bounded cost.

The type of a file is found in its bytes, never in its name. Only the decoders of the formats named here are
tried, and each is told beforehand how many pixels it may make. Nothing is written to disk.
"""

import io
import math
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import av
import numpy as np
from PIL import Image

from panodeeplab.inference.images import upright_rgb

_IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM")
_CODECS = ("h264", "hevc", "mpeg4", "vp8", "vp9", "libvpx", "libvpx-vp9", "av1", "libdav1d", "mjpeg")
WANTED = "a JPEG, PNG, WebP, BMP, TIFF or PPM image, or an MP4, MOV, MKV, WebM or AVI clip"

# What all kept frames of a clip may hold together, and what all that are decoded to find them may.
_KEPT_PIXELS = 100_000_000
_DECODED_PIXELS = 4_000_000_000

# All that Pillow raises for a damaged file, SyntaxError and struct.error included.
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


@dataclass(frozen=True)
class Limits:
    """What a request may cost.

    Attributes:
        upload_bytes: of one file.
        pixels: of an image, or of one frame of a clip.
        frames: of a clip that are segmented.
        requests: files that are uploaded, wait or are worked on at one time.
        kept_bytes: of finished results; the oldest are forgotten first.
    """

    upload_bytes: int = 64 * 2**20
    pixels: int = 25_000_000
    frames: int = 32
    requests: int = 6
    kept_bytes: int = 512 * 2**20

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")


class Refused(ValueError):
    """A request that is not met, in words for the one who sent it.

    Attributes:
        status: of HTTP.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Decoded:
    """A frame: (H, W, 3) uint8 RGB, its second in the clip, and the milliseconds that decoding took."""

    image: np.ndarray
    time_s: float
    decode_ms: float


def kind_of(data: bytes, limits: Limits) -> Literal["image", "clip"]:
    """What a file is, by its first bytes; of an image the size is checked too, before a pixel is decoded.

    Raises:
        Refused: empty, of no known type, or with too many pixels.
    """
    if not data:
        raise Refused(422, "The file is empty.")
    if _container(data) is not None:
        return "clip"
    if data[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypavif"):
        raise Refused(415, f"HEIC and AVIF images cannot be read here; wanted {WANTED}.")
    with _opened(data) as image:
        _check_pixels(image.width, image.height, limits)
    return "image"


def decode_image(data: bytes, limits: Limits) -> Decoded:
    """Decode an image, upright; of an animation the first picture.

    Raises:
        Refused: not an image, damaged, or with too many pixels.
    """
    start = time.perf_counter()
    with _opened(data) as file:
        _check_pixels(file.width, file.height, limits)
        try:
            image = upright_rgb(file)
        except _DAMAGED as error:
            raise Refused(422, f"The image is damaged: {_reason(error)}.") from error
    return Decoded(image, 0.0, 1000.0 * (time.perf_counter() - start))


class Clip:
    """Frames of a clip, spread evenly over it, or over as much of it as may be decoded.

    Iterate over it once. A clip that breaks off gives the frames before that, and says so in `note`.

    Attributes:
        frames: how many are expected, None if the clip does not say how long it is.
        note: what the user should know of the frames, or empty.

    Raises:
        Refused: not a clip, no video in it, of a codec that is not read, or with too many pixels.
    """

    def __init__(self, data: bytes, limits: Limits) -> None:
        self._limits = limits
        self.note = ""
        option = {"max_pixels": str(limits.pixels)}
        try:
            self._container = av.open(
                io.BytesIO(data),
                format=_container(data),
                # A container may name other files and addresses: none is opened.
                container_options={"protocol_whitelist": "none", "codec_whitelist": ",".join(_CODECS)},
                stream_options=[option] * 16,
            )
        except (av.FFmpegError, ValueError) as error:
            raise Refused(422, f"The clip cannot be read: {_reason(error)}.") from error
        streams = self._container.streams.video
        if not streams or streams[0].codec_context is None:
            self._container.close()
            raise Refused(
                415, "The file holds no video that can be decoded here (H.264, H.265, AV1, VP9...)."
            )
        self._stream = streams[0]
        self._stream.codec_context.options = option
        width, height = self._stream.width, self._stream.height
        try:
            _check_pixels(width, height, limits)
        except Refused:
            self._container.close()
            raise
        pixels = max(1, width * height)
        readable = max(1, _DECODED_PIXELS // pixels)
        self._most = min(limits.frames, max(1, _KEPT_PIXELS // pixels))
        total = self._frame_count()
        self._step = max(1, math.ceil(min(total or readable, readable) / self._most)) if total else 1
        self._readable = readable
        self.frames = min(self._most, math.ceil(min(total, readable) / self._step)) if total else None

    def __iter__(self) -> Iterator[Decoded]:
        with self._container:
            taken = 0
            decoder = self._container.decode(self._stream)
            elapsed_ms = 0.0
            for index in range(self._readable):
                start = time.perf_counter()
                try:
                    frame = next(decoder, None)
                except (av.FFmpegError, ValueError) as error:
                    if taken == 0:
                        raise Refused(422, f"No frame can be decoded: {_reason(error)}.") from error
                    self.note = f"The clip is damaged after {taken} of its frames: {_reason(error)}."
                    return
                elapsed_ms += 1000.0 * (time.perf_counter() - start)
                if frame is None:
                    if taken == 0:
                        raise Refused(422, "No frame can be decoded: the clip is empty or damaged.")
                    return
                if index % self._step:
                    continue
                # The size may change within a stream.
                _check_pixels(frame.width, frame.height, self._limits)
                start = time.perf_counter()
                image = np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), _turns(frame)))
                elapsed_ms += 1000.0 * (time.perf_counter() - start)
                yield Decoded(image, float(frame.time or 0.0), elapsed_ms)
                elapsed_ms = 0.0
                taken += 1
                if taken == self._most:
                    break
            if next(decoder, None) is not None:
                self.note = f"The clip goes on; these are the {taken} frames that are taken of one clip."

    def _frame_count(self) -> int | None:
        stream = self._stream
        if stream.frames > 0:
            return stream.frames
        seconds = None
        if stream.duration is not None and stream.time_base is not None:
            seconds = float(stream.duration * stream.time_base)
        elif self._container.duration is not None:
            seconds = self._container.duration / av.time_base
        if seconds is None or not stream.average_rate:
            return None
        return max(1, round(seconds * float(stream.average_rate)))


def _turns(frame: av.VideoFrame) -> int:
    """Quarter turns, counter-clockwise, that bring a phone's clip upright."""
    return round(frame.rotation / 90) % 4


def _container(data: bytes) -> str | None:
    """FFmpeg's name of a clip's format."""
    if data[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    if data[:4] == b"RIFF" and data[8:12] == b"AVI ":
        return "avi"
    if data[4:8] in (b"moov", b"mdat", b"wide", b"free", b"skip"):
        return "mov"
    if data[4:8] == b"ftyp" and data[8:12] not in (b"heic", b"heix", b"mif1", b"avif"):
        return "mov"
    return None


def _opened(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=_IMAGE_FORMATS)
    except Image.DecompressionBombError as error:
        raise Refused(413, "The image has far too many pixels.") from error
    except _DAMAGED as error:
        raise Refused(415, f"The file is of no type that can be read here; wanted {WANTED}.") from error


def _check_pixels(width: int, height: int, limits: Limits) -> None:
    if width * height > limits.pixels:
        raise Refused(
            413,
            f"The picture is {width} x {height} ({width * height / 1e6:.1f} megapixels), "
            f"at most {limits.pixels / 1e6:.1f} megapixels are taken.",
        )


def _reason(error: Exception) -> str:
    """What went wrong, in one line, without the names of buffers and files."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (text.splitlines() or [type(error).__name__])[0].rstrip(".")[:200]
