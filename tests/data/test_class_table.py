"""Classes of your own data from YAML, and data in Cityscapes' layout that has them."""

import numpy as np
import pytest

from panodeeplab.data.check import check_cityscapes
from panodeeplab.data.cityscapes import CityscapesDataset, read_instance_id_table
from panodeeplab.data.class_table import class_color, read_class_table

TABLE = """
name: warehouse
classes:
  - {id: 1, name: floor, isthing: false, color: [128, 64, 128]}
  - {id: 40, name: box, isthing: true}
  - {id: 2, name: rack, isthing: false}
ignore: [3, 255]
"""


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "classes.yaml"
    path.write_text(TABLE)
    return path


def test_table(table):
    labels = read_class_table(table)
    assert labels.classes.name == "warehouse"
    assert labels.classes.names == ("floor", "box", "rack")
    assert labels.classes.label_ids == (1, 40, 2)
    assert labels.classes.thing_ids == (1,)
    assert labels.classes.colors == ((128, 64, 128), class_color(1), class_color(2))
    assert labels.ignore == (3, 255)


def test_what_may_be_left_out(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text("classes: [{id: 7, name: cell, isthing: true}]")
    labels = read_class_table(path)
    assert labels.classes.name == "small"
    assert labels.ignore == ()


def test_colors_of_neighbors_differ():
    colors = np.array([class_color(i) for i in range(60)])
    assert colors.min() >= 0
    assert colors.max() <= 255
    assert len(np.unique(colors, axis=0)) == 60
    assert np.abs(np.diff(colors, axis=0)).sum(1).min() > 60


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("color: [128, 64, 128]", "colour: [1, 2, 3]", r"unknown key 'classes\[0\]\.colour'; .* 'color'"),
        ("name: warehouse", "nam: warehouse", "unknown key 'nam'; the nearest known one is 'name'"),
        ("id: 1, ", "", r"classes\[0\]\.id is missing"),
        ("isthing: true", "isthing: often", r"classes\[1\]\.isthing: .*got 'often'"),
        ("id: 1,", "id: 0,", r"classes\[0\]\.id: .*greater than or equal to 1, got 0"),
        ("id: 2", "id: 40", r"classes\[2\]\.id 40 stands in the table before"),
        ("name: rack", "name: floor", r"classes\[2\]\.name 'floor' stands in the table before"),
        ("[128, 64, 128]", "[128, 64, 256]", r"classes\[0\]\.color\[2\]: .*got 256"),
        ("[128, 64, 128]", "[128, 64]", r"classes\[0\]\.color"),
        ("[3, 255]", "[40]", r"ignore\[0\] is 40, the id of classes\[1\]"),
        ("[3, 255]", "[-1]", r"ignore\[0\]: .*got -1"),
        ("[3, 255]", "[", "is not valid YAML"),
    ],
)
def test_mistakes_are_named(table, before, after, message):
    assert before in TABLE
    table.write_text(TABLE.replace(before, after))
    with pytest.raises(ValueError, match=rf"classes\.yaml.*{message}"):
        read_class_table(table)


def test_files_that_are_no_table(tmp_path):
    path = tmp_path / "classes.yaml"
    with pytest.raises(FileNotFoundError, match=r"no class table at .*classes\.yaml"):
        read_class_table(path)
    path.write_text("[1, 2]")
    with pytest.raises(ValueError, match=r"classes\.yaml must hold the keys 'classes'"):
        read_class_table(path)
    path.write_text("classes: []")
    with pytest.raises(ValueError, match=r"classes\.yaml: classes: .*at least 1"):
        read_class_table(path)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("id: 40", "id: 65", r"class 'box' has id 65; .* ids of things lie in 1\.\.64"),
        ("id: 2", "id: 1000", r"class 'rack' has id 1000; .* ids of stuff lie in 1\.\.999"),
        ("255", "65536", r"other_labels has 65536"),
    ],
)
def test_ids_that_instance_ids_cannot_hold(table, before, after, message):
    table.write_text(TABLE.replace(before, after))
    with pytest.raises(ValueError, match=rf"classes\.yaml: {message}"):
        read_instance_id_table(table)


def test_data_in_the_layout_of_cityscapes(tmp_path, write_pair, table):
    ids = np.zeros((6, 8), np.uint16)
    ids[3:] = 1
    ids[0, :2] = 40_000
    ids[0, 3:5] = 40_001
    ids[1, :3] = 40
    ids[2, :2] = 3
    ids[2, 2:4] = 3_005
    ids[2, 4] = 255
    write_pair(ids)
    instance_ids = read_instance_id_table(table)
    dataset = CityscapesDataset(tmp_path, "train", instance_ids)
    assert dataset.classes.names == ("floor", "box", "rack")
    sample = dataset[0]
    np.testing.assert_array_equal(sample.panoptic, np.where(np.isin(ids, [3, 255]), 0, ids))
    assert sample.segments_info == [
        {"id": 1, "category_id": 0, "iscrowd": 0},
        {"id": 40, "category_id": 1, "iscrowd": 1},
        {"id": 40_000, "category_id": 1, "iscrowd": 0},
        {"id": 40_001, "category_id": 1, "iscrowd": 0},
    ]
    report = check_cityscapes(tmp_path, instance_ids=instance_ids)
    assert report.problems == []
    assert report.splits["train"].class_segments.tolist() == [1, 2, 0]


def test_check_names_ids_outside_the_table(tmp_path, write_pair, table):
    ids = np.ones((6, 8), np.uint16)
    ids[0, :3] = 26_000
    write_pair(ids)
    ((problem),) = check_cityscapes(tmp_path, instance_ids=read_instance_id_table(table)).problems
    assert problem.message == (
        "unknown id 26000 on 3 pixels; known are label ids 0..3, 40, 255 and, for labels 3, 40, "
        "label id * 1000 + 0..999"
    )
