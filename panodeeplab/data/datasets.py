"""The data sets that a run's configuration names."""

from pathlib import Path

from panodeeplab.config import (
    Bdd100kConfig,
    CityscapesConfig,
    CocoPanopticConfig,
    DataConfig,
    KittiStepConfig,
    MapillaryVistasConfig,
)
from panodeeplab.data.bdd100k import bdd100k
from panodeeplab.data.cache import CachedDataset
from panodeeplab.data.cityscapes import OFFICIAL_IDS, CityscapesDataset, read_instance_id_table
from panodeeplab.data.coco_dataset import CocoPanopticDataset
from panodeeplab.data.kitti_step import kitti_step
from panodeeplab.data.mapillary_vistas import mapillary_vistas
from panodeeplab.data.sample import PanopticDataset
from panodeeplab.data.scenes import StreetScenes


def meaning_files(config: DataConfig) -> list[Path]:
    """Files, beside those of the samples, that say what the data mean."""
    return [config.classes] if isinstance(config, CityscapesConfig) and config.classes else []


def build_dataset(config: DataConfig | None, split: str) -> PanopticDataset:
    """The training or validation data, from the cache where `config` names one.

    Args:
        config: the data section of a run.
        split: "train" or "val".

    Raises:
        FileNotFoundError: a JSON, a class table or the cache is not there.
        ValueError: another split, no data set, its folders are not where `config` says, or a stale cache.
    """
    if config is None:
        raise ValueError(
            "data is null: this configuration comes from a checkpoint without a data set; name one in the "
            "YAML file of the run (docs/data.md has a data section for each format), or as in "
            "--set data.dataset=cityscapes --set data.root=DIR --set data.classes=TABLE.yaml"
        )
    if split not in ("train", "val"):
        raise ValueError(f"split must be 'train' or 'val', got {split!r}")
    dataset = _dataset_of_files(config, split)
    if config.cache is None:
        return dataset
    return CachedDataset(dataset, config.cache, split, also=meaning_files(config))


def _dataset_of_files(config: DataConfig, split: str) -> PanopticDataset:
    training = split == "train"
    match config:
        case CityscapesConfig():
            ids = read_instance_id_table(config.classes) if config.classes else OFFICIAL_IDS
            name = config.train_split if training else config.val_split
            return CityscapesDataset(config.root, name, ids)
        case CocoPanopticConfig():
            files = config.train if training else config.val
            try:
                return CocoPanopticDataset(files.images, files.annotations, files.pngs)
            except FileNotFoundError as error:
                raise FileNotFoundError(
                    f"{error}; set data.{split}.images and data.{split}.annotations to where yours are"
                ) from None
        case KittiStepConfig():
            return kitti_step(config.root, split)
        case MapillaryVistasConfig():
            return mapillary_vistas(config.root, "training" if training else "validation")
        case Bdd100kConfig():
            return bdd100k(config.root, split)
        case _:
            return StreetScenes(
                config.train_count if training else config.val_count,
                size=config.image_size,
                seed=config.train_seed if training else config.val_seed,
            )
