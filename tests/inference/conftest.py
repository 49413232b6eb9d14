"""A model that is small, untrained, and yet sees something everywhere."""

from pathlib import Path

import pytest
import torch

from panodeeplab.classes import CITYSCAPES, COCO, ClassTable
from panodeeplab.config import validate
from panodeeplab.model import PanopticDeepLab, save_checkpoint


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as training writes it, for images of 64 x 128."""
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "model.safetensors", CITYSCAPES)


@pytest.fixture(scope="session")
def coco_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with COCO's classes."""
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "coco.safetensors", COCO)


def write_checkpoint(path: Path, classes: ClassTable) -> Path:
    branch = {"aspp_channels": 16, "channels": 16, "skip_channels": (8, 8), "head_channels": 8}
    config = validate(
        {
            "data": {"dataset": "scenes", "image_size": (64, 128)},
            "inference": {"input_size": (64, 128)},
            "augmentation": {"crop_size": (64, 128)},
            "model": {"backbone": "mobilenet_v2", "semantic": branch, "instance": branch},
            "training": {"iterations": 1, "batch_size": 1},
            "postprocess": {"stuff_area": 64, "top_k": 20},
        }
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = PanopticDeepLab(config.model, num_classes=len(classes))
        with torch.no_grad():
            for head in (model.semantic_head, model.center_head, model.offset_head):
                torch.nn.init.normal_(head[-1].weight, std=2.0)
            model.center_head[-1].bias.fill_(0.5)
    save_checkpoint(path, model, config=config, classes=classes, iteration=1)
    return path
