import numpy as np
import pytest
import torch

from panodeeplab.classes import CITYSCAPES
from panodeeplab.evaluation.oracle import oracle_outputs


def oracle(panoptic, segments_info, stride):
    return oracle_outputs(
        np.array(panoptic, np.int32),
        segments_info,
        num_classes=19,
        thing_ids=CITYSCAPES.thing_ids,
        stride=stride,
    )


ROAD = {"id": 7, "category_id": 0, "iscrowd": 0}
CAR = {"id": 26001, "category_id": 13, "iscrowd": 0}
OTHER_CAR = {"id": 26002, "category_id": 13, "iscrowd": 0}


def test_a_cell_holds_shares_of_classes_and_points_to_the_mean_of_centres():
    panoptic = np.full((4, 8), 7, np.int32)
    panoptic[:2, :3] = 26001  # centre (0.5, 1)
    panoptic[0, 3] = 26002  # centre (0, 3)
    panoptic[3, 7] = 0  # void
    outputs = oracle(panoptic, [ROAD, CAR, OTHER_CAR], 2)
    assert [x.shape for x in outputs] == [(1, 19, 2, 4), (1, 1, 2, 4), (1, 2, 2, 4)]
    assert [x.dtype for x in outputs] == [torch.float32] * 3
    assert outputs.semantic[0, 13].tolist() == [[1, 0.75, 0, 0], [0, 0, 0, 0]]
    assert outputs.semantic[0, 0].tolist() == [[0, 0.25, 1, 1], [1, 1, 1, 0.75]]
    # Middles of the cells of the first row: (0.5, 0.5), (0.5, 2.5).
    assert outputs.offset[0, :, 0, 0].tolist() == [0, 0.25]
    mean = (2 * np.array([0.5, 1]) + np.array([0, 3])) / 3
    assert outputs.offset[0, :, 0, 1].numpy() == pytest.approx((mean - [0.5, 2.5]) / 2, abs=1e-6)
    # Cells without things point where the nearest cell with one does.
    assert outputs.offset[0, :, 0, 3].numpy() == pytest.approx((mean - [0.5, 6.5]) / 2, abs=1e-6)
    assert outputs.offset[0, :, 1, 0].numpy() == pytest.approx(
        (np.array([0.5, 1]) - [2.5, 0.5]) / 2, abs=1e-6
    )


def test_stride_one_peaks_at_each_centre_and_offsets_lead_there():
    panoptic = np.full((40, 60), 7, np.int32)
    panoptic[5:16, 4:15], panoptic[20:31, 30:55] = 26001, 26002
    outputs = oracle(panoptic, [ROAD, CAR, OTHER_CAR], 1)
    peaks = torch.nonzero(outputs.center[0, 0] == 1).tolist()
    assert peaks == [[10, 9], [25, 42]]
    y, x = np.mgrid[:40, :60]
    for segment_id, center in ((26001, (10, 9)), (26002, (25, 42))):
        mask = panoptic == segment_id
        np.testing.assert_allclose((y + outputs.offset[0, 0].numpy())[mask], center[0], atol=1e-5)
        np.testing.assert_allclose((x + outputs.offset[0, 1].numpy())[mask], center[1], atol=1e-5)


def test_sides_that_the_stride_does_not_divide_get_void():
    outputs = oracle(np.full((5, 9), 7), [ROAD], 4)
    assert outputs.semantic.shape == (1, 19, 2, 3)
    assert outputs.semantic[0, 0].tolist() == [[1, 1, 0.25], [0.25, 0.25, 0.0625]]


def test_an_image_without_things_has_neither_centres_nor_offsets():
    outputs = oracle(np.full((8, 8), 7), [ROAD, CAR], 4)
    assert not outputs.center.any()
    assert not outputs.offset.any()


def test_a_crowd_region_has_a_centre():
    panoptic = np.full((20, 20), 7, np.int32)
    panoptic[:9, :9] = 26
    outputs = oracle(panoptic, [ROAD, {"id": 26, "category_id": 13, "iscrowd": 1}], 1)
    assert torch.nonzero(outputs.center[0, 0] == 1).tolist() == [[4, 4]]


def test_a_stride_below_one_is_refused():
    with pytest.raises(ValueError, match="stride must be at least 1, got 0"):
        oracle(np.full((5, 9), 7), [ROAD], 0)
