"""Pictures of what a panoptic model is given, what it predicts, and what it should have predicted.

Arrays in, a new (H, W, 3) uint8 RGB picture out. A panoptic map here always has the ids of a prediction,
`category * label_divisor + instance`; `panoptic_from_segments` brings ground truth to that form, so that both
are drawn by the same code in the same colors.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import cv2
import numpy as np
import torch

from panodeeplab import ops
from panodeeplab.classes import ClassTable
from panodeeplab.data.sample import Segment
from panodeeplab.labels import Label, draw_labels, write_line

_BOUNDARY_BRIGHTNESS = 235


class ScoredSegment(Protocol):
    """What a label is written from: the id of a segment in the panoptic map, and its score."""

    @property
    def id(self) -> int: ...

    @property
    def score(self) -> float: ...


def panoptic_from_segments(
    segment_map: np.ndarray,
    segments_info: Sequence[Segment],
    classes: ClassTable,
    *,
    label_divisor: int = 1000,
    void_label: int = -1,
) -> np.ndarray:
    """Renumber a ground truth id map as a prediction is numbered: `category * label_divisor + instance`.

    Instances count from 1 per thing class, in the order of `segments_info`; stuff and crowd regions have
    instance 0. A pixel that no entry of `segments_info` names, and every pixel of value 0, is void.

    Args:
        segment_map: (H, W) integer, segment ids of the ground truth.
        segments_info: id, contiguous category and crowd flag of each segment.
        classes: the classes that the categories count.
        label_divisor: more than the largest number of instances of one class.
        void_label: value of void pixels in the result.

    Returns:
        (H, W) int32.

    Raises:
        ValueError: for a map that is not (H, W) integer, an unknown category, or too many instances.
    """
    _check_map("segment_map", segment_map)
    table = np.full(max((info["id"] for info in segments_info), default=0) + 2, void_label, np.int32)
    instances = dict.fromkeys(classes.thing_ids, 0)
    for info in segments_info:
        category = info["category_id"]
        if not 0 <= category < len(classes):
            raise ValueError(f"segments_info has category_id {category}, wanted 0..{len(classes) - 1}")
        instance = 0
        if category in instances and not info["iscrowd"]:
            instance = instances[category] = instances[category] + 1
            if instance >= label_divisor:
                raise ValueError(
                    f"segments_info has {label_divisor} instances of {classes.names[category]}, "
                    f"wanted fewer than label_divisor"
                )
        if info["id"] > 0:
            table[info["id"]] = category * label_divisor + instance
    return np.take(table, segment_map, mode="clip")


def color_panoptic(panoptic: np.ndarray, classes: ClassTable, *, label_divisor: int = 1000) -> np.ndarray:
    """Color a panoptic map: stuff in the color of its class, each instance in a shade of its own, void black.

    The shade depends only on class and instance number.

    Args:
        panoptic: (H, W) integer, `category * label_divisor + instance`; negative is void.
        classes: gives the colors.
        label_divisor: as the map was made with.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        ValueError: for a map that is not (H, W) integer.
    """
    _check_map("panoptic", panoptic)
    nothing = np.empty((*panoptic.shape, 3), np.uint8)
    return _overlay(nothing, panoptic, classes, label_divisor, opacity=256, thickness=0)


def draw_panoptic(
    image: np.ndarray,
    panoptic: np.ndarray,
    classes: ClassTable,
    *,
    label_divisor: int = 1000,
    segments: Sequence[ScoredSegment] | None = None,
    alpha: float = 0.5,
    labels: bool = True,
    ids: bool = False,
) -> np.ndarray:
    """Lay a panoptic map over its image: colors, white outlines of things, names where there is room.

    A label is written only where it fits its segment and hides no label of a larger one. Void is darkened.

    Args:
        image: (H, W, 3) uint8, RGB.
        panoptic: (H, W) integer, `category * label_divisor + instance`; negative is void.
        classes: gives names and colors.
        label_divisor: as the map was made with.
        segments: where given, the labels of things carry the score of the segment of that id.
        alpha: weight of the colors, 0 (image only) to 1 (colors only).
        labels: whether to write names.
        ids: whether the labels of things carry the number of the instance, as in "car #7".

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        ValueError: for an image or a map of another shape or type, or `alpha` outside 0..1.
    """
    _check_image("image", image)
    _check_map("panoptic", panoptic)
    _check_same_size(image, "panoptic", panoptic)
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f"alpha must lie in 0..1, got {alpha}")
    thickness = min(max(1, round(min(panoptic.shape) / 512)), 64)
    opacity = round(256 * alpha)
    picture = _overlay(image, panoptic, classes, label_divisor, opacity=opacity, thickness=thickness)
    if labels:
        scores = {segment.id: segment.score for segment in segments} if segments is not None else {}
        thing_ids, colors = frozenset(classes.thing_ids), _id_colors(classes, label_divisor)

        def label_of(segment_id: int) -> Label | None:
            category = segment_id // label_divisor
            if segment_id < 0 or category >= len(classes):
                return None
            parts, is_thing = [classes.names[category]], category in thing_ids
            if is_thing and ids:
                parts.append(f"#{segment_id % label_divisor}")
            if is_thing and segment_id in scores:
                parts.append(f"{scores[segment_id]:.2f}")
            return Label(" ".join(parts), is_thing, colors[segment_id, :3])

        draw_labels(picture, panoptic, label_of)
    return picture


def draw_caption(picture: np.ndarray, text: str) -> None:
    """Write a line of text, in place, into the upper left corner, as large as the picture allows.

    Args:
        picture: (H, W, 3) uint8, RGB.
        text: nothing is written if it is empty, or does not fit at the smallest size.

    Raises:
        ValueError: for a picture of another shape or type.
    """
    _check_image("picture", picture)
    write_line(picture, text)


def draw_center_heatmap(center: np.ndarray, *, image: np.ndarray | None = None) -> np.ndarray:
    """Draw a center heatmap, 0 dark to 1 bright, over the grayscale image where one is given.

    Args:
        center: (h, w) or (1, h, w) float, 1 at a center; values outside 0..1 are clipped.
        image: (H, W, 3) uint8, RGB, of any size: the heatmap is stretched to it.

    Returns:
        (h, w, 3) uint8, RGB; (H, W, 3) over an image.

    Raises:
        ValueError: for an array of another shape or type.
    """
    if center.ndim == 3 and center.shape[0] == 1:
        center = center[0]
    if center.ndim != 2 or center.size == 0 or center.dtype.kind != "f":
        raise ValueError(f"center must be (h, w) or (1, h, w) float, got {_describe(center)}")
    heat = np.clip(np.nan_to_num(center.astype(np.float32)), 0.0, 1.0)
    if image is None:
        level = np.rint(heat * 255).astype(np.uint8)
        return cv2.cvtColor(cv2.applyColorMap(level, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    _check_image("image", image)
    height, width = image.shape[:2]
    heat = cv2.resize(heat, (width, height), interpolation=cv2.INTER_LINEAR)
    level = np.rint(heat * 255).astype(np.uint8)
    heat_colors = cv2.cvtColor(cv2.applyColorMap(level, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    gray = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    # Where the heatmap is dark the picture shows through; at a center only the heat remains.
    return cv2.add(
        cv2.multiply(gray, cv2.cvtColor(255 - level, cv2.COLOR_GRAY2RGB), scale=0.6 / 255), heat_colors
    )


def draw_offset(
    offset: np.ndarray, *, max_length: float | None = None, mask: np.ndarray | None = None
) -> np.ndarray:
    """Draw offsets on the color wheel: hue is the direction, saturation the length; no offset is white.

    Right is red, down yellow-green, left cyan, up violet: around one center the hue turns exactly once.

    Args:
        offset: (2, h, w) float, (dy, dx) in any unit.
        max_length: the length of full saturation, in that unit; by default the 99th percentile inside `mask`.
        mask: (h, w) bool; pixels outside are black. Give the thing pixels: elsewhere an offset means nothing.

    Returns:
        (h, w, 3) uint8, RGB.

    Raises:
        ValueError: for an array of another shape or type, or a `max_length` that is not positive.
    """
    if offset.ndim != 3 or offset.shape[0] != 2 or offset.size == 0 or offset.dtype.kind != "f":
        raise ValueError(f"offset must be (2, h, w) float, got {_describe(offset)}")
    if mask is not None and (mask.shape != offset.shape[1:] or mask.dtype != np.bool_):
        raise ValueError(f"mask must be {offset.shape[1:]} bool, got {_describe(mask)}")
    if max_length is not None and not max_length > 0:
        raise ValueError(f"max_length must be positive, got {max_length}")
    dy, dx = np.nan_to_num(offset.astype(np.float32))
    length, angle = cv2.cartToPolar(dx, dy, angleInDegrees=True)
    if max_length is None:
        shown = length if mask is None else length[mask]
        max_length = float(np.percentile(shown, 99)) if shown.size else 0.0
        max_length = max_length if max_length > 0 else 1.0
    saturation = np.minimum(length / max_length, 1.0)
    rgb = cv2.cvtColor(np.dstack([angle, saturation, np.ones_like(angle)]), cv2.COLOR_HSV2RGB)
    picture = np.rint(rgb * 255).astype(np.uint8)
    if mask is not None:
        picture[~mask] = 0
    return picture


def _overlay(
    image: np.ndarray,
    panoptic: np.ndarray,
    classes: ClassTable,
    label_divisor: int,
    *,
    opacity: int,
    thickness: int,
) -> np.ndarray:
    # What is read-only or runs backwards cannot be lent to torch.
    arrays = (image, panoptic.astype(np.int32, copy=False), _id_colors(classes, label_divisor))
    return ops.panoptic_overlay(
        *(torch.from_numpy(np.require(array, requirements=["C", "W"])) for array in arrays),
        opacity=opacity,
        thickness=thickness,
        brightness=_BOUNDARY_BRIGHTNESS,
    ).numpy()


@lru_cache(maxsize=8)
def _id_colors(classes: ClassTable, label_divisor: int) -> np.ndarray:
    """(C * label_divisor, 4) uint8: the RGB of every panoptic id, and 1 if it is outlined, as things are."""
    base = np.asarray(classes.colors, np.uint8).reshape(-1, 1, 3)
    colors = np.repeat(base, label_divisor, axis=1)
    if classes.thing_ids:
        things = list(classes.thing_ids)
        colors[things, 1:] = _instance_shades(base[things], label_divisor - 1)
    table = np.zeros((len(classes), label_divisor, 4), np.uint8)
    table[..., :3] = colors
    table[list(classes.thing_ids), :, 3] = 1
    return table.reshape(-1, 4)


def _instance_shades(base: np.ndarray, count: int) -> np.ndarray:
    """(C, 1, 3) class colors to (C, count, 3) shades: near in hue, neighbors far apart in brightness."""
    hsv = cv2.cvtColor(base.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
    # Steps of the golden ratio: any run of consecutive instances is spread evenly over the range.
    n = np.arange(count, dtype=np.float64)
    spread = (n * 0.6180339887 + 0.35) % 1.0
    other = (n * 0.7548776662 + 0.5) % 1.0
    shades = np.empty((len(base), count, 3), np.float32)
    shades[..., 0] = (hsv[..., 0] + 44.0 * (other - 0.5)) % 360.0
    shades[..., 1] = np.clip(hsv[..., 1] * (1.0 - 0.5 * spread), 0.0, 1.0)
    shades[..., 2] = 0.45 + 0.2 * hsv[..., 2] + (0.55 - 0.2 * hsv[..., 2]) * spread
    return np.rint(cv2.cvtColor(shades, cv2.COLOR_HSV2RGB) * 255).astype(np.uint8)


def _describe(array: np.ndarray) -> str:
    return f"{tuple(array.shape)} {array.dtype}"


def _check_image(name: str, image: np.ndarray) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0 or image.dtype != np.uint8:
        raise ValueError(f"{name} must be (H, W, 3) uint8 RGB, got {_describe(image)}")


def _check_map(name: str, array: np.ndarray) -> None:
    if array.ndim != 2 or array.size == 0 or array.dtype.kind not in "iu":
        raise ValueError(f"{name} must be (H, W) integer, got {_describe(array)}")


def _check_same_size(image: np.ndarray, name: str, array: np.ndarray) -> None:
    if image.shape[:2] != array.shape:
        raise ValueError(f"{name} must have the size of the image, {image.shape[:2]}, got {array.shape}")
