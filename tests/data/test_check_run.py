"""check-data of the data that a run names, and the pictures of its first samples."""

import cv2
import numpy as np
import pytest

from panodeeplab import config as configuration
from panodeeplab.classes import ClassTable
from panodeeplab.data.check import check_run, dataset_of_run
from panodeeplab.data.check.preview import draw_sample, write_augmented_previews, write_previews
from panodeeplab.data.cityscapes import CityscapesDataset
from panodeeplab.data.datasets import build_dataset
from panodeeplab.data.sample import Sample
from panodeeplab.training.batches import training_samples

CATEGORIES = [{"id": 1, "name": "floor", "isthing": 0}, {"id": 2, "name": "box", "isthing": 1}]


def _run(data: dict):
    return configuration.validate(
        {
            "data": data,
            "augmentation": {"crop_size": [64, 64]},
            "model": {"backbone": "mobilenet_v2"},
            "training": {"iterations": 1, "batch_size": 1},
        }
    )


def _coco_map() -> np.ndarray:
    ids = np.full((10, 20), 1, np.int32)
    ids[2:4, 2:4] = 2
    return ids


SEGMENTS = [{"id": 1, "category_id": 1, "iscrowd": 0}, {"id": 2, "category_id": 2, "iscrowd": 0}]


@pytest.fixture
def coco_run(tmp_path, write_coco):
    def write(categories=CATEGORIES):
        train = write_coco({1: _coco_map(), 2: _coco_map()}, {1: SEGMENTS, 2: SEGMENTS}, CATEGORIES, "train")
        val = write_coco({3: _coco_map()}, {3: SEGMENTS}, categories, "val")
        files = {
            split: {"images": tmp_path / "images", "annotations": path}
            for split, path in (("train", train), ("val", val))
        }
        return _run({"dataset": "coco_panoptic", **files})

    return write


def test_coco_panoptic(coco_run):
    config = coco_run()
    report = check_run(config, "run.yaml")
    assert report.source == "run.yaml"
    assert report.problems == []
    assert {split: counts.images for split, counts in report.splits.items()} == {"train": 2, "val": 1}
    assert [len(dataset_of_run(config, split)) for split in report.splits] == [2, 1]


def test_splits_of_different_classes(coco_run):
    more = [*CATEGORIES, {"id": 3, "name": "door", "isthing": 1}]
    ((problem),) = check_run(coco_run(more), "run.yaml").problems
    assert problem.message == "the training and the validation data have different classes"
    assert problem.is_error


def test_cityscapes_with_a_class_table(tmp_path, write_pair):
    (tmp_path / "classes.yaml").write_text("classes: [{id: 1, name: floor, isthing: false}]")
    for split in ("train", "check"):
        write_pair(np.ones((6, 8), np.uint16), split=split, name=split)
    data = {"dataset": "cityscapes", "root": tmp_path, "val_split": "check"}
    data["classes"] = tmp_path / "classes.yaml"
    report = check_run(_run(data), "run.yaml")
    assert report.problems == []
    assert list(report.splits) == ["train", "check"]
    assert dataset_of_run(_run(data), "check")[0].image_id == "check"
    assert build_dataset(_run(data).data, "train").classes.names == ("floor",)


@pytest.fixture
def kitti(tmp_path):
    for split in ("train", "val"):
        for folder, pixels in (
            ("images", np.zeros((4, 6, 3), np.uint8)),
            ("panoptic_maps", np.full((4, 6, 3), (1, 0, 13), np.uint8)),
        ):
            path = tmp_path / folder / split / "0001" / "000000.png"
            path.parent.mkdir(parents=True)
            cv2.imwrite(str(path), pixels)
    return tmp_path


def test_data_sets_without_a_check_of_their_own(kitti):
    config = _run({"dataset": "kitti_step", "root": kitti})
    report = check_run(config, "run.yaml")
    assert report.problems == []
    assert report.splits["val"].class_segments[13] == 1
    assert report.splits["val"].class_pixels[13] == 24
    label = kitti / "panoptic_maps" / "val" / "0001" / "000000.png"
    label.write_bytes(b"")
    ((problem),) = check_run(config, "run.yaml").problems
    assert (problem.path, problem.message) == ("sample 0", f"{label} is empty")


def test_generated_streets_need_no_check():
    with pytest.raises(ValueError, match="'scenes', which is generated"):
        check_run(_run({"dataset": "scenes"}), "run.yaml")


@pytest.mark.parametrize("dataset", ["kitti_step", "mapillary_vistas", "bdd100k"])
def test_folders_that_are_missing_are_named(tmp_path, dataset):
    config = _run({"dataset": dataset, "root": tmp_path / "nowhere"})
    for attempt in (lambda: build_dataset(config.data, "train"), lambda: check_run(config, "run.yaml")):
        with pytest.raises(ValueError, match="nowhere"):
            attempt()


TWO = ClassTable("two", ("floor", "box"), ((200, 40, 40), (40, 40, 200)), (1,), (1, 2))


def _sample() -> Sample:
    """Floor below; above, a box at the left, a group of boxes in the middle, void at the right."""
    ids = np.full((360, 480), 1, np.int32)
    ids[:180, :160] = 2
    ids[:180, 160:320] = 3
    ids[:180, 320:] = 0
    segments = [
        {"id": 1, "category_id": 0, "iscrowd": 0},
        {"id": 2, "category_id": 1, "iscrowd": 0},
        {"id": 3, "category_id": 1, "iscrowd": 1},
    ]
    return Sample(np.full((360, 480, 3), 120, np.uint8), ids, segments, "a/b")


def test_picture_shows_image_and_truth():
    picture = draw_sample(_sample(), TWO)
    height, width = picture.shape[:2]
    half = (width - 8) // 2
    # Enlarged to 720 x 960, a legend below.
    assert (half, height) == (960, 720 + 30)
    assert (picture[:720, :half] == 120).all()
    truth = picture[:720, half + 8 :].astype(int)
    floor, void = truth[600, 100], truth[60, 900]
    assert floor[0] > 2 * floor[2]
    assert void.max() < 60
    # A crowd region is striped, a thing is not.
    assert len(np.unique(truth[20, 400:560].sum(1))) > len(np.unique(truth[20, 80:240].sum(1)))
    legend = picture[720:]
    for color in TWO.colors:
        assert (legend == color).all(-1).sum() > 50


def test_legend_takes_as_many_lines_as_it_needs():
    names = tuple(f"a rather long name {i}" for i in range(40))
    table = ClassTable("many", names, ((9, 9, 9),) * 40, (), tuple(range(1, 41)))
    ids = np.repeat(np.arange(1, 41, dtype=np.int32), 3)[None].repeat(90, 0)
    segments = [{"id": i + 1, "category_id": i, "iscrowd": 0} for i in range(40)]
    picture = draw_sample(Sample(np.zeros((90, 120, 3), np.uint8), ids, segments, "a"), table)
    assert picture.shape[0] == 720 + 30 * 5


def test_more_objects_than_a_thousand():
    """Cells: each pixel an object of its own."""
    ids = np.arange(1, 1601, dtype=np.int32).reshape(40, 40)
    segments = [{"id": i, "category_id": 1, "iscrowd": 0} for i in range(1, 1601)]
    assert draw_sample(Sample(np.zeros((40, 40, 3), np.uint8), ids, segments, "a"), TWO).shape[2] == 3


def test_previews_of_the_first_samples_that_can_be_read(tmp_path, write_pair):
    for name in "abcd":
        image, _ = write_pair(np.full((6, 8), 7, np.uint16), name=name)
    (image.parent / "b_leftImg8bit.png").write_bytes(b"")
    dataset = CityscapesDataset(tmp_path)
    written = write_previews(dataset, tmp_path / "new" / "folder", prefix="train_", count=2)
    assert [path.name for path in written] == ["train_a.jpg", "train_c.jpg"]
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == [p.name for p in written]
    assert cv2.imread(str(written[0])).shape[1] == 2 * 960 + 8


def test_previews_show_what_the_network_is_given(tmp_path, write_pair):
    ids = np.full((64, 96), 7, np.uint16)
    ids[20:40, 30:50] = 26000
    for name in "ab":
        write_pair(ids, name=name)
    config = configuration.override(
        _run({"dataset": "cityscapes", "root": str(tmp_path), "val_split": "train"}),
        [
            "augmentation.crop_size=[32, 48]",
            "augmentation.copy_paste={classes: [car], probability: 1}",
        ],
    )
    samples = training_samples(config, build_dataset(config.data, "train"), progress=False)
    written = write_augmented_previews(samples, tmp_path / "pictures", count=2)
    order = ["ab"[samples.order.index(n)] for n in range(2)]
    assert [path.name for path in written] == [f"augmented_{n}_{order[n]}.jpg" for n in range(2)]
    # Without crops: the pasted car is beside the image's own one, or over it.
    samples.transform = lambda sample, rng: sample
    cars = [
        sum(segment["category_id"] == 13 for segment in samples.augmented(n)[0].segments_info)
        for n in range(8)
    ]
    assert set(cars) <= {1, 2}
    assert 2 in cars
