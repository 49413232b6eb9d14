"""ONNX files: the same maps, the same panoptic map, and what they say of themselves."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from panodeeplab.cli import main
from panodeeplab.export.exported import open_exported
from panodeeplab.inference.predictor import Predictor
from panodeeplab.model import load_checkpoint

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def run(path, images, outputs=None):
    return onnxruntime.InferenceSession(str(path)).run(outputs, {"images": images})


@pytest.mark.parametrize("size", [(256, 512), (61, 67), (1, 1), (33, 128)])
@pytest.mark.parametrize("number", [1, 3])
def test_maps_are_those_of_pytorch_for_any_batch_and_size(onnx_file, frame, size, number):
    images = np.stack([np.roll(frame, 40 * i, 1)[: size[0], : size[1]] for i in range(number)])
    with torch.inference_mode():
        expected = load_checkpoint("street-tiny").model(torch.from_numpy(images).permute(0, 3, 1, 2))
    for name, ours, wanted in zip(expected._fields, run(onnx_file, images), expected, strict=True):
        assert ours.shape == tuple(wanted.shape), name
        assert np.abs(ours - wanted.numpy()).max() <= 1e-4 * wanted.abs().max(), name


def test_dimensions_have_names_and_the_file_says_what_it_is(onnx_file):
    graph = onnx.load(onnx_file).graph
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    assert shapes == {
        "images": ["batch", "height", "width", 3],
        "semantic": ["batch", 19, "rows", "columns"],
        "center": ["batch", 1, "rows", "columns"],
        "offset": ["batch", 2, "rows", "columns"],
    }
    metadata, checkpoint = open_exported(onnx_file).metadata, load_checkpoint("street-tiny")
    assert metadata.classes == checkpoint.classes
    assert metadata.postprocess == checkpoint.config.postprocess
    assert metadata.inference == checkpoint.config.inference
    assert metadata.pixel_mean == pytest.approx((123.675, 116.28, 103.53))
    assert type(metadata).from_json(metadata.to_json()) == metadata


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_predictor_runs_it_and_finds_the_same(onnx_file, frame, backend):
    pytest.importorskip(backend)
    expected = Predictor.from_checkpoint("street-tiny", backend="eager", precision="float32")(frame)
    predictor = Predictor.from_checkpoint(onnx_file, backend=backend, precision="float32")
    assert (predictor.backend, predictor.size) == (backend, (256, 512))
    result = predictor(frame)
    # Rounding may move a pixel on an outline.
    assert (result.panoptic != expected.panoptic).mean() < 1e-4
    assert [s.id for s in result.segments] == [s.id for s in expected.segments]
    assert predictor(frame[:70, :90]).panoptic.shape == (70, 90)


def test_nothing_of_training_or_of_the_network_is_needed(onnx_file):
    program = (
        "import sys, numpy as np; from panodeeplab import Predictor; "
        f"predict = Predictor.from_checkpoint({str(onnx_file)!r}, backend='onnxruntime'); "
        "predict(np.zeros((64, 64, 3), np.uint8)); "
        "unwanted = ('panodeeplab.model', 'panodeeplab.training', 'torchvision'); "
        "print([m for m in sys.modules if m.startswith(unwanted)])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_files_of_others_and_damaged_ones_are_refused(tmp_path, onnx_file):
    model = onnx.load(onnx_file)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "plain.onnx")
    with pytest.raises(ValueError, match=r"plain\.onnx was not exported by panodeeplab"):
        open_exported(tmp_path / "plain.onnx")
    onnx.helper.set_model_props(model, {"panodeeplab": '{"version": 99}'})
    onnx.save(model, tmp_path / "later.onnx")
    with pytest.raises(ValueError, match=r"later\.onnx: .*version is 99, this package reads 1"):
        open_exported(tmp_path / "later.onnx")
    (tmp_path / "half.onnx").write_bytes(onnx_file.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"half\.onnx is not a network that ONNX Runtime can load"):
        open_exported(tmp_path / "half.onnx")
    with pytest.raises(FileNotFoundError, match=r"absent\.onnx"):
        Predictor.from_checkpoint(tmp_path / "absent.onnx")


def test_pytorch_does_not_run_exported_files(onnx_file):
    with pytest.raises(ValueError, match="backend must be onnxruntime or openvino for an exported file"):
        Predictor.from_checkpoint(onnx_file, backend="eager")


def test_commands_take_an_exported_file(onnx_file, tmp_path, capsys):
    from PIL import Image

    Image.fromarray(np.zeros((64, 96, 3), np.uint8)).save(tmp_path / "black.png")
    arguments = [
        "--checkpoint",
        str(onnx_file),
        "--backend",
        "onnxruntime",
        "--output",
        str(tmp_path / "out"),
    ]
    assert main(["predict", str(tmp_path / "black.png"), *arguments]) == 0
    assert (tmp_path / "out" / "overlay" / "black.jpg").is_file()
    assert main(["evaluate", "--checkpoint", str(onnx_file)]) == 2
    assert "an exported file does not say where data are, give --config" in capsys.readouterr().err
