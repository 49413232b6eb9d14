"""AP as Cityscapes counts it, by hand; test_benchmarks_agree.py has the evaluator itself."""

import json

import numpy as np
import pytest

from panodeeplab.classes import CITYSCAPES, ClassTable
from panodeeplab.evaluation import InstanceAP

TWO = ClassTable(
    name="two", names=("ground", "cow"), colors=((0, 0, 0),) * 2, thing_ids=(1,), label_ids=(7, 24)
)
COW = {"id": 24001, "category_id": 1, "iscrowd": 0}
OTHER_COW = {"id": 24002, "category_id": 1, "iscrowd": 0}
HERD = {"id": 24, "category_id": 1, "iscrowd": 1}
GROUND = {"id": 7, "category_id": 0, "iscrowd": 0}


def field(**segments):
    """A 40 x 40 map of void with squares of 20 x 20: left or right, top or bottom."""
    panoptic = np.zeros((40, 40), np.int32)
    for place, segment_id in segments.items():
        row, column = place.split("_")
        panoptic[
            slice(20) if row == "top" else slice(20, 40), slice(20) if column == "left" else slice(20, 40)
        ] = segment_id
    return panoptic


def ap(prediction, target, segments_info, scores):
    metric = InstanceAP(TWO)
    metric.update(prediction, target, segments_info, scores)
    return metric.result()


def test_one_found_one_missed_one_made_up():
    target = field(top_left=24001, top_right=24002, bottom_left=7)
    prediction = np.where(target == 24001, 1001, np.where(target == 7, 1005, -1)).astype(np.int32)
    both = [COW, OTHER_COW, GROUND]
    # Curve for the true one first: (recall 1/2, precision 1/2), (1/2, 1), (0, 1). Its steps: 0, 1/4, 1/4.
    assert ap(prediction, target, both, {1001: 0.9, 1005: 0.5})["ap"] == pytest.approx(0.5)
    # The false one first: (1/2, 1/2), (0, 0), (0, 1). Its steps: 1/4, 1/4, 0.
    assert ap(prediction, target, both, {1001: 0.5, 1005: 0.9})["ap"] == pytest.approx(0.125)
    # Equal scores are one point: (1/2, 1/2), (0, 1), of a quarter each.
    assert ap(prediction, target, both, {1001: 0.5, 1005: 0.5})["ap"] == pytest.approx(0.375)


def test_void_counts_in_the_union_unlike_for_pq():
    target = field(top_left=24001)
    prediction = np.where(target == 24001, 1001, -1).astype(np.int32)
    prediction[20:33, :20] = 1001  # 260 pixels of void: IoU 400 / 660 = 0.61
    result = ap(prediction, target, [COW], {1001: 1.0})
    assert result["ap50"] == 1.0
    assert result["ap"] == pytest.approx(0.3)  # exceeds 0.5, 0.55, 0.6; from 0.65 on it is a false one


@pytest.mark.parametrize(
    ("below", "listed", "forgiven"),
    [(0, [], True), (24, [HERD], True), (7, [GROUND], False), (3, [], True), (29001, [], False)],
)
def test_where_a_prediction_without_a_match_is_no_error(below, listed, forgiven):
    target = field(top_left=24001, bottom_left=below)
    prediction = np.where(target == 24001, 1001, -1).astype(np.int32)
    prediction[20:, :20] = 1002
    result = ap(prediction, target, [COW, *listed], {1001: 0.4, 1002: 0.8})
    # The false one has the higher score: points (1, 1/2), (0, 0), (0, 1), steps 1/2, 1/2, 0.
    assert result["ap50"] == pytest.approx(1.0 if forgiven else 0.25)


def test_a_small_instance_need_not_be_found_and_may_be():
    target = field(top_left=24001)
    target[30:39, 30:39] = 24002  # 81 pixels
    found = np.where(target > 0, target - 23000, -1).astype(np.int32)
    missed = np.where(target == 24001, 1001, -1).astype(np.int32)
    for prediction in (found, missed):
        result = ap(prediction, target, [COW, OTHER_COW], {1001: 0.4, 1002: 0.8})
        assert (result["ap"], result["ap50"], result["n"]) == (1.0, 1.0, 1)


def test_nothing_to_find_and_nothing_found():
    empty = np.full((40, 40), -1, np.int32)
    nothing = InstanceAP(TWO).result()
    assert nothing == {"ap": 0.0, "ap50": 0.0, "n": 0, "per_class": {"1": None}}
    assert ap(field(top_left=1001) + 0, np.zeros((40, 40), np.int32), [], {0: 0.5, 1001: 0.5}) == nothing
    missed = ap(empty, field(top_left=24001), [COW], {})
    assert missed["per_class"] == {"1": {"ap": 0.0, "ap50": 0.0}}
    json.dumps(missed)


def test_merged_parts_equal_the_whole(generated):
    whole, parts = InstanceAP(CITYSCAPES), [InstanceAP(CITYSCAPES), InstanceAP(CITYSCAPES)]
    for number, (sample, result) in enumerate(generated.pairs):
        scores = {segment.id: segment.score for segment in result.segments}
        for metric in (whole, parts[number % 2]):
            metric.update(result.panoptic, sample.panoptic, sample.segments_info, scores)
    parts[0].merge(parts[1])
    assert parts[0].result() == whole.result()
    with pytest.raises(ValueError, match="'cityscapes', got 'two'"):
        whole.merge(InstanceAP(TWO))


@pytest.mark.parametrize(
    ("prediction", "scores", "message"),
    [
        (np.zeros((40, 41), np.int32), {}, r"one shape, got \(40, 41\) and \(40, 40\)"),
        (np.zeros((40, 40)), {}, r"prediction must be \(H, W\) int32"),
        (field(top_left=1001), {}, "scores has none for 1001"),
        (field(top_left=1001), {1001: float("nan")}, "scores must be finite, got nan"),
    ],
)
def test_bad_input_is_refused_and_leaves_no_trace(prediction, scores, message):
    metric = InstanceAP(TWO)
    with pytest.raises(ValueError, match=message):
        metric.update(prediction, field(top_left=24001), [COW], scores)
    assert metric.result() == InstanceAP(TWO).result()
    with pytest.raises(ValueError, match="label_divisor must be at least 1, got 0"):
        InstanceAP(TWO, label_divisor=0)
