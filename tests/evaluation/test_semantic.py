import numpy as np
import pytest
import torch

from panodeeplab.classes import CITYSCAPES, ClassTable
from panodeeplab.evaluation import SemanticIoU
from panodeeplab.evaluation.semantic import IGNORE_LABEL, panoptic_to_semantic, segments_to_semantic

THREE = ClassTable(
    name="three", names=("a", "b", "c"), colors=((0, 0, 0),) * 3, thing_ids=(2,), label_ids=(1, 2, 3)
)


def test_a_case_counted_by_hand():
    target = np.array([[0, 0, 0, 1, 1, 255]])
    prediction = np.array([[0, 0, 1, 1, 255, 2]])
    iou = SemanticIoU(THREE)
    iou.update(prediction, target)
    # Class 2 is predicted on a void pixel only: it has no pixel that counts.
    assert iou.result() == {
        "miou": pytest.approx((2 / 3 + 1 / 3) / 2),
        "n": 2,
        "per_class": {"0": pytest.approx(2 / 3), "1": pytest.approx(1 / 3), "2": None},
    }


def test_equals_intersection_over_union_of_masks():
    rng = np.random.default_rng(1)
    iou = SemanticIoU(CITYSCAPES)
    intersection, union = np.zeros(19), np.zeros(19)
    for _ in range(3):
        target = rng.integers(0, 19, (40, 30))
        prediction = np.where(rng.random((40, 30)) < 0.6, target, rng.integers(0, 19, (40, 30)))
        target[rng.random((40, 30)) < 0.2] = IGNORE_LABEL
        prediction[rng.random((40, 30)) < 0.1] = IGNORE_LABEL
        iou.update(torch.from_numpy(prediction), torch.from_numpy(target).to(torch.uint8))
        for c in range(19):
            counted = target != IGNORE_LABEL
            intersection[c] += ((prediction == c) & (target == c)).sum()
            union[c] += (((prediction == c) & counted) | (target == c)).sum()
    result = iou.result()
    assert list(result["per_class"].values()) == pytest.approx(list(intersection / union), abs=1e-12)
    assert result["miou"] == pytest.approx((intersection / union).mean(), abs=1e-12)


def test_inputs_are_not_changed():
    target, prediction = torch.tensor([[0, 255]]), torch.tensor([[1, 255]])
    SemanticIoU(THREE).update(prediction, target)
    assert target.tolist() == [[0, 255]]
    assert prediction.tolist() == [[1, 255]]


def test_merged_parts_equal_the_whole():
    rng = np.random.default_rng(2)
    pairs = [rng.integers(0, 3, (2, 5, 5)) for _ in range(4)]
    whole, first, second = SemanticIoU(THREE), SemanticIoU(THREE), SemanticIoU(THREE)
    for i, (prediction, target) in enumerate(pairs):
        whole.update(prediction, target)
        (first if i < 3 else second).update(prediction, target)
    first.merge(second)
    assert first.result() == whole.result()
    with pytest.raises(ValueError, match="'three', got 'cityscapes'"):
        first.merge(SemanticIoU(CITYSCAPES))


def test_nothing_counted_gives_zero():
    assert SemanticIoU(THREE).result() == {
        "miou": 0.0,
        "n": 0,
        "per_class": {"0": None, "1": None, "2": None},
    }


def test_classes_of_a_prediction():
    panoptic = np.array([[0, 2001, -1], [1000, 2999, 18000]], np.int32)
    assert panoptic_to_semantic(panoptic).tolist() == [[0, 2, 255], [1, 2, 18]]
    other = panoptic_to_semantic(torch.tensor([[256, 65280]]), label_divisor=256, void_label=65280)
    assert other.tolist() == [[1, 255]]


def test_classes_of_a_ground_truth_keep_crowd_regions():
    panoptic = np.array([[26001, 7, 26, 0, 30000]], np.int32)
    segments_info = [
        {"id": 26001, "category_id": 13, "iscrowd": 0},
        {"id": 7, "category_id": 0, "iscrowd": 0},
        {"id": 26, "category_id": 13, "iscrowd": 1},
    ]
    assert segments_to_semantic(panoptic, segments_info).tolist() == [[13, 0, 13, 255, 255]]
    assert segments_to_semantic(panoptic, []).tolist() == [[255] * 5]


@pytest.mark.parametrize(
    ("prediction", "target", "message"),
    [
        (np.zeros((2, 2), int), np.zeros((2, 3), int), r"one shape, got \(2, 2\) and \(2, 3\)"),
        (np.zeros((2, 2)), np.zeros((2, 2), int), "prediction must hold integers, got torch.float64"),
        (np.full((2, 2), 3), np.zeros((2, 2), int), r"prediction must hold classes 0\.\.2 or 255, got 3"),
        (np.zeros((2, 2), int), np.full((2, 2), -1), r"target must hold classes 0\.\.2 or 255, got -1"),
    ],
)
def test_bad_input_is_refused(prediction, target, message):
    with pytest.raises(ValueError, match=message):
        SemanticIoU(THREE).update(prediction, target)


@pytest.mark.parametrize("members", [(), (0, 19), (-1,)])
def test_categories_hold_classes_of_the_table(members):
    with pytest.raises(ValueError, match=r"categories: 'ground' must hold classes of 0\.\.18, got"):
        SemanticIoU(CITYSCAPES, categories={"ground": members})


def test_classes_of_a_category_are_not_told_apart():
    iou = SemanticIoU(CITYSCAPES, categories={"flat": (0, 1), "sky": (10,)})
    target = np.array([[0, 1, 10, 10]])
    iou.update(np.array([[1, 0, 10, 0]]), target)
    result = iou.result()
    assert result["per_class"]["0"] == result["per_class"]["1"] == 0
    assert result["per_category"] == {"flat": pytest.approx(2 / 3), "sky": 0.5}
    assert result["category_miou"] == pytest.approx(7 / 12)
    with pytest.raises(ValueError, match="other must have categories"):
        iou.merge(SemanticIoU(CITYSCAPES))
