import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from panodeeplab.data.coco_panoptic import id2rgb, load_panoptic_json, read_panoptic_png, rgb2id
from panodeeplab.data.coco_writer import (
    write_panoptic_png,
)


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
    with pytest.raises(FileNotFoundError, match=r"no COCO JSON at .*gone\.json"):
        load_panoptic_json(tmp_path / "gone.json")


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
