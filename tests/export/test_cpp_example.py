"""The C++ examples build with the commands that they give, and make Python's maps."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from panodeeplab import ops
from panodeeplab.export.exported import open_exported
from panodeeplab.inference.images import read_image
from panodeeplab.inference.predictor import Predictor

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "cpp"
CORE = "ext/[a-z]*_cpu.cpp"


@pytest.fixture(scope="session")
def build(tmp_path_factory):
    """Builds an example by its own command, but with a core that all share, compiled in less time."""
    if shutil.which("g++") is None:
        pytest.skip("no g++")
    folder = tmp_path_factory.mktemp("cpp")
    core = "g++ -std=c++17 -O1 -ffp-contract=off -pthread -Iext -c"
    for source in sorted(ROOT.glob(CORE)):
        subprocess.run(f"{core} {source} -o {folder / source.stem}.o", shell=True, cwd=ROOT, check=True)

    def build(name):
        lines = re.search(rf"( \*   (ov=|g\+\+).*-o {name})\n", (EXAMPLES / f"{name}.cpp").read_text(), re.S)[
            1
        ]
        command = re.sub(r"^ \* *", "", lines, flags=re.M)
        for given, instead in {
            CORE: f"{folder}/*_cpu.o",
            "python -c": f"{sys.executable} -c",
            "-O3": "-O1 -Wall -Wextra -Werror",
            f"-o {name}": f"-o {folder / name}",
        }.items():
            assert given in command or given == "python -c"
            command = command.replace(given, instead)
        subprocess.run(["bash", "-c", command], cwd=ROOT, check=True)
        return folder / name

    return build


@pytest.fixture(scope="module")
def segment_maps(build):
    return build("segment_maps")


@pytest.fixture(scope="module")
def segment(build):
    pytest.importorskip("openvino")
    header = subprocess.run(["g++", "-E", "-xc++", "-"], input=b"#include <png.h>", capture_output=True)
    if header.returncode != 0:
        pytest.skip("no headers of libpng")
    return build("segment")


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    pytest.importorskip("openvino")
    from panodeeplab.export.run import export

    path = tmp_path_factory.mktemp("openvino") / "street.xml"
    assert export("street-tiny", path) == 0
    return path


def run(*command):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)


def test_maps_become_the_map_that_python_makes(segment_maps, tmp_path):
    random = np.random.default_rng(0)
    semantic, center, offset = (
        np.repeat(np.repeat(random.normal(0, 1, (1, c, 8, 16)), 5, 2), 5, 3).astype(np.float32)
        for c in (6, 1, 2)
    )
    files = [tmp_path / f"{name}.npy" for name in ("semantic", "center", "offset")]
    for file, maps in zip(files, (semantic, center, offset), strict=True):
        np.save(file, maps)
    out = tmp_path / "panoptic.npy", tmp_path / "panoptic.ppm"
    done = run(segment_maps, *files, 158, 317, "2,5", *out)
    assert done.returncode == 0, done.stderr
    wanted = ops.panoptic_segmentation(
        *map(torch.from_numpy, (semantic, center, offset)),
        stride=4,
        output_size=(158, 317),
        thing_ids=(2, 5),
    )
    assert len(wanted.panoptic.unique()) > 4
    np.testing.assert_array_equal(np.load(out[0]), wanted.panoptic[0].numpy())
    printed = [tuple(map(int, line.split()[:2])) for line in done.stdout.splitlines()]
    count = int(wanted.num_segments)
    ids, areas = wanted.segment_ids[0, :count].tolist(), wanted.segment_areas[0, :count].tolist()
    assert printed == list(zip(ids, areas, strict=True))
    assert out[1].stat().st_size == len(b"P6\n317 158\n255\n") + 3 * 158 * 317


def test_bad_maps_are_an_error(segment_maps, tmp_path):
    (tmp_path / "text.npy").write_text("no maps at all")
    done = run(segment_maps, *[tmp_path / "text.npy"] * 3, 4, 4, 0, tmp_path / "a", tmp_path / "b")
    assert done.returncode == 1
    assert "text.npy is not a NumPy file" in done.stderr
    assert run(segment_maps).returncode == 2


def assert_same_as_predictor(segment, network, image, folder):
    """Every pixel and every figure of a segment."""
    predict = Predictor.from_checkpoint(network, backend="openvino", precision="float32", size="native")
    # Only the first shape is compiled for, and its last bits differ; the program compiles for any.
    predict(np.zeros((5, 5, 3), np.uint8))
    result = predict(image)
    done = run(segment, network, image, folder / "out", torch.get_num_threads())
    assert done.returncode == 0, done.stderr
    rgb = cv2.imread(str(folder / "out.png"))[..., ::-1].astype(np.int64)
    wanted = np.where(result.panoptic < 0, 0, result.panoptic + result.label_divisor)
    np.testing.assert_array_equal(rgb @ [1, 256, 65536], wanted)
    found = json.loads((folder / "out.json").read_text())["segments_info"]
    assert [
        (s["id"] - result.label_divisor, s["category_id"], s["category"], s["isthing"], s["score"], s["area"])
        for s in found
    ] == [
        (s.id, predict.classes.label_ids[s.category_id], s.category, s.is_thing, s.score, s.area)
        for s in result.segments
    ]
    for ours, theirs in zip(found, result.segments, strict=True):
        x, y, width, height = ours["bbox"]
        assert (y, x, y + height, x + width) == theirs.box
    overlay = read_image(folder / "out_overlay.png")
    assert overlay.shape == read_image(image).shape
    return result


def test_an_image_becomes_the_map_that_a_predictor_makes(segment, network, frame, tmp_path):
    picture = tmp_path / "street.png"
    Image.fromarray(frame).save(picture)
    result = assert_same_as_predictor(segment, network, picture, tmp_path)
    assert len(result.segments) > 10
    # The overlay is the picture, colored.
    overlay = read_image(tmp_path / "out_overlay.png").astype(float)
    sky = result.semantic == result.classes.names.index("sky")
    color = np.array(result.classes.colors[result.classes.names.index("sky")])
    assert sky.any()
    # But for the outlines of things before the sky.
    assert (np.abs(overlay[sky] - (frame[sky] + color) / 2).max(1) <= 1).mean() > 0.9


@pytest.mark.parametrize("kind", ["gray", "palette", "alpha", "16 bits", "bilevel", "one pixel"])
def test_every_kind_of_png_is_read_as_python_reads_it(segment, network, frame, tmp_path, kind):
    picture, image = tmp_path / "picture.png", Image.fromarray(frame[90:190, 60:221])
    if kind == "16 bits":
        cv2.imwrite(str(picture), np.asarray(image)[..., ::-1].astype(np.uint16) * 256 + 77)
    elif kind == "alpha":
        image.putalpha(image.convert("L"))
        image.save(picture)
    elif kind == "one pixel":
        image.crop((0, 0, 1, 1)).save(picture)
    else:
        image.convert({"gray": "L", "palette": "P", "bilevel": "1"}[kind]).save(picture)
    assert_same_as_predictor(segment, network, picture, tmp_path)


def test_the_settings_are_those_of_the_file(segment, network, frame, tmp_path):
    """All of them others than by default, and corners aligned, which suits sides of 4 n + 1."""
    import openvino

    from panodeeplab.export.openvino import write_openvino

    metadata = open_exported(network).metadata
    config = metadata.postprocess.model_copy(
        update={
            "center_threshold": 0.2,
            "nms_kernel": 13,
            "top_k": 300,
            "center_source": "both",
            "vote_threshold": 30,
            "class_aware_votes": True,
            "stuff_area": 500,
            "label_divisor": 1024,
            "instance_score": "center",
        }
    )
    other = tmp_path / "other.xml"
    changed = replace(metadata, postprocess=config, align_corners=True)
    write_openvino(openvino.Core().read_model(network), other, changed)
    Image.fromarray(frame[:233, :493]).save(tmp_path / "street.png")
    result = assert_same_as_predictor(segment, other, tmp_path / "street.png", tmp_path)
    assert any(s.support > 0 for s in result.segments)


def test_an_onnx_file_does_as_well(segment, onnx_file, frame, tmp_path):
    Image.fromarray(frame[:101, :203]).save(tmp_path / "street.png")
    assert_same_as_predictor(segment, onnx_file, tmp_path / "street.png", tmp_path)


def test_bad_files_are_an_error(segment, network, frame, tmp_path):
    whole, half = tmp_path / "whole.png", tmp_path / "half.png"
    Image.fromarray(frame).save(whole)
    half.write_bytes(whole.read_bytes()[:20000])
    (tmp_path / "text.xml").write_text("no network at all")
    for model, image, output, message in (
        (network, tmp_path / "absent.png", tmp_path / "out", "cannot open "),
        (network, half, tmp_path / "out", "half.png is not a whole PNG"),
        (network, network, tmp_path / "out", "street.xml is not a whole PNG"),
        (network, whole, tmp_path / "absent" / "out", "cannot write "),
        (tmp_path / "text.xml", whole, tmp_path / "out", "text.xml is no network that OpenVINO can read"),
    ):
        done = run(segment, model, image, output)
        assert done.returncode == 1
        assert message in done.stderr
    assert run(segment, network).returncode == 2
    assert run(segment, network, whole, tmp_path / "out", "no number").returncode == 2
    assert not list(tmp_path.glob("out*"))
