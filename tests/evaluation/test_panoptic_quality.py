import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from panodeeplab.classes import CITYSCAPES, ClassTable
from panodeeplab.data.coco_panoptic import load_panoptic_json, read_panoptic_png
from panodeeplab.evaluation import PanopticQuality

TWO = ClassTable(
    name="two",
    names=("ground", "animal"),
    colors=((1, 2, 3), (4, 5, 6)),
    thing_ids=(1,),
    label_ids=(7, 24),
)


def plain_counts(prediction, target, segments_info, num_classes):
    """panopticapi's rules said in masks, one image, one pair of segments at a time."""
    counts = {c: {"iou": 0.0, "tp": 0, "fp": 0, "fn": 0} for c in range(num_classes)}
    void = ~np.isin(target, [segment["id"] for segment in segments_info])
    matched_true, matched_predicted = set(), set()
    predicted_ids = [i for i in np.unique(prediction).tolist() if i != -1]
    for segment in segments_info:
        for i in predicted_ids:
            mask, true = prediction == i, target == segment["id"]
            if segment["iscrowd"] or i // 1000 != segment["category_id"]:
                continue
            union = (mask & ~void).sum() + (true & ~mask).sum()
            iou = (mask & true).sum() / union if union else 0.0
            if iou > 0.5:
                counts[i // 1000]["iou"] += iou
                counts[i // 1000]["tp"] += 1
                matched_true.add(segment["id"])
                matched_predicted.add(i)
    for segment in segments_info:
        if not segment["iscrowd"] and segment["id"] not in matched_true:
            counts[segment["category_id"]]["fn"] += 1
    for i in predicted_ids:
        if i in matched_predicted:
            continue
        mask = prediction == i
        crowds = [s["id"] for s in segments_info if s["iscrowd"] and s["category_id"] == i // 1000]
        forgiven = (mask & void).sum() + (mask & np.isin(target, crowds[-1:])).sum()
        if forgiven / mask.sum() <= 0.5:
            counts[i // 1000]["fp"] += 1
    return counts


def assert_equal_counts(result, expected):
    for key, row in expected.items():
        for name in ("tp", "fp", "fn"):
            assert result["counts"][str(key)][name] == row[name], (key, name)
        assert result["counts"][str(key)]["iou"] == pytest.approx(row["iou"], abs=1e-9)


def assert_equal_results(first, second):
    assert first.keys() == second.keys()
    for key, value in first.items():
        if isinstance(value, dict):
            assert_equal_results(value, second[key])
        else:
            assert value == pytest.approx(second[key], abs=1e-9), key


@st.composite
def images(draw, num_classes=4):
    """A target of blocks with void and crowd; a prediction that moves, merges and loses parts of it."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    height, width = draw(st.tuples(st.integers(1, 20), st.integers(1, 20)))
    block = draw(st.integers(1, 6))
    number = draw(st.integers(1, 12))
    grid = rng.integers(0, number + 1, (height // block + 1, width // block + 1))
    ids = np.append(0, rng.choice(np.arange(1, 40000), number, replace=False)).astype(np.int32)
    target = ids[grid.repeat(block, 0).repeat(block, 1)[:height, :width]]
    segments_info = [
        {"id": int(i), "category_id": int(rng.integers(num_classes)), "iscrowd": int(rng.random() < 0.3)}
        for i in ids[1:]
        if rng.random() < 0.9  # the others' pixels are void without being 0
    ]
    predicted_id = {int(i): int(rng.integers(num_classes)) * 1000 + int(rng.integers(4)) for i in ids}
    predicted_id |= {s["id"]: s["category_id"] * 1000 + int(rng.integers(6)) for s in segments_info}
    source = np.roll(target, rng.integers(-2, 3, 2), (0, 1))
    prediction = np.vectorize(predicted_id.get, otypes=[np.int32])(source)
    prediction[rng.random(prediction.shape) < 0.1] = -1
    return prediction, target, segments_info


FOUR = ClassTable(
    name="four", names=tuple("abcd"), colors=((0, 0, 0),) * 4, thing_ids=(2, 3), label_ids=(1, 2, 3, 4)
)


@given(st.lists(images(), min_size=1, max_size=3))
@settings(deadline=None, max_examples=150)
def test_counts_equal_the_rules_said_plainly(batch):
    quality = PanopticQuality(FOUR)
    expected = {c: {"iou": 0.0, "tp": 0, "fp": 0, "fn": 0} for c in range(4)}
    for image in batch:
        quality.update(*image)
        for c, row in plain_counts(*image, 4).items():
            for name, value in row.items():
                expected[c][name] += value
    assert_equal_counts(quality.result(), expected)


@given(st.lists(images(), max_size=4), st.integers(0, 4))
@settings(deadline=None, max_examples=25)
def test_merged_parts_equal_the_whole(batch, cut):
    parts = PanopticQuality(FOUR), PanopticQuality(FOUR)
    whole = PanopticQuality(FOUR)
    for i, image in enumerate(batch):
        parts[i >= cut].update(*image)
        whole.update(*image)
    parts[0].merge(parts[1])
    assert_equal_results(parts[0].result(), whole.result())


@given(images(), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=40)
def test_result_does_not_depend_on_orientation_scale_and_instance_numbers(image, seed):
    prediction, target, segments_info = image
    reference = PanopticQuality(FOUR)
    reference.update(prediction, target, segments_info)
    order = np.random.default_rng(seed).permutation(1000)
    renumbered = np.where(prediction == -1, -1, prediction // 1000 * 1000 + np.take(order, prediction % 1000))
    for name, view in {
        "flip": (prediction[:, ::-1], target[:, ::-1]),
        "transpose": (prediction.T, target.T),
        "scale": (prediction.repeat(3, 0).repeat(2, 1), target.repeat(3, 0).repeat(2, 1)),
        "renumber": (renumbered.astype(np.int32), target),
    }.items():
        quality = PanopticQuality(FOUR)
        quality.update(*view, segments_info)
        for key, row in reference.result()["counts"].items():
            assert quality.result()["counts"][key] == pytest.approx(row, abs=1e-9), name


@given(images())
@settings(deadline=None, max_examples=25)
def test_truth_scored_against_itself_is_perfect(image):
    _, target, segments_info = image
    present = [s for s in segments_info if not s["iscrowd"] and (target == s["id"]).any()]
    prediction = np.full_like(target, -1)
    for number, segment in enumerate(present):
        prediction[target == segment["id"]] = segment["category_id"] * 1000 + number
    quality = PanopticQuality(FOUR)
    quality.update(prediction, target, present)
    result = quality.result()
    classes = {s["category_id"] for s in present}
    assert result["All"]["n"] == len(classes)
    for c in classes:
        assert result["per_class"][str(c)] == {"pq": 1.0, "sq": 1.0, "rq": 1.0}


def test_a_case_counted_by_hand():
    target = np.zeros((4, 10), np.int32)  # row 3 is void
    target[0] = 5  # ground, 10 pixels
    target[1, :6] = 1001  # animal, 6 pixels
    target[1, 6:] = 1002  # animal, 4 pixels
    target[2] = 24  # crowd of animals
    segments_info = [
        {"id": 5, "category_id": 0, "iscrowd": 0},
        {"id": 1001, "category_id": 1, "iscrowd": 0},
        {"id": 1002, "category_id": 1, "iscrowd": 0},
        {"id": 24, "category_id": 1, "iscrowd": 1},
    ]
    prediction = np.full((4, 10), -1, np.int32)
    prediction[0, :8] = 0  # ground: 8 of 10 pixels
    prediction[3, :4] = 0  # and 4 of void, which do not count: IoU 8 / 10
    prediction[1, :7] = 1001  # IoU 6 / 7
    prediction[1, 7:] = 1002  # 3 of 4, and 5 of the crowd region do count: IoU 3 / 9
    prediction[2, :5] = 1002  # more than half of 8 pixels in the crowd region: no false positive
    prediction[2, 5:] = 1003  # all in the crowd region: no false positive
    prediction[0, 8:] = 1004  # a false positive
    quality = PanopticQuality(TWO)
    quality.update(prediction, target, segments_info)
    result = quality.result()
    assert result["counts"]["0"] == {"iou": 0.8, "tp": 1, "fp": 0, "fn": 0}
    assert result["counts"]["1"] == {"iou": pytest.approx(6 / 7), "tp": 1, "fp": 1, "fn": 1}
    assert result["per_class"]["1"] == pytest.approx({"pq": 3 / 7, "sq": 6 / 7, "rq": 0.5})
    assert result["Things"] == pytest.approx({"pq": 3 / 7, "sq": 6 / 7, "rq": 0.5, "n": 1})
    assert result["Stuff"] == {"pq": 0.8, "sq": 0.8, "rq": 1.0, "n": 1}
    assert result["All"]["pq"] == pytest.approx((0.8 + 3 / 7) / 2)


def test_iou_of_exactly_one_half_is_no_match():
    target = np.array([[9, 9, 9, 9]], np.int32)
    prediction = np.array([[1001, 1001, -1, -1]], np.int32)
    quality = PanopticQuality(TWO)
    quality.update(prediction, target, [{"id": 9, "category_id": 1, "iscrowd": 0}])
    assert quality.result()["counts"]["1"] == {"iou": 0.0, "tp": 0, "fp": 1, "fn": 1}


def test_a_prediction_exactly_half_on_void_is_a_false_positive():
    target = np.array([[9, 9, 0, 0]], np.int32)
    segments_info = [{"id": 9, "category_id": 0, "iscrowd": 0}]
    quality = PanopticQuality(TWO)
    quality.update(np.array([[1001, 1001, 1001, 1001]], np.int32), target, segments_info)
    assert quality.result()["counts"]["1"]["fp"] == 1
    quality.update(np.array([[0, 1001, 1001, 1001]], np.int32), target, segments_info)
    assert quality.result()["counts"]["1"]["fp"] == 1


def test_of_several_crowd_regions_the_last_listed_counts():
    target = np.array([[8, 8, 8, 9]], np.int32)
    first, last = ({"id": i, "category_id": 1, "iscrowd": 1} for i in (8, 9))
    prediction = np.full((1, 4), 1001, np.int32)
    for listed, false_positives in (([first, last], 1), ([last, first], 0)):
        quality = PanopticQuality(TWO)
        quality.update(prediction, target, listed)
        assert quality.result()["counts"]["1"]["fp"] == false_positives


def test_a_listed_segment_without_pixels_is_missed():
    quality = PanopticQuality(TWO)
    quality.update(
        np.full((2, 2), -1, np.int32),
        np.zeros((2, 2), np.int32),
        [{"id": 9, "category_id": 1, "iscrowd": 0}, {"id": 10, "category_id": 0, "iscrowd": 1}],
    )
    assert quality.result()["counts"] == {
        "0": {"iou": 0.0, "tp": 0, "fp": 0, "fn": 0},
        "1": {"iou": 0.0, "tp": 0, "fp": 0, "fn": 1},
    }


@pytest.mark.parametrize("images", [0, 1])
def test_no_segment_at_all_gives_zeros(images):
    quality = PanopticQuality(TWO)
    for _ in range(images):
        quality.update(np.full((3, 3), -1, np.int32), np.zeros((3, 3), np.int32), [])
    result = quality.result()
    for name in ("All", "Things", "Stuff"):
        assert result[name] == {"pq": 0.0, "sq": 0.0, "rq": 0.0, "n": 0}
    assert set(result["per_class"]) == {"0", "1"}
    json.dumps(result)


def test_other_divisor_and_void_label():
    target = np.array([[5, 5, 6, 0]], np.int32)
    segments_info = [{"id": 5, "category_id": 0, "iscrowd": 0}, {"id": 6, "category_id": 1, "iscrowd": 0}]
    quality = PanopticQuality(TWO, label_divisor=256, void_label=255 * 256)
    quality.update(np.array([[0, 0, 256 + 3, 255 * 256]], np.int32), target, segments_info)
    assert quality.result()["All"] == {"pq": 1.0, "sq": 1.0, "rq": 1.0, "n": 2}


def test_tensors_arrays_views_and_read_only_memory_count_alike(recwarn):
    rng = np.random.default_rng(0)
    prediction = rng.integers(0, 2, (8, 6)).astype(np.int32) * 1000
    target = (rng.integers(0, 3, (8, 6))).astype(np.int32)
    segments_info = [{"id": 1, "category_id": 0, "iscrowd": 0}, {"id": 2, "category_id": 1, "iscrowd": 0}]
    frozen = prediction.copy()
    frozen.flags.writeable = False
    results = []
    for p, t in (
        (prediction, target),
        (torch.from_numpy(prediction), torch.from_numpy(target)),
        (frozen, torch.from_numpy(target.T.copy()).T),
    ):
        quality = PanopticQuality(TWO)
        quality.update(p, t, segments_info)
        results.append(quality.result())
    assert results[0] == results[1] == results[2]
    assert not recwarn.list


GOOD = np.zeros((2, 3), np.int32)
SEGMENT = {"id": 1, "category_id": 0, "iscrowd": 0}


@pytest.mark.parametrize(
    ("prediction", "target", "segments_info", "message"),
    [
        (GOOD, np.zeros((3, 2), np.int32), [SEGMENT], r"one shape, got \(2, 3\) and \(3, 2\)"),
        (GOOD.astype(np.int64), GOOD, [SEGMENT], r"prediction must be \(H, W\) int32, got \(2, 3\) int64"),
        (GOOD, GOOD[0], [SEGMENT], r"target must be \(H, W\) int32, got \(3,\)"),
        (GOOD + 2000, GOOD, [SEGMENT], r"prediction holds 2000, .* 0\.\.1999"),
        (GOOD - 2, GOOD, [SEGMENT], "prediction holds -2, which is neither void_label -1"),
        (GOOD, GOOD, [SEGMENT, SEGMENT], "lists id 1 more than once"),
        (GOOD, GOOD, [SEGMENT | {"id": 0}], "lists id 0, which is void"),
        (GOOD, GOOD, [SEGMENT | {"category_id": 2}], r"category_id of id 1 must be 0\.\.1, got 2"),
        (GOOD, GOOD, [SEGMENT, SEGMENT | {"id": 8, "iscrowd": 2}], "iscrowd of id 8 must be 0 or 1, got 2"),
    ],
)
def test_bad_input_is_refused_and_leaves_no_trace(prediction, target, segments_info, message):
    quality = PanopticQuality(TWO)
    with pytest.raises(ValueError, match=message):
        quality.update(prediction, target, segments_info)
    assert quality.result() == PanopticQuality(TWO).result()


def test_merging_other_classes_is_refused():
    with pytest.raises(ValueError, match="'two', got 'four'"):
        PanopticQuality(TWO).merge(PanopticQuality(FOUR))


def test_label_divisor_must_be_positive():
    with pytest.raises(ValueError, match="label_divisor must be at least 1, got 0"):
        PanopticQuality(TWO, label_divisor=0)


def test_golden_vectors_of_panopticapi(golden):
    expected = json.loads((golden / "pq/expected.json").read_text())
    truth = load_panoptic_json(golden / "pq/gt.json")
    predicted = {a["image_id"]: a for a in load_panoptic_json(golden / "pq/pred.json")["annotations"]}
    assert [c["id"] for c in truth["categories"]] == list(range(len(CITYSCAPES)))
    quality = PanopticQuality(CITYSCAPES)
    for annotation in truth["annotations"]:
        result = predicted[annotation["image_id"]]
        ids = read_panoptic_png(golden / "pq/pred" / result["file_name"])
        prediction = np.full_like(ids, -1)
        for number, segment in enumerate(result["segments_info"]):
            prediction[ids == segment["id"]] = segment["category_id"] * 1000 + number
        target = read_panoptic_png(golden / "pq/gt" / annotation["file_name"])
        quality.update(prediction, target, annotation["segments_info"])
    assert_equal_results(quality.result(), expected)
