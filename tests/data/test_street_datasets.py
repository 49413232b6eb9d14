"""KITTI-STEP, Mapillary Vistas and BDD100K, on files made in their encodings."""

import json
import pickle

import cv2
import numpy as np
import pytest

from panodeeplab.classes import CITYSCAPES
from panodeeplab.data.bdd100k import BDD100K, bdd100k
from panodeeplab.data.kitti_step import KITTI_STEP, kitti_step
from panodeeplab.data.mapillary_vistas import MAPILLARY_VISTAS, mapillary_vistas


def _write(path, channels: np.ndarray) -> None:
    """Write (H, W, 3 or 4) uint8 channels, in the order R, G, B, A of the formats."""
    path.parent.mkdir(parents=True, exist_ok=True)
    order = [2, 1, 0, 3][: channels.shape[2]]
    assert cv2.imwrite(str(path), channels[..., order].astype(np.uint8))


def _write_image(path, size=(4, 6)) -> None:
    _write(path, np.random.default_rng(0).integers(0, 256, (*size, 3)))


@pytest.fixture
def step(tmp_path):
    """Two sequences; the first has a frame with road, two cars, a group of persons and void."""
    category = np.zeros((4, 6), np.int32)
    instance = np.zeros((4, 6), np.int32)
    category[0] = 255
    category[1, :2], instance[1, :2] = 13, 1
    category[1, 3:5], instance[1, 3:5] = 13, 300
    category[2, :3] = 11
    for sequence in ("0002", "0000"):
        _write_image(tmp_path / "images" / "train" / sequence / "000001.png")
        _write(
            tmp_path / "panoptic_maps" / "train" / sequence / "000001.png",
            np.dstack([category, instance // 256, instance % 256]),
        )
    return tmp_path


def test_kitti_step(step):
    dataset = kitti_step(step, "train")
    assert [sample.image_id for sample in dataset] == ["0000_000001", "0002_000001"]
    sample = dataset[0]
    car, road, person = 14 * 65536, 65536, 12 * 65536
    assert sample.panoptic.dtype == np.int32
    np.testing.assert_array_equal(
        sample.panoptic,
        [
            [0] * 6,
            [car + 1, car + 1, road, car + 300, car + 300, road],
            [person] * 3 + [road] * 3,
            [road] * 6,
        ],
    )
    assert sample.segments_info == [
        {"id": road, "category_id": 0, "iscrowd": 0},
        {"id": person, "category_id": 11, "iscrowd": 1},
        {"id": car + 1, "category_id": 13, "iscrowd": 0},
        {"id": car + 300, "category_id": 13, "iscrowd": 0},
    ]
    assert dataset.classes.names == CITYSCAPES.names
    assert [KITTI_STEP.names[i] for i in KITTI_STEP.thing_ids] == ["person", "car"]
    assert pickle.loads(pickle.dumps(dataset))[0].image_id == "0000_000001"


def test_kitti_step_stuff_has_no_instances(step):
    """Riders, trucks and bicycles count as stuff, whatever number a file gives them."""
    label = step / "panoptic_maps" / "train" / "0000" / "000001.png"
    _write(label, np.dstack([np.full((4, 6), 18), np.zeros((4, 6)), np.arange(24).reshape(4, 6)]))
    assert kitti_step(step, "train")[0].segments_info == [{"id": 19 * 65536, "category_id": 18, "iscrowd": 0}]


def test_kitti_step_mistakes_are_named(step):
    label = step / "panoptic_maps" / "train" / "0000" / "000001.png"
    dataset = kitti_step(step, "train")
    _write(label, np.full((4, 6, 3), 19))
    with pytest.raises(ValueError, match=r"0000/000001\.png holds class 19, wanted 0\.\.18 or 255"):
        dataset[0]
    _write(label, np.zeros((4, 7, 3)))
    with pytest.raises(ValueError, match=r"000001\.png is 4 x 7 pixels .*its image 4 x 6"):
        dataset[0]
    cv2.imwrite(str(label), np.zeros((4, 6), np.uint8))
    with pytest.raises(ValueError, match=r"000001\.png must be an RGB PNG"):
        dataset[0]
    label.unlink()
    with pytest.raises(ValueError, match=r"1 of 2 images have no label file; the first missing is .*0000"):
        kitti_step(step, "train")
    with pytest.raises(ValueError, match=r"no folder .*images/val; wanted .*/\*/\*\.png"):
        kitti_step(step, "val")


@pytest.fixture
def bdd(tmp_path):
    """A road in two pieces, two persons, a group of cars, an ignored pole, and void."""
    _write_image(tmp_path / "images" / "10k" / "val" / "b1.jpg")
    label, attributes, number = np.zeros((3, 4, 6), np.int32)
    label[0], number[0] = 7, 1
    label[3], number[3] = 7, 9
    label[1, :2], number[1, :2] = 31, 2
    label[1, 2:4], number[1, 2:4], attributes[1, 2:4] = 31, 515, 12
    label[2, :3], number[2, :3], attributes[2, :3] = 35, 4, 2
    label[2, 3:], number[2, 3:], attributes[2, 3:] = 20, 5, 1
    path = tmp_path / "labels" / "pan_seg" / "bitmasks" / "val" / "b1.png"
    _write(path, np.dstack([label, attributes, number // 256, number % 256]))
    return tmp_path


def test_bdd100k(bdd):
    dataset = bdd100k(bdd, "val")
    (sample,) = dataset
    road, person, car = 7 << 16, 31 << 16, 1 << 22 | 35 << 16
    assert sample.image_id == "b1"
    np.testing.assert_array_equal(
        sample.panoptic,
        [
            [road] * 6,
            [person + 2, person + 2, person + 515, person + 515, 0, 0],
            [car + 4] * 3 + [0] * 3,
            [road] * 6,
        ],
    )
    assert sample.segments_info == [
        {"id": road, "category_id": 6, "iscrowd": 0},
        {"id": person + 2, "category_id": 30, "iscrowd": 0},
        {"id": person + 515, "category_id": 30, "iscrowd": 0},
        {"id": car + 4, "category_id": 34, "iscrowd": 1},
    ]
    assert len(BDD100K) == 40
    assert [BDD100K.names[i] for i in (6, 30, 34)] == ["road", "person", "car"]
    assert {BDD100K.names[i] for i in BDD100K.thing_ids} == {
        *("person", "rider", "bicycle", "bus", "car", "caravan", "motorcycle", "trailer", "train", "truck")
    }
    assert pickle.loads(pickle.dumps(dataset))[0].segments_info == sample.segments_info


def test_bdd100k_mistakes_are_named(bdd):
    path = bdd / "labels" / "pan_seg" / "bitmasks" / "val" / "b1.png"
    _write(path, np.full((4, 6, 4), 41))
    with pytest.raises(ValueError, match=r"b1\.png holds class 41, wanted 0\.\.40"):
        bdd100k(bdd, "val")[0]
    _write(path, np.full((4, 6, 3), 1))
    with pytest.raises(ValueError, match=r"b1\.png must be an RGBA PNG"):
        bdd100k(bdd, "val")[0]
    path.unlink()
    with pytest.raises(ValueError, match=r"1 of 1 images have no label file"):
        bdd100k(bdd, "val")


@pytest.mark.parametrize("version", ["v1.2", "."])
def test_mapillary_vistas(tmp_path, version):
    folder = tmp_path / "training"
    ids = np.zeros((4, 6), np.int32)
    ids[2:] = 1000
    ids[0, :3] = 70_000
    _write_image(folder / "images" / "m1.jpg")
    pngs = folder / version / "panoptic"
    _write(pngs / "m1.png", np.dstack([ids & 255, ids >> 8 & 255, ids >> 16]))
    segments = [
        {"id": 1000, "category_id": 14, "iscrowd": 0, "area": 12, "bbox": [0, 2, 6, 2]},
        {"id": 70_000, "category_id": 56, "iscrowd": 0, "area": 3, "bbox": [0, 0, 3, 1]},
    ]
    content = {
        "images": [{"id": "m1", "file_name": "m1.jpg", "height": 4, "width": 6}],
        "annotations": [{"image_id": "m1", "file_name": "m1.png", "segments_info": segments}],
        "categories": [
            {"id": i, "name": name, "isthing": int(i - 1 in MAPILLARY_VISTAS.thing_ids)}
            for i, name in enumerate(MAPILLARY_VISTAS.names, 1)
        ],
    }
    (pngs / "panoptic_2018.json").write_text(json.dumps(content))
    dataset = mapillary_vistas(tmp_path, "training")
    assert dataset.classes is MAPILLARY_VISTAS
    (sample,) = dataset
    np.testing.assert_array_equal(sample.panoptic, ids)
    names = [MAPILLARY_VISTAS.names[segment["category_id"]] for segment in sample.segments_info]
    assert names == ["Road", "Car"]

    # Version 2.0 has more classes.
    content["categories"].append({"id": 117, "name": "Truck", "isthing": 1})
    (pngs / "panoptic_2018.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"category 117 \('Truck'\) is not one of mapillary_vistas"):
        mapillary_vistas(tmp_path, "training")
    with pytest.raises(ValueError, match=r"no .*validation/v1\.2/panoptic/panoptic_2018\.json"):
        mapillary_vistas(tmp_path, "validation")


def test_mapillary_vistas_counts():
    """The dataset's paper: 37 countable classes, 28 others."""
    assert len(MAPILLARY_VISTAS.thing_ids) == 37
    assert len(MAPILLARY_VISTAS) == 65
