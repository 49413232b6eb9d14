"""Images on their way to the network: read, checked, scaled."""

import struct
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

# An image: pixels, (H, W, 3) uint8 RGB, or a path.
Image8 = np.ndarray | Tensor | str | Path


def read_image(path: str | Path) -> np.ndarray:
    """Read an image file as RGB, upright.

    Gray is repeated, alpha dropped, 16 bits a channel are reduced to the upper 8, the EXIF orientation
    applied. A file that breaks off half way is an error, not a half image.

    Args:
        path: of a file that Pillow can read.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is no image, damaged, or has floating point pixels.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"path: no image file {path}")
    try:
        with Image.open(path) as file:
            return upright_rgb(file)
    # All that Pillow raises for a damaged file, SyntaxError and struct.error included.
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise ValueError(f"path: cannot read {path} as an image: {error}") from error


def upright_rgb(file: Image.Image) -> np.ndarray:
    """Pixels of an opened picture, as `read_image` reads it.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        ValueError: floating point pixels.
        Exception: what Pillow raises for a damaged file.
    """
    image = ImageOps.exif_transpose(file)
    if image.mode == "F":
        raise ValueError("floating point pixels, wanted 8 or 16 bits")
    if image.mode.startswith("I"):  # 16 bits of gray, which convert() would clip at 255
        gray = (np.clip(np.asarray(image), 0, 65535) >> 8).astype(np.uint8)
        return np.repeat(gray[..., None], 3, axis=2)
    return np.array(image.convert("RGB"))


def checked_image(image: Image8) -> np.ndarray | Tensor:
    """An image's pixels, read if it is a path; a tensor on the CPU as an array.

    Raises:
        ValueError: not (H, W, 3) uint8, without pixels, or not readable.
    """
    if isinstance(image, str | Path):
        return read_image(image)
    if not isinstance(image, np.ndarray | Tensor):
        raise ValueError(
            f"images must be (H, W, 3) uint8 arrays or tensors, or paths, got {type(image).__name__}"
        )
    if image.dtype not in (np.uint8, torch.uint8) or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"images must be (H, W, 3) uint8 RGB, got {tuple(image.shape)} {image.dtype}")
    if 0 in image.shape:
        raise ValueError(f"images must have pixels, got {tuple(image.shape)}")
    return image.numpy() if isinstance(image, Tensor) and image.device.type == "cpu" else image


def fitting_size(image_size: tuple[int, int], size: tuple[int, int] | None) -> tuple[int, int]:
    """The largest (H, W) of an image's aspect ratio that fits inside `size`; None keeps its own size."""
    if size is None:
        return image_size
    scale = min(limit / length for limit, length in zip(size, image_size, strict=True))
    height, width = (max(1, round(length * scale)) for length in image_size)
    return height, width


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An (H, W, 3) image at another size, as the network was trained and is evaluated on them."""
    if image.shape[:2] == size:
        return image
    # As for training and evaluation: below half size bilinear would skip pixels.
    below_half = 2 * size[0] < image.shape[0] or 2 * size[1] < image.shape[1]
    interpolation = cv2.INTER_AREA if below_half else cv2.INTER_LINEAR
    return cv2.resize(image, (size[1], size[0]), interpolation=interpolation)


def resized_on_device(batch: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, H, W, 3) uint8 → (N, 3, *size) uint8, channels_last; as `resized` up to the rounding of pixels."""
    # Seen as (N, 3, H, W), it is channels_last as it lies.
    batch = batch.permute(0, 3, 1, 2)
    height, width = batch.shape[-2:]
    if (height, width) == size:
        return batch
    if 2 * size[0] < height or 2 * size[1] < width:
        scaled = F.interpolate(batch.float(), size, mode="area")
    else:
        scaled = F.interpolate(batch.float(), size, mode="bilinear", align_corners=False)
    return scaled.round().to(torch.uint8).contiguous(memory_format=torch.channels_last)
