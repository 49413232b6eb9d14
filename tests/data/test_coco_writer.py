import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from panodeeplab.classes import CITYSCAPES
from panodeeplab.data.coco_panoptic import load_panoptic_json, read_panoptic_png
from panodeeplab.data.coco_writer import (
    PanopticWriter,
    coco_categories,
    segments_to_annotation,
    write_panoptic_png,
)


def street():
    """Road, void, two cars and a person of one pixel."""
    panoptic = np.full((6, 9), -1, np.int32)
    panoptic[3:] = 0
    panoptic[3:5, 1:4] = 13001
    panoptic[2:5, 5:9] = 13002
    panoptic[0, 0] = 11001
    return panoptic


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "ids.png"
    write_panoptic_png(path, np.ones((2, 2), np.int32))

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_panoptic_png(path, np.zeros((2, 2), np.int32))
    assert [p.name for p in tmp_path.iterdir()] == ["ids.png"]
    assert read_panoptic_png(path).tolist() == [[1, 1], [1, 1]]


def test_annotation_of_a_prediction():
    ids, annotation = segments_to_annotation(
        street(), CITYSCAPES, image_id=5, file_name="5.png", scores={0: 0.5, 13002: np.float32(0.75)}
    )
    assert annotation == {
        "image_id": 5,
        "file_name": "5.png",
        "segments_info": [
            # road is class 0; its id is not 0
            {"id": 1000, "category_id": 7, "area": 13, "bbox": [0, 3, 9, 3], "iscrowd": 0, "score": 0.5},
            {"id": 12001, "category_id": 24, "area": 1, "bbox": [0, 0, 1, 1], "iscrowd": 0},
            {"id": 14001, "category_id": 26, "area": 6, "bbox": [1, 3, 3, 2], "iscrowd": 0},
            {"id": 14002, "category_id": 26, "area": 12, "bbox": [5, 2, 4, 3], "iscrowd": 0, "score": 0.75},
        ],
    }
    np.testing.assert_array_equal(ids == 0, street() == -1)
    json.dumps(annotation)


def test_annotation_of_nothing():
    ids, annotation = segments_to_annotation(
        np.full((3, 2), 7, np.int32), CITYSCAPES, image_id="a", file_name="a.png", void_label=7
    )
    assert not ids.any()
    assert annotation["segments_info"] == []


@pytest.mark.parametrize(
    ("panoptic", "message"),
    [
        (np.array([[19000]], np.int32), r"holds 19000, .* 0\.\.18999 \(19 classes, label_divisor 1000\)"),
        (np.array([[0, -1000]], np.int32), "holds -1000, which is neither void_label -1"),
        (np.zeros((2, 2), np.int64), r"must be \(H, W\) int32, got \(2, 2\) int64"),
        (np.zeros((1, 2, 2), np.int32), r"must be \(H, W\) int32, got \(1, 2, 2\)"),
    ],
)
def test_maps_that_the_format_cannot_hold_are_refused(panoptic, message):
    with pytest.raises(ValueError, match=message):
        segments_to_annotation(panoptic, CITYSCAPES, image_id=0, file_name="0.png")


def test_divisor_that_needs_more_than_three_bytes_is_refused():
    with pytest.raises(ValueError, match="label_divisor 1000000 with 19 classes makes ids above 16777215"):
        segments_to_annotation(street(), CITYSCAPES, image_id=0, file_name="0.png", label_divisor=1_000_000)


def read_as_panopticapi_does(json_path):
    """Loads a result by panopticapi's checks: listed ids and ids of the PNG are one set, 0 aside."""
    content = json.loads(json_path.read_text())
    categories = {category["id"]: category for category in content["categories"]}
    maps = {}
    for annotation in content["annotations"]:
        picture = cv2.imread(str(json_path.with_suffix("") / annotation["file_name"]))
        blue, green, red = np.moveaxis(picture.astype(np.uint32), 2, 0)
        ids = red + 256 * green + 256 * 256 * blue
        segments = {segment["id"]: segment for segment in annotation["segments_info"]}
        assert set(np.unique(ids).tolist()) - {0} == set(segments)
        for segment_id, segment in segments.items():
            assert segment["category_id"] in categories
            assert segment["area"] == (ids == segment_id).sum()
            y, x = np.nonzero(ids == segment_id)
            assert segment["bbox"] == [
                x.min(),
                y.min(),
                x.max() - x.min() + 1,
                y.max() - y.min() + 1,
            ]
        maps[annotation["image_id"]] = (ids, segments)
    return content, categories, maps


def test_written_results_load_as_in_panopticapi(tmp_path):
    with PanopticWriter(tmp_path / "new" / "folder", CITYSCAPES) as writer:
        first = writer.add(street(), image_id=17, image_file="a.jpg", scores={13001: 0.25})
        writer.add(np.full((4, 3), -1, np.int32), image_id="bonn/b", image_file="bonn/b.png")
    assert first == tmp_path / "new/folder/panoptic/17.png"
    content, categories, maps = read_as_panopticapi_does(tmp_path / "new/folder/panoptic.json")
    assert content["images"] == [
        {"id": 17, "file_name": "a.jpg", "height": 6, "width": 9},
        {"id": "bonn/b", "file_name": "bonn/b.png", "height": 4, "width": 3},
    ]
    assert categories[26] == {"id": 26, "name": "car", "isthing": 1, "color": [0, 0, 142]}
    assert len(categories) == 19
    ids, segments = maps[17]
    class_map = np.full(ids.shape, -1)
    for segment_id, segment in segments.items():
        class_map[ids == segment_id] = CITYSCAPES.label_ids.index(segment["category_id"])
    np.testing.assert_array_equal(class_map, street() // 1000)
    assert maps["bonn/b"][1] == {}
    written = load_panoptic_json(tmp_path / "new/folder/panoptic.json")
    assert written == load_panoptic_json(tmp_path / "new/folder/panoptic.json", prediction=True) == content


def test_written_ground_truth_loads_as_in_panopticapi(tmp_path):
    ids = np.zeros((6, 9), np.int32)
    ids[3:] = 70_000
    ids[0:2, 1:4] = 5
    ids[0:2, 6:8] = 300
    ids[2, 0] = 9
    segments = [
        {"id": 300, "category_id": 13, "iscrowd": 0},
        {"id": 5, "category_id": 11, "iscrowd": 1},
        {"id": 70_000, "category_id": 0, "iscrowd": 0},
        {"id": 8, "category_id": 1, "iscrowd": 0},
    ]
    with PanopticWriter(tmp_path, CITYSCAPES, name="truth") as writer:
        path = writer.add_truth(ids, segments, image_id=3, image_file="bonn/c.jpg")
    assert path == tmp_path / "truth" / "bonn" / "c.png"
    content, _, maps = read_as_panopticapi_does(tmp_path / "truth.json")
    written, listed = maps[3]
    # What is not listed is void, and what has no pixel is not listed.
    np.testing.assert_array_equal(written, np.where(ids == 9, 0, ids))
    assert {i: (s["category_id"], s["iscrowd"]) for i, s in listed.items()} == {
        300: (26, 0),
        5: (24, 1),
        70_000: (7, 0),
    }
    assert content["images"] == [{"id": 3, "file_name": "bonn/c.jpg", "height": 6, "width": 9}]


@given(
    npst.arrays(
        np.int32,
        npst.array_shapes(min_dims=2, max_dims=2, max_side=12),
        elements=st.sampled_from([-1, 0, 1000, 10000, 11001, 11002, 18999]),
    )
)
@settings(deadline=None, max_examples=30)
def test_any_map_loads_as_in_panopticapi(tmp_path_factory, panoptic):
    folder = tmp_path_factory.mktemp("any")
    with PanopticWriter(folder, CITYSCAPES, name="any") as writer:
        writer.add(panoptic, image_id=1, image_file="1.jpg")
    _, _, maps = read_as_panopticapi_does(folder / "any.json")
    np.testing.assert_array_equal(
        maps[1][0].astype(np.int64) - 1000, np.where(panoptic == -1, -1000, panoptic)
    )


def test_what_was_done_is_listed_when_the_work_breaks_off(tmp_path):
    def work():
        with PanopticWriter(tmp_path, CITYSCAPES) as writer:
            writer.add(street(), image_id="a", image_file="a.jpg")
            with pytest.raises(ValueError, match="'a' was added before"):
                writer.add(street(), image_id="a", image_file="a.jpg")
            with pytest.raises(ValueError, match="holds 99999"):
                writer.add(np.full((2, 2), 99999, np.int32), image_id="b", image_file="b.jpg")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert [i["id"] for i in load_panoptic_json(tmp_path / "panoptic.json")["images"]] == ["a"]
    assert sorted(p.name for p in (tmp_path / "panoptic").iterdir()) == ["a.png"]


def test_categories_have_the_ids_of_the_data_set():
    categories = coco_categories(CITYSCAPES)
    assert [c["id"] for c in categories] == list(CITYSCAPES.label_ids)
    assert [c["name"] for c in categories if c["isthing"]] == [CITYSCAPES.names[i] for i in range(11, 19)]
