"""A run so small that it takes a second."""

from panodeeplab import config as configuration

NARROW = {"aspp_channels": 8, "channels": 8, "skip_channels": [8, 8], "head_channels": 8}


def make_config(*overrides: str, **training) -> configuration.RunConfig:
    """Four steps of two images; `training` replaces settings of that section, `overrides` any."""
    tree = {
        "data": {"dataset": "scenes", "image_size": [64, 128], "train_count": 5, "val_count": 2},
        "augmentation": {"crop_size": [64, 96], "scale": [0.8, 1.2], "color_jitter": 0.2},
        "model": {
            "backbone": "mobilenet_v3_small",
            "output_stride": 32,
            "semantic": NARROW,
            "instance": NARROW,
        },
        "postprocess": {"stuff_area": 16},
        "training": {
            "iterations": 4,
            "batch_size": 2,
            "evaluate_every": 4,
            "checkpoint_every": 2,
            "log_every": 1,
            "workers": 0,
            "device": "cpu",
            "deterministic": True,
            **training,
        },
    }
    return configuration.override(configuration.validate(tree), overrides)
