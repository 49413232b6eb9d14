"""Ground truth in Cityscapes' layout, and predictions for it that are wrong in every way that is counted."""

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest

from panodeeplab.classes import CITYSCAPES
from panodeeplab.data.cityscapes import CityscapesDataset
from panodeeplab.data.sample import Sample
from panodeeplab.postprocess import PanopticResult, PanopticSegment


class Scored(NamedTuple):
    """Images with truth and prediction, and the folder that holds the truth's files."""

    root: Path
    pairs: list[tuple[Sample, PanopticResult]]


def write_truth(root: Path, name: str, instance_ids: np.ndarray, split: str = "val") -> None:
    """The files of one image, as the official data has them."""
    city = name.split("_")[0]
    for folder, suffix, pixels in (
        ("leftImg8bit", "leftImg8bit", np.zeros((*instance_ids.shape, 3), np.uint8)),
        ("gtFine", "gtFine_instanceIds", instance_ids),
        (
            "gtFine",
            "gtFine_labelIds",
            np.where(instance_ids < 1000, instance_ids, instance_ids // 1000).astype(np.uint8),
        ),
    ):
        path = root / folder / split / city / f"{name}_{suffix}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), pixels)


def generated_ids(rng: np.random.Generator, size: tuple[int, int] = (96, 160)) -> np.ndarray:
    """An instanceIds map of blocks: stuff, objects great and small, crowds, caravans, and what is ignored."""
    height, width = size
    stuff = [i for n, i in enumerate(CITYSCAPES.label_ids) if n not in CITYSCAPES.thing_ids]
    ids = np.repeat(rng.choice([*stuff, 0, 3, 9], 8), height // 8)[:, None].repeat(width, 1).astype(np.uint16)
    things = [CITYSCAPES.label_ids[i] for i in CITYSCAPES.thing_ids]
    for number in range(14):
        label = int(rng.choice(things[:4]))
        h, w = rng.integers(4, 40, 2)
        y, x = rng.integers(0, height - 4), rng.integers(0, width - 4)
        value = label * 1000 + number
        if number == 12:
            value = 29000
        elif number >= 10:
            value = label
        ids[y : y + h, x : x + w] = value
    return ids


def worse(sample: Sample, rng: np.random.Generator) -> PanopticResult:
    """A prediction for a truth: moved, with parts of other classes, merged, split, lost and made up."""
    height, width = sample.panoptic.shape
    source = np.roll(sample.panoptic, rng.integers(-2, 3, 2), (0, 1))
    class_of = {s["id"]: s["category_id"] for s in sample.segments_info}
    things = CITYSCAPES.thing_ids
    panoptic = np.full(source.shape, -1, np.int32)
    for number, i in enumerate(np.unique(source).tolist(), 1):
        category = class_of.get(i, int(rng.choice(things)))
        if rng.random() < 0.15:
            category = int(rng.integers(19))
        if rng.random() < 0.1:
            continue
        panoptic[source == i] = category * 1000 + (number if category in things else 0)
    for number in range(900, 906):  # what is not there
        y, x = rng.integers(0, height - 8), rng.integers(0, width - 8)
        h, w = rng.integers(4, 4 + height // 4), rng.integers(4, 4 + width // 4)
        panoptic[y : y + h, x : x + w] = int(rng.choice(things[:4])) * 1000 + number
    segments = []
    for i in np.unique(panoptic[panoptic >= 0]).tolist():
        mask = panoptic == i
        segments.append(
            PanopticSegment(
                id=i,
                category_id=i // 1000,
                category=CITYSCAPES.names[i // 1000],
                is_thing=i // 1000 in things,
                # Some scores are equal, as they are in practice after rounding.
                score=float(rng.integers(1, 12) / 12) if rng.random() < 0.5 else float(rng.random()),
                area=int(mask.sum()),
                box=(0, 0, height, width),
                center=None,
            )
        )
    class_map = np.where(panoptic < 0, rng.integers(0, 19, panoptic.shape), panoptic // 1000).astype(np.int32)
    return PanopticResult(panoptic, tuple(segments), CITYSCAPES, class_map=class_map)


def scored(root: Path, split: str, seed: int) -> Scored:
    """Predictions for all images of a split, most instances found, some not."""
    rng = np.random.default_rng(seed)
    dataset = CityscapesDataset(root, split)
    return Scored(
        root, [(sample, worse(sample, rng)) for sample in (dataset[i] for i in range(len(dataset)))]
    )


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Scored:
    root = tmp_path_factory.mktemp("cityscapes")
    rng = np.random.default_rng(0)
    for number in range(12):
        write_truth(root, f"town_{number:06d}_000019", generated_ids(rng))
    return scored(root, "val", 1)


@pytest.fixture(scope="session")
def real(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Scored:
    """The real frames at half size: the other evaluator takes seconds for a whole one."""
    root = tmp_path_factory.mktemp("real")
    for path in sorted((shared / "data/cityscapes/gtFine").glob("*/*/*_instanceIds.png")):
        ids = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[::2, ::2]
        write_truth(root, path.name.removesuffix("_gtFine_instanceIds.png"), ids)
    return scored(root, "val", 2)
