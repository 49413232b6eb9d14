"""From the maps of the network to panoptic results, through `panodeeplab.ops` only."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from panodeeplab import ops
from panodeeplab.classes import ClassTable
from panodeeplab.config import PostprocessConfig
from panodeeplab.predictions import STRIDE, Predictions
from panodeeplab.visualize import draw_panoptic

VOID_LABEL = -1

# The largest that the op takes.
_MAX_STRIDE = 1024
_MAX_NMS_KERNEL = 255


class PanopticSegment(NamedTuple):
    """One segment of a panoptic map.

    Attributes:
        id: value of its pixels in the map, `category_id * label_divisor + instance`.
        category_id: contiguous class id.
        category: name of the class.
        is_thing: whether it is one countable object; stuff is one segment per class.
        score: 0..1. The mean probability that the network gives the class over the segment's pixels, for a
            thing multiplied by the height of its center in the heatmap or by `support`, whichever is larger;
            or one of the two, as `PostprocessConfig.instance_score` says.
        area: pixels of the map with this id.
        box: (y0, x0, y1, x1) in pixels, y1 and x1 exclusive.
        center: (y, x) of the center in pixels, None for stuff. It may lie outside the mask.
        support: 0..1, votes for the center for each pixel of a thing; 0 for stuff, and where centers come
            from the heatmap alone and no votes are counted.
        track_id: number of the object over a whole video, from 1, as `panodeeplab.inference.tracking.Tracker`
            gives it; None without.
    """

    id: int
    category_id: int
    category: str
    is_thing: bool
    score: float
    area: int
    box: tuple[int, int, int, int]
    center: tuple[int, int] | None
    support: float = 0.0
    track_id: int | None = None


@dataclass(frozen=True, eq=False)
class PanopticResult:
    """What is seen in one image. An empty scene has the same fields: a map of void and no segments.

    Attributes:
        panoptic: (H, W) int32, `category_id * label_divisor + instance`, -1 where nothing was recognized.
            Things count from 1 in each class, stuff is 0.
        segments: every id that occurs in `panoptic`, ascending.
        classes: what the category ids mean.
        label_divisor: of the ids.
        image: (H, W, 3) uint8, RGB, the image that was given; no copy.
        timings_ms: milliseconds that the image took, by stage.
        class_map: (H, W) int32, the class of largest probability at each pixel, which semantic benchmarks
            score; unlike `semantic` it knows no instances, no stuff that is too small and no void. None if it
            was not asked for.
        predictions: the maps that the panoptic map was made from, of this image: (C, h, w), (1, h, w) and
            (2, h, w) on the CPU, offsets in cells. None if they were not asked for.
        stride: pixels of the image in a cell of `predictions`, whose first cell lies in the image's corner.
    """

    panoptic: np.ndarray
    segments: tuple[PanopticSegment, ...]
    classes: ClassTable
    label_divisor: int = 1000
    image: np.ndarray | None = None
    timings_ms: dict[str, float] = field(default_factory=dict)
    class_map: np.ndarray | None = None
    predictions: Predictions | None = None
    stride: int = STRIDE

    @property
    def semantic(self) -> np.ndarray:
        """(H, W) int32, the contiguous class id of each pixel; -1 is void."""
        return np.where(
            self.panoptic < 0, np.int32(VOID_LABEL), self.panoptic // np.int32(self.label_divisor)
        )

    @property
    def instance(self) -> np.ndarray:
        """(H, W) int32, the number of the instance within its class, from 1; 0 on stuff and void."""
        return np.where(self.panoptic < 0, np.int32(0), self.panoptic % np.int32(self.label_divisor))

    def overlay(self, *, alpha: float = 0.5, labels: bool = True, ids: bool = False) -> np.ndarray:
        """The result drawn over its image, see `panodeeplab.visualize.draw_panoptic`.

        Args:
            alpha: weight of the colors, 0 (image only) to 1 (colors only).
            labels: whether to write names and scores.
            ids: whether labels carry the instance number too; over a video it is steady with a `Tracker`.

        Returns:
            (H, W, 3) uint8, RGB.

        Raises:
            ValueError: for a result that was made without its image.
        """
        if self.image is None:
            raise ValueError("image is None: this result keeps no image to draw over")
        return draw_panoptic(
            self.image,
            self.panoptic,
            self.classes,
            label_divisor=self.label_divisor,
            segments=self.segments,
            alpha=alpha,
            labels=labels,
            ids=ids,
        )


@dataclass(frozen=True, eq=False)
class SegmentedMaps:
    """What `segment_maps` makes, on the device of the predictions.

    Attributes:
        output: of the op, for the batch.
        class_map: (N, H, W) int32, or None if it was not asked for.
        predictions: on the grid that the maps were made from, or None if they were not asked for.
        stride: pixels of the image in a cell of that grid.
    """

    output: ops.PanopticOutput
    class_map: Tensor | None
    predictions: Predictions | None
    stride: int


def postprocess(
    predictions: Predictions, *, classes: ClassTable, config: PostprocessConfig, **settings: Any
) -> list[PanopticResult]:
    """Panoptic results of a batch: `segment_maps`, then `to_results`.

    Args:
        predictions: outputs of the network.
        classes: of the semantic channels.
        config: thresholds and sizes.
        settings: the other arguments of `segment_maps`, of which it needs `input_size`.

    Returns:
        One result per image, without its image.

    Raises:
        ValueError: see `segment_maps`.
    """
    segmented = segment_maps(predictions, classes=classes, config=config, **settings)
    return to_results(segmented, classes=classes, config=config)


def segment_maps(
    predictions: Predictions,
    *,
    input_size: tuple[int, int],
    output_size: tuple[int, int] | None = None,
    classes: ClassTable,
    config: PostprocessConfig,
    stride: int = STRIDE,
    class_map: bool = False,
    align_corners: bool = False,
    keep_predictions: bool = False,
) -> SegmentedMaps:
    """Panoptic maps of a batch, at the size of the images even if the network saw them at another.

    On a GPU it waits for nothing, and can be part of a CUDA graph.

    Nothing is resized after the decision: the network's maps are stretched to the image, so that outlines are
    as fine as the image, and areas, boxes and centers are counted in its pixels. The lengths and areas of
    `config` are in pixels of the network's input, where they were chosen, and are stretched alike.

    Args:
        predictions: outputs of the network.
        input_size: (H, W) of the images that the network was given.
        output_size: (H, W) of the maps to make; by default `input_size`.
        classes: of the semantic channels.
        config: thresholds and sizes.
        stride: pixels of the input in a cell of the predictions.
        class_map: whether to make one.
        align_corners: of the network, see `panodeeplab.model.PanopticDeepLab`: whether the corners of its
            grid lie on the middles of corner pixels.
        keep_predictions: whether to keep them, on the grid that the map was made from.

    Raises:
        ValueError: if `classes` are not the channels of `predictions.semantic`, the predictions do not cover
            `input_size`, or a size is not positive.
    """
    output_size = input_size if output_size is None else output_size
    for name, size in (("input_size", input_size), ("output_size", output_size)):
        if len(size) != 2 or min(size) < 1:
            raise ValueError(f"{name} must be (H, W) of at least 1, got {size}")
    channels, *grid = predictions.semantic.shape[1:]
    if channels != len(classes):
        raise ValueError(f"classes has {len(classes)} classes, predictions.semantic has {channels} channels")
    less = stride - 1 if align_corners else 0
    if any(cells * stride - less < pixels for cells, pixels in zip(grid, input_size, strict=True)):
        raise ValueError(f"predictions of {tuple(grid)} cells do not cover input_size {input_size}")
    ratio_y, ratio_x = (output / given for output, given in zip(output_size, input_size, strict=True))
    # A cell of the network's grid covers stride * ratio pixels of the output. The op takes whole strides; the
    # rest, a factor in [1, 2), is interpolated. An integer ratio leaves no rest, and a small one loses no
    # cell.
    op_stride = min(max(1, math.floor(stride * min(ratio_y, ratio_x))), _MAX_STRIDE)
    factors = (stride * ratio_y / op_stride, stride * ratio_x / op_stride)
    size = (-(-output_size[0] // op_stride), -(-output_size[1] // op_stride))
    if align_corners and output_size != input_size:
        # Pixels of the image lie in the middle of squares when it is scaled, so that its corner pixels do not
        # stay in the corners: on to a grid for which that holds too.
        predictions = _on_edges(predictions, stride, factors, size)
        align_corners = False
    elif not align_corners:
        predictions = _stretch(predictions, factors, size)
    output = ops.panoptic_segmentation(
        predictions.semantic,
        predictions.center,
        predictions.offset,
        stride=op_stride,
        align_corners=align_corners,
        output_size=output_size,
        thing_ids=classes.thing_ids,
        center_threshold=config.center_threshold,
        nms_kernel=_scaled_kernel(config.nms_kernel, math.sqrt(ratio_y * ratio_x)),
        top_k=config.top_k,
        center_source=config.center_source,
        vote_threshold=round(config.vote_threshold * ratio_y * ratio_x),
        class_aware_votes=config.class_aware_votes,
        stuff_area=round(config.stuff_area * ratio_y * ratio_x),
        label_divisor=config.label_divisor,
        void_label=VOID_LABEL,
        semantic_probability=True,
    )
    return SegmentedMaps(
        output=output,
        class_map=_class_maps(predictions, op_stride, align_corners, output_size) if class_map else None,
        predictions=predictions if keep_predictions else None,
        stride=op_stride,
    )


def to_results(
    segmented: SegmentedMaps, *, classes: ClassTable, config: PostprocessConfig
) -> list[PanopticResult]:
    """Copy what was found to the CPU.

    Args:
        segmented: maps of a batch.
        classes: that they were made with.
        config: likewise.

    Returns:
        One result per image, without its image. On the CPU its maps are those of `segmented`, not copied.
    """
    output = _on_host(segmented.output)
    class_map = None if segmented.class_map is None else segmented.class_map.cpu().numpy()
    kept = segmented.predictions
    results = []
    for n, of_image in enumerate(map(ops.PanopticOutput._make, zip(*output, strict=True))):
        results.append(
            PanopticResult(
                panoptic=of_image.panoptic,
                segments=_segments(of_image, classes, config),
                classes=classes,
                label_divisor=config.label_divisor,
                class_map=None if class_map is None else class_map[n],
                predictions=None if kept is None else Predictions(*(maps[n].cpu() for maps in kept)),
                stride=segmented.stride,
            )
        )
    return results


def _on_host(output: ops.PanopticOutput) -> list[np.ndarray]:
    """Arrays of the op's output, whose rows cost a fraction of those of tensors."""
    panoptic, *table = output
    if panoptic.device.type == "cpu":
        return [value.numpy() for value in output]
    return [panoptic.cpu().numpy(), *_in_one_copy(table)]


def _in_one_copy(tensors: Sequence[Tensor]) -> list[np.ndarray]:
    """Arrays of small tensors of four bytes a value: each copy from a device would be waited for."""
    packed = torch.cat([tensor.flatten().view(torch.int32) for tensor in tensors]).cpu().numpy()
    parts = np.split(packed, np.cumsum([tensor.numel() for tensor in tensors[:-1]]))
    return [
        part.view(np.float32 if tensor.is_floating_point() else np.int32).reshape(tensor.shape)
        for part, tensor in zip(parts, tensors, strict=True)
    ]


def _class_maps(
    predictions: Predictions, stride: int, align_corners: bool, output_size: tuple[int, int]
) -> Tensor:
    """(N, H, W), the class of each pixel: the op finds it where nothing is a thing and no area too small."""
    output = ops.panoptic_segmentation(
        *predictions,
        stride=stride,
        align_corners=align_corners,
        output_size=output_size,
        thing_ids=(),
        stuff_area=0,
        label_divisor=1,
    )
    return output.panoptic


def _stretch(predictions: Predictions, factors: tuple[float, float], size: tuple[int, int]) -> Predictions:
    """Interpolate the maps onto a grid that is finer by `factors`, (y, x), and keep `size` cells of it."""
    if factors == (1.0, 1.0):
        return predictions
    grid = predictions.semantic.shape[-2:]
    # The last cells may reach less far than `size`; repeating the edge is what bilinear sampling does
    # beyond it.
    bottom, right = (
        max(0, math.ceil(cells / factor) + 1 - have)
        for cells, factor, have in zip(size, factors, grid, strict=True)
    )

    def stretched(maps: Tensor) -> Tensor:
        padded = F.pad(maps, (0, right, 0, bottom), mode="replicate")
        finer = F.interpolate(padded, scale_factor=factors, mode="bilinear", align_corners=False)
        return finer[..., : size[0], : size[1]]

    return Predictions(
        semantic=stretched(predictions.semantic),
        center=stretched(predictions.center),
        offset=_in_cells(stretched(predictions.offset), factors),
    )


def _in_cells(offset: Tensor, factors: tuple[float, float]) -> Tensor:
    """Offsets count cells, and there are more by `factors`, (y, x)."""
    # By numbers and not by a tensor of them, whose copy to a GPU would be waited for.
    return torch.stack([offset[:, axis] * factor for axis, factor in enumerate(factors)], dim=1)


def _on_edges(
    predictions: Predictions, stride: int, factors: tuple[float, float], size: tuple[int, int]
) -> Predictions:
    """Interpolate maps with aligned corners onto a grid of `size` cells, finer by `factors`, (y, x), whose
    cells are squares of the image: the first begins at its edge."""
    axes = []
    for cells, factor, have in zip(size, factors, predictions.semantic.shape[-2:], strict=True):
        middle = torch.arange(cells, dtype=torch.float32, device=predictions.semantic.device) + 0.5
        # In cells of the given grid, whose first has its middle on the middle of the first pixel.
        position = middle / factor - 0.5 / stride
        axes.append(2 * position / max(have - 1, 1) - 1)
    y, x = torch.meshgrid(*axes, indexing="ij")
    places = torch.stack((x, y), dim=-1)[None]

    def sampled(maps: Tensor) -> Tensor:
        grid = places.expand(len(maps), -1, -1, -1)
        return F.grid_sample(maps.float(), grid, mode="bilinear", padding_mode="border", align_corners=True)

    return Predictions(
        semantic=sampled(predictions.semantic),
        center=sampled(predictions.center),
        offset=_in_cells(sampled(predictions.offset), factors),
    )


def _scaled_kernel(kernel: int, ratio: float) -> int:
    """The odd kernel whose reach is that of `kernel`, scaled."""
    return kernel if ratio == 1.0 else min(2 * round((kernel - 1) / 2 * ratio) + 1, _MAX_NMS_KERNEL)


def _segments(
    output: ops.PanopticOutput, classes: ClassTable, config: PostprocessConfig
) -> tuple[PanopticSegment, ...]:
    """Segments of one image, from the rows of the op's output as arrays."""
    count, num_centers = int(output.num_segments), int(output.num_centers)
    rows = zip(
        output.segment_ids[:count].tolist(),
        output.segment_areas[:count].tolist(),
        output.segment_boxes[:count].tolist(),
        output.segment_centers[:count].tolist(),
        output.segment_probabilities[:count].tolist(),
        strict=True,
    )
    centers = output.centers[:num_centers].tolist()
    center_scores = output.center_scores[:num_centers].tolist()
    center_votes = output.center_votes[:num_centers].tolist()
    segments = []
    for segment_id, area, box, center, probability in rows:
        category = segment_id // config.label_divisor
        is_thing = category in classes.thing_ids
        support = min(center_votes[center] / area, 1.0) if is_thing else 0.0
        score = min(probability, 1.0)
        if is_thing and config.instance_score != "semantic":
            height = min(max(center_scores[center], support), 1.0)
            score = height if config.instance_score == "center" else score * height
        segments.append(
            PanopticSegment(
                id=segment_id,
                category_id=category,
                category=classes.names[category],
                is_thing=is_thing,
                score=score,
                area=area,
                box=tuple(box),
                center=tuple(centers[center]) if is_thing else None,
                support=support,
            )
        )
    return tuple(segments)


__all__ = [
    "VOID_LABEL",
    "PanopticResult",
    "PanopticSegment",
    "SegmentedMaps",
    "postprocess",
    "segment_maps",
    "to_results",
]
