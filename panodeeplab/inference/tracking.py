"""Instance numbers that stay with their objects from frame to frame."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from panodeeplab.ops import pair_counts
from panodeeplab.postprocess import PanopticResult, PanopticSegment

_COUNTED_PIXELS = 1 << 18  # of a map, about; overlaps need no more
_BUFFER = 0.3  # of its sides, by which a box is grown on each
_OTHER_CLASS = 0.5  # weight of an overlap with another class: a car may be taken for a truck for a while
_SMOOTHING = 0.5  # weight of the latest step in the velocity


@dataclass
class _Track:
    """An object: its number without end, that in the map, and where it was when it was seen last."""

    track_id: int
    number: int
    category_id: int
    box: np.ndarray  # (4,) y0, x0, y1, x1
    velocity: np.ndarray  # (4,) pixels per frame of each side
    missed: int = 0


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

    def __init__(self, *, patience: int = 10, least_overlap: float = 0.1) -> None:
        if patience < 0:
            raise ValueError(f"patience must be at least 0, got {patience}")
        if not 0 < least_overlap < 1:
            raise ValueError(f"least_overlap must lie between 0 and 1, got {least_overlap}")
        self._patience, self._least_overlap = patience, least_overlap
        self.reset()

    def reset(self) -> None:
        """Forget all objects, as for another video."""
        self._tracks: list[_Track] = []
        self._last: torch.Tensor | None = None  # some pixels of the last map, with the numbers of tracks
        self._shape: tuple[int, int] | None = None
        self._created = 0

    def update(self, result: PanopticResult) -> PanopticResult:
        """The result with the ids of its things renumbered, and `track_id` in their segments.

        Args:
            result: of the frame that follows the one given last. One of another size starts anew, but takes
                no `track_id` a second time.

        Returns:
            A new result with a new map; what was given is left as it is.
        """
        if result.panoptic.shape != self._shape:
            self._tracks, self._last, self._shape = [], None, result.panoptic.shape
        self._label_divisor = result.label_divisor
        things = [segment for segment in result.segments if segment.is_thing]
        pixels = self._some_pixels(result.panoptic)
        tracks = self._match(things, pixels)
        for segment, track in zip(things, tracks, strict=True):
            box = np.array(segment.box, np.float32)
            if track is None:
                continue
            step = (box - track.box) / (track.missed + 1)
            track.velocity = (1 - _SMOOTHING) * track.velocity + _SMOOTHING * step
            track.box, track.category_id, track.missed = box, segment.category_id, -1
        for track in self._tracks:
            track.missed += 1
        self._tracks = [track for track in self._tracks if track.missed <= self._patience]
        for place, segment in enumerate(things):
            if tracks[place] is None:
                tracks[place] = self._new_track(segment)
        named = {
            segment.id: replace(
                segment,
                id=self._id_of(track),
                track_id=track.track_id,
            )
            for segment, track in zip(things, tracks, strict=True)
        }
        panoptic = _renumbered(result.panoptic, things, named)
        self._last = self._some_pixels(panoptic)
        segments = sorted((named.get(s.id, s) for s in result.segments), key=lambda segment: segment.id)
        return replace(result, panoptic=panoptic, segments=tuple(segments))

    def _some_pixels(self, panoptic: np.ndarray) -> torch.Tensor:
        step = max(1, round((panoptic.size / _COUNTED_PIXELS) ** 0.5))
        return torch.from_numpy(np.array(panoptic[step // 2 :: step, step // 2 :: step], np.int32, order="C"))

    def _match(self, things: list[PanopticSegment], pixels: torch.Tensor) -> list[_Track | None]:
        """The track of each thing, or None."""
        matched: list[_Track | None] = [None] * len(things)
        if not things or not self._tracks:
            return matched
        overlap = np.maximum(self._mask_overlap(things, pixels), self._box_overlap(things))
        same = np.array([[t.category_id == s.category_id for s in things] for t in self._tracks])
        overlap *= np.where(same, 1.0, _OTHER_CLASS)
        free = set(range(len(self._tracks)))
        for flat in np.argsort(-overlap, axis=None, kind="stable"):
            row, column = divmod(int(flat), len(things))
            if overlap[row, column] < self._least_overlap:
                break
            if row in free and matched[column] is None:
                free.discard(row)
                matched[column] = self._tracks[row]
        return matched

    def _mask_overlap(self, things: list[PanopticSegment], pixels: torch.Tensor) -> np.ndarray:
        """(tracks, things) intersection over union of the masks in the last frame and in this."""
        overlap = np.zeros((len(self._tracks), len(things)), np.float32)
        if self._last is None:
            return overlap
        pairs, counts = (x.numpy() for x in pair_counts(self._last, pixels))
        rows = {self._id_of(track): row for row, track in enumerate(self._tracks) if track.missed == 0}
        columns = {segment.id: column for column, segment in enumerate(things)}
        before, now = np.zeros(len(self._tracks)), np.zeros(len(things))
        for (first, second), count in zip(pairs.tolist(), counts.tolist(), strict=True):
            row, column = rows.get(first), columns.get(second)
            if row is not None:
                before[row] += count
            if column is not None:
                now[column] += count
            if row is not None and column is not None:
                overlap[row, column] = count
        return overlap / np.maximum(before[:, None] + now - overlap, 1)

    def _id_of(self, track: _Track) -> int:
        return track.category_id * self._label_divisor + track.number

    def _box_overlap(self, things: list[PanopticSegment]) -> np.ndarray:
        """(tracks, things) intersection over union of grown boxes, where each track would be now."""
        expected = np.stack([t.box + t.velocity * (t.missed + 1) for t in self._tracks])
        first, second = _grown(expected)[:, None], _grown(np.array([s.box for s in things], np.float32))
        low, high = np.maximum(first[..., :2], second[..., :2]), np.minimum(first[..., 2:], second[..., 2:])
        shared = np.clip(high - low, 0, None).prod(-1)
        areas = [np.clip(box[..., 2:] - box[..., :2], 1e-3, None).prod(-1) for box in (first, second)]
        return shared / (areas[0] + areas[1] - shared)

    def _new_track(self, segment: PanopticSegment) -> _Track:
        self._created += 1
        taken, numbers = {track.number for track in self._tracks}, self._label_divisor - 1
        turn = (self._created - 1) % numbers
        number = next(n for n in (*range(turn + 1, numbers + 1), *range(1, turn + 1)) if n not in taken)
        box = np.array(segment.box, np.float32)
        track = _Track(self._created, number, segment.category_id, box, np.zeros(4, np.float32))
        self._tracks.append(track)
        return track


def _grown(boxes: np.ndarray) -> np.ndarray:
    """(N, 4) boxes with `_BUFFER` of their sides more on each."""
    margin = _BUFFER * np.clip(boxes[:, 2:] - boxes[:, :2], 0, None)
    return np.concatenate([boxes[:, :2] - margin, boxes[:, 2:] + margin], 1)


def _renumbered(
    panoptic: np.ndarray, things: list[PanopticSegment], named: dict[int, PanopticSegment]
) -> np.ndarray:
    """A copy of the map in which each thing has its new id; only their boxes are looked at."""
    renumbered = panoptic.copy()
    for segment in things:
        new = named[segment.id].id
        if new != segment.id:
            y0, x0, y1, x1 = segment.box
            np.copyto(renumbered[y0:y1, x0:x1], new, where=panoptic[y0:y1, x0:x1] == segment.id)
    return renumbered
