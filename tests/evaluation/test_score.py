import json
import shutil

import cv2
import numpy as np
import pytest

from panodeeplab.classes import ClassTable
from panodeeplab.data.coco_panoptic import load_panoptic_json, read_panoptic_png
from panodeeplab.data.coco_writer import PanopticWriter, write_panoptic_png
from panodeeplab.evaluation import PanopticQuality, format_table, score

CLASSES = ClassTable(
    name="field",
    names=("grass", "sky", "cow"),
    colors=((0, 90, 0), (0, 0, 90), (90, 0, 0)),
    thing_ids=(2,),
    label_ids=(7, 9, 24),
)


@pytest.fixture
def files(tmp_path):
    """Ground truth with void and a crowd, and a prediction, three images each, as files and in memory."""
    rng = np.random.default_rng(3)
    quality = PanopticQuality(CLASSES)
    annotations = []
    (tmp_path / "gt").mkdir()
    with PanopticWriter(tmp_path, CLASSES, name="pred") as writer:
        for number in range(3):
            target = np.zeros((30, 40), np.int32)
            target[2:15], target[15:] = 9, 7
            target[16:20, 5:15], target[18:28, 20:30], target[25:, :10] = 24001, 24002, 24
            prediction = np.where(target == 0, -1, 0).astype(np.int32)
            prediction[target == 9] = 1000
            prediction[target == 24001], prediction[target == 24002] = 2001, 2002
            prediction[target == 24] = 2003
            prediction = np.roll(prediction, rng.integers(-4, 5, 2), (0, 1))
            infos = [
                {"id": 9, "category_id": 1, "iscrowd": 0},
                {"id": 7, "category_id": 0, "iscrowd": 0},
                {"id": 24001, "category_id": 2, "iscrowd": 0},
                {"id": 24002, "category_id": 2, "iscrowd": 0},
                {"id": 24, "category_id": 2, "iscrowd": 1},
            ]
            quality.update(prediction, target, infos)
            name = f"frame_{number}"
            writer.add(prediction, image_id=name, image_file=f"{name}.jpg")
            write_panoptic_png(tmp_path / "gt" / f"{name}_gt.png", target)
            infos = [s | {"category_id": CLASSES.label_ids[s["category_id"]]} for s in infos]
            annotations.append({"image_id": name, "file_name": f"{name}_gt.png", "segments_info": infos})
    categories = [
        {"id": i, "name": n, "isthing": int(n == "cow")}
        for i, n in zip(CLASSES.label_ids, CLASSES.names, strict=True)
    ]
    (tmp_path / "gt.json").write_text(json.dumps({"annotations": annotations, "categories": categories}))
    return tmp_path, quality.result()


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_files_score_as_the_maps_in_memory_do(files):
    folder, expected = files
    result = score(folder / "gt.json", folder / "pred.json")
    assert 0 < expected["All"]["pq"] < 1
    for name in ("All", "Things", "Stuff"):
        assert result[name] == pytest.approx(expected[name], abs=1e-12)
    for index, label_id in enumerate(CLASSES.label_ids):
        assert result["counts"][str(label_id)] == pytest.approx(expected["counts"][str(index)], abs=1e-12)
        assert result["per_class"][str(label_id)] == pytest.approx(expected["per_class"][str(index)])


def test_golden_vectors_of_panopticapi(golden):
    expected = json.loads((golden / "pq/expected.json").read_text())
    result = score(golden / "pq/gt.json", golden / "pq/pred.json")
    assert list(result) == list(expected)
    for name in ("All", "Things", "Stuff"):
        assert result[name] == pytest.approx(expected[name], abs=1e-9)
    for group in ("per_class", "counts"):
        assert result[group].keys() == expected[group].keys()
        for key, row in expected[group].items():
            assert result[group][key] == pytest.approx(row, abs=1e-9)


def test_real_coco_files_score_perfectly_against_themselves(shared):
    path = shared / "data/coco_panoptic/annotations/panoptic.json"
    result = score(path, path)
    present = {
        s["category_id"]
        for a in load_panoptic_json(path)["annotations"]
        for s in a["segments_info"]
        if not s["iscrowd"]
    }
    assert result["All"] == {"pq": 1.0, "sq": 1.0, "rq": 1.0, "n": len(present)}


def test_folders_can_be_named(files, tmp_path):
    folder, expected = files
    (folder / "gt").rename(folder / "truth pictures")
    with pytest.raises(FileNotFoundError, match=r"no folder .*gt with the PNGs of .*gt\.json"):
        score(folder / "gt.json", folder / "pred.json")
    result = score(folder / "gt.json", folder / "pred.json", gt_dir=folder / "truth pictures")
    assert result["All"] == pytest.approx(expected["All"])
    with pytest.raises(FileNotFoundError, match="no folder"):
        score(folder / "gt.json", folder / "pred.json", folder / "truth pictures", folder / "nowhere")


def test_images_are_matched_by_id_and_others_are_not_scored(files):
    folder, expected = files
    shutil.copy(folder / "pred/frame_0.png", folder / "pred/more.png")

    def change(content):
        content["annotations"].append(
            content["annotations"][0] | {"image_id": "more", "file_name": "more.png"}
        )
        content["annotations"].reverse()
        del content["categories"], content["images"]

    edit(folder / "pred.json", change)
    assert score(folder / "gt.json", folder / "pred.json")["All"] == pytest.approx(expected["All"])


def test_stated_areas_are_not_believed(files):
    folder, expected = files

    def change(content):
        for annotation in content["annotations"]:
            for segment in annotation["segments_info"]:
                segment["area"] = 1

    edit(folder / "gt.json", change)
    edit(folder / "pred.json", change)
    assert score(folder / "gt.json", folder / "pred.json")["All"] == pytest.approx(expected["All"])


def test_class_written_as_id_zero_is_scored(files):
    # Some systems write the first stuff class as id 0; panopticapi takes it as a segment, and so do we.
    folder, expected = files

    def change(content):
        for annotation in content["annotations"]:
            path = folder / "pred" / annotation["file_name"]
            ids = read_panoptic_png(path)
            shifted = np.where(ids == 0, 500, ids - 1000)
            write_panoptic_png(path, shifted)
            for segment in annotation["segments_info"]:
                segment["id"] -= 1000
            annotation["segments_info"].append({"id": 500, "category_id": 9})

    edit(folder / "pred.json", change)
    result = score(folder / "gt.json", folder / "pred.json")
    assert result["counts"]["7"] == pytest.approx(expected["counts"]["0"])
    assert result["counts"]["24"] == pytest.approx(expected["counts"]["2"])


def test_empty_prediction_and_empty_truth(files):
    folder, _ = files

    def empty(content):
        for annotation in content["annotations"]:
            annotation["segments_info"] = []

    for path in (folder / "pred").iterdir():
        write_panoptic_png(path, np.zeros((30, 40), np.int32))
    edit(folder / "pred.json", empty)
    result = score(folder / "gt.json", folder / "pred.json")
    assert result["All"] == {"pq": 0.0, "sq": 0.0, "rq": 0.0, "n": 3}
    assert result["counts"]["24"] == {"iou": 0.0, "tp": 0, "fp": 0, "fn": 6}
    edit(folder / "gt.json", lambda content: content.update(annotations=[]))
    assert score(folder / "gt.json", folder / "pred.json")["All"] == {"pq": 0.0, "sq": 0.0, "rq": 0.0, "n": 0}


def wrong_size(folder):
    write_panoptic_png(folder / "pred/frame_1.png", np.zeros((30, 41), np.int32))


def no_file(folder):
    (folder / "pred/frame_1.png").unlink()


def no_picture(folder):
    (folder / "gt/frame_2_gt.png").write_bytes(b"not a picture")


def gray_picture(folder):
    cv2.imwrite(str(folder / "pred/frame_1.png"), np.zeros((30, 40), np.uint8))


def id_not_listed(folder):
    edit(folder / "pred.json", lambda c: c["annotations"][1]["segments_info"].pop(0))


def truth_id_not_listed(folder):
    edit(folder / "gt.json", lambda c: c["annotations"][1]["segments_info"].pop(0))


def id_without_pixel(folder):
    edit(
        folder / "pred.json",
        lambda c: c["annotations"][1]["segments_info"].append({"id": 77, "category_id": 7}),
    )


def unknown_category(folder):
    edit(folder / "pred.json", lambda c: c["annotations"][1]["segments_info"][0].update(category_id=3))


def no_prediction(folder):
    edit(folder / "pred.json", lambda c: c["annotations"].pop(1))


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (wrong_size, ValueError, r"pred/frame_1\.png is 41 x 30 pixels, .*frame_1_gt\.png is 40 x 30"),
        (no_file, FileNotFoundError, r"no panoptic PNG at .*pred/frame_1\.png"),
        (no_picture, ValueError, r"gt/frame_2_gt\.png is not a readable picture"),
        (gray_picture, ValueError, r"pred/frame_1\.png must be an RGB PNG .*got 1 channel"),
        (id_not_listed, ValueError, r"pred/frame_1\.png has segments that .* not list: 1000$"),
        (truth_id_not_listed, ValueError, r"frame_1_gt\.png has segments that the JSON does not list: 9$"),
        (
            id_without_pixel,
            ValueError,
            r"pred/frame_1\.png has no pixel of segments that the JSON lists: 77$",
        ),
        (unknown_category, ValueError, r"pred/frame_1\.png: segment 1000 has category_id 3, which"),
        (no_prediction, ValueError, r"pred\.json has no prediction for 1 of 3 images: 'frame_1'$"),
    ],
)
def test_broken_results_are_named(files, damage, error, message):
    folder, _ = files
    damage(folder)
    with pytest.raises(error, match=message):
        score(folder / "gt.json", folder / "pred.json")


def test_table_shows_means_and_classes_in_percent():
    quality = PanopticQuality(CLASSES)
    target = np.array([[1, 1, 2, 2]], np.int32)
    infos = [{"id": 1, "category_id": 0, "iscrowd": 0}, {"id": 2, "category_id": 2, "iscrowd": 0}]
    quality.update(np.array([[0, 0, 2001, 0]], np.int32), target, infos)
    lines = format_table(quality.result(), quality.categories).splitlines()
    rows = {line[:18].strip(): line[18:].split() for line in lines if line[:1].isalpha()}
    assert lines[0].split() == ["PQ", "SQ", "RQ", "TP", "FP", "FN"]
    assert rows == {
        "All (2 classes)": ["33.3", "33.3", "50.0", "1", "1", "1"],
        "Things (1 classes)": ["0.0", "0.0", "0.0", "0", "1", "1"],
        "Stuff (1 classes)": ["66.7", "66.7", "100.0", "1", "0", "0"],
        "grass": ["66.7", "66.7", "100.0", "1", "0", "0"],
        "cow": ["0.0", "0.0", "0.0", "0", "1", "1"],
    }
