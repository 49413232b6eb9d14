"""Association, switches and segmentation quality, by hand."""

import math

import numpy as np
import pytest

from panodeeplab.classes import CITYSCAPES
from panodeeplab.evaluation.tracking_quality import TrackingQuality

ROAD, CAR = 0, 13


def info(segment_id, category, crowd=0):
    return {"id": segment_id, "category_id": category, "iscrowd": crowd}


def truth(*cars):
    """Road, 10 x 20, with a car (id 26000 + n) of 4 x 5 at each x."""
    panoptic = np.full((10, 20), 7, np.int32)
    for number, x in cars:
        panoptic[3:7, x : x + 5] = 26000 + number
    return panoptic, [info(7, ROAD), *(info(26000 + number, CAR) for number, _ in cars)]


def found(*cars):
    panoptic = np.zeros((10, 20), np.int32)
    for number, x in cars:
        panoptic[3:7, x : x + 5] = CAR * 1000 + number
    return panoptic


def test_what_is_followed_without_a_fault_is_perfect():
    quality = TrackingQuality(CITYSCAPES)
    for x in range(4):
        quality.add(*truth((1, x), (2, 15)), found((9, x), (3, 15)))
    scores = quality.scores()
    assert (scores.stq, scores.association, scores.segmentation) == (1, 1, 1)
    assert (scores.switches, scores.objects, scores.matches) == (0, 2, 8)


def test_a_change_of_id_halves_the_association():
    quality = TrackingQuality(CITYSCAPES)
    for number in (1, 1, 2, 2):
        quality.add(*truth((1, 5)), found((number, 5)))
    scores = quality.scores()
    # Two tubes, each with half of the pixels and an overlap of a half.
    assert scores.association == pytest.approx(2 * 0.5 * 0.5)
    assert (scores.switches, scores.matches, scores.segmentation) == (1, 4, 1)
    assert scores.stq == pytest.approx(math.sqrt(0.5))


def test_a_tube_over_two_objects_counts_for_less():
    quality = TrackingQuality(CITYSCAPES)
    quality.add(*truth((1, 5)), found((1, 5)))
    quality.add(*truth((2, 5)), found((1, 5)))
    assert quality.scores().association == pytest.approx(0.5)
    assert quality.scores().switches == 0


def test_missing_pixels_cost_segmentation_and_association():
    quality = TrackingQuality(CITYSCAPES)
    quality.add(*truth((1, 5)), found())
    scores = quality.scores()
    assert (scores.association, scores.stq, scores.matches) == (0, 0, 0)
    assert scores.segmentation == pytest.approx((180 / 200 + 0) / 2)


def test_void_and_crowds_are_left_out():
    panoptic, segments = truth((1, 5))
    panoptic[8:] = 0
    panoptic[:2] = 26
    segments.append(info(26, CAR, crowd=1))
    predicted = found((1, 5))
    predicted[8:] = CAR * 1000 + 1
    predicted[:2] = CAR * 1000 + 1
    quality = TrackingQuality(CITYSCAPES)
    quality.add(panoptic, segments, predicted)
    assert quality.scores().stq == 1


def test_videos_do_not_mix():
    quality = TrackingQuality(CITYSCAPES)
    quality.add(*truth((1, 5)), found((1, 5)))
    quality.next_video()
    quality.add(*truth((1, 5)), found((2, 5)))
    scores = quality.scores()
    assert (scores.association, scores.switches, scores.objects) == (1, 0, 2)


def test_nothing_to_score_is_nan_and_other_shapes_are_refused():
    quality = TrackingQuality(CITYSCAPES)
    assert all(math.isnan(value) for value in (quality.scores().stq, quality.scores().association))
    with pytest.raises(ValueError, match="shape"):
        quality.add(*truth(), np.zeros((4, 4), np.int32))
