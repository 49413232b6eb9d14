"""Checks the data that the configuration of a run names: its training and its validation split."""

import numpy as np
from tqdm import tqdm

from panodeeplab.config import (
    CityscapesConfig,
    CocoPanopticConfig,
    MapillaryVistasConfig,
    RunConfig,
    ScenesConfig,
)
from panodeeplab.data.check.cityscapes import check_cityscapes
from panodeeplab.data.check.coco_panoptic import check_coco_panoptic
from panodeeplab.data.check.report import Finding, Problem, Report, count, examine
from panodeeplab.data.cityscapes import OFFICIAL_IDS, read_instance_id_table
from panodeeplab.data.datasets import build_dataset
from panodeeplab.data.mapillary_vistas import MAPILLARY_VISTAS, mapillary_files
from panodeeplab.data.sample import PanopticDataset

_SPLITS = ("train", "val")


def _check_sample(dataset: PanopticDataset, index: int) -> Finding:
    try:
        sample = dataset[index]
    except (ValueError, OSError) as error:
        return Finding([Problem(f"sample {index}", str(error))])
    values, areas = np.unique(sample.panoptic, return_counts=True)
    area_of = dict(zip(values.tolist(), areas.tolist(), strict=True))
    segments = [(segment, area_of[segment["id"]]) for segment in sample.segments_info]
    return Finding(segments=segments, pixels=sample.panoptic.size)


def _check_samples(report: Report, dataset: PanopticDataset, split: str) -> None:
    """Read every sample of any data set; what its reader refuses goes into the report."""
    with tqdm(total=len(dataset), desc="checking", unit="image") as bar:
        count(
            report,
            split,
            classes=dataset.classes,
            folder=split,
            labels=[f"sample {index}" for index in range(len(dataset))],
            findings=examine(range(len(dataset)), lambda index: _check_sample(dataset, index), bar),
        )


def _add(report: Report, part: Report) -> None:
    report.splits |= part.splits
    report.problems += part.problems


def check_run(config: RunConfig, source: str) -> Report:
    """Open every file of the training and the validation data of a run, and count what they hold.

    Args:
        config: of the run.
        source: name of it, for the report.

    Raises:
        FileNotFoundError: a JSON or a class table is not there.
        ValueError: a folder is not there, a JSON breaks its format, or there is nothing to check.
    """
    data = config.data
    report = Report(source)
    if isinstance(data, CityscapesConfig):
        ids = read_instance_id_table(data.classes) if data.classes else OFFICIAL_IDS
        splits = list(dict.fromkeys((data.train_split, data.val_split)))
        return check_cityscapes(data.root, splits, ids)
    if isinstance(data, ScenesConfig):
        raise ValueError("data.dataset is 'scenes', which is generated: there is nothing to check")
    if isinstance(data, CocoPanopticConfig):
        for split, files in zip(_SPLITS, (data.train, data.val), strict=True):
            _add(report, check_coco_panoptic(files.images, files.annotations, files.pngs, name=split))
    elif isinstance(data, MapillaryVistasConfig):
        for split, folder in zip(_SPLITS, ("training", "validation"), strict=True):
            files = mapillary_files(data.root, folder)
            _add(report, check_coco_panoptic(*files, name=split, classes=MAPILLARY_VISTAS))
    else:
        for split in _SPLITS:
            _check_samples(report, build_dataset(data.model_copy(update={"cache": None}), split), split)
    train, val = (report.splits[split].classes for split in _SPLITS)
    if train != val:
        report.problems.append(Problem("data", "the training and the validation data have different classes"))
    return report


def dataset_of_run(config: RunConfig, split: str) -> PanopticDataset:
    """The data of a run by the name that the split has in the report of `check_run`."""
    if isinstance(config.data, CityscapesConfig):
        return build_dataset(config.data, "train" if split == config.data.train_split else "val")
    return build_dataset(config.data, split)
