"""Instance numbers that stay with their objects from frame to frame."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from panodeeplab.ops import pair_counts
from panodeeplab.postprocess import PanopticResult, PanopticSegment

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
        self._tracks = _NOBODY
        self._last: torch.Tensor | None = None  # some pixels of the last map, as it came
        self._last_ids = np.zeros(0, np.int64)  # of the tracks in it, -1 for those that it misses
        self._shape: tuple[int, int] | None = None
        self._created = 0

    def update(self, result: PanopticResult) -> PanopticResult:
        """The result with the ids of its things renumbered, and `track_id` in their segments.

        Args:
            result: of the frame that follows the one given last. One of another size starts anew, but takes
                no `track_id` a second time. Its map is renumbered where it lies: a copy would cost as much
                as all the rest.

        Returns:
            A new result with the same map.
        """
        if result.panoptic.shape != self._shape:
            self._tracks, self._last, self._shape = _NOBODY, None, result.panoptic.shape
        divisor = result.label_divisor
        things = [segment for segment in result.segments if segment.is_thing]
        ids = np.array([segment.id for segment in things], np.int64)
        category = np.array([segment.category_id for segment in things], np.int64)
        box = np.array([segment.box for segment in things], np.float64).reshape(-1, 4)
        pixels = _some_pixels(result.panoptic)
        row = self._match(ids, category, box, pixels)

        old, known = self._tracks, row >= 0
        seen = old.take(row[known])
        step = (box[known] - seen.box) / (seen.missed + 1)[:, None]
        velocity = (1 - _SMOOTHING) * np.where(
            np.isnan(seen.velocity), step, seen.velocity
        ) + _SMOOTHING * step
        seen = seen._replace(
            category=category[known], box=box[known], velocity=velocity, missed=0 * seen.missed
        )
        lost = np.setdiff1d(np.flatnonzero(old.missed < self._patience), row)
        lost = old.take(lost)._replace(missed=old.missed[lost] + 1)
        new = self._new_tracks(
            category[~known], box[~known], np.concatenate([seen.number, lost.number]), divisor
        )
        # In the order of the things, those that are lost last.
        order = np.empty(len(things), np.int64)
        order[known] = np.arange(len(seen.number))
        order[~known] = len(seen.number) + np.arange(len(new.number))
        now = seen.join(new).take(order)
        self._tracks = now.join(lost)
        self._last, self._last_ids = pixels, np.concatenate([ids, np.full(len(lost.number), -1)])

        new_ids = now.category * divisor + now.number
        _renumber(result.panoptic, things, new_ids.tolist())
        named = [
            replace(segment, id=new_id, track_id=track_id)
            for segment, new_id, track_id in zip(things, new_ids.tolist(), now.track_id.tolist(), strict=True)
        ]
        stuff = [segment for segment in result.segments if not segment.is_thing]
        segments = sorted(stuff + named, key=lambda segment: segment.id)
        return replace(result, segments=tuple(segments))

    def _match(
        self, ids: np.ndarray, category: np.ndarray, box: np.ndarray, pixels: torch.Tensor
    ) -> np.ndarray:
        """The row of the track of each thing, -1 without."""
        row = np.full(len(ids), -1)
        tracks = self._tracks
        if len(ids) == 0 or len(tracks.number) == 0:
            return row
        expected = tracks.box + np.nan_to_num(tracks.velocity) * (tracks.missed + 1)[:, None]
        masks = _mask_overlap(self._last_ids, ids, self._last, pixels)
        overlap = np.maximum(masks, _box_overlap(expected, box))
        overlap[tracks.category[:, None] != category] *= _OTHER_CLASS
        candidates = np.flatnonzero(overlap >= self._least_overlap)
        taken = set()
        for flat in candidates[np.argsort(-overlap.ravel()[candidates], kind="stable")].tolist():
            track, thing = divmod(flat, len(ids))
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


def _some_pixels(panoptic: np.ndarray) -> torch.Tensor:
    step = max(1, round((panoptic.size / _COUNTED_PIXELS) ** 0.5))
    return torch.from_numpy(np.array(panoptic[step // 2 :: step, step // 2 :: step], np.int32, order="C"))


def _mask_overlap(
    track_ids: np.ndarray, ids: np.ndarray, last: torch.Tensor, pixels: torch.Tensor
) -> np.ndarray:
    """(T, S) intersection over union of masks in the last map and in this; only -1 may be there twice."""
    pairs, counts = (x.numpy() for x in pair_counts(last, pixels))
    row, column = _places(track_ids, pairs[:, 0]), _places(ids, pairs[:, 1])
    # With one more for all that is neither.
    table = np.zeros((len(track_ids) + 1, len(ids) + 1))
    np.add.at(table, (row, column), counts)
    shared = table[:-1, :-1]
    return shared / np.maximum(table[:-1].sum(1)[:, None] + table[:, :-1].sum(0) - shared, 1)


def _places(ids: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where each wanted value is among the ids, their number for what is negative or not there."""
    order = np.argsort(ids, kind="stable")
    place = order[np.minimum(np.searchsorted(ids, wanted, sorter=order), len(ids) - 1)]
    return np.where((ids[place] == wanted) & (wanted >= 0), place, len(ids))


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


def _renumber(panoptic: np.ndarray, things: list[PanopticSegment], new_ids: list[int]) -> None:
    """Give each thing its new id, in place; only their boxes are looked at."""
    changes = []
    for segment, new_id in zip(things, new_ids, strict=True):
        if new_id != segment.id:
            y0, x0, y1, x1 = segment.box
            region = panoptic[y0:y1, x0:x1]
            changes.append((region, region == segment.id, new_id))
    # Only now, as the new id of one may be the old one of another.
    for region, mask, new_id in changes:
        np.copyto(region, new_id, where=mask)
