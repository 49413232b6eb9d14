"""The post-processing in ONNX's standard operators, for where no library may be loaded.

It follows `panodeeplab.ops.reference` step by step and gives the same pixels, for any batch and image size.
What it says of segments is less, and it is slower than the library by far.
"""

from typing import NamedTuple

import numpy as np
from onnx import TensorProto, helper

from panodeeplab.export.metadata import Metadata
from panodeeplab.export.onnx_graph import GraphBuilder
from panodeeplab.predictions import STRIDE

VOID_LABEL = -1
OUTPUTS = ("panoptic", "segment_ids", "segment_areas", "num_segments")

_FLOAT, _INT32, _INT64, _BOOL = TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL


class _Axis(NamedTuple):
    """As `panodeeplab.ops.reference.Axis`; each (size,), but for the weights of rows, (size, 1)."""

    lower: str
    upper: str
    weight: str
    rest: str  # 1 - weight
    exact: str  # weight == 0


class _Grid(NamedTuple):
    rows: _Axis
    columns: _Axis


def append_operators(proto, metadata: Metadata) -> None:
    """End an ONNX model with the post-processing, at the size of its images.

    Its outputs are then panoptic (N, H, W) int32; segment_ids and segment_areas (N, top_k + C) int32, in
    ascending order of ids, unused -1 and 0; num_segments (N,) int32.

    Args:
        proto: `onnx.ModelProto` of `panodeeplab.export.onnx.network_to_onnx`; changed in place.
        metadata: with the settings of the post-processing.

    Raises:
        ValueError: centers come from votes.
    """
    config, classes = metadata.postprocess, metadata.classes
    if config.center_source != "heatmap":
        raise ValueError(
            f"postprocess 'operators' finds centers in the heatmap, but the model's center_source is "
            f"{config.center_source!r}: export it with postprocess 'library'"
        )
    g = GraphBuilder("postprocess_")
    capacity = config.top_k + len(classes)
    height, width = (g("Shape", "images", start=axis, end=axis + 1) for axis in (1, 2))
    grid = _Grid(
        _axis(g, "semantic", 2, height, metadata.align_corners),
        _axis(g, "semantic", 3, width, metadata.align_corners),
    )
    shape = g("Concat", height, width, axis=0)

    def segment(g: GraphBuilder, n: str, state: list[str]) -> list[str]:
        maps = [g("Gather", name, n) for name in ("semantic", "center", "offset")]
        found = _segment(g, *maps, grid, shape, metadata)
        rows = [g("Unsqueeze", value, [0]) for value in found]
        return [g("Concat", done, row, axis=0) for done, row in zip(state, rows, strict=True)]

    def nothing(*dimensions: int) -> tuple[str, int]:
        return g.constant(np.zeros((0, *dimensions), np.int32)), _INT32

    no_maps = g("Expand", np.zeros((0, 1, 1), np.int32), g("Concat", [0], shape, axis=0))
    start = [(no_maps, _INT32), nothing(capacity), nothing(capacity), nothing()]
    batch = g("Squeeze", g("Shape", "semantic", start=0, end=1))
    results = g.loop(batch, start, segment)
    shapes = (["batch", "height", "width"], ["batch", capacity], ["batch", capacity], ["batch"])
    proto.graph.node.extend(g.nodes)
    del proto.graph.output[:]
    for name, result, dimensions in zip(OUTPUTS, results, shapes, strict=True):
        proto.graph.node.append(helper.make_node("Identity", [result], [name]))
        proto.graph.output.append(helper.make_tensor_value_info(name, _INT32, dimensions))


def _axis(g: GraphBuilder, maps: str, axis: int, size: str, align_corners: bool) -> _Axis:
    """Where the `size` output pixels of an axis lie between the cells of `maps`."""
    pixels = g("Range", 0, g("Squeeze", size), 1)
    if align_corners:
        numerator, parts = pixels, STRIDE
    else:
        numerator, parts = g("Add", g("Mul", pixels, 2), 1 - STRIDE), 2 * STRIDE
    last = g("Sub", g("Squeeze", g("Shape", maps, start=axis, end=axis + 1)), 1)
    numerator = g("Min", g("Max", numerator, 0), g("Mul", last, parts))
    lower = g("Div", numerator, parts)  # of numbers that are not negative
    remainder = g("Cast", g("Sub", numerator, g("Mul", lower, parts)), to=_FLOAT)
    weight = g("Div", remainder, float(parts))
    if axis == 2:
        weight = g("Unsqueeze", weight, [1])
    upper = g("Min", g("Add", lower, 1), last)
    return _Axis(lower, upper, weight, g("Sub", 1.0, weight), g("Equal", weight, 0.0))


def _upsample(g: GraphBuilder, low: str, grid: _Grid) -> str:
    """(h, w) → (H, W), bilinear: rows first, then columns."""
    for dimension, axis in enumerate(grid):
        lower, upper = (g("Gather", low, index, axis=dimension) for index in (axis.lower, axis.upper))
        between = g("Add", g("Mul", lower, axis.rest), g("Mul", upper, axis.weight))
        low = g("Where", axis.exact, lower, between)
    return low


def _segment(
    g: GraphBuilder, semantic: str, center: str, offset: str, grid: _Grid, shape: str, metadata: Metadata
) -> tuple[str, str, str, str]:
    """One image: panoptic (H, W), segment ids and areas (S,), and how many."""
    config, classes = metadata.postprocess, metadata.classes
    things = np.isin(np.arange(len(classes)), classes.thing_ids)
    label, valid = _argmax(g, semantic, grid, len(classes))
    heatmap = _upsample(g, g("Gather", center, 0), grid)
    centers = _centers(g, heatmap, config.center_threshold, config.nms_kernel, config.top_k)
    count = g("Squeeze", g("Shape", centers, start=0, end=1))
    nothing = g("Add", count, len(classes))

    # What each pixel belongs to: stuff c → c, thing of center k → C + k, nothing → C + K.
    code = g("Where", valid, label, nothing)
    pixels = g("Transpose", g("NonZero", g("And", valid, g("Gather", things, label))), perm=[1, 0])
    votes = []
    for axis in (0, 1):
        shift = _upsample(g, g("Gather", offset, axis), grid)
        place = g("Cast", g("Gather", pixels, axis, axis=1), to=_FLOAT)
        votes.append(g("Add", place, g("Mul", g("GatherND", shift, pixels), float(STRIDE))))
    instance = _nearest(g, votes, centers, count)
    of_thing = g("Where", g("Less", instance, 0), nothing, g("Add", instance, len(classes)))
    code = g("ScatterND", code, pixels, of_thing)

    ids, areas = _name(g, code, label, count, things, metadata)
    return (g("Cast", g("Gather", ids, code), to=_INT32), *_table(g, ids, areas, metadata))


def _argmax(g: GraphBuilder, semantic: str, grid: _Grid, classes: int) -> tuple[str, str]:
    """Class of each pixel, the first of several, and whether all logits are numbers; a class at a time."""
    first = _upsample(g, g("Gather", semantic, 0), grid)
    start = [
        (first, _FLOAT),
        (g("Expand", 0, g("Shape", first)), _INT64),
        (g("Not", g("IsNaN", first)), _BOOL),
    ]

    def compare(g: GraphBuilder, index: str, state: list[str]) -> list[str]:
        best, label, valid = state
        index = g("Add", index, 1)
        logit = _upsample(g, g("Gather", semantic, index), grid)
        better = g("Greater", logit, best)
        return [
            g("Where", better, logit, best),
            g("Where", better, index, label),
            g("And", valid, g("Not", g("IsNaN", logit))),
        ]

    _, label, valid = g.loop(classes - 1, start, compare)
    return label, valid


def _centers(g: GraphBuilder, heatmap: str, threshold: float, kernel: int, top_k: int) -> str:
    """(K, 2) places of the peaks in raster order, K < top_k."""
    heatmap = g("Where", g("IsNaN", heatmap), -np.float32(np.inf), heatmap)
    pooled = g("Unsqueeze", heatmap, [0, 1])
    for window in ((1, kernel), (kernel, 1)):
        pads = [side // 2 for side in window] * 2
        pooled = g("MaxPool", pooled, kernel_shape=window, pads=pads)
    peak = g("And", g("Greater", heatmap, threshold), g("Equal", heatmap, g("Squeeze", pooled, [0, 1])))
    places = g("Transpose", g("NonZero", peak), perm=[1, 0])
    scores = g("GatherND", heatmap, places)
    # With fewer than top_k the last is infinitely low, and all stay.
    enough = g("Concat", scores, np.full(top_k, -np.inf, np.float32), axis=0)
    largest, _ = g("TopK", enough, [top_k], outputs=2)
    kept = g("Greater", scores, g("Gather", largest, top_k - 1))
    return g("Compress", places, kept, axis=0)


def _nearest(g: GraphBuilder, votes: list[str], centers: str, count: str) -> str:
    """Index of the center nearest to each vote, the first of several; -1 if not finite or without any."""
    far = g("Expand", np.float32(np.inf), g("Shape", votes[0]))
    start = [(far, _FLOAT), (g("Expand", 0, g("Shape", votes[0])), _INT64)]
    places = g("Cast", centers, to=_FLOAT)

    def compare(g: GraphBuilder, k: str, state: list[str]) -> list[str]:
        best, index = state
        place = g("Gather", places, k)
        away = [g("Sub", vote, g("Gather", place, axis)) for axis, vote in enumerate(votes)]
        distance = g("Add", *(g("Mul", x, x) for x in away))
        closer = g("Less", distance, best)
        return [g("Where", closer, distance, best), g("Where", closer, k, index)]

    _, index = g.loop(count, start, compare)
    largest = float(np.finfo(np.float32).max)
    finite = g("And", *(g("LessOrEqual", g("Abs", vote), largest) for vote in votes))
    return g("Where", g("And", finite, g("Greater", count, 0)), index, -1)


def _name(
    g: GraphBuilder, code: str, label: str, count: str, things: np.ndarray, metadata: Metadata
) -> tuple[str, str]:
    """Id and area of each code, (C + K + 1,)."""
    config, classes = metadata.postprocess, len(things)
    codes = g("Unsqueeze", g("Add", count, classes + 1), [0])
    flat = g("Reshape", code, [-1])
    one = g("Expand", 1, g("Shape", flat))
    areas = g("ScatterElements", g("Expand", 0, codes), flat, one, reduction="add")
    pair = g("Add", g("Mul", flat, classes), g("Reshape", label, [-1]))
    votes = g("ScatterElements", g("Expand", 0, g("Mul", codes, classes)), pair, one, reduction="add")
    votes = g("Reshape", votes, [-1, classes])
    # The class of most of a thing's pixels, the smallest of several.
    category = g("ArgMax", g("Slice", votes, [classes], g("Sub", codes, 1)), axis=1, keepdims=0)
    stuff_area, thing_area = (
        g("Slice", areas, [0], [classes]),
        g("Slice", areas, [classes], g("Sub", codes, 1)),
    )
    stuff = g("And", g("GreaterOrEqual", stuff_area, max(config.stuff_area, 1)), ~things)
    stuff_ids = g("Where", stuff, np.arange(classes) * config.label_divisor, VOID_LABEL)
    # Numbered from 1 within the class, in the order of centers.
    exists = g("Greater", thing_area, 0)
    of_class = g(
        "And", g("Equal", g("Unsqueeze", category, [1]), np.arange(classes)), g("Unsqueeze", exists, [1])
    )
    of_class = g("Cast", of_class, to=_INT64)
    number = g("ReduceSum", g("Mul", g("CumSum", of_class, 0), of_class), [1], keepdims=0)
    thing_ids = g("Add", g("Mul", category, config.label_divisor), number)
    thing_ids = g("Where", exists, thing_ids, VOID_LABEL)
    return g("Concat", stuff_ids, thing_ids, [VOID_LABEL], axis=0), areas


def _table(g: GraphBuilder, ids: str, areas: str, metadata: Metadata) -> tuple[str, str, str]:
    """Ids of the segments and their areas, (S,) int32 with unused rows, and how many."""
    capacity = metadata.postprocess.top_k + len(metadata.classes)
    present = g("GreaterOrEqual", ids, 0)
    found, sizes = g("Compress", ids, present), g("Compress", areas, present)
    count = g("Shape", found)
    found, order = g("TopK", found, count, largest=0, outputs=2)
    sizes = g("Gather", sizes, order)
    unused = g("Sub", capacity, count)
    ids = g("Concat", found, g("Expand", VOID_LABEL, unused), axis=0)
    areas = g("Concat", sizes, g("Expand", 0, unused), axis=0)
    ids, areas, count = (g("Cast", x, to=_INT32) for x in (ids, areas, g("Squeeze", count)))
    return ids, areas, count
