"""The Cityscapes reader: ids, crowds, void, order, and what it says of folders and files that are wrong."""

import cv2
import numpy as np
import pytest
from PIL import Image
from PIL.ExifTags import Base

from panodeeplab.classes import CITYSCAPES
from panodeeplab.data.cityscapes import CityscapesDataset, find_splits


def _street() -> np.ndarray:
    """16 x 32: road, sidewalk, two cars, a group of people, a caravan, ego vehicle, and no label."""
    ids = np.zeros((16, 32), np.uint16)
    ids[8:] = 7
    ids[:8, :8] = 8
    ids[2:6, 10:14] = 26000
    ids[2:6, 16:20] = 26001
    ids[0:2, 20:24] = 24
    ids[4:6, 24:28] = 29000
    ids[6:8, 24:28] = 1
    return ids


def test_ids_classes_and_crowds(tmp_path, write_pair):
    ids = _street()
    image = np.random.default_rng(1).integers(0, 256, (16, 32, 3), np.uint8)
    write_pair(ids, name="aachen_000000_000019", image=image)
    dataset = CityscapesDataset(tmp_path)
    sample = dataset[0]

    assert len(dataset) == 1
    assert dataset.classes is CITYSCAPES
    assert sample.image_id == "aachen_000000_000019"
    np.testing.assert_array_equal(sample.image, image)
    assert sample.image.dtype == np.uint8
    assert sample.panoptic.dtype == np.int32
    # An object of another class keeps its id, which is not listed: void to all but the instance benchmark.
    np.testing.assert_array_equal(sample.panoptic, np.where(ids == 1, 0, ids))
    assert sample.segments_info == [
        {"id": 7, "category_id": 0, "iscrowd": 0},
        {"id": 8, "category_id": 1, "iscrowd": 0},
        {"id": 24, "category_id": 11, "iscrowd": 1},
        {"id": 26000, "category_id": 13, "iscrowd": 0},
        {"id": 26001, "category_id": 13, "iscrowd": 0},
    ]


def test_image_is_not_turned_by_its_metadata(tmp_path, write_pair):
    pixels = np.random.default_rng(1).integers(0, 256, (16, 32, 3), np.uint8)
    image, _ = write_pair(_street(), image=pixels)
    metadata = Image.Exif()
    metadata[Base.Orientation] = 6
    Image.fromarray(pixels).save(image, exif=metadata)
    np.testing.assert_array_equal(CityscapesDataset(tmp_path)[0].image, pixels)


def test_every_class_by_its_label_id(tmp_path, write_pair):
    things = [CITYSCAPES.label_ids[i] * 1000 + 999 for i in CITYSCAPES.thing_ids]
    ids = np.array([[*range(34), *things]], np.uint16)
    write_pair(ids)
    segments = CityscapesDataset(tmp_path)[0].segments_info
    stuff_or_crowd = {s["id"]: s["category_id"] for s in segments if s["id"] < 1000}
    assert stuff_or_crowd == {label: train for train, label in enumerate(CITYSCAPES.label_ids)}
    assert [s["category_id"] for s in segments if s["id"] >= 1000] == list(CITYSCAPES.thing_ids)
    assert {s["category_id"] for s in segments if s["iscrowd"]} == set(CITYSCAPES.thing_ids)


@pytest.mark.parametrize("unknown", [34, 255, 999, 1000, 7000, 23999, 34000, 65535])
def test_other_ids_are_void(tmp_path, write_pair, unknown):
    write_pair(np.array([[unknown, 7]], np.uint16))
    sample = CityscapesDataset(tmp_path)[0]
    np.testing.assert_array_equal(sample.panoptic, [[0, 7]])
    assert [s["id"] for s in sample.segments_info] == [7]


def test_all_void_image(tmp_path, write_pair):
    write_pair(np.zeros((4, 5), np.uint16))
    sample = CityscapesDataset(tmp_path)[0]
    assert sample.segments_info == []
    assert not sample.panoptic.any()


def test_order_splits_and_cities(tmp_path, write_pair):
    for city, name in (("weimar", "w"), ("aachen", "b"), ("aachen", "a")):
        write_pair(_street(), city=city, name=name)
    write_pair(_street(), split="val", city="munster", name="m")
    train = CityscapesDataset(tmp_path, "train")
    assert [train[i].image_id for i in range(len(train))] == ["a", "b", "w"]
    assert [s.image_id for s in CityscapesDataset(str(tmp_path), split="val")] == ["m"]
    assert find_splits(tmp_path) == ["train", "val"]


def test_missing_root(tmp_path):
    with pytest.raises(ValueError, match=r"root .*nowhere does not exist"):
        CityscapesDataset(tmp_path / "nowhere")


def test_missing_split_names_those_found(tmp_path, write_pair):
    write_pair(_street(), split="val")
    write_pair(_street(), split="extra")
    with pytest.raises(ValueError, match=r"split 'train' .*found extra, val"):
        CityscapesDataset(tmp_path)


def test_split_without_images(tmp_path, write_pair):
    image, _ = write_pair(_street())
    image.rename(image.with_name("a.png"))
    with pytest.raises(ValueError, match=r"split 'train' has no image .*_leftImg8bit\.png"):
        CityscapesDataset(tmp_path)


def test_image_without_ground_truth(tmp_path, write_pair):
    write_pair(_street(), name="a")
    _, label = write_pair(_street(), name="b")
    label.unlink()
    with pytest.raises(ValueError, match=r"1 of 2 images .*b_leftImg8bit\.png.*b_gtFine_instanceIds\.png"):
        CityscapesDataset(tmp_path)


def test_one_name_in_two_cities(tmp_path, write_pair):
    write_pair(_street(), city="aachen", name="0001")
    write_pair(_street(), city="bochum", name="0001")
    with pytest.raises(ValueError, match=r"bochum.*aachen.*have one name"):
        CityscapesDataset(tmp_path)


@pytest.mark.parametrize("which", [0, 1], ids=["image", "label"])
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99], ids=["empty", "half", "nearly all"])
def test_file_cut_short(tmp_path, write_pair, which, keep):
    file = write_pair(_street())[which]
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * keep)])
    dataset = CityscapesDataset(tmp_path)
    with pytest.raises(ValueError, match=f"{file.name} (is empty|cannot be decoded)"):
        dataset[0]


def test_sizes_differ(tmp_path, write_pair):
    write_pair(_street(), image=np.zeros((16, 31, 3), np.uint8))
    with pytest.raises(ValueError, match=r"a_gtFine_instanceIds\.png is 16 x 32 .*its image 16 x 31"):
        CityscapesDataset(tmp_path)[0]


@pytest.mark.parametrize("pixels", [np.zeros((4, 5), np.uint8), np.zeros((4, 5, 3), np.uint16)])
def test_label_of_other_type(tmp_path, write_pair, pixels):
    _, label = write_pair(np.zeros((4, 5), np.uint16))
    cv2.imwrite(str(label), pixels)
    with pytest.raises(ValueError, match=r"a_gtFine_instanceIds\.png has [13] channel\(s\) of uint\d+"):
        CityscapesDataset(tmp_path)[0]


def test_hints_at_the_right_folder(tmp_path, write_pair):
    write_pair(_street())
    root = tmp_path / "cityscapes"
    root.mkdir()
    for name in ("leftImg8bit", "gtFine"):
        (tmp_path / name).rename(root / name)
    for deep in ("leftImg8bit", "gtFine", "leftImg8bit/train", "gtFine/train/aachen"):
        with pytest.raises(ValueError, match=f"too deep: give {root}$"):
            find_splits(root / deep)
    with pytest.raises(ValueError, match=f"one level too high: give {root}$"):
        find_splits(tmp_path)


def test_hint_at_archives(tmp_path):
    for name in ("leftImg8bit_trainvaltest.zip", "gtFine_trainvaltest.zip"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"gtFine_trainvaltest\.zip, leftImg8bit_trainvaltest\.zip: unzip"):
        find_splits(tmp_path)
    with pytest.raises(ValueError, match="it is an archive: unzip it"):
        find_splits(tmp_path / "gtFine_trainvaltest.zip")


def test_one_of_the_two_folders_missing(tmp_path):
    (tmp_path / "leftImg8bit").mkdir()
    with pytest.raises(ValueError, match=r"has no folder gtFine; found leftImg8bit$"):
        find_splits(tmp_path)


def test_reads_real_frames(shared):
    root = shared / "data" / "cityscapes"
    for split, count in (("train", 6), ("val", 1)):
        dataset = CityscapesDataset(root, split)
        assert len(dataset) == count
        for sample in dataset:
            assert sample.image.shape == (1024, 2048, 3)
            folder = root / "gtFine" / split / sample.image_id.split("_")[0]
            labels = cv2.imread(f"{folder / sample.image_id}_gtFine_labelIds.png", cv2.IMREAD_UNCHANGED)
            # The id map and segments_info together say of each pixel what the separate labelIds file says.
            category = np.full(labels.shape, -1)
            for segment in sample.segments_info:
                category[sample.panoptic == segment["id"]] = segment["category_id"]
            expected = np.full(labels.shape, -1)
            for train_id, label_id in enumerate(CITYSCAPES.label_ids):
                expected[labels == label_id] = train_id
            np.testing.assert_array_equal(category, expected)
