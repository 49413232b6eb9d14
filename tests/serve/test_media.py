"""Strangers' files: what is read, and what is refused, and for how many pixels at most."""

import io
import struct
import zlib
from contextlib import suppress

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from uploads import encoded

from panodeeplab.inference.demo import CLIP, read_clip
from panodeeplab.serve.media import Clip, Limits, Refused, decode_image, kind_of

SMALL = Limits(pixels=300_000, frames=4)


def clip_of(sizes, *, codec="libx264", format="mp4") -> bytes:
    """A clip with a gray frame of each size."""
    file = io.BytesIO()
    with av.open(file, "w", format=format) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height = sizes[0]
        stream.pix_fmt = "yuv420p"
        for index, (width, height) in enumerate(sizes):
            frame = av.VideoFrame.from_ndarray(np.full((height, width, 3), 40 * index % 255, np.uint8))
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return file.getvalue()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM"])
def test_images_are_read(format):
    image = np.full((20, 30, 3), 100, np.uint8)
    data = encoded(image, format)
    assert kind_of(data, SMALL) == "image"
    assert np.abs(decode_image(data, SMALL).image.astype(int) - image).max() <= 4


def test_a_photograph_is_upright():
    image = np.zeros((20, 30, 3), np.uint8)
    image[:10] = 255
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    upright = decode_image(encoded(image, "JPEG", exif=exif), SMALL).image
    assert upright.shape == (30, 20, 3)
    assert upright[:, 15:].mean() > 250


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (b"", 422, "empty"),
        (b"\x00", 415, "of no type"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "of no type"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 415, "of no type"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", 415, "of no type"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", 415, "of no type"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", 415, "HEIC"),
    ],
)
def test_other_files_are_refused(data, status, words):
    with pytest.raises(Refused, match=words) as caught:
        kind_of(data, SMALL)
    assert caught.value.status == status


def test_a_bomb_is_refused_by_its_header():
    # 60,000 x 60,000 pixels of nothing in a few bytes.
    def chunk(name, content):
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(10_000))) + chunk(b"IEND", b"")
    with pytest.raises(Refused, match="pixels") as caught:
        kind_of(data, Limits())
    assert caught.value.status == 413
    with pytest.raises(Refused, match=r"1000 x 500 \(0.5 megapixels\), at most 0.3"):
        kind_of(encoded(np.zeros((500, 1000, 3), np.uint8), "PNG"), SMALL)


def test_an_image_that_breaks_off_is_named_damaged():
    noise = np.random.default_rng(0).integers(0, 255, (100, 100, 3), np.uint8)
    data = encoded(noise, "PNG")
    assert kind_of(data[: len(data) // 2], SMALL) == "image"
    with pytest.raises(Refused, match="damaged") as caught:
        decode_image(data[: len(data) // 2], SMALL)
    assert caught.value.status == 422


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"RIFF", b"MM\0*"]),
)
def test_any_bytes_are_refused_or_read(tail, head):
    with suppress(Refused):  # and nothing else
        if kind_of(head + tail, SMALL) == "image":
            decode_image(head + tail, SMALL)


def test_a_clip_is_spread_evenly():
    every = [frame for frame, _ in read_clip(CLIP)]
    clip = Clip(CLIP.read_bytes(), Limits(frames=4))
    frames = list(clip)
    assert clip.frames == len(frames) == 4
    assert [frame.time_s for frame in frames] == pytest.approx([0.0, 0.4, 0.8, 1.2])
    for k, frame in enumerate(frames):
        # OpenCV and FFmpeg convert colors with other roundings.
        assert np.abs(frame.image.astype(int) - every[4 * k]).mean() < 2
    assert len(list(Clip(CLIP.read_bytes(), Limits(frames=100)))) == len(every)


@pytest.mark.parametrize(("codec", "format"), [("libx264", "mp4"), ("mpeg4", "avi"), ("libvpx-vp9", "webm")])
def test_clips_of_many_kinds(codec, format):
    data = clip_of([(64, 48)] * 3, codec=codec, format=format)
    assert kind_of(data, SMALL) == "clip"
    frames = list(Clip(data, SMALL))
    assert [frame.image.shape for frame in frames] == [(48, 64, 3)] * 3


def test_a_clip_of_too_many_pixels_is_refused():
    with pytest.raises(Refused, match="1000 x 500"):
        list(Clip(clip_of([(1000, 500)]), SMALL))


def test_a_clip_that_lies_about_its_size_makes_no_large_frame():
    # The container says 64 x 48, the H.264 stream 1000 x 500.
    data = clip_of([(1000, 500)] * 2)
    lying = data.replace(struct.pack(">HH", 1000, 500), struct.pack(">HH", 64, 48))
    assert lying != data
    with pytest.raises(Refused):
        list(Clip(lying, SMALL))


def test_a_clip_that_breaks_off_gives_what_came_before():
    whole = clip_of([(320, 240)] * 30, codec="mpeg4", format="matroska")
    assert len(list(Clip(whole, Limits(frames=100)))) == 30
    assert 0 < len(list(Clip(whole[: len(whole) // 2], Limits(frames=100)))) < 30
    with pytest.raises(Refused):
        list(Clip(whole[:64], Limits()))


def test_damage_within_a_clip_is_noted():
    data = bytearray(CLIP.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 60_000] = bytes(60_000)
    clip = Clip(bytes(data), Limits(frames=100))
    seen = len(list(clip))
    assert 0 < seen <= 16
    assert (seen < 16) == ("damaged" in clip.note)


@given(
    st.binary(max_size=300),
    st.sampled_from([b"\x1a\x45\xdf\xa3", b"\0\0\0\x18ftypisom", b"RIFF\0\1\0\0AVI LIST"]),
)
def test_any_container_is_refused_or_read(tail, head):
    with suppress(Refused):
        list(Clip(head + tail, SMALL))


def test_limits_are_positive():
    with pytest.raises(ValueError, match="frames must be at least 1, got 0"):
        Limits(frames=0)
