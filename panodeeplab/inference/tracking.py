"""Instance numbers that stay with their objects from frame to frame."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from panodeeplab.ops import renumber_, thing_overlaps
from panodeeplab.postprocess import PanopticResult

_COUNTED_PIXELS = 1 << 17  # of a map, about; overlaps need no more
_BUFFER = 0.5  # of its sides, by which a box is grown on each
_OTHER_CLASS = 0.5  # weight of an overlap with another class: a car may be taken for a truck for a while
_SMOOTHING = 0.4  # weight of the latest step in the velocity


class _Tracks(NamedTuple):
    """T objects, an entry each."""

    track_id: np.ndarray  # (T,) from 1 without end
    number: np.ndarray  # (T,) in the map
    category: np.ndarray  # (T,)
    box: np.ndarray  # (T, 4) y0, x0, y1, x1 where it was seen last
    velocity: np.ndarray  # (T, 4) pixels per frame of each side; NaN before it was seen twice
    missed: np.ndarray  # (T,) frames since

    def take(self, rows: np.ndarray) -> "_Tracks":
        return _Tracks(*(values[rows] for values in self))

    def join(self, others: "_Tracks") -> "_Tracks":
        return _Tracks(*(np.concatenate(pair) for pair in zip(self, others, strict=True)))


_NOBODY = _Tracks(*(np.zeros(shape, np.int64) for shape in (0, 0, 0, (0, 4), (0, 4), 0)))


class Tracker:
    """Gives the things of successive results of one video the numbers of the objects that they are.

    A thing continues the track that it overlaps most: by pixels with where the object was in the last frame,
    or by boxes, grown a little, with where it would be now if it moved on as it did. Things of the same class
    come first. An object that is missed keeps its number for `patience` frames.

    Numbers count over all classes: they stay when the class of an object changes. When the numbers that
    `label_divisor` has room for are used up, they begin again with the first that is free.

    Args:
        patience: frames that an object may be missed for.
        least_overlap: intersection over union that a match needs.

    Raises:
        ValueError: an argument is out of range.

    Source: boxes grown for matching as in Yang et al., Hard to Track Objects with Irregular Motions and
        Similar Appearances? Make It Easier by Buffering the Matching Space (WACV 2023).
    """

    def __init__(self, *, patience: int = 10, least_overlap: float = 0.05) -> None:
        if patience < 0:
            raise ValueError(f"patience must be at least 0, got {patience}")
        if not 0 < least_overlap < 1:
            raise ValueError(f"least_overlap must lie between 0 and 1, got {least_overlap}")
        self._patience, self._least_overlap = patience, least_overlap
        self.reset()

    def reset(self) -> None:
        """Forget all objects, as for another video."""
        self._shape: tuple[int, int] | None = None
        self._created = 0
        self._tracks = _NOBODY  # those seen in the last frame first, in the order of its things
        self._last = torch.empty(0, 0, dtype=torch.int32)  # which of them some of its pixels are
        self._last_count = 0

    def update(self, result: PanopticResult) -> PanopticResult:
        """The result with the ids of its things renumbered, and `track_id` in their segments.

        Args:
            result: of the frame that follows the one given last. One of another size starts anew, but takes
                no `track_id` a second time. Its map is renumbered where it lies: a copy would cost as much
                as all the rest.

        Returns:
            A new result with the same map.

        Raises:
            ValueError: the map may not be written to.
        """
        if not result.panoptic.flags.writeable:
            raise ValueError("result.panoptic is read-only, wanted a map that can be renumbered in place")
        divisor = result.label_divisor
        things = [segment for segment in result.segments if segment.is_thing]
        ids = np.array([segment.id for segment in things], np.int32)
        category = np.array([segment.category_id for segment in things], np.int64)
        box = np.array([segment.box for segment in things], np.float64).reshape(-1, 4)
        panoptic = torch.from_numpy(result.panoptic)
        step = max(1, round((panoptic.numel() / _COUNTED_PIXELS) ** 0.5))
        if result.panoptic.shape != self._shape:
            self._shape, self._tracks, self._last_count = result.panoptic.shape, _NOBODY, 0
            self._last = torch.zeros_like(panoptic[step // 2 :: step, step // 2 :: step])
        self._last, shared = thing_overlaps(
            panoptic, torch.from_numpy(ids), self._last, last_count=self._last_count, step=step
        )
        row = self._match(category, box, shared.numpy())

        old, known = self._tracks, row >= 0
        seen = old.take(row[known])
        step = (box[known] - seen.box) / (seen.missed + 1)[:, None]
        velocity = (1 - _SMOOTHING) * np.where(
            np.isnan(seen.velocity), step, seen.velocity
        ) + _SMOOTHING * step
        seen = seen._replace(
            category=category[known], box=box[known], velocity=velocity, missed=0 * seen.missed
        )
        is_lost = old.missed < self._patience
        is_lost[row[known]] = False
        lost = old.take(is_lost)
        lost = lost._replace(missed=lost.missed + 1)
        new = self._new_tracks(
            category[~known], box[~known], np.concatenate([seen.number, lost.number]), divisor
        )
        # In the order of the things, those that are lost last.
        order = np.empty(len(things), np.int64)
        order[known] = np.arange(len(seen.number))
        order[~known] = len(seen.number) + np.arange(len(new.number))
        now = seen.join(new).take(order)
        self._tracks = now.join(lost)
        self._last_count = len(things)

        new_ids = now.category * divisor + now.number
        if things:
            y0, x0, y1, x1 = *box[:, :2].min(0).astype(int), *box[:, 2:].max(0).astype(int)
            renumber_(
                panoptic[y0:y1, x0:x1], torch.from_numpy(ids), torch.from_numpy(new_ids.astype(np.int32))
            )
        named = [
            segment._replace(id=new_id, track_id=track_id)
            for segment, new_id, track_id in zip(things, new_ids.tolist(), now.track_id.tolist(), strict=True)
        ]
        stuff = [segment for segment in result.segments if not segment.is_thing]
        segments = sorted(stuff + named, key=lambda segment: segment.id)
        return replace(result, segments=tuple(segments))

    def _match(self, category: np.ndarray, box: np.ndarray, shared: np.ndarray) -> np.ndarray:
        """The row of the track of each thing, -1 without; `shared` as `thing_overlaps` counts it."""
        row = np.full(len(category), -1)
        tracks = self._tracks
        if len(category) == 0 or len(tracks.number) == 0:
            return row
        expected = tracks.box + np.nan_to_num(tracks.velocity) * (tracks.missed + 1)[:, None]
        overlap = _box_overlap(expected, box)
        by_pixels = overlap[: len(shared) - 1]
        np.maximum(by_pixels, _mask_overlap(shared), out=by_pixels)
        overlap[tracks.category[:, None] != category] *= _OTHER_CLASS
        candidates = np.flatnonzero(overlap >= self._least_overlap)
        taken = set()
        for flat in candidates[np.argsort(-overlap.ravel()[candidates], kind="stable")].tolist():
            track, thing = divmod(flat, len(category))
            if track not in taken and row[thing] < 0:
                taken.add(track)
                row[thing] = track
        return row

    def _new_tracks(self, category: np.ndarray, box: np.ndarray, taken: np.ndarray, divisor: int) -> _Tracks:
        track_id = self._created + 1 + np.arange(len(category))
        numbers, free = [], set(range(1, divisor)).difference(taken.tolist()) if len(category) else set()
        for wanted in ((track_id - 1) % (divisor - 1) + 1).tolist():
            number = wanted if wanted in free else min(free)
            free.discard(number)
            numbers.append(number)
        self._created += len(category)
        return _Tracks(
            track_id, np.array(numbers, np.int64), category, box, np.full_like(box, np.nan), 0 * category
        )


def _mask_overlap(shared: np.ndarray) -> np.ndarray:
    """(R, S) intersection over union, from the pixels shared by R and S things and, last, by what is none."""
    areas = shared.sum(1)[:-1, None] + shared.sum(0)[:-1]
    return shared[:-1, :-1] / np.maximum(areas - shared[:-1, :-1], 1)


def _box_overlap(expected: np.ndarray, box: np.ndarray) -> np.ndarray:
    """(T, S) intersection over union of grown boxes."""
    first, second = _grown(expected)[:, None], _grown(box)
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    sides = np.maximum(sides, 0)
    shared = sides[..., 0] * sides[..., 1]
    areas = [np.maximum((b[..., 2] - b[..., 0]) * (b[..., 3] - b[..., 1]), 1e-3) for b in (first, second)]
    return shared / (areas[0] + areas[1] - shared)


def _grown(boxes: np.ndarray) -> np.ndarray:
    """(N, 4) boxes with `_BUFFER` of their sides more on each."""
    margin = _BUFFER * np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return np.concatenate([boxes[:, :2] - margin, boxes[:, 2:] + margin], 1)
