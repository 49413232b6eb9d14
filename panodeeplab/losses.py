"""The three losses of Panoptic-DeepLab and their sum, of a batch or of a part of one.

A batch may come in parts: to several processes, and in each through the network one after the other. The
losses of the parts then add up to the loss of the batch, because each is divided by what the whole batch is
divided by, and the hardest pixels are those of the whole batch. `WholeBatch` says both.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from panodeeplab.config import LossConfig
from panodeeplab.losses_per_image import (
    center_loss_per_image,
    offset_loss_per_image,
    semantic_loss_per_image,
)
from panodeeplab.model.panoptic_deeplab import Predictions
from panodeeplab.targets import PanopticTargets


class HardPixels(NamedTuple):
    """Which pixels of a batch are the hardest `count`: all above a loss, and a share of those that have it.

    Attributes:
        threshold: () float32, loss of the easiest pixel among them.
        tied: () float32, the share in 0..1 of the pixels with that very loss that are still among them.
        count: of the pixels.
    """

    threshold: Tensor
    tied: Tensor
    count: int

    def mean(self, losses: Tensor) -> Tensor:
        """What `losses`, of a part of the batch, add to the mean over the hardest pixels."""
        # Not "greater": a loss that is no number has to show.
        above = torch.where(losses <= self.threshold, 0, losses).sum()
        equal = torch.where(losses == self.threshold, losses, 0).sum()
        return (above + self.tied * equal) / self.count


class WholeBatch(NamedTuple):
    """What the losses of a part need to know of the batch.

    Attributes:
        images: in the batch.
        center_weights: () float, sum over the batch.
        offset_weights: () float, sum over the batch.
        total: sums a tensor over the processes that have parts of the batch.
        hardest: of the batch, where the part is not all that its process has; None: still to be found.
    """

    images: int
    center_weights: Tensor
    offset_weights: Tensor
    total: Callable[[Tensor], Tensor]
    hardest: HardPixels | None = None


def whole_batch(
    parts: Sequence[PanopticTargets], total: Callable[[Tensor], Tensor] = lambda values: values
) -> WholeBatch:
    """Sums over a batch.

    Args:
        parts: targets of the parts that this process has.
        total: sums a tensor over the processes that have parts of the batch.
    """
    sums = torch.stack(
        [
            sum(torch.as_tensor(len(part.sem_seg), dtype=torch.float64) for part in parts).to(
                parts[0].center_weights.device
            ),
            sum(part.center_weights.sum().double() for part in parts),
            sum(part.offset_weights.sum().double() for part in parts),
        ]
    )
    images, center_weights, offset_weights = total(sums)
    return WholeBatch(int(images), center_weights.float(), offset_weights.float(), total)


def find_hard_pixels(
    losses: Tensor, count: int, total: Callable[[Tensor], Tensor] = lambda values: values
) -> HardPixels:
    """The hardest pixels of a batch that several processes have parts of; exact, by three histograms.

    Args:
        losses: any shape, float32, >= 0: of this process.
        count: how many are wanted, of all processes.
        total: sums a tensor over the processes.
    """
    # Floats >= 0 have the order of their bits: the threshold is found eleven, eleven and ten bits at a time.
    bits = losses.detach().float().abs().flatten().view(torch.int32)
    prefix, missing, of_prefix = 0, count, bits
    for shift, width in ((21, 11), (10, 11), (0, 10)):
        digits = (of_prefix >> shift) & ((1 << width) - 1)
        histogram = total(torch.bincount(digits, minlength=1 << width))
        # Pixels with this digit or a higher one.
        at_least = histogram.flip(0).cumsum(0).flip(0)
        digit = int((at_least >= missing).sum()) - 1
        missing -= int(at_least[digit] - histogram[digit])
        prefix = (prefix << width) | digit
        of_prefix = of_prefix[digits == digit]
        equal = int(histogram[digit])
    threshold = torch.tensor(prefix, dtype=torch.int32, device=losses.device).view(torch.float32)
    return HardPixels(threshold, torch.tensor(missing / equal, device=losses.device), count)


def pixel_losses(logits: Tensor, labels: Tensor, weights: Tensor, *, ignore_label: int = 255) -> Tensor:
    """Weighted cross entropy of each pixel.

    Args:
        logits: (N, C, H, W) float.
        labels: (N, H, W) int64 class ids or `ignore_label`.
        weights: (N, H, W) float.

    Returns:
        (N, H, W), 0 at ignored pixels.
    """
    return F.cross_entropy(logits, labels, ignore_index=ignore_label, reduction="none") * weights


def semantic_loss(
    logits: Tensor,
    labels: Tensor,
    weights: Tensor,
    *,
    top_k: float = 0.2,
    ignore_label: int = 255,
    whole: WholeBatch | None = None,
) -> Tensor:
    """Weighted cross entropy, averaged over the hardest pixels of the batch.

    With `top_k` below 1 the mean is over int(top_k * pixels) losses, ignored pixels counted among the pixels;
    with 1 it is over all pixels, ignored ones included with a loss of 0.

    Args:
        logits: (N, C, H, W) float.
        labels: (N, H, W) int64 class ids or `ignore_label`.
        weights: (N, H, W) float.
        top_k: fraction of hardest pixels, in (0, 1].
        whole: the batch that these images are a part of; None: they are all.

    Returns:
        Scalar.

    Raises:
        ValueError: `top_k` outside (0, 1].

    Source: section 3.2 ("bootstrapped cross entropy" after DeeperLab); Detectron2's DeepLabCE.
    """
    if not 0 < top_k <= 1:
        raise ValueError(f"top_k must lie in (0, 1], got {top_k}")
    loss = pixel_losses(logits, labels, weights, ignore_label=ignore_label)
    share = 1 if whole is None else len(loss) / whole.images
    if top_k == 1:
        return loss.mean() * share
    if share == 1:
        return torch.topk(loss.flatten(), hard_pixel_count(loss, top_k), sorted=False).values.mean()
    hardest = whole.hardest or find_hard_pixels(
        loss, hard_pixel_count(loss, top_k, images=whole.images), whole.total
    )
    return hardest.mean(loss)


def hard_pixel_count(losses: Tensor, top_k: float, *, images: int | None = None) -> int:
    """How many pixels of a batch of `images` are the hardest; `losses`, (N, H, W), may be a part of it."""
    return max(1, int(top_k * (images or len(losses)) * losses[0].numel()))


def center_loss(
    heatmap: Tensor, target: Tensor, weights: Tensor, *, whole: WholeBatch | None = None
) -> Tensor:
    """Mean squared error of the centre heatmap over the pixels with weight.

    Args:
        heatmap: (N, 1, H, W) float.
        target: (N, H, W) float.
        weights: (N, 1, H, W) float, 0 where there is no truth.
        whole: the batch that these images are a part of; None: they are all.

    Returns:
        Scalar; 0 where no pixel has weight.
    """
    error = weights * (heatmap - target.unsqueeze(1)) ** 2
    return error.sum() / (weights.sum() if whole is None else whole.center_weights).clamp(min=1)


def offset_loss(
    offset: Tensor, target: Tensor, weights: Tensor, *, whole: WholeBatch | None = None
) -> Tensor:
    """Mean absolute error of the offsets over the pixels with weight and both axes.

    Args:
        offset: (N, 2, H, W) float, pixels.
        target: (N, 2, H, W) float, pixels.
        weights: (N, 1, H, W) float.
        whole: the batch that these images are a part of; None: they are all.

    Returns:
        Scalar; 0 where no pixel has weight. Detectron2 sums the two axes instead, so its value is twice this.
    """
    error = weights * (offset - target).abs()
    return error.sum() / (2 * (weights.sum() if whole is None else whole.offset_weights)).clamp(min=1)


def panoptic_losses(
    predictions: Predictions,
    targets: PanopticTargets,
    config: LossConfig,
    *,
    stride: int = 4,
    align_corners: bool = False,
    whole: WholeBatch | None = None,
) -> dict[str, Tensor]:
    """The weighted losses by name: "semantic", "center", "offset" and their sum "total".

    Predictions are upsampled bilinearly to the resolution of the targets first, and offsets go from grid
    cells to pixels, as in all reference implementations.

    Args:
        predictions: of a batch of N, at output stride.
        targets: batched, (N, ...) each.
        config: weights, the fraction of hard pixels, and what is divided by.
        stride: pixels in a grid cell.
        align_corners: of the network, see `panodeeplab.model.PanopticDeepLab`.
        whole: the batch that these images are a part of, to whose losses theirs add up; None: they are all.
    """
    size = targets.sem_seg.shape[-2:]

    def upsample(x: Tensor) -> Tensor:
        return upsample_predictions(x, size, stride=stride, align_corners=align_corners)

    semantic, center = upsample(predictions.semantic), upsample(predictions.center)
    offset = upsample(predictions.offset) * stride
    of_semantic = (semantic, targets.sem_seg, targets.sem_seg_weights)
    of_center = (center, targets.center, targets.center_weights)
    of_offset = (offset, targets.offset, targets.offset_weights)
    if config.normalization == "image":
        # Each image counts as much as any other, whatever part of the batch it is in.
        share = 1 if whole is None else len(center) / whole.images
        losses = {
            "semantic": share * semantic_loss_per_image(*of_semantic, top_k=config.semantic_top_k),
            "center": share * center_loss_per_image(*of_center),
            "offset": share * offset_loss_per_image(*of_offset),
        }
    else:
        losses = {
            "semantic": semantic_loss(*of_semantic, top_k=config.semantic_top_k, whole=whole),
            "center": center_loss(*of_center, whole=whole),
            "offset": offset_loss(*of_offset, whole=whole),
        }
    weights = {
        "semantic": config.semantic_weight,
        "center": config.center_weight,
        "offset": config.offset_weight,
    }
    losses = {name: weights[name] * loss for name, loss in losses.items()}
    return losses | {"total": sum(losses.values())}


def upsample_predictions(
    x: Tensor, size: tuple[int, int], *, stride: int = 4, align_corners: bool = False
) -> Tensor:
    """Predictions at the resolution of the image, in float32.

    Args:
        x: (N, C, h, w) float, at output stride.
        size: (H, W) of the image. The grid covers the padded one; what lies beyond the image is cut off.
        stride: pixels in a grid cell.
        align_corners: of the network, see `panodeeplab.model.PanopticDeepLab`.
    """
    less = stride - 1 if align_corners else 0
    padded = tuple(cells * stride - less for cells in x.shape[-2:])
    full = F.interpolate(x.float(), size=padded, mode="bilinear", align_corners=align_corners)
    return full[..., : size[0], : size[1]]
