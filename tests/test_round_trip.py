"""Ground truth → perfect network outputs → post-processing → PQ: the stride must explain what is lost."""

import numpy as np
import pytest

from panodeeplab.data.cityscapes import CityscapesDataset, find_splits
from panodeeplab.data.scenes import StreetScenes
from panodeeplab.evaluation import PanopticQuality
from panodeeplab.evaluation.oracle import oracle_outputs
from panodeeplab.ops import panoptic_segmentation


def round_trip(samples, classes, stride, **parameters):
    """PQ in percent: all, things, stuff; and the result."""
    quality = PanopticQuality(classes)
    for sample in samples:
        outputs = oracle_outputs(
            sample.panoptic,
            sample.segments_info,
            num_classes=len(classes),
            thing_ids=classes.thing_ids,
            stride=stride,
        )
        result = panoptic_segmentation(
            *outputs,
            stride=stride,
            output_size=sample.panoptic.shape,
            thing_ids=classes.thing_ids,
            **parameters,
        )
        quality.update(result.panoptic[0], sample.panoptic, sample.segments_info)
    result = quality.result()
    return *(100 * result[group]["pq"] for group in ("All", "Things", "Stuff")), result


@pytest.fixture(scope="module")
def streets():
    dataset = StreetScenes(8, size=(256, 512), seed=7)
    return [dataset[i] for i in range(len(dataset))], dataset.classes


STUFF_AREA = 128  # 2048 at 1024 x 2048


def test_at_stride_one_nothing_is_lost(streets):
    samples, classes = streets
    every, things, stuff, result = round_trip(samples, classes, 1, stuff_area=0)
    assert result["All"]["n"] > 10
    assert stuff == 100
    # Two instances may share a centre to the pixel; nothing else can go wrong.
    assert things > 99
    assert every > 99


def test_at_stride_one_the_least_stuff_area_explains_every_loss(streets):
    samples, classes = streets
    result = round_trip(samples, classes, 1, stuff_area=1000)[-1]
    small = dict.fromkeys(range(len(classes)), 0)
    for sample in samples:
        for segment in sample.segments_info:
            small[segment["category_id"]] += (sample.panoptic == segment["id"]).sum() < 1000
    assert sum(small[c] for c in range(11)) > 5
    for c in range(1, 11):  # void pixels have no logits, the argmax of which is class 0
        assert result["counts"][str(c)]["fn"] == small[c]
        assert result["counts"][str(c)]["fp"] == 0
        assert result["counts"][str(c)]["iou"] == result["counts"][str(c)]["tp"]


def test_stride_four_keeps_most_and_stride_eight_less(streets):
    samples, classes = streets
    every, things, stuff, result = round_trip(samples, classes, 4, stuff_area=STUFF_AREA)
    assert every > 68
    assert things > 65
    assert stuff > 68
    assert result["Things"]["rq"] > 0.85  # what is lost is the outline, not the instance
    coarse = round_trip(samples, classes, 8, stuff_area=STUFF_AREA)
    assert all(low < high for low, high in zip(coarse[:3], (every, things, stuff), strict=True))


@pytest.mark.parametrize("size", [(253, 510), (255, 509)])
def test_sizes_that_the_stride_does_not_divide_lose_no_more(streets, size):
    samples, classes = streets
    cropped = [
        sample._replace(panoptic=np.ascontiguousarray(sample.panoptic[: size[0], : size[1]]))
        for sample in samples
    ]
    whole = round_trip(samples, classes, 4, stuff_area=STUFF_AREA)[0]
    part = round_trip(cropped, classes, 4, stuff_area=STUFF_AREA)[0]
    assert part > whole - 3


def test_real_label_maps(shared):
    root = shared / "data/cityscapes"
    datasets = [CityscapesDataset(root, split) for split in find_splits(root)]
    samples = [dataset[i] for dataset in datasets for i in range(len(dataset))]
    assert len(samples) == 7
    every, things, stuff, result = round_trip(samples, datasets[0].classes, 4)
    # Averaging one-hot logits and offsets over cells gave 88.8, 87.9 and 89.2.
    assert every >= 88.8
    assert things >= 87.9
    assert stuff >= 89.2
    assert result["Things"]["rq"] == 1
