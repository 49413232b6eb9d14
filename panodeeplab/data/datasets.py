"""The data sets that a run's configuration names."""

from panodeeplab.config import CityscapesConfig, ScenesConfig
from panodeeplab.data.cityscapes import CityscapesDataset
from panodeeplab.data.sample import PanopticDataset
from panodeeplab.data.scenes import StreetScenes


def build_dataset(config: CityscapesConfig | ScenesConfig | None, split: str) -> PanopticDataset:
    """The training or validation data.

    Args:
        config: the data section of a run.
        split: "train" or "val".

    Raises:
        ValueError: another split, no data set, or its folders are not where `config` says.
    """
    if config is None:
        raise ValueError(
            "data is null: this configuration comes from a checkpoint without a data set; name one, as in "
            "--set data.dataset=cityscapes --set data.root=DIR"
        )
    if split not in ("train", "val"):
        raise ValueError(f"split must be 'train' or 'val', got {split!r}")
    training = split == "train"
    if isinstance(config, ScenesConfig):
        return StreetScenes(
            config.train_count if training else config.val_count,
            size=config.image_size,
            seed=config.train_seed if training else config.val_seed,
        )
    return CityscapesDataset(config.root, split=config.train_split if training else config.val_split)
