"""The network as an OpenVINO model."""

import os
import tempfile
import warnings
from pathlib import Path

import openvino
import torch
from torch import nn

from panodeeplab.export.metadata import KEY, Metadata
from panodeeplab.export.network import OUTPUTS, ExportedForm
from panodeeplab.openvino_core import openvino_core


def convert(model: nn.Module) -> openvino.Model:
    """Our network for any batch and image size, with its normalization: input "images", three outputs.

    Args:
        model: `panodeeplab.model.PanopticDeepLab`, on the CPU.

    Returns:
        A model that takes (N, H, W, 3) uint8.
    """
    # No multiples of the padding, so that it is traced.
    sample = torch.zeros(2, 61, 67, 3, dtype=torch.uint8)
    with torch.inference_mode(), warnings.catch_warnings():
        # Of the check of the number of channels, which is a constant, and of the tracer's age.
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(ExportedForm(model), sample, check_trace=False)
        converted = openvino.convert_model(traced, example_input=sample)
    converted.inputs[0].get_tensor().set_names({"images"})
    converted.reshape([-1, -1, -1, 3])
    for name, output in zip(OUTPUTS, converted.outputs, strict=True):
        output.get_tensor().set_names({name})
    return converted


def read_onnx(proto) -> openvino.Model:
    """An `onnx.ModelProto` as an OpenVINO model."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        path.write_bytes(proto.SerializeToString())
        return openvino_core().read_model(path)


def write_openvino(model: openvino.Model, path: Path, metadata: Metadata, *, half: bool = False) -> None:
    """Write an OpenVINO model, .xml with .bin beside it, with the description of its network.

    Args:
        model: of `convert`.
        path: of the .xml.
        metadata: that goes into its rt_info.
        half: store weights as float16, half the size.
    """
    model.set_rt_info(metadata.to_json(), KEY)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        temporary = Path(folder) / path.name
        openvino.save_model(model, temporary, compress_to_fp16=half)
        # The description last: who finds it finds the weights.
        os.replace(temporary.with_suffix(".bin"), path.with_suffix(".bin"))
        os.replace(temporary, path)
