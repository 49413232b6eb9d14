"""COCO panoptic as a data set: classes, crowds, void, round trips, and what it says of mistakes."""

import json
import pickle

import cv2
import numpy as np
import pytest

from panodeeplab.classes import COCO
from panodeeplab.data.coco_dataset import CocoPanopticDataset
from panodeeplab.data.coco_panoptic import classes_of_categories
from panodeeplab.data.coco_writer import PanopticWriter

# Ids with gaps and out of order.
CATEGORIES = [
    {"id": 70, "name": "floor", "isthing": 0, "color": [128, 64, 128]},
    {"id": 3, "name": "box", "isthing": 1},
    {"id": 12, "name": "pallet", "isthing": 1, "color": [0, 0, 142]},
]


def _maps() -> dict:
    """Image 7: floor, two boxes, a group of pallets, an unlisted id, void. Image "b": void."""
    first = np.zeros((10, 12), np.int32)
    first[5:] = 70_000
    first[0:2, 0:3] = 5
    first[0:2, 4:6] = 258
    first[3, 0:6] = 9
    first[4, 0:2] = 77
    return {7: first, "b": np.zeros((4, 6), np.int32)}


def _segments() -> dict:
    return {
        7: [
            {"id": 258, "category_id": 3, "iscrowd": 0},
            {"id": 5, "category_id": 3, "iscrowd": 0},
            {"id": 70_000, "category_id": 70, "iscrowd": 0},
            {"id": 9, "category_id": 12, "iscrowd": 1},
        ],
        "b": [],
    }


@pytest.fixture
def annotations(write_coco):
    return write_coco(_maps(), _segments(), CATEGORIES)


def _images(annotations):
    return annotations.parent.parent / "images"


def test_samples(annotations):
    dataset = CocoPanopticDataset(_images(annotations), annotations)
    assert len(dataset) == 2
    assert dataset.image_ids == [7, "b"]
    sample = dataset[0]
    assert (sample.image.shape, sample.image.dtype) == ((10, 12, 3), np.uint8)
    assert sample.panoptic.dtype == np.int32
    np.testing.assert_array_equal(sample.panoptic, _maps()[7])
    assert sample.image_id == 7
    assert sample.segments_info == [
        {"id": 258, "category_id": 0, "iscrowd": 0},
        {"id": 5, "category_id": 0, "iscrowd": 0},
        {"id": 70_000, "category_id": 2, "iscrowd": 0},
        {"id": 9, "category_id": 1, "iscrowd": 1},
    ]
    assert dataset[1].segments_info == []
    assert [s.image_id for s in dataset] == [7, "b"]
    assert dataset[-1].image_id == "b"
    # Processes that load data are handed a copy.
    assert pickle.loads(pickle.dumps(dataset))[0].segments_info == sample.segments_info


def test_classes_are_those_of_the_json(annotations):
    classes = CocoPanopticDataset(_images(annotations), annotations).classes
    assert classes.names == ("box", "pallet", "floor")
    assert classes.label_ids == (3, 12, 70)
    assert classes.thing_ids == (0, 1)
    assert classes.colors[1:] == ((0, 0, 142), (128, 64, 128))
    # The order of the list means nothing, or training and validation files could disagree.
    assert classes_of_categories(CATEGORIES[::-1]) == classes


def test_pngs_may_lie_anywhere(annotations, tmp_path):
    annotations.with_suffix("").rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"pngs: no folder .*panoptic_val with the panoptic PNGs of"):
        CocoPanopticDataset(_images(annotations), annotations)
    dataset = CocoPanopticDataset(_images(annotations), annotations, tmp_path / "elsewhere")
    np.testing.assert_array_equal(dataset[0].panoptic, _maps()[7])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("images"), "has no 'images'"),
        (lambda c: c["images"].pop(), "image 'b' has an annotation, but is not in 'images'"),
        (lambda c: c["images"][0].pop("id"), r"images\[0\] needs 'id'"),
        (lambda c: c["images"][1].pop("file_name"), r"images\[1\] \(id 'b'\) needs 'file_name'"),
        (lambda c: c["images"][1].update(id=7), r"images\[1\] repeats id 7"),
        (lambda c: c.update(annotations=[]), "has no image in 'annotations'"),
        (lambda c: c["images"][1].update(file_name="c.png"), r"images: 1 of 2 files .* missing: .*c\.png$"),
        (lambda c: c["annotations"][0].update(file_name="c.png"), r"pngs: 1 of 2 files .* missing: .*c\.png"),
        (lambda c: c["categories"].pop(), "has category_id 12, which 'categories' does not list"),
    ],
)
def test_mistakes_are_named(annotations, change, message):
    content = json.loads(annotations.read_text())
    change(content)
    annotations.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        CocoPanopticDataset(_images(annotations), annotations)


def test_given_classes_must_have_every_category(annotations):
    with pytest.raises(ValueError, match=r"category 12 \('pallet'\) is not one of coco"):
        CocoPanopticDataset(_images(annotations), annotations, classes=COCO)


def test_sizes_differ(annotations):
    cv2.imwrite(str(_images(annotations) / "7.png"), np.zeros((10, 11, 3), np.uint8))
    with pytest.raises(ValueError, match=r"7\.png is 10 x 12 pixels \(H x W\), its image 10 x 11"):
        CocoPanopticDataset(_images(annotations), annotations)[0]


def _written_again(dataset, folder):
    with PanopticWriter(folder, dataset.classes) as writer:
        for sample, path in zip(dataset, dataset.images, strict=True):
            writer.add_truth(
                sample.panoptic, sample.segments_info, image_id=sample.image_id, image_file=path.name
            )
    return folder / "panoptic.json"


def test_round_trip(annotations, tmp_path):
    dataset = CocoPanopticDataset(_images(annotations), annotations)
    again = CocoPanopticDataset(_images(annotations), _written_again(dataset, tmp_path / "again"))
    assert again.classes == dataset.classes
    for before, after in zip(dataset, again, strict=True):
        listed = [segment["id"] for segment in before.segments_info]
        kept = np.where(np.isin(before.panoptic, listed), before.panoptic, 0)
        np.testing.assert_array_equal(after.panoptic, kept)
        assert sorted(after.segments_info, key=lambda s: s["id"]) == sorted(
            before.segments_info, key=lambda s: s["id"]
        )


def test_truth_that_cannot_be_written_is_refused(tmp_path):
    classes = classes_of_categories(CATEGORIES)
    ids = np.ones((2, 2), np.int32)
    segment = {"id": 1, "category_id": 0, "iscrowd": 0}
    with PanopticWriter(tmp_path, classes) as writer:
        writer.add_truth(ids, [segment], image_id=1, image_file="a.jpg")
        for arguments, message in (
            ((ids, [segment], 1, "b.jpg"), "image_id 1 was added before"),
            ((ids, [segment | {"id": 0}], 2, "b.jpg"), r"id 0, wanted 1\.\.16777215"),
            ((ids.astype(np.int64), [segment], 2, "b.jpg"), r"ids must be \(H, W\) int32"),
            ((ids, [segment], 2, "../b.jpg"), "image_file must be relative"),
        ):
            *maps, image_id, image_file = arguments
            with pytest.raises(ValueError, match=message):
                writer.add_truth(*maps, image_id=image_id, image_file=image_file)
    assert [p.name for p in (tmp_path / "panoptic").iterdir()] == ["a.png"]


@pytest.fixture
def real(shared):
    folder = shared / "data" / "coco_panoptic"
    return folder / "images", folder / "annotations" / "panoptic.json"


def test_real_files(real):
    dataset = CocoPanopticDataset(*real)
    assert dataset.classes is COCO
    assert len(COCO) == 133
    assert COCO.thing_ids == tuple(range(80))
    truth = json.loads(real[1].read_text())
    for sample, annotation in zip(dataset, truth["annotations"], strict=True):
        assert sample.image_id == annotation["image_id"]
        for segment, original in zip(sample.segments_info, annotation["segments_info"], strict=True):
            assert COCO.label_ids[segment["category_id"]] == original["category_id"]
            assert segment["iscrowd"] == original["iscrowd"]
            assert (sample.panoptic == segment["id"]).sum() == original["area"]
    assert sum(segment["iscrowd"] for sample in dataset for segment in sample.segments_info) == 3


def test_real_files_survive_being_written(real, tmp_path):
    dataset = CocoPanopticDataset(*real)
    written = json.loads(_written_again(dataset, tmp_path).read_text())
    truth = json.loads(real[1].read_text())

    def facts(annotation):
        keys = ("id", "category_id", "area", "bbox", "iscrowd")
        segments = annotation["segments_info"]
        rows = [tuple(str(segment[key]) for key in keys) for segment in segments]
        return annotation["image_id"], annotation["file_name"], sorted(rows)

    assert [facts(a) for a in written["annotations"]] == [facts(a) for a in truth["annotations"]]
    assert {c["id"]: (c["name"], c["isthing"]) for c in written["categories"]} == {
        c["id"]: (c["name"], c["isthing"]) for c in truth["categories"]
    }


def test_written_files_are_read_by_another_scorer(real, tmp_path):
    panoptic = pytest.importorskip("hotcoco").panoptic
    written = _written_again(CocoPanopticDataset(*real), tmp_path)
    for truth, prediction in ((real[1], written), (written, real[1])):
        result = panoptic.pq_compute(str(truth), str(prediction))
        assert result["All"]["pq"] == pytest.approx(1.0)
