"""Post-processing as it is written elsewhere, in plain PyTorch, to be timed beside the op."""

import torch
import torch.nn.functional as F
from torch import Tensor

from panodeeplab.bench.street_outputs import TOP_K


def plain_centers(center: Tensor, threshold: float, nms_kernel: int, top_k: int) -> Tensor:
    pooled = F.max_pool2d(center[None], nms_kernel, stride=1, padding=nms_kernel // 2)[0]
    peaks = (center > threshold) & (center == pooled)
    if peaks.sum() >= top_k:
        peaks &= center > center[peaks].topk(top_k).values[-1]
    return peaks.nonzero()


def careful(
    semantic: Tensor,
    center: Tensor,
    offset: Tensor,
    stride: int,
    things: tuple[int, ...],
) -> Tensor:
    """The best of plain PyTorch: thing pixels only, distances in chunks, one count of votes, one look-up."""
    label = F.interpolate(semantic, scale_factor=stride, mode="bilinear")[0].argmax(0)
    heat = F.interpolate(center, scale_factor=stride, mode="bilinear")[0, 0]
    centers = plain_centers(heat, 0.1, 7, TOP_K)
    classes, count = semantic.shape[1], len(centers)
    y, x = torch.isin(label, torch.tensor(things)).nonzero(as_tuple=True)
    moves = F.interpolate(offset, scale_factor=stride, mode="bilinear")[0][:, y, x] * stride
    votes = torch.stack((y, x)).float() + moves
    nearest = torch.empty(len(y), dtype=torch.int64)
    for begin in range(0, len(y), 1 << 16):
        part = votes[:, begin : begin + (1 << 16)]
        nearest[begin : begin + (1 << 16)] = (
            (part[:, :, None] - centers.T.float()[:, None]).square().sum(0).argmin(1)
        )
    ballot = torch.bincount(nearest * classes + label[y, x], minlength=count * classes).view(count, classes)
    category = ballot.argmax(1)
    ids = torch.zeros(count, dtype=torch.int32)
    counters = [0] * classes
    for k in ballot.sum(1).nonzero()[:, 0].tolist():
        counters[category[k]] += 1
        ids[k] = category[k] * 1000 + counters[category[k]]
    areas = torch.bincount(label.flatten(), minlength=classes)
    stuff = torch.where(areas >= 2048, torch.arange(classes) * 1000, -1).int()
    panoptic = stuff[label]
    panoptic[y, x] = ids[nearest]
    return panoptic


def unfused(semantic: Tensor, center: Tensor, offset: Tensor, stride: int, things: tuple[int, ...]) -> Tensor:
    """Step by step on whole maps, as Detectron2 does: every distance at once, a mask for every segment."""
    label = F.interpolate(semantic, scale_factor=stride, mode="bilinear")[0].argmax(0)
    centers = plain_centers(F.interpolate(center, scale_factor=stride, mode="bilinear")[0, 0], 0.1, 7, TOP_K)
    moves = F.interpolate(offset, scale_factor=stride, mode="bilinear")[0] * stride
    height, width = label.shape
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    votes = (torch.stack((y, x)) + moves).flatten(1).T[None]
    instance = (centers[:, None] - votes).norm(dim=-1).argmin(0).view(height, width) + 1
    thing = torch.zeros_like(label, dtype=torch.bool)
    for index in things:
        thing[label == index] = True
    instance = instance * thing
    panoptic = torch.full_like(label, -1)
    counters = dict.fromkeys(range(semantic.shape[1]), 0)
    for index in instance.unique().tolist():
        if index == 0:
            continue
        mask = (instance == index) & thing
        category = label[mask].flatten().mode().values.item()
        counters[category] += 1
        panoptic[mask] = category * 1000 + counters[category]
    for index in label.unique().tolist():
        mask = (label == index) & (instance == 0)
        if index not in things and mask.sum() >= 2048:
            panoptic[mask] = index * 1000
    return panoptic.int()
