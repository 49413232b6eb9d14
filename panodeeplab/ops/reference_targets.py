"""Training targets in plain PyTorch: the specification of the compiled kernel, and the fallback."""

import torch
from torch import Tensor

# Up to this id a table indexed by id is faster than a search, and small.
_MAX_TABLE_ID = 1 << 17


def segment_index(panoptic: Tensor, ids: Tensor) -> Tensor:
    """Position of each pixel's id in `ids`, or len(ids) where the id is not listed; (H,W) int64."""
    void = len(ids)
    if void == 0 or panoptic.numel() == 0:
        return torch.full(panoptic.shape, void, device=panoptic.device)
    panoptic = panoptic.long().contiguous()
    high = max(panoptic.max().item(), ids.max().item())
    if min(panoptic.min().item(), ids.min().item()) >= 0 and high <= _MAX_TABLE_ID:
        table = torch.full((high + 1,), void, device=panoptic.device)
        table[ids] = torch.arange(void, device=panoptic.device)
        return table.index_select(0, panoptic.flatten()).view(panoptic.shape)
    ascending, order = ids.sort()
    place = torch.searchsorted(ascending, panoptic).clamp(max=void - 1)
    return torch.where(ascending[place] == panoptic, order[place], void)


def segment_centers(index: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Pixels (count,) int64 and mean position (count,2) float64 of each segment; 0 for one without pixels.

    Sums of whole numbers below 2^53 are exact, so the means are the correctly rounded ones in any order.
    """
    height, width = index.shape
    flat = index.flatten()
    area = torch.bincount(flat, minlength=count + 1)[:count]
    rows, columns = (torch.arange(n, dtype=torch.float64, device=index.device) for n in (height, width))
    sums = [
        torch.bincount(flat, position.expand(height, width).flatten(), minlength=count + 1)[:count]
        for position in (rows[:, None], columns)
    ]
    # bincount of nothing is float32.
    return area, torch.stack(sums, dim=1).double() / area.clamp(min=1)[:, None]


def draw_centers(centers: Tensor, gaussian: Tensor, height: int, width: int) -> Tensor:
    """(K,2) float64 → (H,W) float32: a Gaussian at each rounded center, the larger value where two overlap.

    Halves are rounded to the even neighbor.
    """
    heatmap = gaussian.new_zeros((height, width))
    reach = len(gaussian) // 2
    for y, x in centers.round().long().tolist():
        top, bottom = max(0, y - reach), min(height, y + reach + 1)
        left, right = max(0, x - reach), min(width, x + reach + 1)
        patch = gaussian[top - y + reach : bottom - y + reach, left - x + reach : right - x + reach]
        window = heatmap[top:bottom, left:right]
        torch.maximum(window, patch, out=window)
    return heatmap


def panoptic_targets(
    panoptic: Tensor,
    segments: Tensor,
    gaussian: Tensor,
    ignore_label: int,
    ignore_stuff_in_offset: bool,
    small_instance_area: int,
    small_instance_weight: float,
    ignore_crowd_in_semantic: bool,
    crowd_as_instance: bool,
) -> tuple[Tensor, ...]:
    """`panodeeplab.targets.panoptic_targets` after its checks.

    Args:
        panoptic: (H,W) integer ids.
        segments: (S,4) int64, id, category, whether a thing and whether a crowd; each id once.
        gaussian: (2r+1,2r+1) float32, what is drawn around each center.

    Returns:
        The first six fields of PanopticTargets; the mean position of each segment (S,2) float64, 0 without
        pixels; whether it is an instance (S,) bool.
    """
    height, width = panoptic.shape
    ids, category, thing, crowd = segments.unbind(1)
    thing, crowd = thing != 0, crowd != 0
    index = segment_index(panoptic, ids)
    area, centers = segment_centers(index, len(ids))
    instance = thing & (area > 0) & (~crowd | crowd_as_instance)
    small = instance & (area < small_instance_area)
    moves = ~crowd & (thing | (not ignore_stuff_in_offset))
    label = torch.where(crowd & ignore_crowd_in_semantic, ignore_label, category)
    weight = gaussian.new_ones(len(ids)).masked_fill(small, small_instance_weight)

    def spread(values: Tensor, void: float) -> Tensor:
        """(S,) → (H,W): the value of each pixel's segment."""
        of_segment = torch.cat((values, values.new_full((1,), void)))
        return of_segment.index_select(0, index.flatten()).view(height, width)

    # Single precision before the difference, as Detectron2 has it.
    center_y, center_x = centers.float().unbind(1)
    rows, columns = (torch.arange(n, device=index.device).float() for n in (height, width))
    offset = torch.stack((spread(center_y, 0) - rows[:, None], spread(center_x, 0) - columns))
    return (
        spread(label, ignore_label),
        draw_centers(centers[instance], gaussian, height, width),
        torch.where(spread(instance, False), offset, 0.0),
        spread(weight, 1),
        spread((~crowd).float(), 0)[None],
        spread(moves.float(), 0)[None],
        centers,
        instance,
    )
