"""Pictures as data sets read them."""

from pathlib import Path

import cv2
import numpy as np

from panodeeplab.data.png import decode_rgb_png


def read_bytes(path: Path) -> np.ndarray:
    """The content of a file: (n,) uint8, n >= 1.

    Raises:
        ValueError: the file is empty.
        OSError: the file cannot be opened.
    """
    # Not cv2.imread: it takes no path outside ASCII on Windows, and gives None for a missing file too.
    data = np.fromfile(path, np.uint8)
    if data.size == 0:
        raise ValueError(f"{path} is empty")
    return data


def decode(path: Path, flags: int, data: np.ndarray | None = None) -> np.ndarray:
    """Read a picture file as OpenCV decodes it with `flags`: channels in BGR order.

    Args:
        path: of the file.
        flags: cv2.IMREAD_*.
        data: (n,) uint8, the content of the file where it has been read already.

    Raises:
        ValueError: the file is damaged; the message names it.
        OSError: the file cannot be opened.
    """
    if data is None:
        data = read_bytes(path)
    try:
        pixels = cv2.imdecode(data, flags)
    except cv2.error as error:
        raise ValueError(f"{path} cannot be decoded: {error.err}") from error
    if pixels is None:
        raise ValueError(f"{path} cannot be decoded: not an image, or cut short ({data.size} bytes)")
    return pixels


def read_image(path: Path) -> np.ndarray:
    """Read a picture: (H, W, 3) uint8, RGB.

    Raises:
        ValueError: the file is damaged; the message names it.
        OSError: the file cannot be opened.
    """
    data = read_bytes(path)
    if (rgb := decode_rgb_png(data)) is not None:
        return rgb
    # Labels know no EXIF orientation, so the image must not be turned by it either.
    pixels = decode(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION, data)
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def size_difference(labels: np.ndarray, image: np.ndarray) -> str | None:
    """How a label map, (H, W), and its image, (H, W, 3), differ in size, as text; None if they do not."""
    height, width = image.shape[:2]
    if labels.shape == (height, width):
        return None
    # Phones store pictures lying, and many annotation tools turn them as their metadata say.
    hint = "; images are read as stored, not turned by EXIF" if labels.shape == (width, height) else ""
    return f"{labels.shape[0]} x {labels.shape[1]} pixels (H x W), its image {height} x {width}{hint}"


def check_same_size(path: Path, labels: np.ndarray, image: np.ndarray) -> None:
    """Refuse a label map, read from `path`, that has not the size of its image.

    Raises:
        ValueError: names the file and both sizes.
    """
    if difference := size_difference(labels, image):
        raise ValueError(f"{path} is {difference}")
