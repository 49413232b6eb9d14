import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from panodeeplab.classes import CITYSCAPES
from panodeeplab.data.coco_panoptic import (
    PanopticWriter,
    coco_categories,
    id2rgb,
    load_panoptic_json,
    read_panoptic_png,
    rgb2id,
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


@given(npst.arrays(np.int32, npst.array_shapes(min_dims=2, max_dims=2), elements=st.integers(0, 2**24 - 1)))
@settings(deadline=None, max_examples=60)
def test_ids_survive_colors(ids):
    rgb = id2rgb(ids)
    assert rgb.dtype == np.uint8
    expected = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1)
    np.testing.assert_array_equal(rgb, expected)
    back = rgb2id(rgb)
    assert back.dtype == np.int32
    np.testing.assert_array_equal(back, ids)
    np.testing.assert_array_equal(id2rgb(ids.T[::-1].astype(np.int64)), expected.transpose(1, 0, 2)[::-1])


def test_png_holds_red_as_the_lowest_byte(tmp_path):
    ids = np.array([[1, 256, 65536, 0]], np.int32)
    write_panoptic_png(tmp_path / "ids.png", ids)
    rgb = cv2.imread(str(tmp_path / "ids.png"))[..., ::-1]
    assert rgb.tolist() == [[[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]]]
    np.testing.assert_array_equal(read_panoptic_png(tmp_path / "ids.png"), ids)
    assert [p.name for p in tmp_path.iterdir()] == ["ids.png"]


def test_png_with_alpha_is_read(tmp_path):
    bgra = np.array([[[3, 2, 1, 255]]], np.uint8)
    cv2.imwrite(str(tmp_path / "alpha.png"), bgra)
    assert read_panoptic_png(tmp_path / "alpha.png").tolist() == [[1 + 2 * 256 + 3 * 65536]]


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


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.array([[-1, 0]]), r"0\.\.16777215, got -1\.\.0"),
        (np.array([[2**24]]), r"got 16777216\.\.16777216"),
        (np.array([1, 2]), r"must be \(H, W\) integers, got \(2,\)"),
        (np.zeros((2, 2)), r"got \(2, 2\) float64"),
    ],
)
def test_ids_that_do_not_fit_are_refused(ids, message):
    with pytest.raises(ValueError, match=message):
        id2rgb(ids)


def test_rgb_of_another_kind_is_refused():
    with pytest.raises(ValueError, match=r"\(H, W, 3\) uint8, got \(2, 2, 4\) uint8"):
        rgb2id(np.zeros((2, 2, 4), np.uint8))
    with pytest.raises(ValueError, match="int32"):
        rgb2id(np.zeros((2, 2, 3), np.int32))


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "not a readable picture"), (b"\x89PNG....", "not a readable picture")]
)
def test_corrupt_png_is_named(tmp_path, content, message):
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"broken\.png is {message}"):
        read_panoptic_png(path)
    with pytest.raises(FileNotFoundError, match=r"no panoptic PNG at .*gone\.png"):
        read_panoptic_png(tmp_path / "gone.png")
    cv2.imwrite(str(path), np.zeros((4, 4, 3), np.uint16))
    with pytest.raises(ValueError, match=r"8 bits a channel, got 3 channel\(s\) of uint16"):
        read_panoptic_png(path)


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


def valid():
    return {
        "categories": [{"id": 1, "name": "person", "isthing": 1}, {"id": 7, "name": "road", "isthing": 0}],
        "annotations": [
            {
                "image_id": 139,
                "file_name": "139.png",
                "segments_info": [
                    {"id": 5, "category_id": 1, "iscrowd": 0},
                    {"id": 6, "category_id": 7, "iscrowd": 0},
                ],
            },
            {"image_id": "b", "file_name": "b.png", "segments_info": []},
        ],
    }


def test_valid_json_is_returned_unchanged(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(valid()))
    assert load_panoptic_json(tmp_path / "a.json") == valid()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("annotations"), r"has no 'annotations'"),
        (lambda c: c.pop("categories"), r"has no 'categories'"),
        (lambda c: c.update(annotations={}), r"'annotations' must be a list of objects"),
        (lambda c: c.update(annotations=[3]), r"'annotations' must be a list of objects"),
        (lambda c: c["categories"][1].pop("id"), r"categories\[1\] needs 'id', an integer, got None"),
        (lambda c: c["categories"][1].update(id=1), r"categories\[1\] repeats id 1"),
        (lambda c: c["categories"][0].pop("isthing"), r"categories\[0\] \(id 1\) needs 'isthing' 0 or 1"),
        (lambda c: c["categories"][0].pop("name"), r"categories\[0\] \(id 1\) needs 'name'"),
        (lambda c: c["annotations"][0].pop("image_id"), r"annotations\[0\] \(image None\) needs 'image_id'"),
        (lambda c: c["annotations"][1].update(image_id=139), r"annotations\[1\] \(image 139\) repeats"),
        (lambda c: c["annotations"][1].pop("file_name"), r"\(image 'b'\) needs 'file_name'"),
        (lambda c: c["annotations"][1].pop("segments_info"), r"\(image 'b'\) has no 'segments_info'"),
    ],
)
def test_broken_json_is_named(tmp_path, change, message):
    content = valid()
    change(content)
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"broken\.json.*{message}"):
        load_panoptic_json(path)


@pytest.mark.parametrize(
    ("segment", "message"),
    [
        ({"category_id": 1, "iscrowd": 0}, r"needs 'id', an integer, got None"),
        ({"id": "6", "category_id": 1, "iscrowd": 0}, r"needs 'id', an integer, got '6'"),
        ({"id": 5, "category_id": 1, "iscrowd": 0}, r"\(id 5\) repeats the id of an earlier segment"),
        ({"id": 0, "category_id": 1, "iscrowd": 0}, r"\(id 0\) must have an id in 1\.\.16777215; 0 is void"),
        ({"id": 2**24, "category_id": 1, "iscrowd": 0}, r"\(id 16777216\) must have an id in 1\.\."),
        ({"id": 6, "iscrowd": 0}, r"\(id 6\) needs 'category_id', an integer, got None"),
        ({"id": 6, "category_id": 3, "iscrowd": 0}, r"\(id 6\) has category_id 3, which 'categories' does"),
        ({"id": 6, "category_id": 1}, r"\(id 6\) needs 'iscrowd' 0 or 1, got None"),
    ],
)
def test_broken_segment_is_named(tmp_path, segment, message):
    content = valid()
    content["annotations"][0]["segments_info"][1] = segment
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(content))
    where = rf"broken\.json: annotations\[0\] \(image 139\): segments_info\[1\] {message}"
    with pytest.raises(ValueError, match=where):
        load_panoptic_json(path)


def test_results_may_leave_out_what_the_ground_truth_says(tmp_path):
    path = tmp_path / "result.json"
    content = valid()
    del content["categories"]
    for segment in content["annotations"][0]["segments_info"]:
        del segment["iscrowd"]
    path.write_text(json.dumps(content))
    assert load_panoptic_json(path, prediction=True) == content
    with pytest.raises(ValueError, match="has no 'categories'"):
        load_panoptic_json(path)


def test_files_that_are_no_json_are_named(tmp_path):
    (tmp_path / "text.json").write_text("{")
    with pytest.raises(ValueError, match=r"text\.json is not JSON"):
        load_panoptic_json(tmp_path / "text.json")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"bytes\.json is not JSON"):
        load_panoptic_json(tmp_path / "bytes.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(ValueError, match=r"list\.json must hold an object .*, got a list"):
        load_panoptic_json(tmp_path / "list.json")
    with pytest.raises(FileNotFoundError, match=r"no panoptic JSON at .*gone\.json"):
        load_panoptic_json(tmp_path / "gone.json")


def test_categories_have_the_ids_of_the_data_set():
    categories = coco_categories(CITYSCAPES)
    assert [c["id"] for c in categories] == list(CITYSCAPES.label_ids)
    assert [c["name"] for c in categories if c["isthing"]] == [CITYSCAPES.names[i] for i in range(11, 19)]


def test_real_coco_files(shared):
    folder = shared / "data/coco_panoptic/annotations"
    content = load_panoptic_json(folder / "panoptic.json")
    assert len(content["annotations"]) == 2
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    for annotation in content["annotations"]:
        ids = read_panoptic_png(folder / "panoptic" / annotation["file_name"])
        assert ids.shape == sizes[annotation["image_id"]]
        areas = dict(zip(*(a.tolist() for a in np.unique(ids, return_counts=True)), strict=True))
        areas.pop(0, None)
        assert areas == {s["id"]: s["area"] for s in annotation["segments_info"]}
