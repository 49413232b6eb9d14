"""The network as an ONNX model."""

import logging
import warnings
from pathlib import Path

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from panodeeplab.export.metadata import KEY, Metadata
from panodeeplab.export.network import OUTPUTS, ExportedForm
from panodeeplab.files import replacing

OPSET = 20
_MISSING = 'ONNX is not installed: pip install "panodeeplab[onnx]"'


def export_program(model: nn.Module) -> ExportedProgram:
    """Our network as torch.export has it, for any batch and image size: (N, H, W, 3) uint8 → three maps."""
    # Two images: a dimension of 1 is taken for a constant.
    sample = torch.zeros(2, 64, 96, 3, dtype=torch.uint8)
    shape = {0: Dim.DYNAMIC, 1: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.STATIC}
    with torch.no_grad():
        return torch.export.export(ExportedForm(model), (sample,), dynamic_shapes=(shape,), strict=False)


def network_to_onnx(model: nn.Module):
    """Our network as an `onnx.ModelProto`, for any batch and image size, with its normalization.

    Takes up to a minute.

    Args:
        model: `panodeeplab.model.PanopticDeepLab`, on the CPU.

    Returns:
        A model with the input "images" (N, H, W, 3) uint8 and the outputs "semantic", "center" and "offset".

    Raises:
        ModuleNotFoundError: the extra "onnx" is not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401 (torch's exporter needs it)
    except ModuleNotFoundError:
        raise ModuleNotFoundError(_MISSING) from None
    # What the exporter says of its progress is for its authors.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            export_program(model),
            dynamo=True,
            opset_version=OPSET,
            input_names=["images"],
            output_names=list(OUTPUTS),
            verbose=False,
        )
    proto = program.model_proto
    _name_dimensions(proto)
    return proto


def write_onnx(proto, path: Path, metadata: Metadata | None = None) -> None:
    """Check an `onnx.ModelProto` and write it, with the description of its network."""
    import onnx

    if metadata is not None:
        onnx.helper.set_model_props(proto, {KEY: metadata.to_json()})
    with replacing(path) as temporary:
        onnx.save(proto, temporary)
        onnx.checker.check_model(temporary)


def _name_dimensions(proto) -> None:
    """Dimensions by name, where the exporter numbers symbols."""
    images, *maps = *proto.graph.input, *proto.graph.output
    for value, names in (
        (images, ("batch", "height", "width")),
        *((value, ("batch", None, "rows", "columns")) for value in maps),
    ):
        for dimension, name in zip(value.type.tensor_type.shape.dim, names, strict=False):
            if name is not None:
                dimension.dim_param = name
    # Their shapes are in the exporter's symbols, and every runtime infers its own.
    del proto.graph.value_info[:]
