"""Small measurements; how long anything took is never asserted."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from results import FAST

from panodeeplab.bench.measure import measure_setting
from panodeeplab.bench.stages import Setting

NARROW = {"aspp_channels": 8, "channels": 8, "skip_channels": [8, 8], "head_channels": 8}
THREADS = torch.get_num_threads()


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Other tests have as many threads as before: measuring in this process sets them."""
    yield
    torch.set_num_threads(THREADS)


@pytest.fixture(scope="session")
def recipe(tmp_path_factory) -> Path:
    """A run for a network of almost nothing."""
    path = tmp_path_factory.mktemp("recipes") / "small.yaml"
    run = {
        "data": {"dataset": "cityscapes", "root": "absent"},
        "augmentation": {"crop_size": [64, 96]},
        "model": {
            "backbone": "mobilenet_v2",
            "output_stride": 32,
            "semantic": NARROW,
            "instance": NARROW,
            # What benchmarks must not fetch.
            "backbone_weights": "imagenet",
        },
        "training": {"iterations": 2, "batch_size": 2},
        "postprocess": {"stuff_area": 16},
    }
    path.write_text(yaml.safe_dump(run))
    return path


@pytest.fixture(scope="session")
def trained() -> dict:
    """The bundled model, measured."""
    return measure_setting(Setting(**FAST))


@pytest.fixture(scope="session")
def random(recipe) -> dict:
    """The small network, measured."""
    return measure_setting(Setting(model=str(recipe), **FAST))
