"""Writes small data sets in the layout of Cityscapes."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest


@pytest.fixture
def write_pair(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """write(ids, split, city, name, image) writes an image and its instanceIds; gives both paths."""

    def write(
        ids: np.ndarray,
        split: str = "train",
        city: str = "aachen",
        name: str = "a",
        image: np.ndarray | None = None,
    ) -> tuple[Path, Path]:
        if image is None:
            image = np.random.default_rng(0).integers(0, 256, (*ids.shape, 3), np.uint8)
        image_file = tmp_path / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png"
        label_file = tmp_path / "gtFine" / split / city / f"{name}_gtFine_instanceIds.png"
        for file, pixels in ((image_file, image[..., ::-1]), (label_file, ids.astype(np.uint16))):
            file.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(file), pixels)
        return image_file, label_file

    return write
