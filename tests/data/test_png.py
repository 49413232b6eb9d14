"""The faster decoder gives what OpenCV gives, or leaves the file to it."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from panodeeplab.data import png
from panodeeplab.data.coco_panoptic import read_panoptic_png
from panodeeplab.ops import backend

RGB = np.random.default_rng(0).integers(0, 256, (23, 31, 3), dtype=np.uint8)
compiled = pytest.mark.skipif(backend() != "compiled", reason="without kernels OpenCV reads the file")


def encode(rows, height, width, *, color=2, bits=8, chunks=1):
    """A PNG of rows as they come of inflating: a filter, then bytes."""
    compressed = zlib.compress(rows.astype(np.uint8).tobytes())
    step = -(-len(compressed) // chunks)
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)),
        *((b"IDAT", compressed[i : i + step]) for i in range(0, len(compressed), step)),
        (b"IEND", b""),
    ]
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )
    return np.frombuffer(content, np.uint8)


@compiled
@pytest.mark.parametrize("write", ["opencv", "pillow"])
def test_rgb_is_decoded(tmp_path, write):
    path = tmp_path / "ids.png"
    if write == "opencv":
        cv2.imwrite(str(path), RGB[..., ::-1])
    else:
        Image.fromarray(RGB).save(path)
    np.testing.assert_array_equal(png.decode_rgb_png(np.fromfile(path, np.uint8)), RGB)


@compiled
@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 12),
    st.integers(1, 60),
    st.booleans(),
    st.sampled_from([0.0, 0.9, 1.0]),
    st.integers(1, 3),
    st.integers(0, 2**31),
)
def test_every_filter_is_decoded_as_opencv_does(height, width, gray, zeros, chunks, seed):
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 256, (height, 1 + width * (2 if gray else 3)))
    rows[rng.random(rows.shape) < zeros] = 0
    rows[:, 0] = rng.integers(0, 5, height)
    kind = {"color": 0, "bits": 16} if gray else {}
    encoded = encode(rows, height, width, chunks=chunks, **kind)
    expected = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
    decoded = png.decode_gray16_png(encoded) if gray else png.decode_rgb_png(encoded)[..., ::-1]
    assert decoded.dtype == expected.dtype
    np.testing.assert_array_equal(decoded, expected)


@compiled
def test_an_unknown_filter_is_left_to_opencv():
    rows = np.zeros((4, 1 + 3 * 5))
    rows[2, 0] = 5
    assert png.decode_rgb_png(encode(rows, 4, 5)) is None


@compiled
def test_gray_of_16_bits_is_decoded(tmp_path):
    gray = np.random.default_rng(0).integers(0, 1 << 16, (23, 31), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "ids.png"), gray)
    encoded = np.fromfile(tmp_path / "ids.png", np.uint8)
    decoded = png.decode_gray16_png(encoded)
    assert decoded.dtype == np.uint16
    np.testing.assert_array_equal(decoded, gray)
    assert png.decode_rgb_png(encoded) is None
    # The last pixel is there, the end of the file is not.
    assert png.decode_gray16_png(encoded[:-1]) is None


def test_ids_are_the_same_without_it(tmp_path, monkeypatch):
    Image.fromarray(RGB).save(tmp_path / "ids.png")
    fast = read_panoptic_png(tmp_path / "ids.png")
    monkeypatch.setattr(png, "backend", lambda: "reference")
    plain = read_panoptic_png(tmp_path / "ids.png")
    assert fast.dtype == plain.dtype == np.int32
    np.testing.assert_array_equal(fast, plain)
    np.testing.assert_array_equal(plain, RGB.astype(int) @ [1, 256, 65536])


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "I;16"])
def test_other_kinds_are_left_to_opencv(tmp_path, mode):
    picture = Image.fromarray(RGB[..., 0].astype(np.uint16)) if mode == "I;16" else Image.fromarray(RGB)
    (picture if mode == "I;16" else picture.convert(mode)).save(tmp_path / "picture.png")
    assert png.decode_rgb_png(np.fromfile(tmp_path / "picture.png", np.uint8)) is None


@pytest.mark.parametrize("keep", [0, 20, 60, 0.5])
def test_what_breaks_off_is_left_to_opencv(tmp_path, keep):
    Image.fromarray(RGB).save(tmp_path / "ids.png")
    content = np.fromfile(tmp_path / "ids.png", np.uint8)
    assert png.decode_gray16_png(content) is None
    assert png.decode_rgb_png(content[: int(keep * len(content)) if keep == 0.5 else keep]) is None


def test_damaged_bytes_are_left_to_opencv_or_do_no_harm():
    encoded = cv2.imencode(".png", RGB[..., ::-1])[1].ravel()
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = encoded.copy()
        damaged[rng.integers(0, damaged.size, 2)] = rng.integers(0, 256, 2)
        decoded = png.decode_rgb_png(damaged)
        # Its checksum guards the pixels; a byte of another chunk, or a check of OpenCV's, may differ.
        assert decoded is None or decoded.shape != RGB.shape or (decoded == RGB).all()


@pytest.mark.parametrize("sides", [(2**31 - 1, 2**31 - 1), (60000, 60000), (0, 31), (23, 0)])
def test_sizes_that_the_file_cannot_have_are_left_to_opencv(sides):
    content = bytearray(cv2.imencode(".png", RGB)[1].tobytes())
    content[16:24] = struct.pack(">II", *sides)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    assert png.decode_rgb_png(np.frombuffer(content, np.uint8)) is None
