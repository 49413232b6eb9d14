"""Small network outputs with the features that post-processing cares about, drawn by seed."""

import torch
import torch.nn.functional as F
from torch import Tensor

THINGS = (3, 4)


def street(
    h: int = 24, w: int = 40, classes: int = 5, instances: int = 6, seed: int = 0
) -> tuple[Tensor, ...]:
    """semantic (1,C,h,w), center (1,1,h,w), offset (1,2,h,w): bands of stuff with blobs of things on them."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(h, dtype=torch.float32)[:, None].expand(h, w)
    x = torch.arange(w, dtype=torch.float32).expand(h, w)
    label = (y * 3 / h).long()
    center = 0.02 * torch.randn(h, w, generator=generator)
    offset = torch.zeros(2, h, w)
    for i in range(instances):
        at = torch.rand(2, generator=generator) * torch.tensor([h - 1.0, w - 1.0])
        squared = (y - at[0]) ** 2 + (x - at[1]) ** 2
        inside = squared < (2 + 3 * torch.rand((), generator=generator)) ** 2
        label = torch.where(inside, THINGS[i % 2], label)
        offset = torch.where(inside, torch.stack((at[0] - y, at[1] - x)), offset)
        center = torch.maximum(center, 0.9 * torch.exp(-squared / 8))
    semantic = F.one_hot(label, classes).permute(2, 0, 1)[None].float()
    semantic = 6 * F.avg_pool2d(semantic, 3, 1, 1) + 0.3 * torch.randn(semantic.shape, generator=generator)
    offset = offset + 0.2 * torch.randn(offset.shape, generator=generator)
    return semantic, center[None, None], offset[None]
