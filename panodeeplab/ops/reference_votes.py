"""Centres by voting, in plain PyTorch: thing samples say where their centres are; peaks of the votes win.

Votes are counted in whole numbers, so their order does not matter and every device has the same sums.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

STEPS = 16  # a vote's position is rounded to 1/16 of a cell on each axis
KERNEL = (1, 4, 6, 4, 1)  # smooths the votes, on each axis
REACH = len(KERNEL) // 2
# What a pixel adds to the smoothed votes of a cell whose middle its vote hits: there it counts as one vote.
ONE_VOTE = STEPS**2 * KERNEL[REACH] ** 2
# A peak of the votes with a heatmap peak beside it needs 1/4 of the votes that one without needs.
SUPPORT_SHARE = 4


class Grid(NamedTuple):
    """How the cells of the votes lie in the output."""

    near_y: Tensor  # (H,) the sample nearest to each row of pixels, the lower one of two
    near_x: Tensor  # (W,)
    stride: int
    align_corners: bool

    @property
    def shape(self) -> tuple[int, int]:
        """Samples that are nearest to some pixel: those beyond a crop have no vote and get none."""
        return int(self.near_y[-1]) + 1, int(self.near_x[-1]) + 1

    def pixels(self, cells: Tensor, votes: Tensor, moments: Tensor) -> Tensor:
        """(P,2) cells, sums of votes and of votes * (distance + 1) there → mean positions in pixels (P,2)."""
        origin = 0 if self.align_corners else self.stride - 1  # twice the position of the first sample
        votes = votes[:, None]
        inside = (2 * self.stride * moments + (origin + 1) * votes) // (2 * votes)
        last = torch.tensor([len(self.near_y), len(self.near_x)], device=cells.device) - 1
        return (self.stride * (cells - 1) + inside).clamp(min=0).minimum(last)


class Votes(NamedTuple):
    """One entry for each sample that votes; all (V,) int64."""

    y: Tensor  # where it lands, in 1/16 of cells
    x: Tensor
    pixels: Tensor  # for which it votes: those nearest to the sample
    category: Tensor


class Peaks(NamedTuple):
    cells: Tensor  # (P,2) int64 (y,x)
    points: Tensor  # (P,2) int64 (y,x) output pixels
    sums: Tensor  # (P,) int64 smoothed votes, of which ONE_VOTE make one


def landing(offset: Tensor, cells: int, dim: int) -> tuple[Tensor, Tensor]:
    """Offsets along one axis → where in the first `cells` cells votes land, in 1/16 of cells, and whether."""
    shape = (-1, 1) if dim == 0 else (1, -1)
    position = torch.arange(offset.shape[dim], device=offset.device).float().view(shape) + offset
    lands = (position >= -0.5) & (position <= cells - 0.5)  # not where it is NaN
    steps = torch.where(lands, position * STEPS + 0.5, 0.0).long()
    return steps.clamp(0, STEPS * (cells - 1)), lands


def cast_votes(semantic: Tensor, offset: Tensor, is_thing: Tensor, grid: Grid) -> Votes:
    """Votes of the samples whose class, the argmax there (lowest index on ties), is a thing.

    A sample with a NaN logit has no class, and a vote that ends outside of the cells is lost.
    """
    height, width = grid.shape
    semantic, offset = semantic[:, :height, :width], offset[:, :height, :width]
    label = semantic.argmax(0)
    y, in_height = landing(offset[0], height, 0)
    x, in_width = landing(offset[1], width, 1)
    votes = is_thing[label] & ~semantic.isnan().any(0) & in_height & in_width
    pixels = grid.near_y.bincount(minlength=height)[:, None] * grid.near_x.bincount(minlength=width)
    return Votes(y[votes], x[votes], pixels[votes], label[votes])


def count_votes(votes: Votes, height: int, width: int) -> Tensor:
    """(h,w) int64: the pixels of each vote, split over the four cells around it, in 1/256."""
    cells = torch.zeros(height * width, dtype=torch.int64, device=votes.y.device)
    y, x = votes.y // STEPS, votes.x // STEPS
    to_y, to_x = votes.y % STEPS, votes.x % STEPS
    for i, share_y in enumerate((STEPS - to_y, to_y)):
        for j, share_x in enumerate((STEPS - to_x, to_x)):
            # Beyond the last cell the share is 0.
            cell = (y + i).clamp(max=height - 1) * width + (x + j).clamp(max=width - 1)
            cells.scatter_add_(0, cell, votes.pixels * share_y * share_x)
    return cells.view(height, width)


def smooth(cells: Tensor) -> Tensor:
    """Binomial smoothing of (h,w) whole numbers, zeros around them."""
    for dim, padding in enumerate(((0, 0, REACH, REACH), (REACH, REACH, 0, 0))):
        padded, size = F.pad(cells, padding), cells.shape[dim]
        cells = sum(weight * padded.narrow(dim, i, size) for i, weight in enumerate(KERNEL))
    return cells


def _largest(values: Tensor, kernel: tuple[int, int]) -> Tensor:
    return F.max_pool2d(values[None], kernel, stride=1)[0]


def find_peaks(cells: Tensor, grid: Grid, radius: int, least: int) -> Peaks:
    """Peaks of the smoothed votes, in raster order.

    A peak has a sum above `least`, and in its window of 2 * radius + 1 cells nobody has more and nobody
    earlier in raster order has as much. Its point is the mean of the votes on it and the cells next to it.
    """
    smoothed = smooth(cells)
    # Whole numbers below 2^53: exact.
    padded = F.pad(smoothed.double(), (radius,) * 4, value=-1.0)
    across = _largest(padded, (1, 2 * radius + 1))
    most = _largest(across, (2 * radius + 1, 1))
    above = _largest(across[: -radius - 1], (radius, 1))
    left = _largest(padded[radius:-radius, : -radius - 1], (1, radius))
    here = smoothed.double()
    found = (smoothed > least) & (here == most) & (here > above) & (here > left)
    peaks = found.nonzero()

    around = F.pad(cells, (1,) * 4)
    total = torch.zeros_like(peaks[:, 0])
    moments = torch.zeros_like(peaks)
    for i in range(3):
        for j in range(3):
            part = around[peaks[:, 0] + i, peaks[:, 1] + j]
            total += part
            moments += part[:, None] * torch.tensor([i, j], device=cells.device)
    return Peaks(peaks, grid.pixels(peaks, total, moments), smoothed[peaks[:, 0], peaks[:, 1]])


def find_voted_centers(
    semantic: Tensor,
    offset: Tensor,
    heatmap: Tensor,
    heatmap_peaks: Tensor,
    is_thing: Tensor,
    grid: Grid,
    nms_kernel: int,
    top_k: int,
    threshold: int,
    class_aware: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Centres from votes, and those of `heatmap_peaks` (K,2) that votes support; fewer than `top_k`.

    Returns:
        centers: (M,2) int64 (y,x) in raster order; of several at one pixel heatmap peaks first, then the
            lowest class, then the first cell.
        scores: (M,) float32, `heatmap` (H,W) there, 0 for NaN.
        votes: (M,) int64.
    """
    height, width = grid.shape
    radius = max(1, -(-(nms_kernel // 2) // grid.stride))
    votes = cast_votes(semantic, offset, is_thing, grid)
    group = votes.category if class_aware else torch.zeros_like(votes.category)
    # A heatmap peak belongs to the group with the most votes beside it; others' peaks count by themselves.
    at = torch.stack((grid.near_y[heatmap_peaks[:, 0]], grid.near_x[heatmap_peaks[:, 1]]), 1)
    support = torch.zeros_like(at[:, 0])
    supporter = torch.full_like(at[:, 0], -1)
    found = {}
    for index in group.unique().tolist():
        cells = count_votes(Votes(*(x[group == index] for x in votes)), height, width)
        peaks = find_peaks(cells, grid, radius, threshold * ONE_VOTE // SUPPORT_SHARE)
        near = (peaks.cells[:, None] - at).abs().amax(-1) <= radius
        found[index] = peaks, near
        if len(peaks.sums) > 0:
            most = torch.where(near, peaks.sums[:, None], 0).amax(0)
            supporter = torch.where(most > support, index, supporter)
            support = torch.maximum(most, support)
    points, sums = [heatmap_peaks[support > 0]], [support[support > 0]]
    for index, (peaks, near) in found.items():
        counts = (peaks.sums > threshold * ONE_VOTE) & ~near[:, supporter == index].any(1)
        points.append(peaks.points[counts])
        sums.append(peaks.sums[counts])
    centers, count = torch.cat(points), torch.cat(sums) // ONE_VOTE
    if len(count) >= top_k:
        kept = count > count.topk(top_k).values[-1]
        centers, count = centers[kept], count[kept]
    order = (centers[:, 0] * len(grid.near_x) + centers[:, 1]).sort(stable=True).indices
    centers, count = centers[order], count[order]
    scores = heatmap[centers[:, 0], centers[:, 1]]
    return centers, torch.where(scores.isnan(), 0.0, scores), count
