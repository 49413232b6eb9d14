"""Test-time augmentation: predictions of an image at several sizes, and mirrored, averaged pixel by pixel.

As DeepLab2 has it: what is averaged are probabilities, heatmaps and offsets, at the size of the image that
the network is meant to see. A view's maps are sampled at the middles of that image's pixels and cut to it
before they are mirrored back, so that no padding shifts them.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from panodeeplab.model import STRIDE, Predictions

# Floats that a strip of the upsampled maps may hold; with the averages they bound the memory.
_STRIP = 8_000_000


def average_views(
    model: Callable[[Tensor], Predictions],
    views: Iterable[tuple[Tensor, bool]],
    size: tuple[int, int],
    *,
    align_corners: bool = False,
) -> Predictions:
    """Run a network on views of a batch and average what it says.

    Memory does not grow with the number of views: one set of maps at `size`, and what one view takes.

    Args:
        model: from (N, 3, Hv, Wv) images to maps of stride 4, in cells of their own. One with a
            `pooling_window` is given the zoom of the view too, and its window grows with the view.
        views: images (N, 3, Hv, Wv) of any sizes, each with whether it is mirrored; at least one.
        size: (H, W) of the maps to make, which all views show in full.
        align_corners: of the network, whether the first cell lies on the first pixel's middle.

    Returns:
        Predictions of stride 1 in float32: semantic (N, C, H, W) as the logarithm of the mean probability, so
        that a softmax gives that probability back; center (N, 1, H, W); offset (N, 2, H, W) in pixels.

    Source: DeepLab2, model/deeplab.py (_inference), model/utils.py (resize_and_rescale_offsets).
    """
    total, number = None, 0
    for images, mirrored in views:
        if getattr(model, "pooling_window", None) is None:
            maps = model(images)
        else:
            maps = model(images, tuple(n / usual for n, usual in zip(images.shape[-2:], size, strict=True)))
        if total is None:
            total = Predictions(*(x.new_zeros((*x.shape[:2], *size), dtype=torch.float32) for x in maps))
        _add_view(total, maps, images.shape[-2:], mirrored=mirrored, align_corners=align_corners)
        number += 1
    if total is None:
        raise ValueError("views must hold at least one view, got none")
    for maps in total:
        maps /= number
    # A probability that is 0 in float32 keeps a finite logarithm.
    total.semantic.clamp_(min=torch.finfo(torch.float32).tiny).log_()
    return total


def _add_view(
    total: Predictions, maps: Predictions, view: tuple[int, int], *, mirrored: bool, align_corners: bool
) -> None:
    """Add a view's maps to the sums, a strip of rows at a time."""
    height, width = total.semantic.shape[-2:]
    zoom = (view[0] / height, view[1] / width)
    rows, columns = (
        _places(length, factor, cells, align_corners, total.semantic.device)
        for length, factor, cells in zip((height, width), zoom, maps.semantic.shape[-2:], strict=True)
    )
    # Pixels of the image in a cell of the view's grid; the mirror turns dx around.
    cell = maps.offset.new_tensor((STRIDE / zoom[0], STRIDE / zoom[1]), dtype=torch.float32)
    cell = (cell * cell.new_tensor((1.0, -1.0 if mirrored else 1.0))).view(1, 2, 1, 1)
    step = max(1, _STRIP // (total.semantic[..., 0, :].numel()))
    for start in range(0, height, step):
        strip = slice(start, min(start + step, height))
        places = tuple(x[strip] for x in rows)
        semantic, center, offset = (_sampled(_sampled(x.float(), -2, places), -1, columns) for x in maps)
        for sums, values in zip(total, (semantic.softmax(1), center, offset * cell), strict=True):
            sums[..., strip, :] += values.flip(-1) if mirrored else values


def _places(
    pixels: int, zoom: float, cells: int, align_corners: bool, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """For each pixel of one axis, the cells before and behind its middle, and the weight of the latter."""
    position = (torch.arange(pixels, device=device, dtype=torch.float64) + 0.5) * zoom
    position = (position - 0.5) / STRIDE if align_corners else position / STRIDE - 0.5
    position = position.clamp(0, cells - 1)
    before = position.floor().long()
    return before, (before + 1).clamp_(max=cells - 1), (position - before).float()


def _sampled(maps: Tensor, axis: int, places: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Linear interpolation along one axis."""
    before, behind, weight = places
    weight = weight.view(-1, 1) if axis == -2 else weight
    return torch.lerp(maps.index_select(axis, before), maps.index_select(axis, behind), weight)
