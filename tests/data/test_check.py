"""check-data: what is wrong with a folder is named, file by file, and what is right is counted."""

import cv2
import numpy as np
import pytest

from panodeeplab.data.check import check_cityscapes, format_report

ROAD, PERSON, CAR = 0, 11, 13


def _street() -> np.ndarray:
    """10 x 20: 100 px road, two cars of 4 px, a group of people of 6 px; the rest is void."""
    ids = np.zeros((10, 20), np.uint16)
    ids[5:] = 7
    ids[0:2, 0:2] = 26000
    ids[0:2, 4:6] = 26001
    ids[3, 0:6] = 24
    return ids


@pytest.fixture
def good(write_pair):
    """A right data set of two splits; gives the files of train's second image."""
    write_pair(_street(), name="a")
    write_pair(_street(), split="val", city="weimar", name="w")
    return write_pair(_street(), name="b")


def _problems(root) -> list[tuple[str, str, bool]]:
    return [(p.path, p.message, p.is_error) for p in check_cityscapes(root).problems]


def _only_error(root, path: str) -> str:
    """The message of the one problem there is, which must be an error of this file."""
    ((where, message, is_error),) = _problems(root)
    assert where == path
    assert is_error
    return message


IMAGE_B = "leftImg8bit/train/aachen/b_leftImg8bit.png"
LABEL_B = "gtFine/train/aachen/b_gtFine_instanceIds.png"


def test_counts(tmp_path, good):
    report = check_cityscapes(tmp_path)
    assert report.problems == []
    assert list(report.splits) == ["train", "val"]
    train = report.splits["train"]
    assert (train.images, train.pixels) == (2, 400)
    for counts, expected in (
        (train.class_images, {ROAD: 2, PERSON: 2, CAR: 2}),
        (train.class_segments, {ROAD: 2, CAR: 4}),
        (train.class_crowds, {PERSON: 2}),
        (train.class_pixels, {ROAD: 200, PERSON: 12, CAR: 16}),
    ):
        assert {i: n for i, n in enumerate(counts) if n} == expected
    assert report.splits["val"].images == 1


def test_only_the_splits_asked_for(tmp_path, good):
    good[1].unlink()
    report = check_cityscapes(tmp_path, ["val"])
    assert list(report.splits) == ["val"]
    assert report.problems == []
    with pytest.raises(ValueError, match=r"split 'tset' .*found train, val"):
        check_cityscapes(tmp_path, ["val", "tset"])


def test_image_without_ground_truth(tmp_path, good):
    good[1].unlink()
    assert _only_error(tmp_path, IMAGE_B) == f"no ground truth: {LABEL_B} is missing"
    assert check_cityscapes(tmp_path).splits["train"].images == 1


def test_ground_truth_without_image(tmp_path, good):
    good[0].unlink()
    assert _only_error(tmp_path, LABEL_B) == f"no image: {IMAGE_B} is missing"


@pytest.mark.parametrize("which", [0, 1], ids=["image", "label"])
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99], ids=["empty", "half", "nearly all"])
def test_file_cut_short(tmp_path, good, which, keep):
    data = good[which].read_bytes()
    good[which].write_bytes(data[: int(len(data) * keep)])
    message = _only_error(tmp_path, (IMAGE_B, LABEL_B)[which])
    assert message.startswith("is empty" if keep == 0 else "cannot be decoded")
    assert check_cityscapes(tmp_path).splits["train"].images == 1


def test_both_files_of_a_pair_wrong(tmp_path, good):
    for file in good:
        file.write_text("not a picture")
    assert [path for path, _, _ in _problems(tmp_path)] == [IMAGE_B, LABEL_B]


def test_sizes_differ(tmp_path, good):
    cv2.imwrite(str(good[0]), np.zeros((20, 10, 3), np.uint8))
    assert _only_error(tmp_path, LABEL_B) == (
        "10 x 20 pixels (H x W), its image 20 x 10; images are read as stored, not turned by EXIF"
    )


def test_label_of_other_type(tmp_path, good):
    cv2.imwrite(str(good[1]), np.zeros((10, 20, 3), np.uint8))
    assert _only_error(tmp_path, LABEL_B).startswith("has 3 channel(s) of uint8; an instanceIds file has 1")


def test_unknown_ids_with_their_pixels(tmp_path, good):
    ids = _street()
    ids[9, :3] = 255
    ids[9, 3:5] = 7001
    cv2.imwrite(str(good[1]), ids)
    message = _only_error(tmp_path, LABEL_B)
    assert message.startswith("unknown id 255 on 3 pixels, 7001 on 2 pixels; known are label ids 0..33")


def test_many_unknown_ids_are_not_all_named(tmp_path, good):
    ids = np.full((10, 20), 7, np.uint16)
    ids[0] = np.arange(1000, 1020)
    cv2.imwrite(str(good[1]), ids)
    assert "1009 on 1 pixels and 10 more; known" in _only_error(tmp_path, LABEL_B)


def test_ids_that_are_known_but_not_evaluated(tmp_path, good):
    ids = _street()
    ids[9, :4] = [0, 4, 29000, 30]
    cv2.imwrite(str(good[1]), ids)
    assert _problems(tmp_path) == []


def test_void_image_is_a_warning(tmp_path, good):
    cv2.imwrite(str(good[1]), np.full((10, 20), 3, np.uint16))
    ((path, message, is_error),) = _problems(tmp_path)
    assert path == LABEL_B
    assert message.startswith("all void")
    assert not is_error
    assert check_cityscapes(tmp_path).errors == []


def test_void_split_is_one_warning(tmp_path, good, write_pair):
    for name in "xyz":
        write_pair(np.zeros((4, 5), np.uint16), split="test", city="berlin", name=name)
    ((path, message, is_error),) = _problems(tmp_path)
    assert path == "gtFine/test"
    assert message.startswith("all 3 images are void")
    assert not is_error


def test_misnamed_image_is_a_warning(tmp_path, good):
    (good[0].parent / "c.jpg").write_bytes(good[0].read_bytes())
    (good[0].parent / "notes.txt").touch()
    ((path, message, is_error),) = _problems(tmp_path)
    assert path == "leftImg8bit/train/aachen/c.jpg"
    assert message == "is left out: not named leftImg8bit/train/CITY/NAME_leftImg8bit.png"
    assert not is_error


def test_one_name_in_two_cities(tmp_path, good, write_pair):
    write_pair(_street(), city="bochum", name="b")
    assert _only_error(tmp_path, IMAGE_B.replace("aachen", "bochum")) == f"has the name of {IMAGE_B}"


def test_split_without_images(tmp_path, good):
    (tmp_path / "leftImg8bit" / "extra" / "city").mkdir(parents=True)
    message = _only_error(tmp_path, "leftImg8bit/extra")
    assert message == "no image is named leftImg8bit/extra/*/*_leftImg8bit.png"


def test_split_without_any_ground_truth(tmp_path, good):
    good[0].rename(good[0].with_name("only_leftImg8bit.png"))
    for label in (tmp_path / "gtFine" / "train" / "aachen").iterdir():
        label.unlink()
    paths = [path for path, _, is_error in _problems(tmp_path) if is_error]
    assert paths == [
        "gtFine/train",
        "leftImg8bit/train/aachen/a_leftImg8bit.png",
        "leftImg8bit/train/aachen/only_leftImg8bit.png",
    ]


def test_wrong_level_is_refused_with_a_hint(tmp_path, good):
    with pytest.raises(ValueError, match=f"too deep: give {tmp_path}$"):
        check_cityscapes(tmp_path / "leftImg8bit")


def test_folders_without_any_split(tmp_path):
    (tmp_path / "leftImg8bit").mkdir()
    (tmp_path / "gtFine").mkdir()
    with pytest.raises(ValueError, match="has no split"):
        check_cityscapes(tmp_path)


def test_report_text(tmp_path, good):
    good[1].unlink()
    cv2.imwrite(str(tmp_path / "gtFine/val/weimar/w_gtFine_instanceIds.png"), np.zeros((10, 20), np.uint16))
    lines = format_report(check_cityscapes(tmp_path)).splitlines()
    assert lines[0] == str(tmp_path)
    columns = {line.split()[0]: line.split()[1:] for line in reversed(lines) if line}
    assert columns["train:"][:2] == ["1", "image,"]
    assert columns["road"] == ["1", "1", "0", "50.00", "%"]
    assert columns["car"] == ["1", "2", "0", "4.00", "%"]
    assert columns["person"] == ["1", "0", "1", "3.00", "%"]
    assert columns["void"] == ["43.00", "%"]
    assert f"error: {IMAGE_B}: no ground truth: {LABEL_B} is missing" in lines
    assert lines[-1] == "1 error, 1 warning"


def test_real_frames_have_no_problem(shared):
    report = check_cityscapes(shared / "data" / "cityscapes")
    assert report.problems == []
    assert {split: counts.images for split, counts in report.splits.items()} == {"train": 6, "val": 1}
    assert report.splits["train"].class_crowds.sum() > 0
    assert report.splits["train"].class_segments[CAR] > 50
