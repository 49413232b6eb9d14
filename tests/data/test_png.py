"""The faster decoder gives what OpenCV gives, or leaves the file to it."""

import cv2
import numpy as np
import pytest
from PIL import Image

from panodeeplab.data import png
from panodeeplab.data.coco_panoptic import read_panoptic_png

RGB = np.random.default_rng(0).integers(0, 256, (23, 31, 3), dtype=np.uint8)


@pytest.mark.parametrize("write", ["opencv", "pillow"])
def test_rgb_is_decoded(tmp_path, write):
    pytest.importorskip("kornia_rs")
    path = tmp_path / "ids.png"
    if write == "opencv":
        cv2.imwrite(str(path), RGB[..., ::-1])
    else:
        Image.fromarray(RGB).save(path)
    np.testing.assert_array_equal(png.decode_rgb_png(np.fromfile(path, np.uint8)), RGB)


def test_gray_of_16_bits_is_decoded(tmp_path):
    pytest.importorskip("kornia_rs")
    gray = np.random.default_rng(0).integers(0, 1 << 16, (23, 31), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "ids.png"), gray)
    encoded = np.fromfile(tmp_path / "ids.png", np.uint8)
    np.testing.assert_array_equal(png.decode_gray16_png(encoded), gray)
    assert png.decode_rgb_png(encoded) is None
    # The last pixel is there, the end of the file is not.
    assert png.decode_gray16_png(encoded[:-1]) is None


def test_ids_are_the_same_without_it(tmp_path, monkeypatch):
    Image.fromarray(RGB).save(tmp_path / "ids.png")
    fast = read_panoptic_png(tmp_path / "ids.png")
    monkeypatch.setattr(png, "decode_image_png_u8", None)
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
