"""Which image each sample of a training run is: each once an epoch, or those with rare classes more often."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tqdm import tqdm

from panodeeplab.data.sample import PanopticDataset

# First words of the seeds: what a run draws for one purpose is independent of what it draws for another.
ORDER, AUGMENTATION, COPY_PASTE = 0, 1, 2


class EpochOrder:
    """The image of sample number n, for any n from 0.

    An epoch has one length and an order of its own. Without `repeats` it goes through all images once. With
    them, image i comes floor(repeats[i]) or ceil(repeats[i]) times in each epoch, repeats[i] times on
    average.

    Args:
        count: images.
        seed: of the orders, >= 0.
        repeats: (count,) float, how often each image is to come in an epoch, > 0; None: once.

    Raises:
        ValueError: there are no images, or the seed is negative.
    """

    def __init__(self, count: int, seed: int, repeats: np.ndarray | None = None) -> None:
        if count == 0:
            raise ValueError("dataset has no samples")
        if seed < 0:
            raise ValueError(f"seed must be >= 0, got {seed}")
        self._seed = seed
        self._ends = None if repeats is None else np.cumsum(repeats, dtype=np.float64)
        self.length = count if self._ends is None else max(1, round(self._ends[-1]))
        self._epoch = -1
        self._order = np.empty(0, np.int64)

    def _draw(self, epoch: int) -> np.ndarray:
        rng = np.random.default_rng((ORDER, self._seed, epoch))
        if self._ends is None:
            return rng.permutation(self.length)
        # Systematic sampling: points at equal distances, which begin anywhere, fall into each image's share.
        points = (rng.random() + np.arange(self.length)) * (self._ends[-1] / self.length)
        return rng.permutation(np.minimum(np.searchsorted(self._ends, points, "right"), len(self._ends) - 1))

    def index(self, number: int) -> int:
        """Position in the data set of sample `number`."""
        epoch, position = divmod(number, self.length)
        if epoch != self._epoch:
            self._order, self._epoch = self._draw(epoch), epoch
        return int(self._order[position])


def class_presence(dataset: PanopticDataset, *, progress: bool = True) -> np.ndarray:
    """Which classes each image has, from its labels alone.

    A crowd region is no object of its class: a thing counts where there is one that was told apart.
    An image whose labels cannot be read has none.

    Args:
        dataset: to look at, all of it.
        progress: show a bar.

    Returns:
        (len(dataset), C) bool.
    """
    presence = np.zeros((len(dataset), len(dataset.classes)), bool)
    things = set(dataset.classes.thing_ids)

    def look(index: int) -> None:
        try:
            segments = dataset.segments_info(index)
        # The training says which samples cannot be read.
        except (ValueError, OSError):
            return
        for segment in segments:
            if not (segment["iscrowd"] and segment["category_id"] in things):
                presence[index, segment["category_id"]] = True

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(look, range(len(dataset)))
        for _ in tqdm(found, total=len(dataset), desc="classes", unit="image", disable=not progress):
            pass
    return presence


def repeat_factors(presence: np.ndarray, threshold: float) -> np.ndarray:
    """How often an image should come in an epoch: more often if it has a class that few images have.

    With f the share of the images that have a class, its factor is max(1, sqrt(threshold / f)); an image's is
    the largest of its classes.

    Args:
        presence: (N, C) bool, see `class_presence`.
        threshold: share of the images, (0, 1], from which a class is not rare.

    Returns:
        (N,) float64, each >= 1.

    Raises:
        ValueError: `threshold` outside (0, 1].

    Source: Gupta et al., "LVIS" (CVPR 2019), section 5.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must lie in (0, 1], got {threshold}")
    share = presence.mean(0).clip(min=1 / max(1, len(presence)))
    factors = np.sqrt(threshold / share).clip(min=1)
    return np.where(presence, factors, 1.0).max(1)
