import sys

import numpy as np
import pytest

from panodeeplab.classes import CITYSCAPES
from panodeeplab.inference.detections import to_supervision
from panodeeplab.inference.tracking import Tracker
from panodeeplab.postprocess import PanopticResult, PanopticSegment


def result():
    panoptic = np.zeros((20, 30), np.int32)
    panoptic[5:10, 2:12] = 13001
    panoptic[5:10, 20:25] = 13002
    segments = (
        PanopticSegment(0, 0, "road", False, 0.9, 525, (0, 0, 20, 30), None),
        PanopticSegment(13001, 13, "car", True, 0.8, 50, (5, 2, 10, 12), (7, 6)),
        PanopticSegment(13002, 13, "car", True, 0.7, 25, (5, 20, 10, 25), (7, 22)),
    )
    return PanopticResult(panoptic, segments, CITYSCAPES, 1000)


def test_without_supervision_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ModuleNotFoundError, match="pip install supervision"):
        to_supervision(result())


def test_detections_hold_what_the_segments_do():
    pytest.importorskip("supervision")
    detections = to_supervision(result())
    assert len(detections) == 2
    assert detections.xyxy.tolist() == [[2, 5, 12, 10], [20, 5, 25, 10]]
    assert detections.mask.sum((1, 2)).tolist() == [50, 25]
    assert detections.class_id.tolist() == [13, 13]
    assert detections.confidence.tolist() == pytest.approx([0.8, 0.7])
    assert detections.tracker_id is None
    assert list(detections["class_name"]) == ["car", "car"]
    tracked = to_supervision(Tracker().update(result()), stuff=True)
    assert tracked.tracker_id.tolist() == [-1, 1, 2]
    assert list(tracked["class_name"]) == ["road", "car", "car"]


def test_empty_scenes_give_no_detections_and_annotators_draw_them():
    supervision = pytest.importorskip("supervision")
    empty = to_supervision(PanopticResult(np.full((20, 30), -1, np.int32), (), CITYSCAPES, 1000))
    assert len(empty) == 0
    picture = np.zeros((20, 30, 3), np.uint8)
    for detections in (empty, to_supervision(result())):
        drawn = supervision.MaskAnnotator().annotate(picture.copy(), detections)
        assert drawn.any() == (len(detections) > 0)
