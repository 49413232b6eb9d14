"""The losses as DeepLab2 averages them: over the pixels of each image that have one, then over the images.

The other implementations divide by the weights of the whole batch, see `panodeeplab.losses`. Here every image
counts as much as any other, and a pixel that is predicted perfectly leaves the mean.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def mean_per_image(losses: Tensor, top_k: float = 1.0) -> Tensor:
    """Mean over the images of the mean over the pixels whose loss is not 0.

    Args:
        losses: (N, H, W) float, 0 or more.
        top_k: fraction of each image's pixels that are kept, the hardest, in (0, 1].

    Returns:
        Scalar; an image without a loss adds 0.

    Source: DeepLab2, model/loss/base_loss.py (compute_average_top_k_loss).
    """
    losses = losses.flatten(1)
    if top_k < 1:
        kept = max(1, round(top_k * losses.shape[1]))
        losses = torch.topk(losses, kept, dim=1, sorted=False).values
    return (losses.sum(1) / (losses != 0).sum(1).clamp(min=1)).mean()


def semantic_loss_per_image(
    logits: Tensor, labels: Tensor, weights: Tensor, *, top_k: float = 0.2, ignore_label: int = 255
) -> Tensor:
    """Weighted cross entropy over the hardest pixels of each image; arguments as `losses.semantic_loss`."""
    losses = F.cross_entropy(logits, labels, ignore_index=ignore_label, reduction="none") * weights
    return mean_per_image(losses, top_k)


def center_loss_per_image(heatmap: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Mean squared error of the heatmap; arguments as `losses.center_loss`."""
    return mean_per_image((weights * (heatmap - target.unsqueeze(1)) ** 2).squeeze(1))


def offset_loss_per_image(offset: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Mean absolute error of the offsets, both axes averaged; arguments as `losses.offset_loss`."""
    return mean_per_image(((offset - target).abs() * weights).mean(1))
