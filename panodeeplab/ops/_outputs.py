"""The outputs of the ops, not yet written: for the kernels to write to, and for fakes."""

import torch
from torch import Tensor


def empty_result(semantic: Tensor, height: int, width: int, top_k: int) -> tuple[Tensor, ...]:
    batch, segments = semantic.shape[0], top_k + semantic.shape[1]
    panoptic = torch.empty(batch, height, width, dtype=torch.int32, device=semantic.device)
    scores = torch.empty(batch, top_k, dtype=torch.float32, device=semantic.device)
    # With sizes one by one, and the type that is known, torch parses arguments in half the time.
    return (
        panoptic,
        panoptic.new_empty(batch, top_k, 2),
        scores,
        panoptic.new_empty(batch, top_k),
        panoptic.new_empty(batch),
        panoptic.new_empty(batch, segments),
        panoptic.new_empty(batch, segments),
        panoptic.new_empty(batch, segments, 4),
        panoptic.new_empty(batch, segments),
        scores.new_empty(batch, segments),
        panoptic.new_empty(batch),
    )


def empty_overlaps(ids: Tensor, last: Tensor, last_count: int) -> tuple[Tensor, Tensor]:
    places = torch.empty_like(last, memory_format=torch.contiguous_format)
    return places, places.new_empty(last_count + 1, ids.shape[0] + 1, dtype=torch.int64)


def empty_targets(panoptic: Tensor, segments: Tensor) -> tuple[Tensor, ...]:
    (height, width), count = panoptic.shape, segments.shape[0]

    def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=panoptic.device)

    return (
        empty(height, width, dtype=torch.int64),
        empty(height, width),
        empty(2, height, width),
        empty(height, width),
        empty(1, height, width),
        empty(1, height, width),
        empty(count, 2, dtype=torch.float64),
        empty(count, dtype=torch.bool),
    )
