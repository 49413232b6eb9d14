"""The network as an ONNX file."""

from pathlib import Path

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from panodeeplab.export.exported import MISSING_ONNXRUNTIME
from panodeeplab.export.network import ExportedForm
from panodeeplab.files import replacing

OUTPUTS = ("semantic", "center", "offset")
OPSET = 20


def export_program(model: nn.Module) -> ExportedProgram:
    """Our network as torch.export has it, for any batch and size: (N, H, W, 3) uint8 → three maps."""
    # Two images: a dimension of 1 is taken for a constant.
    sample = torch.zeros(2, 64, 96, 3, dtype=torch.uint8)
    shape = {0: Dim.DYNAMIC, 1: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.STATIC}
    with torch.no_grad():
        return torch.export.export(ExportedForm(model), (sample,), dynamic_shapes=(shape,), strict=False)


def export_network(model: nn.Module, path: Path) -> None:
    """Write our network as ONNX, for any batch and image size, with its normalization.

    Args:
        model: `panodeeplab.model.PanopticDeepLab`, on the CPU.
        path: of the file; input "images", outputs "semantic", "center" and "offset".

    Raises:
        ModuleNotFoundError: the extra "onnx" is not installed.
    """
    try:
        import onnxscript  # noqa: F401 (torch's exporter needs it)
    except ModuleNotFoundError:
        raise ModuleNotFoundError(f"export to ONNX needs onnxscript; {MISSING_ONNXRUNTIME}") from None
    program = torch.onnx.export(
        export_program(model),
        dynamo=True,
        opset_version=OPSET,
        input_names=["images"],
        output_names=list(OUTPUTS),
        verbose=False,
    )
    with replacing(path) as temporary:
        program.save(temporary)
