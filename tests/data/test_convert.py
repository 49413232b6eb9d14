"""Converters to COCO panoptic: which pixel goes to which segment, and what is said of wrong files."""

import json

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from panodeeplab.classes import CITYSCAPES, COCO, ClassTable
from panodeeplab.data.check import check_coco_panoptic
from panodeeplab.data.cityscapes import CityscapesDataset
from panodeeplab.data.class_table import read_class_table
from panodeeplab.data.coco_dataset import CocoPanopticDataset
from panodeeplab.data.convert import convert_coco_instances, convert_masks
from panodeeplab.data.convert.coco_masks import polygon_mask, segmentation_mask, unpack_counts
from panodeeplab.data.convert.combine import combine, stack_masks

TABLE = """
classes:
  - {id: 1, name: floor, isthing: false}
  - {id: 2, name: wall, isthing: false}
  - {id: 5, name: box, isthing: true}
  - {id: 6, name: pallet, isthing: true}
ignore: [255]
"""
FLOOR, WALL, BOX, PALLET = range(4)


@pytest.fixture
def classes(tmp_path):
    path = tmp_path / "classes.yaml"
    path.write_text(TABLE)
    return path


def _semantic() -> np.ndarray:
    """8 x 12: wall above, floor below, boxes at the left, a pallet at the right, void in a corner."""
    semantic = np.full((8, 12), 2, np.uint8)
    semantic[4:] = 1
    semantic[2:6, 0:6] = 5
    semantic[3:5, 9:12] = 6
    semantic[0, 11] = 0
    semantic[0, 10] = 255
    return semantic


def _write(path, pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


@pytest.fixture
def scene(tmp_path, classes):
    """A picture in a folder, its semantic map, and a map of two boxes and a pallet."""
    objects = np.zeros((8, 12), np.uint16)
    objects[2:6, 0:2] = 700
    objects[2:7, 2:4] = 3
    objects[3:5, 9:12] = 9
    _write(tmp_path / "images" / "hall" / "a.jpg", np.zeros((8, 12, 3), np.uint8))
    _write(tmp_path / "semantic" / "hall" / "a.png", _semantic())
    _write(tmp_path / "instances" / "hall" / "a.png", objects)
    return tmp_path


def _convert(folder):
    return convert_masks(
        folder / "images", folder / "semantic", folder / "instances", folder / "classes.yaml", folder / "out"
    )


def _only_sample(path, images):
    report = check_coco_panoptic(images, path)
    assert report.problems == []
    (sample,) = CocoPanopticDataset(images, path)
    return sample


def _regions(sample) -> list[tuple[int, int, list]]:
    """Class, crowd flag and pixels of each segment."""
    return [
        (s["category_id"], s["iscrowd"], np.argwhere(sample.panoptic == s["id"]).tolist())
        for s in sample.segments_info
    ]


def test_masks_as_a_map_of_numbers(scene):
    path = _convert(scene)
    sample = _only_sample(path, scene / "images")
    assert sample.image_id == "hall/a"
    expected = np.array(
        [
            [2] * 10 + [0] * 2,
            [2] * 12,
            *[[700] * 2 + [3] * 2 + [5] * 2 + [2] * 6],
            *[[700] * 2 + [3] * 2 + [5] * 2 + [2] * 3 + [9] * 3],
            *[[700] * 2 + [3] * 2 + [5] * 2 + [1] * 3 + [9] * 3],
            *[[700] * 2 + [3] * 2 + [5] * 2 + [1] * 6],
            [1] * 2 + [3] * 2 + [1] * 8,
            [1] * 12,
        ]
    )
    # The rest of the boxes' pixels are boxes that were not told apart.
    wanted = [(FLOOR, 0, 1), (WALL, 0, 2), (BOX, 1, 5), (BOX, 0, 3), (PALLET, 0, 9), (BOX, 0, 700)]
    assert _regions(sample) == [
        (category, crowd, np.argwhere(expected == value).tolist()) for category, crowd, value in wanted
    ]
    content = json.loads(path.read_text())
    assert [c["name"] for c in content["categories"]] == ["floor", "wall", "box", "pallet"]
    assert content["images"] == [{"id": "hall/a", "file_name": "hall/a.jpg", "height": 8, "width": 12}]


def test_masks_as_files_of_their_own(scene):
    """Overlapping: the small box stands before the large one."""
    (scene / "instances" / "hall" / "a.png").unlink()
    large, small = np.zeros((2, 8, 12), np.uint8)
    large[2:6, 0:5] = 255
    small[3:5, 1:3] = 1
    _write(scene / "instances" / "hall" / "a" / "0.png", small)
    _write(scene / "instances" / "hall" / "a" / "1.png", large)
    regions = _regions(_only_sample(_convert(scene), scene / "images"))
    assert [(category, crowd, len(pixels)) for category, crowd, pixels in regions] == [
        (FLOOR, 0, 33),
        (WALL, 0, 31),
        (BOX, 1, 4),
        (PALLET, 1, 6),
        (BOX, 0, 4),
        (BOX, 0, 16),
    ]


def test_palette_files_hold_indices(scene):
    picture = Image.fromarray(_semantic(), mode="P")
    picture.putpalette([(7 * i) % 256 for i in range(768)])
    before = _regions(_only_sample(_convert(scene), scene / "images"))
    picture.save(scene / "semantic" / "hall" / "a.png")
    assert _regions(_only_sample(_convert(scene), scene / "images")) == before


def test_an_image_without_objects(scene):
    (scene / "instances" / "hall" / "a.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"neither .*hall/a\.png nor a folder .*hall/a; an"):
        _convert(scene)
    (scene / "instances" / "hall" / "a").mkdir()
    crowds = [r for r in _regions(_only_sample(_convert(scene), scene / "images")) if r[1]]
    assert [(category, len(pixels)) for category, _, pixels in crowds] == [(BOX, 24), (PALLET, 6)]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            lambda p: (p / "semantic/hall/a.png").unlink(),
            FileNotFoundError,
            r"no file .*semantic",
        ),
        (
            lambda p: _write(p / "semantic/hall/a.png", np.full((8, 12), 7, np.uint8)),
            ValueError,
            r"semantic/hall/a\.png holds 7 on 96 pixels, which the class table does not have",
        ),
        (
            lambda p: _write(p / "semantic/hall/a.png", np.full((8, 11), 5, np.uint8)),
            ValueError,
            r"semantic/hall/a\.png is 8 x 11 pixels \(H x W\), its image 8 x 12",
        ),
        (
            lambda p: _write(p / "instances/hall/a.png", np.ones((9, 12), np.uint8)),
            ValueError,
            r"instances/hall/a\.png is 9 x 12 pixels \(H x W\), its image 8 x 12",
        ),
        (
            lambda p: _write(p / "instances/hall/a.png", np.ones((8, 12, 3), np.uint8)),
            ValueError,
            r"instances/hall/a\.png must be gray, .* got 3 channel\(s\) of uint8",
        ),
        (
            lambda p: _write(p / "semantic/hall/a.png", np.full((8, 12), 1, np.uint8)),
            ValueError,
            r"instances/hall/a\.png: object 3 lies on no pixel of a countable class, but on floor",
        ),
        (
            lambda p: _write(p / "images/hall/a.png", np.zeros((8, 12, 3), np.uint8)),
            ValueError,
            r"hall/a\.jpg and .*hall/a\.png have one name",
        ),
        (lambda p: (p / "images/hall/a.jpg").unlink(), ValueError, "images: no picture in"),
    ],
)
def test_wrong_files_are_named_and_no_json_is_written(scene, change, error, message):
    change(scene)
    with pytest.raises(error, match=message):
        _convert(scene)
    assert not (scene / "out" / "panoptic.json").exists()


def _instances(*annotations) -> dict:
    return {
        "images": [{"id": 12, "file_name": "a.jpg", "height": 8, "width": 12}],
        "categories": [{"id": 5, "name": "box"}, {"id": 6, "name": "pallet"}, {"id": 7, "name": "cat"}],
        "annotations": [{"image_id": 12, "iscrowd": 0} | annotation for annotation in annotations],
    }


@pytest.fixture
def coco(tmp_path, classes):
    """Two boxes as polygons, a crowd of boxes as run lengths, one pallet."""
    crowd = np.zeros((8, 12), bool)
    crowd[2:6, 2:6] = True
    runs = np.flatnonzero(np.diff(np.concatenate([[False], crowd.T.ravel(), [False]])))
    counts = np.diff(np.concatenate([[0], runs, [96]])).tolist()
    content = _instances(
        {"category_id": 5, "segmentation": [[0, 2, 2, 2, 2, 6, 0, 6]]},
        {"category_id": 5, "segmentation": {"size": [8, 12], "counts": counts}, "iscrowd": 1},
        {"category_id": 5, "segmentation": [[2, 2, 3, 2, 3, 4, 2, 4], [4, 2, 5, 2, 5, 4, 4, 4]]},
        {"category_id": 6, "segmentation": [[9, 3, 12, 3, 12, 5, 9, 5]]},
    )
    _write(tmp_path / "images" / "a.jpg", np.zeros((8, 12, 3), np.uint8))
    _write(tmp_path / "semantic" / "a.png", _semantic())
    (tmp_path / "instances.json").write_text(json.dumps(content))
    return tmp_path


def _convert_coco(folder):
    table = folder / "classes.yaml"
    return convert_coco_instances(folder / "instances.json", folder / "semantic", table, folder / "out")


def test_coco_instances(coco):
    path = _convert_coco(coco)
    sample = _only_sample(path, coco / "images")
    expected = _semantic().astype(int)
    expected[expected == 255] = 0
    expected[2:6, 0:2] = 100
    expected[2:4, 2] = expected[2:4, 4] = 101
    expected[expected == 6] = 102
    wanted = [(FLOOR, 0, 1), (WALL, 0, 2), (BOX, 1, 5), (BOX, 0, 100), (BOX, 0, 101), (PALLET, 0, 102)]
    assert _regions(sample) == [
        (category, crowd, np.argwhere(expected == value).tolist()) for category, crowd, value in wanted
    ]
    assert sample.image_id == "12"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("annotations"), "needs 'annotations', a list of objects"),
        (
            lambda c: c["annotations"][1].update(image_id=3),
            r"annotations\[1\] has image_id 3, which",
        ),
        (lambda c: c["annotations"][1].update(category_id=7), r"annotations\[1\] has category_id 7, which"),
        (lambda c: c["annotations"][0].pop("segmentation"), r"annotations\[0\]: needs 'segmentation'"),
        (lambda c: c["annotations"][0].update(segmentation=[[1, 2]]), r"annotations\[0\]: a polygon needs 3"),
        (
            lambda c: c["annotations"][1]["segmentation"].update(counts=[3, 4]),
            r"annotations\[1\]: 'counts' fill 7 pixels of 8 x 12",
        ),
        (
            lambda c: c["annotations"][1]["segmentation"].update(size=[12, 8]),
            r"annotations\[1\]: 'size' must be the image's, \[8, 12\], got \[12, 8\]",
        ),
        (lambda c: c["categories"][0].update(name="cup"), "category 5 is 'cup', a thing; .* 'box', thing"),
        (lambda c: c["categories"][0].update(id=1), "category 1 is 'box', a thing; .* 'floor', stuff"),
        (lambda c: c["images"][0].update(width=13), r"a\.png is 8 x 12 pixels \(H x W\), .* says 8 x 13"),
    ],
)
def test_coco_mistakes_are_named(coco, change, message):
    path = coco / "instances.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        _convert_coco(coco)
    assert not (coco / "out" / "panoptic.json").exists()


def test_polygon_takes_the_pixels_whose_middle_is_inside():
    np.testing.assert_array_equal(np.argwhere(polygon_mask([1, 1, 3, 1, 3, 2, 1, 2], 4, 4)), [[1, 1], [1, 2]])
    # Just short of two middles, just over two others.
    mask = polygon_mask([0.6, 0, 2.6, 0, 2.6, 1, 0.6, 1], 2, 4)
    np.testing.assert_array_equal(np.argwhere(mask), [[0, 1], [0, 2]])
    triangle = polygon_mask([0, 0, 8, 0, 0, 8], 8, 8)
    np.testing.assert_array_equal(triangle, np.add.outer(np.arange(8), np.arange(8)) < 7)
    # Outside of the image there is nothing to draw.
    assert polygon_mask([-5, -5, 20, -5, 20, 20, -5, 20], 3, 4).all()
    assert not polygon_mask([5, 0, 9, 0, 9, 3], 3, 4).any()
    # A hole by the even-odd rule.
    ring = polygon_mask([0, 0, 6, 0, 6, 6, 0, 6, 0, 0, 2, 2, 4, 2, 4, 4, 2, 4, 2, 2], 6, 6)
    assert ring.sum() == 32
    assert not ring[2:4, 2:4].any()


@given(npst.arrays(bool, npst.array_shapes(min_dims=2, max_dims=2, max_side=40)))
@settings(deadline=None, max_examples=60)
def test_packed_run_lengths_are_read_as_others_write_them(mask):
    coco_mask = pytest.importorskip("hotcoco").mask
    packed = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    counts = packed["counts"].decode() if isinstance(packed["counts"], bytes) else packed["counts"]
    height, width = mask.shape
    segmentation = {"size": [height, width], "counts": counts}
    np.testing.assert_array_equal(segmentation_mask(segmentation, height, width), mask)
    assert sum(unpack_counts(counts)) == mask.size


@given(st.lists(st.tuples(st.floats(2, 58), st.floats(2, 38)), min_size=3, max_size=3))
@settings(deadline=None, max_examples=60)
def test_polygons_are_drawn_as_others_draw_them(corners):
    coco_mask = pytest.importorskip("hotcoco").mask
    polygon = [coordinate for corner in corners for coordinate in corner]
    other = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([polygon], 40, 60))).astype(bool)
    differing = polygon_mask(polygon, 40, 60) != other
    # Along the outline alone: a difference is never two pixels deep.
    assert not cv2.erode(differing.astype(np.uint8), np.ones((3, 3), np.uint8)).any()


@pytest.mark.parametrize(("text", "message"), [("1X", "end within a number"), ("1 2", "hold ' '")])
def test_packed_text_that_is_wrong(text, message):
    with pytest.raises(ValueError, match=message):
        unpack_counts(text)


def test_crowd_regions_lie_below():
    large, small = np.zeros((2, 4, 4), bool)
    large[:, :3] = True
    small[:2, :2] = True
    assert stack_masks([large, small], (4, 4)).tolist() == [[2, 2, 1, 0]] * 2 + [[1, 1, 1, 0]] * 2
    assert stack_masks([large, small], (4, 4), below={1}).tolist() == [[1, 1, 1, 0]] * 4
    assert not stack_masks([], (2, 2)).any()


def test_maps_of_two_sizes_are_refused(classes):
    table = read_class_table(classes).classes
    with pytest.raises(ValueError, match=r"semantic is 2 x 3 pixels \(H x W\), instances 3 x 2"):
        combine(np.zeros((2, 3), np.int32), np.zeros((3, 2), np.int32), {}, table)


def _write_table(path, classes: ClassTable, ignore=()) -> None:
    entries = [
        {"id": label_id, "name": name, "isthing": index in classes.thing_ids}
        for index, (label_id, name) in enumerate(zip(classes.label_ids, classes.names, strict=True))
    ]
    path.write_text(yaml.safe_dump({"classes": entries, "ignore": list(ignore)}))


def _region_set(sample) -> set:
    return {
        (segment["category_id"], segment["iscrowd"], (sample.panoptic == segment["id"]).tobytes())
        for segment in sample.segments_info
    }


def test_real_cityscapes_from_masks(shared, tmp_path):
    """Its labelIds and the objects of its instanceIds make what its instanceIds say."""
    (sample,) = CityscapesDataset(shared / "data" / "cityscapes", "val")
    folder = shared / "data" / "cityscapes" / "gtFine" / "val" / "frankfurt"
    raw = cv2.imread(str(folder / f"{sample.image_id}_gtFine_instanceIds.png"), cv2.IMREAD_UNCHANGED)
    labels = cv2.imread(str(folder / f"{sample.image_id}_gtFine_labelIds.png"), cv2.IMREAD_UNCHANGED)
    things = [CITYSCAPES.label_ids[i] for i in CITYSCAPES.thing_ids]
    _write(tmp_path / "images" / "a.png", sample.image)
    _write(tmp_path / "semantic" / "a.png", labels)
    _write(tmp_path / "instances" / "a.png", np.where(np.isin(raw // 1000, things), raw, 0).astype(np.uint16))
    _write_table(tmp_path / "classes.yaml", CITYSCAPES, set(range(34)) - set(CITYSCAPES.label_ids))
    converted = _only_sample(_convert(tmp_path), tmp_path / "images")
    assert _region_set(converted) == _region_set(sample)
    assert len(sample.segments_info) > 20


def test_real_coco_from_instances(shared, tmp_path):
    """Its things as run lengths, and its classes as a semantic map, make the panoptic files again."""
    coco_mask = pytest.importorskip("hotcoco").mask
    folder = shared / "data" / "coco_panoptic"
    truth = CocoPanopticDataset(folder / "images", folder / "annotations" / "panoptic.json")
    content = {"images": [], "annotations": [], "categories": []}
    for index, name in enumerate(COCO.names[:80]):
        content["categories"].append({"id": COCO.label_ids[index], "name": name})
    for sample, image_id, path in zip(truth, truth.image_ids, truth.images, strict=True):
        height, width = sample.panoptic.shape
        entry = {"id": image_id, "file_name": path.name, "height": height, "width": width}
        content["images"].append(entry)
        semantic = np.zeros((height, width), np.uint8)
        for segment in sample.segments_info:
            mask = sample.panoptic == segment["id"]
            semantic[mask] = COCO.label_ids[segment["category_id"]]
            if segment["category_id"] not in COCO.thing_ids:
                continue
            packed = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
            counts = packed.decode() if isinstance(packed, bytes) else packed
            content["annotations"].append(
                {
                    "image_id": image_id,
                    "category_id": COCO.label_ids[segment["category_id"]],
                    "segmentation": {"size": [height, width], "counts": counts},
                    "iscrowd": segment["iscrowd"],
                }
            )
        _write(tmp_path / "semantic" / f"{path.stem}.png", semantic)
    (tmp_path / "instances.json").write_text(json.dumps(content))
    _write_table(tmp_path / "classes.yaml", COCO)
    converted = CocoPanopticDataset(folder / "images", _convert_coco(tmp_path))
    assert converted.classes is COCO
    for sample, again in zip(truth, converted, strict=True):
        assert _region_set(again) == _region_set(sample)
