"""The command, its formats, and what it refuses."""

import numpy as np
import pytest
import torch

from panodeeplab.cli import main
from panodeeplab.export.exported import open_exported
from panodeeplab.inference.predictor import Predictor
from panodeeplab.model import load_checkpoint


def test_openvino_file_finds_the_same(tmp_path, frame, capsys):
    pytest.importorskip("openvino")
    path = tmp_path / "street.xml"
    assert main(["export", "street-tiny", str(path)]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["street.bin", "street.xml"]
    size_mb = sum(p.stat().st_size for p in tmp_path.iterdir()) / 1e6
    assert f"street.xml and {tmp_path / 'street.bin'}: {size_mb:.1f} MB" in capsys.readouterr().out
    assert Predictor.from_checkpoint(path).backend == "openvino"
    predictor = Predictor.from_checkpoint(path, precision="float32")
    expected = Predictor.from_checkpoint("street-tiny", backend="eager", precision="float32")(frame)
    assert [s.id for s in predictor(frame).segments] == [s.id for s in expected.segments]
    with pytest.raises(ValueError, match=r"'onnxruntime', which reads \.onnx, got .*street\.xml"):
        Predictor.from_checkpoint(path, backend="onnxruntime")
    (tmp_path / "street.bin").unlink()
    with pytest.raises(ValueError, match=r"street\.xml is not a network that OpenVINO can load"):
        open_exported(path)


def test_pt2_gives_the_maps_for_any_batch_and_size(tmp_path, frame):
    path = tmp_path / "street.pt2"
    assert main(["export", "street-tiny", str(path)]) == 0
    with pytest.raises(
        ValueError, match=r"street\.pt2 is no package of AOTInductor, which `panodeeplab export"
    ):
        Predictor.from_checkpoint(path, backend="aoti")
    program = torch.export.load(path).module(check_guards=False)
    images = torch.from_numpy(np.stack([frame[:70, :99]] * 3))
    with torch.inference_mode():
        expected = load_checkpoint("street-tiny").model(images.permute(0, 3, 1, 2))
        for ours, wanted in zip(program(images), expected, strict=True):
            assert (ours - wanted).abs().max() <= 1e-4 * wanted.abs().max()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["m.bin"], "output must end in .engine, .onnx, .pt2, .xml or the format be given, got m.bin"),
        (["m.onnx", "--format", "openvino"], "output must end in .xml for format openvino, got m.onnx"),
        (
            ["m.onnx", "--precision", "float16"],
            "'float16' goes with format openvino and tensorrt, got 'onnx'",
        ),
        (["m.onnx", "--int8"], "calibration must name a folder of images for int8"),
        (["m.onnx", "--int8", "--calibration", "nowhere"], "calibration: no folder nowhere"),
        (["m.onnx", "--calibration", "."], "calibration is for int8, got precision 'float32'"),
        (["m.xml", "--postprocess", "library"], "postprocess 'library' goes with format 'onnx'"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_loaded(arguments, message, capsys):
    assert main(["export", "absent.safetensors", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_checkpoint_that_is_missing(tmp_path, capsys):
    assert main(["export", "absent", str(tmp_path / "m.onnx")]) == 2
    assert "checkpoint: no file absent, and the bundled models are" in capsys.readouterr().err
