"""The network as an OpenVINO model."""

import warnings

import openvino
import torch
from torch import nn

from panodeeplab.export.network import ExportedForm

OUTPUTS = ("semantic", "center", "offset")


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
