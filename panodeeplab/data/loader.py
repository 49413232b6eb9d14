"""Training samples as an endless, repeatable sequence: batch t depends on the seed and t, on nothing else."""

import atexit
import multiprocessing
import signal
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, default_collate

from panodeeplab.data.training_set import BadSample, TrainingSample, TrainingSet
from panodeeplab.targets import PanopticTargets


class Batch(NamedTuple):
    """Samples of one training step, packed for their way from process to process and to a GPU; see `to`.

    Attributes:
        images: (N, 3, H, W) uint8, RGB, channels last in memory.
        targets: each field of PanopticTargets with a leading N, and these differences: `sem_seg` is uint8
            where the class ids fit, the weights of centers and offsets are bool, and `center_points`, whose
            number differs from image to image, is left out: it is (N, 0, 2).
        bad: samples that could not be read, in whose place others came.
    """

    images: Tensor
    targets: PanopticTargets
    bad: tuple[BadSample, ...] = ()

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


def collate(samples: list[TrainingSample]) -> Batch:
    """Put samples of one size into a batch."""
    # torch's own collation writes what a worker makes right into shared memory.
    images, targets = default_collate(
        [(torch.from_numpy(np.ascontiguousarray(image)), _pack(targets)) for image, targets, _ in samples]
    )
    bad = tuple(bad for sample in samples for bad in sample.bad)
    return Batch(images.permute(0, 3, 1, 2), targets, bad)


def _start_worker(worker: int) -> None:
    # One thread a worker: the workers are the parallelism, and OpenCV's own pool does not survive a fork.
    cv2.setNumThreads(0)
    # Ctrl-C and torchrun's end reach the whole group of processes; the run stops when it has saved.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _end_workers() -> None:
    """At the exit of the process, which would send its workers SIGTERM, which they ignore, and wait for ever.

    A loader ends its workers when it goes away. After an error that nobody catches it does not: the traceback
    holds on to it.
    """
    if hasattr(signal, "SIGCHLD"):
        # torch would report them as crashed.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()


def training_loader(
    samples: TrainingSet,
    *,
    batch_size: int,
    iterations: int,
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
        samples: read in the workers; all their images must have one size.
        batch_size: images per batch, of all ranks together; the last of an epoch are not dropped, the next
            epoch fills their batch.
        iterations: batches of the whole run.
        start_iteration: batches that an earlier part of the run has seen.
        rank: of this process, 0..world_size - 1; it is given batch_size / world_size images of each batch.
        world_size: processes that share each batch.
        workers: processes that read and augment; 0: the calling process does.
        pin_memory: page-locked batches, for asynchronous copies to a GPU.

    Raises:
        ValueError: an argument is out of its range.
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
    if workers:
        atexit.unregister(_end_workers)
        atexit.register(_end_workers)
    return DataLoader(
        samples,
        batch_sampler=_Numbers(start_iteration, iterations, batch_size, rank, world_size),
        collate_fn=collate,
        num_workers=workers,
        pin_memory=pin_memory,
        worker_init_fn=_start_worker,
        # Its own, or every pass would draw a number from the generator that the training saves and restores.
        generator=torch.Generator().manual_seed(0),
    )
