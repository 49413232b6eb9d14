"""The network as a TensorRT engine, for the GPU that it is built on."""

import tempfile
from pathlib import Path

import torch
from torch import nn

from panodeeplab.export.onnx import network_to_onnx, write_onnx
from panodeeplab.files import replacing


def build_engine(model: nn.Module, output: Path, size: tuple[int, int], *, half: bool) -> None:
    """Build an engine for one image of one size at a time, from the network's ONNX.

    Args:
        model: `panodeeplab.model.PanopticDeepLab`, on the CPU.
        output: file to write; it runs on GPUs of this kind and with this TensorRT only.
        size: (H, W) of the images.
        half: let TensorRT compute in float16.

    Raises:
        ModuleNotFoundError: TensorRT is not installed.
        ValueError: there is no GPU, or TensorRT cannot build the network.
    """
    try:
        import tensorrt
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "format tensorrt needs an NVIDIA GPU and TensorRT 10: pip install tensorrt"
        ) from None
    if not torch.cuda.is_available():
        raise ValueError("format tensorrt builds on the GPU that it is for, and torch finds none here")
    logger = tensorrt.Logger(tensorrt.Logger.WARNING)
    builder = tensorrt.Builder(logger)
    network = builder.create_network(0)
    parser = tensorrt.OnnxParser(network, logger)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        write_onnx(network_to_onnx(model), path)
        if not parser.parse_from_file(str(path)):
            reasons = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
            raise ValueError(f"TensorRT cannot read the network: {reasons}")
    settings = builder.create_builder_config()
    if half:
        settings.set_flag(tensorrt.BuilderFlag.FP16)
    profile = builder.create_optimization_profile()
    shape = (1, *size, 3)
    profile.set_shape("images", shape, shape, shape)
    settings.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, settings)
    if engine is None:
        raise ValueError("TensorRT cannot build the network, see its messages above")
    with replacing(output) as temporary:
        temporary.write_bytes(engine)
