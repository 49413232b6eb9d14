"""Static quantization to int8, with ranges from a folder of typical images."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from torch import nn
from tqdm import tqdm

from panodeeplab.export.metadata import Metadata
from panodeeplab.export.onnx import network_to_onnx, write_onnx
from panodeeplab.inference.images import fitting_size, read_image, resized
from panodeeplab.inference.predict import find_images

# More images than these move the ranges little and take their time.
_MOST_IMAGES = 128


def export_int8(model: nn.Module, output: Path, format: str, metadata: Metadata, *, folder: Path) -> None:
    """Write the network with 8 bits: weights by channel, activations by tensor.

    The last layers of the heads stay in float32: a step of an offset would be pixels.

    Args:
        model: `panodeeplab.model.PanopticDeepLab`, on the CPU.
        output: file to write.
        format: "onnx", with QuantizeLinear and DequantizeLinear, or "openvino".
        metadata: of the file.
        folder: of images like those to come; up to 128 are taken, evenly over the folder.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no image there.
        ModuleNotFoundError: the extra "onnx" is not installed, or "openvino" for its format.
    """
    images = list(calibration_images(folder, metadata))
    proto = quantize(network_to_onnx(model), images)
    if format == "onnx":
        write_onnx(proto, output, metadata)
    else:
        from panodeeplab.export.openvino import read_onnx, write_openvino

        write_openvino(read_onnx(proto), output, metadata)


def quantize(proto, images: Sequence[np.ndarray]):
    """An ONNX network in 8 bits.

    Args:
        proto: `onnx.ModelProto` of `panodeeplab.export.onnx.network_to_onnx`.
        images: (h, w, 3) uint8, from which the ranges of the activations are taken.

    Returns:
        `onnx.ModelProto` with QuantizeLinear and DequantizeLinear between the operators.
    """
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._images = iter(tqdm(images, desc="calibration", unit="image"))

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self._images, None)
            return None if image is None else {"images": image[None]}

    with tempfile.TemporaryDirectory() as folder:
        full, small = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        write_onnx(proto, full)
        quantize_static(
            full,
            small,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_last_layers(proto),
        )
        return onnx.load(small)


def _last_layers(proto) -> list[str]:
    """Names of the convolutions that end in an output."""
    producer = {name: node for node in proto.graph.node for name in node.output}
    excluded = []
    for output in proto.graph.output:
        node = producer[output.name]
        while node.op_type != "Conv":
            node = producer[node.input[0]]
        excluded.append(node.name)
    return excluded


def calibration_images(folder: Path, metadata: Metadata) -> Iterator[np.ndarray]:
    """Images of a folder at the size that the network sees them, (h, w, 3) uint8."""
    paths = find_images(folder)
    step = max(1, len(paths) / _MOST_IMAGES)
    for index in range(min(len(paths), _MOST_IMAGES)):
        image = read_image(paths[int(index * step)])
        yield resized(image, fitting_size(image.shape[:2], metadata.inference.input_size))
