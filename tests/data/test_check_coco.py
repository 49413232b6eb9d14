"""check-data of COCO panoptic: what is wrong with a file is named, and what is right is counted."""

import json

import cv2
import numpy as np
import pytest

from panodeeplab.data.check import check_coco_panoptic, format_report

FLOOR, BOX = 10, 20
CATEGORIES = [
    {"id": FLOOR, "name": "floor", "isthing": 0},
    {"id": BOX, "name": "box", "isthing": 1},
    {"id": 30, "name": "door", "isthing": 1},
]


def _map() -> np.ndarray:
    """10 x 20: 100 px floor, a box of 4 px, a group of boxes of 6 px; the rest is void."""
    ids = np.zeros((10, 20), np.int32)
    ids[5:] = 1
    ids[0:2, 0:2] = 2
    ids[3, 0:6] = 3
    return ids


def _segments() -> list[dict]:
    return [
        {"id": 1, "category_id": FLOOR, "iscrowd": 0, "area": 100},
        {"id": 2, "category_id": BOX, "iscrowd": 0, "area": 4},
        {"id": 3, "category_id": BOX, "iscrowd": 1, "area": 6},
    ]


@pytest.fixture
def annotations(write_coco):
    return write_coco({1: _map(), 2: _map()}, {1: _segments(), 2: _segments()}, CATEGORIES)


def _check(annotations):
    return check_coco_panoptic(annotations.parent.parent / "images", annotations)


def _only_problem(annotations) -> tuple[str, str, bool]:
    ((problem),) = _check(annotations).problems
    return problem.path, problem.message, problem.is_error


def _change(annotations, change) -> None:
    content = json.loads(annotations.read_text())
    change(content)
    annotations.write_text(json.dumps(content))


PNG = "annotations/panoptic_val/2.png"


def test_counts(annotations):
    report = _check(annotations)
    assert report.problems == []
    ((name, counts),) = report.splits.items()
    assert name == "panoptic_val"
    assert (counts.images, counts.pixels) == (2, 400)
    assert counts.class_images.tolist() == [2, 2, 0]
    assert counts.class_segments.tolist() == [2, 2, 0]
    assert counts.class_crowds.tolist() == [0, 2, 0]
    assert counts.class_pixels.tolist() == [200, 20, 0]
    lines = format_report(report).splitlines()
    assert lines[0] == str(annotations)
    assert "do not occur: door" in lines
    assert lines[-1] == "0 errors, 0 warnings"


def test_missing_files(annotations, tmp_path):
    (tmp_path / "images" / "1.png").unlink()
    (tmp_path / PNG).unlink()
    report = _check(annotations)
    assert [(p.path, p.message) for p in report.errors] == [
        ("images/1.png", "is missing: the JSON has an annotation of this image"),
        (PNG, "is missing: no ground truth of images/2.png"),
    ]
    assert report.splits["panoptic_val"].images == 0


@pytest.mark.parametrize("file", ["images/2.png", PNG])
def test_damaged_file(annotations, tmp_path, file):
    (tmp_path / file).write_bytes((tmp_path / file).read_bytes()[:50])
    path, message, is_error = _only_problem(annotations)
    assert (path, is_error) == (file, True)
    assert message.startswith(("cannot be decoded", "is not a readable picture"))
    assert _check(annotations).splits["panoptic_val"].images == 1


def test_sizes_differ(annotations, tmp_path):
    cv2.imwrite(str(tmp_path / PNG), np.zeros((20, 11, 3), np.uint8))
    assert _only_problem(annotations) == (PNG, "20 x 11 pixels (H x W), its image 10 x 20", True)


def test_json_says_another_size(annotations):
    _change(annotations, lambda content: content["images"][1].update(width=21))
    message = "10 x 20 pixels (H x W), the JSON says 10 x 21"
    assert _only_problem(annotations) == ("images/2.png", message, False)


def test_segment_that_the_json_does_not_list(annotations):
    _change(annotations, lambda content: content["annotations"][1]["segments_info"].pop(1))
    message = "holds segment 2 on 4 pixels, which the JSON does not list"
    assert _only_problem(annotations) == (PNG, message, True)


def test_segment_without_pixel(annotations):
    segment = {"id": 9, "category_id": BOX, "iscrowd": 0}
    _change(annotations, lambda content: content["annotations"][1]["segments_info"].append(segment))
    assert _only_problem(annotations) == (PNG, "has no pixel of segment 9, which the JSON lists", True)


def test_area_that_is_wrong(annotations):
    _change(annotations, lambda content: content["annotations"][1]["segments_info"][0].update(area=99))
    message = "areas differ from the JSON's: segment 1 has 100 and not 99"
    assert _only_problem(annotations) == (PNG, message, False)


def test_image_without_annotation(annotations):
    _change(annotations, lambda content: content["annotations"].pop())
    message = "1 image without annotation, left out: 2.png"
    assert _only_problem(annotations) == ("annotations/panoptic_val.json", message, False)


def test_annotation_without_image(annotations):
    _change(annotations, lambda content: content["images"].pop())
    message = "image 2 has an annotation, but is not in 'images'"
    assert _only_problem(annotations) == ("annotations/panoptic_val.json", message, True)


def test_two_images_of_one_png(annotations):
    _change(annotations, lambda content: content["annotations"][1].update(file_name="1.png"))
    message = "image 2 has the PNG of another image, 1.png"
    assert _only_problem(annotations) == ("annotations/panoptic_val.json", message, True)


def test_no_image_at_all(annotations):
    _change(annotations, lambda content: content.update(annotations=[], images=[]))
    _, message, is_error = _only_problem(annotations)
    assert (message, is_error) == ("has no image in 'annotations'", True)


def test_wrong_folders(annotations, tmp_path):
    with pytest.raises(ValueError, match=r"images: no folder .*nowhere"):
        check_coco_panoptic(tmp_path / "nowhere", annotations)
    with pytest.raises(ValueError, match=r"pngs: no folder .*nowhere"):
        check_coco_panoptic(tmp_path / "images", annotations, tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="no COCO JSON"):
        check_coco_panoptic(tmp_path / "images", tmp_path / "absent.json")


def test_real_files_have_no_problem(shared):
    folder = shared / "data" / "coco_panoptic"
    report = check_coco_panoptic(folder / "images", folder / "annotations" / "panoptic.json")
    assert report.problems == []
    assert report.splits["panoptic"].class_crowds.sum() == 3
