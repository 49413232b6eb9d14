"""Every op in plain PyTorch: the specification, which compiled kernels equal in every bit, and the fallback.

Three rules make that possible. Multiplications and additions stay separate, in one order. Ties go to the
lowest index. What is summed in an order that may vary is an integer.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from panodeeplab.ops.reference_votes import Grid, find_voted_centers


class Axis(NamedTuple):
    """Where the output pixels of one axis lie between input samples; each (size,)."""

    lower: Tensor
    upper: Tensor
    weight: Tensor  # of `upper`, float32; where it is 0, `upper` takes no part (so that 0 * inf cannot arise)


class Segments(NamedTuple):
    ids: Tensor
    areas: Tensor
    boxes: Tensor
    centers: Tensor


def output_axis(low: int, stride: int, align_corners: bool, size: int, device: torch.device) -> Axis:
    """Positions of the first `size` output pixels along an axis of `low` inputs, clamped to the inputs.

    The fractions are computed from whole numbers, so every cell has exactly the same `stride` weights.
    """
    position = torch.arange(size, device=device)
    numerator, denominator = (position, stride) if align_corners else (2 * position + 1 - stride, 2 * stride)
    numerator = numerator.clamp(0, (low - 1) * denominator)
    lower = torch.div(numerator, denominator, rounding_mode="floor")
    remainder = (numerator - lower * denominator).float()
    # Divides by a tensor: CUDA multiplies by the rounded reciprocal of a Python number.
    weight = remainder / torch.full_like(remainder, denominator)
    return Axis(lower, (lower + 1).clamp(max=low - 1), weight)


def nearest_sample(axis: Axis) -> Tensor:
    """The sample nearest to each pixel, the lower one of two, (size,) int64."""
    return torch.where(axis.weight > 0.5, axis.upper, axis.lower)


def _between(lower: Tensor, upper: Tensor, weight: Tensor) -> Tensor:
    return torch.where(weight == 0, lower, lower * (1 - weight) + upper * weight)


def upsample(low: Tensor, rows: Axis, columns: Axis) -> Tensor:
    """(h,w) float32 → (H,W) float32, bilinear: rows first, then columns."""
    tall = _between(low[rows.lower], low[rows.upper], rows.weight[:, None])
    return _between(tall[:, columns.lower], tall[:, columns.upper], columns.weight)


def semantic_argmax(semantic: Tensor, rows: Axis, columns: Axis) -> tuple[Tensor, Tensor]:
    """(C,h,w) → class (H,W) int64 and whether all logits are numbers (H,W) bool; a class at a time."""
    best = upsample(semantic[0], rows, columns)
    label = torch.zeros_like(best, dtype=torch.int64)
    valid = ~best.isnan()
    for index in range(1, semantic.shape[0]):
        logit = upsample(semantic[index], rows, columns)
        valid &= ~logit.isnan()
        better = logit > best
        best = torch.where(better, logit, best)
        label = torch.where(better, index, label)
    return label, valid


def find_centers(heatmap: Tensor, threshold: float, nms_kernel: int, top_k: int) -> tuple[Tensor, Tensor]:
    """(H,W) float32 → centres (K,2) int64 (y,x) in raster order and scores (K,) float32, K < top_k.

    A peak is strictly above the threshold and equal to the maximum of its window, so a plateau gives many.
    With `top_k` peaks or more, only scores strictly above the top_k-th stay. NaN is no peak and hides none.
    """
    heatmap = torch.where(heatmap.isnan(), -torch.inf, heatmap)
    pooled = heatmap[None]
    for kernel in ((1, nms_kernel), (nms_kernel, 1)):
        pooled = F.max_pool2d(pooled, kernel, stride=1, padding=(kernel[0] // 2, kernel[1] // 2))
    limit = torch.tensor(threshold, dtype=torch.float32, device=heatmap.device)
    centers = ((heatmap > limit) & (heatmap == pooled[0])).nonzero()
    scores = heatmap[centers[:, 0], centers[:, 1]]
    if len(scores) >= top_k:
        kept = scores > scores.topk(top_k).values[-1]
        centers, scores = centers[kept], scores[kept]
    return centers, scores


def nearest_center(votes_y: Tensor, votes_x: Tensor, centers: Tensor) -> Tensor:
    """Index of the centre nearest to each vote, (n,) int64, the first of several; -1 for votes not finite.

    Squared distances in float32; one that overflows is infinite, and infinitely far centres tie.
    """
    best = torch.full_like(votes_y, torch.inf)
    index = torch.zeros_like(votes_y, dtype=torch.int64)
    for k, (y, x) in enumerate(centers.float().unbind()):
        dy, dx = votes_y - y, votes_x - x
        distance = dy * dy + dx * dx
        closer = distance < best
        best = torch.where(closer, distance, best)
        index = torch.where(closer, k, index)
    return torch.where(votes_y.isfinite() & votes_x.isfinite(), index, -1)


def group_pixels(
    label: Tensor,
    valid: Tensor,
    is_thing: Tensor,
    offset: Tensor,
    stride: int,
    centers: Tensor,
    grid: tuple[Axis, Axis],
) -> Tensor:
    """What each pixel belongs to, (H,W) int64: stuff c → c; thing of centre k → C + k; nothing → C + K."""
    classes, nothing = len(is_thing), len(is_thing) + len(centers)
    code = torch.where(valid, label, nothing)
    y, x = (valid & is_thing[label]).nonzero(as_tuple=True)
    if len(centers) == 0:
        instance = torch.full_like(y, -1)
    else:
        vote_y = y.float() + upsample(offset[0], *grid)[y, x] * stride
        vote_x = x.float() + upsample(offset[1], *grid)[y, x] * stride
        instance = nearest_center(vote_y, vote_x, centers)
    code[y, x] = torch.where(instance < 0, nothing, instance + classes)
    return code


def name_segments(
    code: Tensor,
    label: Tensor,
    is_thing: Tensor,
    num_centers: int,
    stuff_area: int,
    label_divisor: int,
    void_label: int,
) -> tuple[Tensor, Segments]:
    """Codes of `group_pixels` → id of each code (C+K+1,) int64, and the segments in ascending order of id.

    A thing has the class of most of its pixels (the smallest of several) and is numbered from 1 within that
    class in the order of centres; a stuff class stays if it has `stuff_area` pixels.
    """
    height, width = code.shape
    classes, device = len(is_thing), code.device
    codes = classes + num_centers + 1
    flat = code.flatten()
    areas = torch.bincount(flat, minlength=codes)
    votes = torch.bincount((flat * classes + label.flatten()), minlength=codes * classes).view(codes, classes)
    category = torch.arange(codes, device=device)
    category[classes:] = votes[classes:].argmax(dim=1)

    exists = areas > 0
    exists[:classes] &= (areas[:classes] >= stuff_area) & ~is_thing
    exists[-1] = False
    ids = torch.full((codes,), void_label, device=device)
    ids[:classes] = category[:classes] * label_divisor
    counters = torch.zeros(classes, dtype=torch.int64, device=device)
    for k in (exists[classes:].nonzero()[:, 0] + classes).tolist():
        counters[category[k]] += 1
        ids[k] = category[k] * label_divisor + counters[category[k]]
    ids = torch.where(exists, ids, void_label)

    boxes = torch.zeros((codes, 4), dtype=torch.int64, device=device)
    rows = torch.arange(height, device=device)[:, None].expand(height, width).flatten()
    columns = torch.arange(width, device=device).expand(height, width).flatten()
    for side, (coordinate, reduce) in enumerate(
        ((rows, "amin"), (columns, "amin"), (rows + 1, "amax"), (columns + 1, "amax"))
    ):
        boxes[:, side] = boxes[:, side].scatter_reduce(0, flat, coordinate, reduce, include_self=False)

    present = exists.nonzero()[:, 0]
    present = present[ids[present].argsort()]
    center = torch.where(present >= classes, present - classes, -1)
    return ids, Segments(ids[present], areas[present], boxes[present], center)


def exponential(x: Tensor) -> Tensor:
    """exp(x) for x <= 0 in float32, by fixed steps, to about 1e-7; that of -87 for NaN and all below."""
    power = torch.where(x > -87.0, x, -87.0) * 1.44269504
    # Beside so large a number there is no room for a fraction: the whole part is left in its last bits.
    shifted = power + 12582912.0
    rest = power - (shifted - 12582912.0)
    series = torch.full_like(x, 1.326472731e-3)
    for coefficient in (9.671512991e-3, 5.550733581e-2, 2.402224243e-1, 6.931470037e-1, 1.0):
        series = series * rest + coefficient
    return (series.view(torch.int32) + (shifted.view(torch.int32) << 23)).view(torch.float32)


def segment_probabilities(
    semantic: Tensor,
    code: Tensor,
    ids: Tensor,
    segments: Segments,
    label_divisor: int,
    grid: tuple[Axis, Axis],
) -> Tensor:
    """Mean over each segment's pixels of the softmax probability of its class, (S,) float32.

    The probability of a pixel is that of the nearest input sample, the lower one of two. Probabilities are
    rounded to 1/65536 and summed as whole numbers, so that no order of summation shows.
    """
    row = torch.full_like(ids, -1)
    of_stuff = segments.centers < 0
    where = torch.where(of_stuff, segments.ids // label_divisor, segments.centers + semantic.shape[0])
    row[where] = torch.arange(len(where), device=ids.device)
    row = row[code]
    y, x = (row >= 0).nonzero(as_tuple=True)
    row = row[y, x]
    top = semantic.new_full(semantic.shape[1:], -torch.inf)
    for logit in semantic:
        top = torch.where(logit > top, logit, top)
    total = torch.zeros_like(top)
    for logit in semantic:
        total = total + exponential(torch.where(logit == top, 0.0, logit - top))
    probability = exponential(torch.where(semantic == top, 0.0, semantic - top)) / total
    whole = torch.floor(probability * 65536.0 + 0.5).long()
    near_y, near_x = map(nearest_sample, grid)
    of_pixels = whole[segments.ids[row] // label_divisor, near_y[y], near_x[x]]
    sums = torch.zeros_like(segments.ids).scatter_add(0, row, of_pixels)
    return (sums.double() / (segments.areas * 65536).double()).float()


def panoptic_segmentation(
    semantic: Tensor,
    center: Tensor,
    offset: Tensor,
    stride: int,
    align_corners: bool,
    height: int,
    width: int,
    thing_ids: list[int],
    center_threshold: float,
    nms_kernel: int,
    top_k: int,
    stuff_area: int,
    label_divisor: int,
    void_label: int,
    semantic_probability: bool,
    center_source: str,
    vote_threshold: int,
    class_aware_votes: bool,
) -> tuple[Tensor, ...]:
    """`panodeeplab.ops.panoptic_segmentation` after its checks; `height` and `width` are the output's."""
    semantic, center, offset = semantic.float(), center.float(), offset.float()
    batch, classes, low_height, low_width = semantic.shape
    device, capacity = semantic.device, top_k + classes

    def filled(shape: tuple[int, ...], value: float, dtype: torch.dtype = torch.int32) -> Tensor:
        return torch.full(shape, value, dtype=dtype, device=device)

    panoptic = filled((batch, height, width), void_label)
    centers, scores = filled((batch, top_k, 2), -1), filled((batch, top_k), 0, torch.float32)
    votes = filled((batch, top_k), 0)
    ids, areas = filled((batch, capacity), void_label), filled((batch, capacity), 0)
    boxes, segment_centers = filled((batch, capacity, 4), 0), filled((batch, capacity), -1)
    probabilities = filled((batch, capacity), 0, torch.float32)
    num_centers, num_segments = filled((batch,), 0), filled((batch,), 0)

    is_thing = torch.zeros(classes, dtype=torch.bool, device=device)
    is_thing[thing_ids] = True
    rows = output_axis(low_height, stride, align_corners, height, device)
    columns = output_axis(low_width, stride, align_corners, width, device)
    grid = (rows, columns)
    for n in range(batch):
        label, valid = semantic_argmax(semantic[n], *grid)
        heatmap = upsample(center[n, 0], *grid)
        found, found_scores = find_centers(heatmap, center_threshold, nms_kernel, top_k)
        if center_source != "heatmap":
            found, found_scores, found_votes = find_voted_centers(
                semantic[n],
                offset[n],
                heatmap,
                found if center_source == "both" else found[:0],
                is_thing,
                Grid(nearest_sample(rows), nearest_sample(columns), stride, align_corners),
                nms_kernel,
                top_k,
                vote_threshold,
                class_aware_votes,
            )
            votes[n, : len(found)] = found_votes.int()
        code = group_pixels(label, valid, is_thing, offset[n], stride, found, grid)
        code_ids, segments = name_segments(
            code, label, is_thing, len(found), stuff_area, label_divisor, void_label
        )
        panoptic[n] = code_ids[code]
        centers[n, : len(found)], scores[n, : len(found)] = found.int(), found_scores
        used = len(segments.ids)
        ids[n, :used], areas[n, :used], boxes[n, :used], segment_centers[n, :used] = segments
        if semantic_probability:
            probabilities[n, :used] = segment_probabilities(
                semantic[n], code, code_ids, segments, label_divisor, grid
            )
        num_centers[n], num_segments[n] = len(found), used
    return (
        panoptic,
        centers,
        scores,
        votes,
        num_centers,
        ids,
        areas,
        boxes,
        segment_centers,
        probabilities,
        num_segments,
    )


def pair_counts(first: Tensor, second: Tensor, threads: int = 0) -> tuple[Tensor, Tensor]:
    """`panodeeplab.ops.pair_counts` after its checks; the number of threads is torch's own."""
    first, second = (_ids_of_rgb(x) if x.dtype == torch.uint8 else x.long() for x in (first, second))
    keys = (first << 32) + (second + 2**31)
    keys, counts = keys.flatten().unique(return_counts=True)
    pairs = torch.stack((keys >> 32, (keys & 0xFFFFFFFF) - 2**31), dim=1)
    return pairs.int(), counts


def _ids_of_rgb(rgb: Tensor) -> Tensor:
    red, green, blue = rgb.long().unbind(-1)
    return red + 256 * green + 65536 * blue


def panoptic_overlay(
    image: Tensor, panoptic: Tensor, colors: Tensor, opacity: int, thickness: int, brightness: int
) -> Tensor:
    """`panodeeplab.ops.panoptic_overlay` after its checks."""
    height, width = panoptic.shape
    known = (panoptic >= 0) & (panoptic < len(colors))
    table = torch.cat((colors, colors.new_zeros(1, 4)))
    rows = table[torch.where(known, panoptic, len(colors)).long()].int()
    picture = (image.int() * (256 - opacity) + rows[..., :3] * opacity + 128) >> 8
    identity = torch.where(rows[..., 3] != 0, panoptic, -1)
    changes = torch.zeros_like(known)
    changes[:, 1:] |= identity[:, 1:] != identity[:, :-1]
    changes[1:] |= identity[1:] != identity[:-1]
    before, after = thickness // 2, max(thickness - 1, 0) - thickness // 2
    # A change at (y, x) is an edge from `after` before it to `before` behind it.
    padded = F.pad(changes, (before, after, before, after))
    edges = torch.zeros_like(known)
    for dy in range(thickness):
        for dx in range(thickness):
            edges |= padded[dy : dy + height, dx : dx + width]
    return torch.where(edges[..., None], picture.clamp(min=brightness), picture).to(torch.uint8)
