"""The three losses of Panoptic-DeepLab and their sum."""

import torch
import torch.nn.functional as F
from torch import Tensor

from panodeeplab.config import LossConfig
from panodeeplab.losses_per_image import (
    center_loss_per_image,
    offset_loss_per_image,
    semantic_loss_per_image,
)
from panodeeplab.predictions import Predictions
from panodeeplab.targets import PanopticTargets


def semantic_loss(
    logits: Tensor, labels: Tensor, weights: Tensor, *, top_k: float = 0.2, ignore_label: int = 255
) -> Tensor:
    """Weighted cross entropy, averaged over the hardest pixels of the batch.

    With `top_k` below 1 the mean is over int(top_k * pixels) losses, ignored pixels counted among the pixels;
    with 1 it is over all pixels, ignored ones included with a loss of 0.

    Args:
        logits: (N, C, H, W) float.
        labels: (N, H, W) int64 class ids or `ignore_label`.
        weights: (N, H, W) float.
        top_k: fraction of hardest pixels, in (0, 1].

    Returns:
        Scalar.

    Raises:
        ValueError: `top_k` outside (0, 1].

    Source: section 3.2 ("bootstrapped cross entropy" after DeeperLab); Detectron2's DeepLabCE.
    """
    if not 0 < top_k <= 1:
        raise ValueError(f"top_k must lie in (0, 1], got {top_k}")
    loss = F.cross_entropy(logits, labels, ignore_index=ignore_label, reduction="none") * weights
    if top_k == 1:
        return loss.mean()
    kept = max(1, int(top_k * loss.numel()))
    return torch.topk(loss.flatten(), kept, sorted=False).values.mean()


def center_loss(heatmap: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Mean squared error of the centre heatmap over the pixels with weight.

    Args:
        heatmap: (N, 1, H, W) float.
        target: (N, H, W) float.
        weights: (N, 1, H, W) float, 0 where there is no truth.

    Returns:
        Scalar; 0 where no pixel has weight.
    """
    error = weights * (heatmap - target.unsqueeze(1)) ** 2
    return error.sum() / weights.sum().clamp(min=1)


def offset_loss(offset: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Mean absolute error of the offsets over the pixels with weight and both axes.

    Args:
        offset: (N, 2, H, W) float, pixels.
        target: (N, 2, H, W) float, pixels.
        weights: (N, 1, H, W) float.

    Returns:
        Scalar; 0 where no pixel has weight. Detectron2 sums the two axes instead, so its value is twice this.
    """
    error = weights * (offset - target).abs()
    return error.sum() / (2 * weights.sum()).clamp(min=1)


def panoptic_losses(
    predictions: Predictions,
    targets: PanopticTargets,
    config: LossConfig,
    *,
    stride: int = 4,
    align_corners: bool = False,
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
    """
    height, width = targets.sem_seg.shape[-2:]
    less = stride - 1 if align_corners else 0

    def upsample(x: Tensor) -> Tensor:
        # The grid covers the padded image; what lies beyond the image is cut off.
        size = tuple(cells * stride - less for cells in x.shape[-2:])
        full = F.interpolate(x.float(), size=size, mode="bilinear", align_corners=align_corners)
        return full[..., :height, :width]

    if config.normalization == "image":
        of_semantic, of_center, of_offset = (
            semantic_loss_per_image,
            center_loss_per_image,
            offset_loss_per_image,
        )
    else:
        of_semantic, of_center, of_offset = semantic_loss, center_loss, offset_loss
    losses = {
        "semantic": config.semantic_weight
        * of_semantic(
            upsample(predictions.semantic),
            targets.sem_seg,
            targets.sem_seg_weights,
            top_k=config.semantic_top_k,
        ),
        "center": config.center_weight
        * of_center(upsample(predictions.center), targets.center, targets.center_weights),
        "offset": config.offset_weight
        * of_offset(upsample(predictions.offset) * stride, targets.offset, targets.offset_weights),
    }
    return losses | {"total": sum(losses.values())}
