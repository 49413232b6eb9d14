"""Packages of AOTInductor: what they say of themselves, and that they run only when asked for."""

import json
import zipfile

import numpy as np
import pytest
import torch

from panodeeplab.cli import main
from panodeeplab.export.exported import open_exported
from panodeeplab.export.metadata import KEY, Metadata
from panodeeplab.inference.predictor import Predictor
from panodeeplab.model import load_checkpoint


@pytest.fixture
def metadata():
    loaded = load_checkpoint("street-tiny")
    return Metadata(
        classes=loaded.classes,
        postprocess=loaded.config.postprocess,
        inference=loaded.config.inference,
        align_corners=False,
        pixel_mean=(0.0,) * 3,
        pixel_std=(1.0,) * 3,
    )


def package(path, values):
    """A file in the layout of a package, without any code."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("model/data/aotinductor/model/x.wrapper.so", b"no library")
        file.writestr("model/data/aotinductor/model/x.wrapper_metadata.json", json.dumps(values))
    return path


def test_what_it_says_of_itself_is_read_without_its_code(tmp_path, metadata):
    path = package(tmp_path / "m.pt2", {"AOTI_DEVICE_KEY": "cpu", KEY: metadata.to_json()})
    assert open_exported(path).metadata == metadata


@pytest.mark.parametrize("backend", ["auto", "eager", "openvino"])
def test_code_is_run_only_when_asked_for(tmp_path, metadata, backend):
    path = package(tmp_path / "m.pt2", {KEY: metadata.to_json()})
    with pytest.raises(
        ValueError, match=rf"backend must be aoti for .*m\.pt2, got '{backend}'.*whom you trust"
    ):
        Predictor.from_checkpoint(path, backend=backend)


def test_other_files_are_refused(tmp_path, metadata):
    whole = package(tmp_path / "whole.pt2", {KEY: metadata.to_json()})
    with pytest.raises(ValueError, match=r"whole\.pt2 cannot be loaded by this PyTorch: "):
        Predictor.from_checkpoint(whole, backend="aoti")
    with pytest.raises(ValueError, match="precision must be one of float32 for backend 'aoti'"):
        Predictor.from_checkpoint(whole, backend="aoti", precision="bfloat16")
    with pytest.raises(ValueError, match=r"which runs a \.pt2 .*, got a checkpoint"):
        Predictor.from_checkpoint("street-tiny", backend="aoti")
    foreign = package(tmp_path / "foreign.pt2", {})
    with pytest.raises(ValueError, match=r"foreign\.pt2 was not exported by panodeeplab"):
        open_exported(foreign)
    (tmp_path / "text.pt2").write_text("no package at all")
    with pytest.raises(
        ValueError, match=r"text\.pt2 is not a package of AOTInductor: File is not a zip file"
    ):
        open_exported(tmp_path / "text.pt2")
    half = tmp_path / "half.pt2"
    half.write_bytes(whole.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"half\.pt2 is not a package of AOTInductor"):
        open_exported(half)


def test_command_wants_a_package_where_it_is_run(tmp_path, metadata, capsys):
    path = package(tmp_path / "m.pt2", {KEY: metadata.to_json()})
    (tmp_path / "a.png").write_bytes(b"")
    arguments = [str(tmp_path / "a.png"), "--output", str(tmp_path / "out"), "--checkpoint", str(path)]
    assert main(["predict", *arguments]) == 2
    assert "backend must be aoti for" in capsys.readouterr().err


@pytest.mark.slow
def test_package_gives_the_maps_for_any_batch_and_size(tmp_path, frame):
    path = tmp_path / "street.pt2"
    assert main(["export", "street-tiny", str(path), "--format", "aoti"]) == 0
    predictor = Predictor.from_checkpoint(path, backend="aoti")
    assert (predictor.backend, predictor.precision) == ("aoti", "float32")
    model = load_checkpoint("street-tiny").model
    with torch.inference_mode():
        for number, height, width in ((1, 256, 512), (3, 61, 67), (1, 1, 1), (2, 33, 128)):
            images = np.stack([np.roll(frame, 40 * i, 1)[:height, :width] for i in range(number)])
            images = torch.from_numpy(images).permute(0, 3, 1, 2)
            for ours, wanted in zip(predictor.network(images), model(images), strict=True):
                assert ours.shape == wanted.shape
                assert (ours - wanted).abs().max() <= 1e-4 * wanted.abs().max()
    expected = Predictor.from_checkpoint("street-tiny", backend="eager", precision="float32")(frame)
    assert [s.id for s in predictor(frame).segments] == [s.id for s in expected.segments]
