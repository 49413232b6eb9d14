"""Numbers that stay with objects through motion, gaps, swaps and crowds of numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panodeeplab.classes import CITYSCAPES
from panodeeplab.data.scenes import render_clip
from panodeeplab.evaluation.tracking_quality import TrackingQuality
from panodeeplab.inference.tracking import Tracker
from panodeeplab.postprocess import PanopticResult, PanopticSegment

CAR, TRUCK, PERSON = 13, 14, 11


def result_of(panoptic, divisor=1000):
    segments = []
    for segment_id in np.unique(panoptic[panoptic >= 0]).tolist():
        rows, columns = (np.flatnonzero((panoptic == segment_id).any(axis)) for axis in (1, 0))
        box = (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
        category, area = segment_id // divisor, int((panoptic == segment_id).sum())
        is_thing = category in CITYSCAPES.thing_ids
        segments.append(
            PanopticSegment(segment_id, category, CITYSCAPES.names[category], is_thing, 0.5, area, box, None)
        )
    return PanopticResult(panoptic, tuple(segments), CITYSCAPES, divisor)


def frame(*boxes, size=(100, 200), divisor=1000):
    """Road with things at (category, y, x, height, width), numbered in each class in the order given."""
    panoptic = np.zeros(size, np.int32)
    count = {}
    for category, y, x, height, width in boxes:
        count[category] = count.get(category, 0) + 1
        panoptic[y : y + height, x : x + width] = category * divisor + count[category]
    return result_of(panoptic, divisor)


def number_at(result, y, x):
    return int(result.instance[y, x])


def test_objects_keep_their_numbers_when_the_order_changes():
    tracker = Tracker()
    for x in range(0, 160, 4):
        # One to the right, one to the left: the first of a frame is numbered 1.
        cars = sorted([(CAR, 10, x, 20, 30), (CAR, 60, 160 - x, 20, 30)], key=lambda car: car[2])
        result = tracker.update(frame(*cars))
        assert (number_at(result, 20, x + 15), number_at(result, 70, 175 - x)) == (1, 2)
        assert {segment.track_id for segment in result.segments} == {None, 1, 2}


def test_the_map_and_the_segments_say_the_same():
    tracker = Tracker()
    tracker.update(frame((CAR, 10, 10, 20, 30), (CAR, 60, 100, 20, 30)))
    given_result = frame((CAR, 60, 104, 20, 30), (CAR, 12, 10, 20, 30), (PERSON, 0, 150, 20, 8))
    result = tracker.update(given_result)
    assert [segment.id for segment in result.segments] == [0, 11003, 13001, 13002]
    for segment in result.segments:
        assert int((result.panoptic == segment.id).sum()) == segment.area
        assert segment.id // 1000 == segment.category_id
    assert result.panoptic is given_result.panoptic


def test_a_small_fast_object_is_followed_without_any_overlap():
    tracker = Tracker()
    for step in range(12):
        result = tracker.update(frame((PERSON, 40, 5 + 9 * step, 16, 6)))
        assert number_at(result, 45, 6 + 9 * step) == 1


@pytest.mark.parametrize(("gap", "expected"), [(1, 1), (4, 1), (5, 2)])
def test_an_object_may_be_missed_for_as_long_as_patience(gap, expected):
    tracker = Tracker(patience=4)
    for step in range(5):
        tracker.update(frame((CAR, 40, 10 + 8 * step, 20, 30)))
    for _ in range(gap):
        assert tracker.update(frame()).segments[-1].track_id is None
    result = tracker.update(frame((CAR, 40, 10 + 8 * (5 + gap), 20, 30)))
    assert result.segments[-1].track_id == expected


def test_a_number_survives_a_change_of_class_but_the_same_class_comes_first():
    tracker = Tracker()
    tracker.update(frame((CAR, 40, 10, 20, 30)))
    assert tracker.update(frame((TRUCK, 40, 10, 20, 30))).segments[-1].id == TRUCK * 1000 + 1
    # The truck's place is shared by a person in front of it, half as large, and a truck that moved.
    both = tracker.update(frame((TRUCK, 40, 16, 20, 30), (PERSON, 42, 10, 16, 10)))
    assert {s.category_id: s.track_id for s in both.segments if s.is_thing} == {TRUCK: 1, PERSON: 2}


def test_numbers_begin_again_when_they_are_used_up_and_stay_distinct():
    tracker = Tracker(patience=0)
    seen = []
    for step in range(12):
        # The first stays; the other is another one each time.
        result = tracker.update(frame((CAR, 10, 10, 20, 30), (CAR, 60, 90 * (step % 2), 20, 30), divisor=5))
        numbers = {segment.id % 5 for segment in result.segments if segment.is_thing}
        assert len(numbers) == 2
        assert number_at(result, 20, 20) == 1
        seen.append(max(s.track_id for s in result.segments if s.is_thing))
        assert all(0 < number < 5 for number in numbers)
    assert seen == list(range(2, 14))


def test_another_size_starts_anew_and_reset_forgets_all():
    tracker = Tracker()
    assert tracker.update(frame((CAR, 40, 10, 20, 30))).segments[-1].track_id == 1
    assert tracker.update(frame((CAR, 40, 10, 20, 30), size=(100, 201))).segments[-1].track_id == 2
    tracker.reset()
    assert tracker.update(frame((CAR, 40, 10, 20, 30))).segments[-1].track_id == 1


def test_empty_scenes_are_no_error():
    tracker = Tracker()
    for _ in range(3):
        result = tracker.update(result_of(np.full((10, 12), -1, np.int32)))
        assert result.segments == ()
        assert (result.panoptic == -1).all()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 2**31), min_size=1, max_size=5), st.sampled_from([12, 1000]))
def test_any_maps_stay_what_they_are_but_for_their_numbers(seeds, divisor):
    tracker = Tracker(patience=1)
    for seed in seeds:
        rng = np.random.default_rng(seed)
        values = np.array([-1, 0, 2 * divisor, *(c * divisor + n for c in (11, 13) for n in (1, 2, 5))])
        panoptic = rng.choice(values, (8, 9)).repeat(4, 0).repeat(5, 1).astype(np.int32)
        before = panoptic.copy()
        result = tracker.update(result_of(panoptic, divisor))
        assert (result.panoptic // divisor == before // divisor).all()
        pairs = set(zip(before.ravel().tolist(), result.panoptic.ravel().tolist(), strict=True))
        assert len(pairs) == len({old for old, _ in pairs}) == len({new for _, new in pairs})
        assert [s.id for s in result.segments] == sorted(new for _, new in pairs if new >= 0)


def test_it_follows_the_objects_of_a_generated_street():
    found, alone = TrackingQuality(CITYSCAPES), TrackingQuality(CITYSCAPES)
    tracker = Tracker()
    for sample in render_clip(1001, 12, (128, 256)):
        panoptic = np.zeros(sample.panoptic.shape, np.int32)
        counts = {}
        for info in sorted(sample.segments_info, key=lambda s: -int((sample.panoptic == s["id"]).sum())):
            category = info["category_id"]
            if category in CITYSCAPES.thing_ids:
                counts[category] = counts.get(category, 0) + 1
            panoptic[sample.panoptic == info["id"]] = category * 1000 + counts.get(category, 0)
        alone.add(sample.panoptic, sample.segments_info, panoptic)
        result = tracker.update(result_of(panoptic))
        found.add(sample.panoptic, sample.segments_info, result.panoptic)
    assert found.scores().association > 0.85
    assert found.scores().association > alone.scores().association + 0.2
    assert found.scores().switches < alone.scores().switches / 4


def test_a_map_that_may_not_be_written_to_is_refused():
    result = frame((CAR, 40, 10, 20, 30))
    result.panoptic.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        Tracker().update(result)


@pytest.mark.parametrize("arguments", [{"patience": -1}, {"least_overlap": 0.0}, {"least_overlap": 1.0}])
def test_bad_arguments_are_named(arguments):
    with pytest.raises(ValueError, match=f"{next(iter(arguments))} must"):
        Tracker(**arguments)
