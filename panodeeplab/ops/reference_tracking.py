"""What a tracker asks of a map, in plain PyTorch: the specification and the fallback."""

import torch
from torch import Tensor


def thing_overlaps(
    panoptic: Tensor, ids: Tensor, last: Tensor, last_count: int, step: int
) -> tuple[Tensor, Tensor]:
    """`panodeeplab.ops.thing_overlaps` after its checks."""
    places = _places(panoptic[step // 2 :: step, step // 2 :: step], ids)
    before = torch.where((last >= 0) & (last < last_count), last, last_count).long()
    columns = len(ids) + 1
    pairs = (before * columns + places).flatten()
    counts = torch.bincount(pairs, minlength=(last_count + 1) * columns)
    return places.int().contiguous(), counts.view(last_count + 1, columns)


def renumber_(panoptic: Tensor, ids: Tensor, new_ids: Tensor) -> None:
    """`panodeeplab.ops.renumber_` after its checks."""
    places = _places(panoptic, ids)
    known = places < len(ids)
    panoptic[known] = new_ids[places[known]]


def _places(panoptic: Tensor, ids: Tensor) -> Tensor:
    """int64, where each id of the map is among `ids`, their number if it is none of them."""
    if len(ids) == 0:
        return torch.zeros_like(panoptic, dtype=torch.int64)
    ordered, order = ids.sort()
    place = torch.searchsorted(ordered, panoptic.contiguous()).clamp(max=len(ids) - 1)
    return torch.where(ordered[place] == panoptic, order[place], len(ids))
