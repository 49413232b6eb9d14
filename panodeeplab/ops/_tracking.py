"""The ops of a tracker; public as `panodeeplab.ops.thing_overlaps` and `panodeeplab.ops.renumber_`."""

import torch
from torch import Tensor


def thing_overlaps(
    panoptic: Tensor, ids: Tensor, last: Tensor, *, last_count: int, step: int = 1
) -> tuple[Tensor, Tensor]:
    """Count how many pixels each thing of a map shares with each thing of the map before it.

    Things are told by their place in a list. Every `step`-th row and column is looked at, from `step // 2`
    on: h = ceil((H - step // 2) / step) rows, and as many columns in the same way.

    Args:
        panoptic: (H,W) int32.
        ids: (S,) int32, the things of this map, distinct.
        last: (h,w) int32, `places` of the map before; whatever lies outside 0..last_count-1 is no thing.
        last_count: how many things the map before had, R.
        step: pixels, at least 1.

    Returns:
        places: (h,w) int32, the place in `ids` of each pixel looked at; S where it has none of these ids.
        counts: (R+1,S+1) int64, pixels with each pair of places; the last row and column are those without.

    Raises:
        ValueError: a tensor has another dtype or shape, their devices differ, or a number is out of range.
    """
    _check("panoptic", panoptic, panoptic, 2)
    _check("ids", ids, panoptic, 1)
    _check("last", last, panoptic, 2)
    for name, value, least in (("step", step, 1), ("last_count", last_count, 0)):
        if not least <= value < 2**31 - 1:
            raise ValueError(f"{name} is {value}, wanted {least}..{2**31 - 2}")
    wanted = tuple(-((step // 2 - size) // step) for size in panoptic.shape)
    if tuple(last.shape) != wanted:
        raise ValueError(f"last has shape {tuple(last.shape)}, wanted {wanted} for step {step}")
    return torch.ops.panodeeplab.thing_overlaps(panoptic, ids, last, last_count, step)


def renumber_(panoptic: Tensor, ids: Tensor, new_ids: Tensor) -> None:
    """Replace the ids of a map, in place and all at once, so that a new id may be the old one of another.

    Args:
        panoptic: (H,W) int32; rows may lie apart, as in a part of a map.
        ids: (S,) int32, distinct; other ids stay.
        new_ids: (S,) int32, what each becomes.

    Raises:
        ValueError: a tensor has another dtype or shape, or their devices differ.
    """
    _check("panoptic", panoptic, panoptic, 2)
    _check("ids", ids, panoptic, 1)
    _check("new_ids", new_ids, panoptic, 1)
    if len(ids) != len(new_ids):
        raise ValueError(f"new_ids has {len(new_ids)} entries, wanted one for each of {len(ids)} ids")
    torch.ops.panodeeplab.renumber_(panoptic, ids, new_ids)


def _check(name: str, x: Tensor, panoptic: Tensor, dims: int) -> None:
    wanted = f"int32 with {dims} dimension{'s' if dims > 1 else ''}"
    if not isinstance(x, Tensor):
        raise ValueError(f"{name} is a {type(x).__name__}, wanted a tensor, {wanted}")
    if x.dtype != torch.int32 or x.dim() != dims:
        raise ValueError(f"{name} is {x.dtype} of shape {tuple(x.shape)}, wanted {wanted}")
    if x.device != panoptic.device:
        raise ValueError(f"{name} is on {x.device}, wanted the device of panoptic, {panoptic.device}")
