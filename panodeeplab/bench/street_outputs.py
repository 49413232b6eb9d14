"""Network outputs as a street would give them, drawn by seed: what the benchmarks run on."""

import torch
import torch.nn.functional as F
from torch import Tensor

THINGS = tuple(range(11, 19))
TOP_K = 1000  # centers: room for all, and as many as ids leave at the default `label_divisor`


def _noise(generator: torch.Generator, channels: int, size: tuple[int, int], cells: int) -> Tensor:
    """Smooth noise (channels,h,w) with about one bump in `cells` x `cells` samples."""
    coarse = [max(2, n // cells) for n in size]
    x = torch.randn(1, channels, *coarse, generator=generator)
    return F.interpolate(x, size=size, mode="bicubic", align_corners=True)[0]


def street_outputs(
    height: int, width: int, stride: int, classes: int, instances: int, seed: int
) -> tuple[Tensor, Tensor, Tensor, tuple[int, ...]]:
    """semantic (1,C,h,w), center (1,1,h,w), offset (1,2,h,w) for a height x width image; thing classes.

    With 19 classes they mean what Cityscapes means by them; further classes fill patches of the background.
    """
    generator = torch.Generator().manual_seed(seed)
    h, w = height // stride, width // stride
    things = THINGS if classes == 19 else tuple(range(classes * 3 // 5, classes))
    stuff = [c for c in range(classes) if c not in things]
    y = torch.arange(h, dtype=torch.float32)[:, None].expand(h, w)
    x = torch.arange(w, dtype=torch.float32).expand(h, w)
    relief = _noise(generator, 3, (h, w), w // 16)

    label = torch.full((h, w), stuff[2 % len(stuff)])
    label[y < h * (0.25 + 0.08 * relief[0])] = stuff[10 % len(stuff)]
    patches = _noise(generator, len(stuff), (h, w), w // 10).argmax(0)
    background = (y >= h * 0.2) & (y < h * 0.5) & (relief[1] > 0.3)
    label[background] = torch.tensor(stuff)[patches][background]
    label[y > h * (0.48 + 0.02 * relief[2])] = stuff[1 % len(stuff)]
    label[(x - w / 2).abs() < (y - h * 0.42) * 1.4] = stuff[0]
    for _ in range(w // 40):
        at = torch.randint(0, w, (1,), generator=generator).item()
        label[(x - at).abs().le(1) & (y > h * 0.2) & (y < h * 0.6)] = stuff[5 % len(stuff)]

    center = torch.zeros(h, w)
    offset = torch.zeros(2, h, w)
    # Far ones first, so that near ones hide them.
    depth = torch.rand(instances, generator=generator).sort().values
    for near in depth.tolist():
        draw = torch.rand(3, generator=generator).tolist()
        half_height = h * (0.012 + 0.13 * near**2)
        half_width = half_height * (0.5 + 1.2 * draw[0])
        center_y = h * (0.46 + 0.3 * near**2)
        center_x = w * (0.02 + 0.96 * draw[1])
        inside = ((y - center_y) / half_height).abs() ** 3 + ((x - center_x) / half_width).abs() ** 3 < 1
        label[inside] = things[int(draw[2] * len(things))]
        offset[0] = torch.where(inside, center_y - y, offset[0])
        offset[1] = torch.where(inside, center_x - x, offset[1])
        squared = (y - center_y) ** 2 + (x - center_x) ** 2
        center = torch.maximum(center, torch.exp(-squared / (2 * (8 / stride) ** 2)))

    semantic = F.one_hot(label, classes).permute(2, 0, 1).float()
    kernel = torch.tensor([0.25, 0.5, 0.25])
    semantic = F.conv2d(semantic[:, None], kernel.view(1, 1, 3, 1), padding=(1, 0))
    semantic = F.conv2d(semantic, kernel.view(1, 1, 1, 3), padding=(0, 1))[:, 0]
    semantic = semantic * 9 + 0.7 * _noise(generator, classes, (h, w), 8)
    semantic += 0.2 * torch.randn(semantic.shape, generator=generator)
    offset += 0.3 * _noise(generator, 2, (h, w), 6) + 0.05 * torch.randn(offset.shape, generator=generator)
    center = center * 0.8 + 0.01 * _noise(generator, 1, (h, w), 4)[0]
    return semantic[None].contiguous(), center[None, None], offset[None].contiguous(), things
