"""Sample number n of a training run: read, augmented, with its targets."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from torch.utils.data import Dataset

from panodeeplab.data.copy_paste import CopyPaste
from panodeeplab.data.sample import PanopticDataset, Sample
from panodeeplab.data.sampling import AUGMENTATION, COPY_PASTE, EpochOrder
from panodeeplab.targets import PanopticTargets

# So many in a row that cannot be read are no damaged files, but a disk that is gone.
_MOST_IN_A_ROW = 100


class BadSample(NamedTuple):
    """A sample that cannot be read: its position in the data set, and why, with the name of the file."""

    index: int
    reason: str


class TrainingSample(NamedTuple):
    """What goes into a batch.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        targets: of the image.
        bad: samples that could not be read, in whose place this one came.
    """

    image: np.ndarray
    targets: PanopticTargets
    bad: tuple[BadSample, ...]


class TrainingSet(Dataset):
    """Sample number n of a training run, for any n from 0: which image it is, and how it is augmented.

    Each epoch has an order of its own; an epoch's last images and the next one's first may share a batch.
    Every n has its own augmentation, so that no epoch repeats another. All of it depends on the seed and n
    only.

    Args:
        dataset: map-style, at least one sample.
        transform: augmentation, see TrainTransform.
        make_targets: from the augmented sample, see `targets.panoptic_targets`.
        seed: of order and augmentation, >= 0.
        repeats: see EpochOrder.
        copy_paste: puts objects of other images of `dataset` into a sample, before `transform`.
        skip_bad: the next sample of the order takes the place of one that cannot be read; else the error is
            raised.

    Raises:
        ValueError: the data set is empty, or the seed negative.
    """

    def __init__(
        self,
        dataset: PanopticDataset,
        transform: Callable[[Sample, np.random.Generator], Sample],
        make_targets: Callable[[Sample], PanopticTargets],
        seed: int,
        *,
        repeats: np.ndarray | None = None,
        copy_paste: CopyPaste | None = None,
        skip_bad: bool = False,
    ) -> None:
        self.order = EpochOrder(len(dataset), seed, repeats)
        self.dataset = dataset
        self.transform = transform
        self.make_targets = make_targets
        self.seed = seed
        self.copy_paste = copy_paste
        self.skip_bad = skip_bad

    def _rng(self, purpose: int, number: int) -> np.random.Generator:
        return np.random.default_rng((purpose, self.seed, number))

    def _read(self, index: int, bad: list[BadSample]) -> Sample | None:
        """A sample of the data set; None if it cannot be read, which is then put down in `bad`."""
        try:
            return self.dataset[index]
        except (ValueError, OSError) as error:
            if not self.skip_bad:
                raise
            bad.append(BadSample(index, str(error)))
            return None

    def _read_number(self, number: int, bad: list[BadSample]) -> Sample:
        for step in range(_MOST_IN_A_ROW):
            sample = self._read(self.order.index(number + step), bad)
            if sample is not None:
                return sample
        raise ValueError(f"{_MOST_IN_A_ROW} samples in a row cannot be read; the first: {bad[0].reason}")

    def augmented(self, number: int) -> tuple[Sample, tuple[BadSample, ...]]:
        """Sample `number` as the network is to learn it, and the samples in whose place it came."""
        bad: list[BadSample] = []
        sample = self._read_number(number, bad)
        if self.copy_paste is not None:
            rng = self._rng(COPY_PASTE, number)
            source = self.copy_paste.draw_source(rng)
            other = None if source is None else self._read(source, bad)
            if other is not None:
                sample = self.copy_paste.paste(sample, other, rng)
        return self.transform(sample, self._rng(AUGMENTATION, number)), tuple(bad)

    def __getitem__(self, number: int) -> TrainingSample:
        sample, bad = self.augmented(number)
        return TrainingSample(sample.image, self.make_targets(sample), bad)
