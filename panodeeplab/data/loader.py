"""Training samples as an endless, repeatable sequence: batch t depends on the seed and t, on nothing else."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from panodeeplab.data.sample import PanopticDataset, Sample
from panodeeplab.targets import PanopticTargets

# First words of the seeds: the order of an epoch and the augmentation of a sample draw from separate streams.
_ORDER, _AUGMENTATION = 0, 1


class Batch(NamedTuple):
    """Samples of one training step, packed for their way from process to process and to a GPU; see `to`.

    Attributes:
        images: (N, 3, H, W) uint8, RGB, channels last in memory.
        targets: each field of PanopticTargets with a leading N, and these differences: `sem_seg` is uint8
            where the class ids fit, the weights of centers and offsets are bool, and `center_points`, whose
            number differs from image to image, is left out: it is (N, 0, 2).
    """

    images: Tensor
    targets: PanopticTargets

    def to(self, device: torch.device | str) -> tuple[Tensor, PanopticTargets]:
        """Images and targets on a device, the targets in the types that `panoptic_targets` gives.

        The copy of pinned memory does not wait for the GPU.
        """
        images, targets = (
            self.images.to(device, non_blocking=True),
            PanopticTargets(*(field.to(device, non_blocking=True) for field in self.targets)),
        )
        return images, targets._replace(
            sem_seg=targets.sem_seg.long(),
            center_weights=targets.center_weights.float(),
            offset_weights=targets.offset_weights.float(),
        )


class TrainingSet(Dataset):
    """Sample number n of a training run, for any n from 0: which image it is, and how it is augmented.

    Each epoch goes through all images once, in an order of its own; an epoch's last images and the next one's
    first may share a batch. Every n has its own augmentation, so that no epoch repeats another.

    Args:
        dataset: map-style, at least one sample.
        transform: augmentation, see TrainTransform.
        make_targets: from the augmented sample, see `targets.panoptic_targets`.
        seed: of order and augmentation, >= 0.

    Raises:
        ValueError: the data set is empty, or the seed negative.
    """

    def __init__(
        self,
        dataset: PanopticDataset,
        transform: Callable[[Sample, np.random.Generator], Sample],
        make_targets: Callable[[Sample], PanopticTargets],
        seed: int,
    ) -> None:
        if len(dataset) == 0:
            raise ValueError("dataset has no samples")
        if seed < 0:
            raise ValueError(f"seed must be >= 0, got {seed}")
        self.dataset = dataset
        self.transform = transform
        self.make_targets = make_targets
        self.seed = seed
        self._epoch = -1
        self._order = np.empty(0, np.int64)

    def index(self, number: int) -> int:
        """Position in the data set of sample `number`."""
        epoch, position = divmod(number, len(self.dataset))
        if epoch != self._epoch:
            self._order = np.random.default_rng((_ORDER, self.seed, epoch)).permutation(len(self.dataset))
            self._epoch = epoch
        return int(self._order[position])

    def __getitem__(self, number: int) -> tuple[np.ndarray, PanopticTargets]:
        sample = self.dataset[self.index(number)]
        sample = self.transform(sample, np.random.default_rng((_AUGMENTATION, self.seed, number)))
        return sample.image, self.make_targets(sample)


class _Numbers:
    """The sample numbers of one rank's part of each batch, from batch `first` to before batch `last`."""

    def __init__(self, first: int, last: int, batch_size: int, rank: int, world_size: int) -> None:
        self.batches = range(first, last)
        self.batch_size = batch_size
        self.share = batch_size // world_size
        self.rank = rank

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[range]:
        for batch in self.batches:
            start = batch * self.batch_size + self.rank * self.share
            yield range(start, start + self.share)


def _pack(targets: PanopticTargets) -> PanopticTargets:
    """The same in half the bytes; `Batch.to` puts the types back."""
    fits = int(targets.sem_seg.max()) < 256
    return targets._replace(
        sem_seg=targets.sem_seg.to(torch.uint8) if fits else targets.sem_seg,
        center_weights=targets.center_weights.bool(),
        offset_weights=targets.offset_weights.bool(),
        center_points=targets.center_points[:0],
    )


def collate(samples: list[tuple[np.ndarray, PanopticTargets]]) -> Batch:
    """Put samples of one size into a batch.

    Args:
        samples: images, each (H, W, 3) uint8, with their targets.
    """
    # torch's own collation writes what a worker makes right into shared memory.
    images, targets = default_collate(
        [(torch.from_numpy(np.ascontiguousarray(image)), _pack(targets)) for image, targets in samples]
    )
    return Batch(images.permute(0, 3, 1, 2), targets)


def _start_worker(worker: int) -> None:
    # One thread a worker: the workers are the parallelism, and OpenCV's own pool does not survive a fork.
    cv2.setNumThreads(0)


def training_loader(
    dataset: PanopticDataset,
    *,
    transform: Callable[[Sample, np.random.Generator], Sample],
    make_targets: Callable[[Sample], PanopticTargets],
    batch_size: int,
    iterations: int,
    seed: int,
    start_iteration: int = 0,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
    pin_memory: bool = False,
) -> DataLoader:
    """Batches of a training run from `start_iteration` on, up to `iterations`.

    Batch t is the same whatever iteration the run was resumed at, and however many workers and ranks there
    are: the parts of ranks 0, 1, ... one after the other are the batch that a single process gets.

    Args:
        dataset: map-style; read in the workers.
        transform: augmentation; all its results must have one size.
        make_targets: from the augmented sample.
        batch_size: images per batch, of all ranks together; the last of an epoch are not dropped, the next
            epoch fills their batch.
        iterations: batches of the whole run.
        seed: of order and augmentation, >= 0.
        start_iteration: batches that an earlier part of the run has seen.
        rank: of this process, 0..world_size - 1; it is given batch_size / world_size images of each batch.
        world_size: processes that share each batch.
        workers: processes that read and augment; 0: the calling process does.
        pin_memory: page-locked batches, for asynchronous copies to a GPU.

    Raises:
        ValueError: an argument is out of its range, or the data set is empty.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be >= 1, got {batch_size}")
    if world_size < 1 or not 0 <= rank < world_size:
        raise ValueError(f"rank must lie in 0..world_size - 1, got rank {rank} of world_size {world_size}")
    if batch_size % world_size:
        raise ValueError(f"batch_size must be a multiple of world_size, got {batch_size} and {world_size}")
    if workers < 0:
        raise ValueError(f"workers must be >= 0, got {workers}")
    if not 0 <= start_iteration <= iterations:
        raise ValueError(
            f"start_iteration must lie in 0..iterations, got {start_iteration} with iterations {iterations}"
        )
    return DataLoader(
        TrainingSet(dataset, transform, make_targets, seed),
        batch_sampler=_Numbers(start_iteration, iterations, batch_size, rank, world_size),
        collate_fn=collate,
        num_workers=workers,
        pin_memory=pin_memory,
        worker_init_fn=_start_worker,
        # Its own, or every pass would draw a number from the generator that the training saves and restores.
        generator=torch.Generator().manual_seed(seed),
    )
