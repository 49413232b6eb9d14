"""Which work the compiled post-processing skips, in plain PyTorch: to count it and to draw it.

The rules are those of the kernels for the CPU: ext/semantic_cpu.cpp says which class a sample has beyond
doubt, ext/nearest_cpu.cpp which center it votes for beyond doubt and which ones a tile lists,
ext/grouping_cpu.cpp what follows for a cell. Everything here is for `align_corners=False` and a stride of at
least 2.

A cell is the pixels between four samples. There is one more on each axis than there are samples: the pixels
outside of the first and the last sample make cells too, whose corners are that sample twice.
"""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

TILE_SIDE = 16  # output pixels
MARGIN = 128  # output pixels around the image that have tiles
_BLOCKS = (16, 4, 1)  # tiles along the squares that centers are sorted out in, one after the other
_CAPACITY = 15  # of the list of a tile; with more, each vote in it is held against all centers
_LARGEST = 1e38  # logits beyond it are looked at one by one


class Work(IntEnum):
    """What a cell takes."""

    STUFF = 0  # nothing: its four corners have one class
    THING = 1  # nothing: they have one class of things, and vote for one center
    CLASSES = 2  # a look at each pixel: they do not have one class
    CENTERS = 3  # a look at each pixel: they have one class of things, but do not vote for one center


def sample_classes(semantic: Tensor) -> Tensor:
    """(C,h,w) float32 → (h,w) int64, the class of each sample; -1 where it leads so little that rounding may
    make a tie of it, or where a logit is NaN or above 1e38.
    """
    best, index = semantic.max(0)
    others = semantic.scatter(0, index[None], -torch.inf)
    second = others.max(0).values
    margin = best.abs() * 2**-18 + second.abs() * 2**-18 + 1e-30
    alone = second.isneginf() & (best >= -_LARGEST)
    clear = ((best - second > margin) | alone) & (semantic <= _LARGEST).all(0)
    return torch.where(clear, index, -1)


def settled_cells(samples: Tensor) -> Tensor:
    """What the four corners of a cell agree on, (h,w) int64 → (h+1,w+1) int64; -1 where they do not.

    Classes: the lead of one over another is interpolated like the logits, so it stays one in between.
    Centers: the lead of one over another is linear in the place of a vote, so it is interpolated with it.
    """
    corners = _corners(samples)
    agree = (corners == corners[0]).all(0)
    return torch.where(agree, corners[0], -1)


def cell_of_pixels(size: int, stride: int) -> Tensor:
    """The cell of each pixel along an axis, (size,) int64."""
    return torch.div(torch.arange(size) + stride - stride // 2, stride, rounding_mode="floor")


def _corners(samples: Tensor) -> Tensor:
    """(h,w) → (4,h+1,w+1), the samples at the corners of the cells."""
    rows, columns = (torch.arange(-1, n + 1).clamp(0, n - 1) for n in samples.shape)
    padded = samples[rows][:, columns]
    return torch.stack((padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]))


def sample_votes(offset: Tensor, stride: int) -> Tensor:
    """(2,h,w) float32 offsets in grid cells → (2,h,w) float32, (y,x) of the votes in output pixels."""
    y, x = (torch.arange(n) * stride + (stride - 1) / 2 for n in offset.shape[1:])
    return torch.stack((y[:, None] + offset[0] * stride, x + offset[1] * stride))


class Tiles:
    """The plane of votes, cut into tiles that know which centers can be nearest to a vote in them.

    Args:
        centers: (K,2) (y,x) in output pixels, K at least 1.
        height, width: of the output.

    Attributes:
        candidates: (rows of tiles, columns of tiles) object, a tuple of indices of centers each; the first
            tile begins MARGIN pixels above and left of the image.
    """

    def __init__(self, centers: Tensor, height: int, width: int) -> None:
        self._centers = centers.double().numpy()
        # What rounding can do to a lead, for each pixel between the two centers.
        self._slack = 2**-18 * (height + width + 4 * MARGIN)
        across = (-(-(n + 2 * MARGIN) // TILE_SIDE) for n in (height, width))
        self.candidates = np.empty(tuple(across), object)
        every = np.arange(len(self._centers))
        for y in range(0, self.candidates.shape[0], _BLOCKS[0]):
            for x in range(0, self.candidates.shape[1], _BLOCKS[0]):
                self._fill(y, x, 0, every)

    def counts(self, height: int, width: int) -> np.ndarray:
        """How many centers can be nearest, for the tiles that begin in an image of this size."""
        lead = MARGIN // TILE_SIDE
        rows, columns = (-(-n // TILE_SIDE) for n in (height, width))
        part = self.candidates[lead : lead + rows, lead : lead + columns]
        return np.vectorize(len, otypes=[np.int64])(part)

    def clear_center(self, y: float, x: float) -> int:
        """The center that is nearest to a vote by more than rounding can undo; -1 if there is none, or if the
        vote is not in a tile.
        """
        if not (np.isfinite(y) and np.isfinite(x)):
            return -1
        i, j = int((y + MARGIN) // TILE_SIDE), int((x + MARGIN) // TILE_SIDE)
        if not (0 <= i < self.candidates.shape[0] and 0 <= j < self.candidates.shape[1]):
            return -1
        listed = self.candidates[i, j]
        if len(listed) == 1:
            return listed[0]
        if len(listed) > _CAPACITY:
            return -1
        places = self._centers[list(listed)]
        distances = ((places - (y, x)) ** 2).sum(1)
        best = distances.argmin()
        needed = 2**-18 * distances + self._slack * np.abs(places - places[best]).sum(1)
        leads = distances - distances[best] > needed
        return listed[best] if leads.sum() == len(listed) - 1 else -1

    def _fill(self, y: int, x: int, level: int, listed: np.ndarray) -> None:
        """Lists the centers of a square of tiles; `listed` has every one that can be nearest in it."""
        side = _BLOCKS[level]
        begin = np.array((y, x)) * TILE_SIDE - MARGIN
        box = np.concatenate((begin, begin + side * TILE_SIDE)).astype(np.float64)
        best = self._closest(listed, box)
        kept = listed[(listed == best) | ~self._are_farther(listed, best, box)]
        if side == 1 or len(kept) == 1:
            part = self.candidates[y : y + side, x : x + side]
            for i in np.ndindex(part.shape):
                part[i] = tuple(kept.tolist())
            return
        step = _BLOCKS[level + 1]
        for i in range(y, min(y + side, self.candidates.shape[0]), step):
            for j in range(x, min(x + side, self.candidates.shape[1]), step):
                self._fill(i, j, level + 1, kept)

    def _closest(self, listed: np.ndarray, box: np.ndarray) -> np.int64:
        """The center whose farthest point of the box (y0,x0,y1,x1) is nearest."""
        places = self._centers[listed]
        far = np.maximum(np.abs(box[:2] - places), np.abs(box[2:] - places))
        return listed[(far**2).sum(1).argmin()]

    def _are_farther(self, others: np.ndarray, center: int, box: np.ndarray) -> np.ndarray:
        """Whether each is farther than `center` from every point of the box, by more than rounding can undo.

        The difference of two squared distances is linear: its least value is at a corner of the box.
        """
        there, here = self._centers[others], self._centers[center]
        apart = there - here
        corner = np.where(apart > 0, box[2:], box[:2])
        least = (apart * (there + here - 2 * corner)).sum(1)
        between = np.abs(apart).sum(1)
        reach = np.abs(box - np.tile(here, 2)).sum() + between
        return least > 2**-18 * reach**2 + self._slack * between


class CellWork(NamedTuple):
    """What the cells of an image take.

    Attributes:
        work: (h+1,w+1) int64 of `Work`.
        classes: (h+1,w+1) int64, of all pixels of a cell, or -1.
        centers: (h+1,w+1) int64, of all pixels of a cell of one thing class, or -1.
    """

    work: Tensor
    classes: Tensor
    centers: Tensor

    def shares(self) -> dict[Work, float]:
        """Of all cells."""
        return {kind: (self.work == kind).double().mean().item() for kind in Work}


def cell_work(
    semantic: Tensor,
    offset: Tensor,
    centers: Tensor,
    *,
    stride: int,
    thing_ids: tuple[int, ...],
) -> CellWork:
    """What the compiled post-processing does with each cell of an image.

    Args:
        semantic: (C,h,w) float32 logits.
        offset: (2,h,w) float32, in grid cells.
        centers: (K,2) (y,x) in output pixels, K at least 1.
        stride: output pixels per grid cell, at least 2.
        thing_ids: classes that have instances.
    """
    h, w = semantic.shape[1:]
    things = torch.tensor(thing_ids)
    of_samples = sample_classes(semantic)
    classes = settled_cells(of_samples)
    is_thing = torch.isin(classes, things)
    votes, tiles = sample_votes(offset, stride), Tiles(centers, h * stride, w * stride)
    nearest = torch.full_like(of_samples, -1)
    for i, j in torch.isin(of_samples, things).nonzero().tolist():
        nearest[i, j] = tiles.clear_center(*votes[:, i, j].tolist())
    nearest = torch.where(is_thing, settled_cells(nearest), -1)
    # There positions are clamped: the votes of the pixels go beyond those of the corners.
    for border in (nearest[0], nearest[-1], nearest[:, 0], nearest[:, -1]):
        border.fill_(-1)
    work = torch.where(is_thing, int(Work.THING), int(Work.STUFF))
    work[is_thing & (nearest < 0)] = int(Work.CENTERS)
    work[classes < 0] = int(Work.CLASSES)
    return CellWork(work, classes, nearest)
