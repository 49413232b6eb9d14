"""The command line from end to end, on small generated streets."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from panodeeplab.cli import main
from panodeeplab.data.coco_panoptic import read_panoptic_png

NARROW = "{aspp_channels: 8, channels: 8, skip_channels: [8, 8], head_channels: 8}"
CONFIG = f"""
data: {{dataset: cityscapes, root: streets, train_split: train, val_split: val}}
augmentation: {{crop_size: [64, 96]}}
model: {{backbone: mobilenet_v2, output_stride: 32, semantic: {NARROW}, instance: {NARROW}}}
training: {{iterations: 2, batch_size: 2, workers: 0, device: cpu}}
postprocess: {{stuff_area: 16}}
"""


def test_from_generated_streets_to_scores(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for split, seed in (("train", 0), ("val", 1)):
        arguments = ["--count", "3", "--size", "64", "128", "--seed", str(seed), "--split", split]
        assert main(["scenes", "--output", "streets", *arguments]) == 0
    assert main(["check-data", "streets"]) == 0
    assert "0 errors" in capsys.readouterr().out

    (tmp_path / "run.yaml").write_text(CONFIG)
    assert main(["train", "--config", "run.yaml", "--output", "run", "--set", "training.seed=3"]) == 0
    assert main(["evaluate", "--checkpoint", "run/last.safetensors", "--split", "train", "--json"]) == 0
    output = capsys.readouterr().out
    result = json.loads(output[output.index("{") :])
    assert {"All", "Things", "Stuff", "per_class", "counts", "semantic"} <= result.keys()

    # The predictions that were kept have the scores that were printed, and so has another configuration.
    arguments = ["evaluate", "--config", "run.yaml", "--checkpoint", "run/last.safetensors"]
    assert main([*arguments, "--output", "kept", "--ap", "coco", "--workers", "1", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "kept/scores.json").read_text())
    assert {"ap", "ap50", "ap75", "per_class"} <= printed["instances"].keys()
    assert len(json.loads((tmp_path / "kept/panoptic.json").read_text())["annotations"]) == 3
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "3 images of val" in printed
    assert "iIoU     AP   AP50" in printed

    images = "streets/leftImg8bit/val"
    assert main(["predict", images, "--checkpoint", "run/last.safetensors", "--output", "out"]) == 0
    predicted = json.loads((tmp_path / "out" / "panoptic.json").read_text())
    assert len(predicted["annotations"]) == 3
    for annotation in predicted["annotations"]:
        ids = read_panoptic_png(tmp_path / "out" / "panoptic" / annotation["file_name"])
        assert set(np.unique(ids)) - {0} == {segment["id"] for segment in annotation["segments_info"]}

    # A result scored against itself is perfect, if there is anything in it.
    perfect = float(any(annotation["segments_info"] for annotation in predicted["annotations"]))
    capsys.readouterr()
    assert main(["score", "--gt", "out/panoptic.json", "--pred", "out/panoptic.json", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["All"]["pq"] == perfect
    assert main(["score", "--gt", "out/panoptic.json", "--pred", "out/panoptic.json"]) == 0
    assert "All" in capsys.readouterr().out


def test_bench_postprocess_compares_with_the_copy_and_the_reference(capsys):
    small = ["--height", "64", "--width", "128", "--instances", "3", "--seconds", "0.01", "--threads", "1"]
    assert main(["bench", "postprocess", "--unfused", "--json", *small]) == 0
    result = json.loads(capsys.readouterr().out)
    (table,) = result["tables"]
    rows = {row["name"]: row for row in table["rows"]}
    assert rows["copy"]["times copy"] == rows["reference"]["times reference"] == 1
    for row in rows.values():
        assert 0 < row["min_ms"] <= row["p10_ms"] <= row["median_ms"] <= row["p90_ms"]
        assert row["times copy"] == pytest.approx(row["median_ms"] / rows["copy"]["median_ms"])
    assert table["what"].count(" 0 pixels differ from the op") == 3

    assert main(["bench", "postprocess", "--sources", *small]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3 + 4


def test_check_data_says_what_is_wrong(tmp_path, capsys):
    streets = str(tmp_path / "streets")
    main(["scenes", "--output", streets, "--count", "1", "--size", "64", "128"])
    next((tmp_path / "streets" / "gtFine").rglob("*_instanceIds.png")).unlink()
    assert main(["check-data", streets]) == 1
    assert "instanceIds" in capsys.readouterr().out


OWN = """
classes:
  - {id: 1, name: floor, isthing: false}
  - {id: 2, name: box, isthing: true}
"""


def _write_boxes(folder, names) -> None:
    """Pictures of two boxes on a floor, each with its semantic map and its map of objects."""
    for number, name in enumerate(names):
        semantic = np.ones((64, 96), np.uint8)
        objects = np.zeros((64, 96), np.uint8)
        for i, x in enumerate((10, 50), 1):
            objects[20 + number : 40, x : x + 20] = i
        semantic[objects > 0] = 2
        image = np.dstack([80 * semantic] * 3)
        for kind, pixels in (("images", image), ("semantic", semantic), ("instances", objects)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / kind / f"{name}.png"), pixels)


def test_from_masks_to_scores(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "classes.yaml").write_text(OWN)
    for split, names in (("train", "abc"), ("val", "de")):
        _write_boxes(tmp_path / split, names)
        folders = [f"--{kind}={split}/{kind}" for kind in ("images", "semantic", "instances")]
        assert main(["convert", "masks", *folders, "--classes=classes.yaml", f"--output={split}"]) == 0
        check = ["check-data", f"{split}/panoptic.json", "--images", f"{split}/images"]
        assert main([*check, "--preview", f"pictures/{split}"]) == 0
        assert f"wrote {len(names)} pictures to pictures/{split}" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "pictures" / "val").iterdir()) == [
        "panoptic_1.jpg",
        "panoptic_2.jpg",
    ]

    data = "{dataset: coco_panoptic"
    for split in ("train", "val"):
        data += f", {split}: {{images: {split}/images, annotations: {split}/panoptic.json}}"
    (tmp_path / "run.yaml").write_text(
        "\n".join(f"data: {data}}}" if line.startswith("data:") else line for line in CONFIG.splitlines())
    )
    assert main(["check-data", "run.yaml"]) == 0
    assert main(["train", "--config", "run.yaml", "--output", "run"]) == 0
    capsys.readouterr()
    assert main(["evaluate", "--checkpoint", "run/last.safetensors", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["per_class"]) == {"0", "1"}


def test_check_data_of_a_class_table(tmp_path, capsys):
    (tmp_path / "classes.yaml").write_text(OWN)
    for file, pixels in (
        ("leftImg8bit/train/hall/a_leftImg8bit.png", np.zeros((8, 9, 3), np.uint8)),
        ("gtFine/train/hall/a_gtFine_instanceIds.png", np.ones((8, 9), np.uint16)),
    ):
        (tmp_path / file).parent.mkdir(parents=True)
        cv2.imwrite(str(tmp_path / file), pixels)
    arguments = ["check-data", str(tmp_path), "--classes", str(tmp_path / "classes.yaml")]
    assert main([*arguments, "--preview", str(tmp_path / "pictures")]) == 0
    output = capsys.readouterr().out
    assert "do not occur: box" in output
    assert "wrote 1 picture to" in output
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["train_a.jpg"]


def test_train_refuses_splits_of_different_classes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for split, names, table in (("train", "a", OWN), ("val", "b", OWN.replace("box", "crate"))):
        (tmp_path / "classes.yaml").write_text(table)
        _write_boxes(tmp_path / split, names)
        folders = [f"--{kind}={split}/{kind}" for kind in ("images", "semantic", "instances")]
        assert main(["convert", "masks", *folders, "--classes=classes.yaml", f"--output={split}"]) == 0
    (tmp_path / "run.yaml").write_text(CONFIG)
    data = "data={dataset: coco_panoptic"
    for split in ("train", "val"):
        data += f", {split}: {{images: {split}/images, annotations: {split}/panoptic.json}}"
    assert main(["train", "--config", "run.yaml", "--output", "run", "--set", f"{data}}}"]) == 2
    assert "training and validation data differ in their classes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--config", "absent.yaml"], "absent.yaml"),
        (["evaluate", "--checkpoint", "absent.safetensors"], "no file absent.safetensors"),
        (["predict", "absent.png", "--output", "out"], "absent.png"),
        (["score", "--gt", "absent.json", "--pred", "absent.json"], "absent.json"),
        (["check-data", "absent"], "absent"),
        (["check-data", "absent", "--pngs", "x"], "--pngs goes with a JSON, got the folder absent"),
        (["check-data", "a.json", "--split", "val"], "--split goes with a folder, got the JSON a.json"),
        (["check-data", "a.json"], "give the folder of the pictures of a.json with --images"),
        (
            ["convert", "coco", "--annotations=a.json", "--semantic=b", "--classes=c.yaml", "--output=d"],
            "no class table at c.yaml",
        ),
        (["evaluate", "--workers", "-1"], "workers must be at least 0, got -1"),
        (["predict", "frame.png", "--output", "out", "--scales", "0"], "scales must be positive"),
        (["bench", "postprocess", "--height", "1023"], "height is 1023"),
        (["bench", "postprocess", "--threads", "0"], "threads is 0"),
        (
            ["bench", "postprocess", "--plot", "time.jpg"],
            "plot is 'time.jpg', wanted a name that ends in .png",
        ),
        (["bench", "postprocess", "--plot", "absent/time.png"], "no folder 'absent'"),
        (["bench", "postprocess", "--plot", "time.png", "--sources"], "sources was asked for"),
        (["scenes", "--output", "out", "--count", "0"], "count"),
    ],
)
def test_mistakes_end_in_one_line_and_status_2(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "frame.png").touch()
    assert main(arguments) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert error[0].startswith("panodeeplab: ")
    assert message in error[0]


def test_help_does_not_wait_for_torch():
    code = """
import sys
import panodeeplab.cli
try:
    panodeeplab.cli.main(["--help"])
except SystemExit:
    print("torch" in sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip().endswith("False")
