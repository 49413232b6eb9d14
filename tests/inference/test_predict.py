"""Prediction of files: what is written, and what is skipped."""

import json

import cv2
import numpy as np
import pytest

from panodeeplab.classes import CITYSCAPES, ClassTable
from panodeeplab.cli import main
from panodeeplab.data.coco_panoptic import load_panoptic_json, read_panoptic_png
from panodeeplab.inference.predict import find_images, predict_files, write_picture
from panodeeplab.inference.results import CityscapesWriter


@pytest.fixture
def folder(tmp_path):
    """Images in subfolders, two of one name, and files that are none."""
    rng = np.random.default_rng(0)
    source = tmp_path / "images"
    for name, size in {
        "a.png": (40, 70),
        "a.jpg": (64, 128),
        "left/b.png": (33, 51),
        "right/b.png": (50, 50),
        "deep/er/city_000001_leftImg8bit.png": (64, 128),
        ".hidden.png": (8, 8),
        ".cache/c.png": (8, 8),
    }.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        small = rng.integers(0, 255, (4, 8, 3), dtype=np.uint8)
        cv2.imwrite(str(source / name), cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC))
    (source / "notes.txt").write_text("no image")
    return source


NAMES = {"a_png", "a_jpg", "left_b", "right_b", "city_000001"}


def check_output(output, names):
    """Overlays, PNGs and JSON are of the same images, and agree with each other."""
    content = load_panoptic_json(output / "panoptic.json", prediction=True)
    assert {annotation["image_id"] for annotation in content["annotations"]} == names
    assert {path.name for path in (output / "panoptic").iterdir()} == {f"{name}.png" for name in names}
    assert {path.name for path in (output / "overlay").iterdir()} == {f"{name}.jpg" for name in names}
    assert {path.name for path in output.iterdir()} == {"overlay", "panoptic", "panoptic.json"}
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    for annotation in content["annotations"]:
        ids = read_panoptic_png(output / "panoptic" / annotation["file_name"])
        assert ids.shape == sizes[annotation["image_id"]]
        found, areas = np.unique(ids[ids != 0], return_counts=True)
        segments = {segment["id"]: segment for segment in annotation["segments_info"]}
        assert set(segments) == set(found.tolist())
        for segment_id, area in zip(found.tolist(), areas.tolist(), strict=True):
            segment = segments[segment_id]
            assert segment["area"] == area
            assert segment["category_id"] in CITYSCAPES.label_ids
            assert 0 <= segment["score"] <= 1
            y, x = np.nonzero(ids == segment_id)
            assert segment["bbox"] == [x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1]
        overlay = cv2.imread(str(output / "overlay" / f"{annotation['image_id']}.jpg"))
        assert overlay.shape[:2] == ids.shape
    return content


def test_folder(checkpoint, folder, tmp_path, capsys):
    assert predict_files(folder, tmp_path / "out", checkpoint=checkpoint) == 0
    content = check_output(tmp_path / "out", NAMES)
    assert any(annotation["segments_info"] for annotation in content["annotations"])
    assert "5/5" in capsys.readouterr().err


@pytest.fixture
def cityscapes_images(tmp_path):
    for city, frame in (("town", 0), ("town", 1), ("village", 0)):
        folder = tmp_path / "leftImg8bit" / "test" / city
        folder.mkdir(parents=True, exist_ok=True)
        picture = np.random.default_rng(frame).integers(0, 255, (4, 8, 3), dtype=np.uint8)
        picture = cv2.resize(picture, (128, 64), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{city}_{frame:06d}_000019_leftImg8bit.png"), picture)
    return tmp_path / "leftImg8bit"


def test_folders_for_the_server_hold_one_result(checkpoint, cityscapes_images, tmp_path):
    for _ in range(2):  # the second run leaves nothing of the first
        assert (
            predict_files(cityscapes_images, tmp_path / "out", checkpoint=checkpoint, format="cityscapes")
            == 0
        )
    out = tmp_path / "out"
    names = ["town_000000_000019", "town_000001_000019", "village_000000_000019"]
    content = load_panoptic_json(out / "panoptic/cityscapes_panoptic_test.json", prediction=True)
    assert [a["image_id"] for a in content["annotations"]] == names
    assert {p.name for p in out.iterdir()} == {"semantic", "instance", "panoptic"}
    assert sorted(p.name for p in (out / "semantic").iterdir()) == [f"{n}_pred_labelIds.png" for n in names]
    assert sorted(p.name for p in (out / "instance").glob("*.txt")) == [f"{n}_pred.txt" for n in names]
    things = 0
    for name, annotation in zip(names, content["annotations"], strict=True):
        labels = cv2.imread(str(out / f"semantic/{name}_pred_labelIds.png"), cv2.IMREAD_UNCHANGED)
        assert labels.dtype == np.uint8
        assert set(np.unique(labels).tolist()) <= set(CITYSCAPES.label_ids)  # no void: the best class of each
        ids = read_panoptic_png(out / "panoptic/cityscapes_panoptic_test" / annotation["file_name"])
        segments = {s["id"]: s for s in annotation["segments_info"]}
        lines = (out / f"instance/{name}_pred.txt").read_text().splitlines()
        for line in lines:
            path, label, score = line.split(" ")
            segment = segments[int(path.split("/")[-1].removesuffix(".png")) + 1000]
            assert (int(label), float(score)) == (segment["category_id"], segment["score"])
            mask = cv2.imread(str(out / "instance" / path), cv2.IMREAD_UNCHANGED)
            assert ((mask != 0) == (ids == segment["id"])).all()
        counted = [s for s in segments.values() if s["category_id"] >= 24]
        assert len(lines) == len(counted) == len(list((out / "instance/masks" / name).iterdir()))
        things += len(lines)
    assert things > 0


def test_names_that_the_server_does_not_know_are_refused(checkpoint, folder, tmp_path):
    with pytest.raises(ValueError, match=r"image_id must be CITY_SEQUENCE_FRAME .* got 'a_jpg'"):
        predict_files(folder, tmp_path / "out", checkpoint=checkpoint, format="cityscapes")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="format must be 'coco' or 'cityscapes', got 'voc'"):
        predict_files(folder, tmp_path / "out", checkpoint=checkpoint, format="voc")


def test_other_classes_than_those_of_the_server_are_refused(tmp_path):
    two = ClassTable("two", ("a", "b"), ((0, 0, 0),) * 2, (1,), (1, 2))
    with pytest.raises(ValueError, match=r"the 19 of Cityscapes .* got 'two' with 2"):
        CityscapesWriter(tmp_path, two)


def test_single_image_and_a_second_run_over_the_first(checkpoint, folder, tmp_path):
    for _ in range(2):
        assert predict_files(folder / "a.png", tmp_path / "out", checkpoint=checkpoint, size="native") == 0
        check_output(tmp_path / "out", {"a"})


def test_output_inside_the_source_is_not_read(checkpoint, folder):
    output = folder / "deep" / "out"
    for _ in range(2):
        assert predict_files(folder, output, checkpoint=checkpoint) == 0
        check_output(output, NAMES)


def test_damaged_files_are_reported_skipped_and_in_the_exit_status(checkpoint, folder, tmp_path, capsys):
    whole = (folder / "left" / "b.png").read_bytes()
    (folder / "left" / "b.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.png").write_text("no image")
    assert predict_files(folder, tmp_path / "out", checkpoint=checkpoint) == 1
    check_output(tmp_path / "out", NAMES - {"left_b"})
    errors = capsys.readouterr().err
    assert f"skipped {folder / 'left' / 'b.png'}" in errors
    assert f"skipped {folder / 'text.png'}" in errors
    assert "skipped 2 of 6 files" in errors


def test_nothing_readable_still_writes_an_honest_json(checkpoint, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"")
    assert predict_files(tmp_path / "broken.png", tmp_path / "out", checkpoint=checkpoint) == 1
    assert json.loads((tmp_path / "out" / "panoptic.json").read_text())["annotations"] == []


def test_source_without_images_is_refused_before_anything_is_written(checkpoint, folder, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "clip.MP4").write_bytes(b"")
    for source, error, message in (
        (tmp_path / "absent", FileNotFoundError, "absent"),
        (tmp_path / "empty", ValueError, "no image below"),
        (tmp_path / "clip.MP4", ValueError, "got the video"),
    ):
        with pytest.raises(error, match=message):
            predict_files(source, tmp_path / "out", checkpoint=checkpoint)
    with pytest.raises(FileNotFoundError, match="model"):
        predict_files(folder, tmp_path / "out", checkpoint=tmp_path / "no_model")
    assert not (tmp_path / "out").exists()


def test_names_are_unique_where_case_is_ignored(tmp_path, checkpoint):
    for name in ("x_y.png", "x/y.png", "z/y.png", "X_Y.bmp", "x_y_2.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "in" / name), np.zeros((8, 8, 3), np.uint8))
    assert len(find_images(tmp_path / "in")) == 5
    predict_files(tmp_path / "in", tmp_path / "out", checkpoint=checkpoint)
    written = [path.name.lower() for path in (tmp_path / "out" / "panoptic").iterdir()]
    assert len(written) == len(set(written)) == 5


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_picture_is_written_in_rgb_and_whole(tmp_path, suffix):
    picture = np.zeros((16, 16, 3), np.uint8)
    picture[..., 0] = 200
    write_picture(tmp_path / f"red{suffix}", picture)
    blue, green, red = cv2.imread(str(tmp_path / f"red{suffix}"))[8, 8].astype(int)
    assert (max(blue, green), red) == (pytest.approx(0, abs=4), pytest.approx(200, abs=4))
    assert [path.name for path in tmp_path.iterdir()] == [f"red{suffix}"]


def test_images_of_a_coco_json_keep_its_ids(folder, checkpoint, tmp_path):
    images = [{"id": 12, "file_name": "left/b.png"}, {"id": 7, "file_name": "a.png"}]
    (tmp_path / "list.json").write_text(json.dumps({"images": images}))
    output = tmp_path / "output"
    options = {"checkpoint": checkpoint, "images_from": tmp_path / "list.json"}
    assert predict_files(folder, output, **options) == 0
    content = json.loads((output / "panoptic.json").read_text())
    assert [annotation["image_id"] for annotation in content["annotations"]] == [12, 7]
    assert [(image["id"], image["file_name"]) for image in content["images"]] == [
        (12, "left/b.png"),
        (7, "a.png"),
    ]
    assert {path.name for path in (output / "panoptic").iterdir()} == {"12.png", "7.png"}
    assert {path.name for path in (output / "overlay").iterdir()} == {"12.jpg", "7.jpg"}


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ({"images": []}, ValueError, r"images_from: .*list\.json lists no image"),
        ({"annotations": []}, ValueError, r"list\.json has no 'images'"),
        (
            {"images": [{"id": 1, "file_name": "gone.jpg"}]},
            FileNotFoundError,
            "1 of 1 images of .*gone",
        ),
        (None, FileNotFoundError, r"no COCO JSON at .*list\.json"),
    ],
)
def test_lists_of_images_that_cannot_be_followed_are_named(folder, tmp_path, content, error, message):
    if content is not None:
        (tmp_path / "list.json").write_text(json.dumps(content))
    with pytest.raises(error, match=message):
        predict_files(folder, tmp_path / "output", images_from=tmp_path / "list.json")
    assert not (tmp_path / "output").exists()


def test_a_list_of_images_goes_with_a_folder_and_with_cocos_format(folder, tmp_path):
    (tmp_path / "list.json").write_text(json.dumps({"images": [{"id": 1, "file_name": "a.png"}]}))
    with pytest.raises(FileNotFoundError, match=r"source: no folder .*a\.png with the images of"):
        predict_files(folder / "a.png", tmp_path / "output", images_from=tmp_path / "list.json")
    with pytest.raises(ValueError, match="images_from goes with COCO's format"):
        predict_files(folder, tmp_path / "output", images_from=tmp_path / "list.json", format="cityscapes")


def test_results_of_real_coco_images_pair_with_the_ground_truth(shared, coco_checkpoint, tmp_path, capsys):
    """The two commands of docs/evaluation.md."""
    truth = shared / "data/coco_panoptic/annotations/panoptic.json"
    predict = ["predict", str(shared / "data/coco_panoptic/images"), "--checkpoint", str(coco_checkpoint)]
    assert main([*predict, "--output", str(tmp_path / "stems")]) == 0
    assert main([*predict, "--output", str(tmp_path / "ids"), "--images-from", str(truth)]) == 0
    capsys.readouterr()
    score = ["score", "--gt", str(truth), "--pred"]
    assert main([*score, str(tmp_path / "ids/panoptic.json"), "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)["counts"].values()
    true_segments = sum(
        not segment["iscrowd"]
        for annotation in load_panoptic_json(truth)["annotations"]
        for segment in annotation["segments_info"]
    )
    assert sum(c["tp"] + c["fn"] for c in counts) == true_segments
    assert sum(c["tp"] + c["fp"] for c in counts) > 0
    # Names of files are no ids: the message says what makes them ids.
    assert main([*score, str(tmp_path / "stems/panoptic.json")]) != 0
    assert "such as '000000142238' (panodeeplab predict --images-from" in capsys.readouterr().err
