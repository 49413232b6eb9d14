"""Writes small data sets in the layout of Cityscapes, and in COCO panoptic format."""

import json
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


@pytest.fixture
def write_coco(tmp_path: Path) -> Callable[..., Path]:
    """write(maps, segments, categories, name) writes images, PNGs and JSON of COCO panoptic; gives the JSON.

    `maps` are (H, W) ids by image id, `segments` lists of the JSON's segments by image id.
    """

    def write(
        maps: dict[int | str, np.ndarray],
        segments: dict[int | str, list[dict]],
        categories: list[dict],
        name: str = "panoptic_val",
    ) -> Path:
        path = tmp_path / "annotations" / f"{name}.json"
        (tmp_path / "annotations" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "images").mkdir(exist_ok=True)
        content = {"images": [], "annotations": [], "categories": categories}
        for image_id, ids in maps.items():
            bgr = np.stack([ids >> 16, ids >> 8 & 255, ids & 255], -1).astype(np.uint8)
            image = np.random.default_rng(0).integers(0, 256, (*ids.shape, 3), np.uint8)
            assert cv2.imwrite(str(path.with_suffix("") / f"{image_id}.png"), bgr)
            assert cv2.imwrite(str(tmp_path / "images" / f"{image_id}.png"), image)
            height, width = ids.shape
            image_entry = {"id": image_id, "file_name": f"{image_id}.png", "height": height, "width": width}
            content["images"].append(image_entry)
            content["annotations"].append(
                {
                    "image_id": image_id,
                    "file_name": f"{image_id}.png",
                    "segments_info": segments[image_id],
                }
            )
        path.write_text(json.dumps(content))
        return path

    return write
