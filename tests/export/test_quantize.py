"""Networks in 8 bits."""

import numpy as np
import pytest

from panodeeplab.classes import CITYSCAPES
from panodeeplab.config import InferenceConfig, PostprocessConfig

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def test_int8_is_a_third_of_the_size_and_sees_the_same(onnx_file, frame):
    from panodeeplab.export.quantize import quantize

    small = quantize(onnx.load(onnx_file), [frame[:128, :256], frame[100:228, 200:456]])
    assert small.ByteSize() < 0.4 * onnx_file.stat().st_size
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in small.graph.node}
    images = frame[None, :128, :256]
    exact, rough = (
        onnxruntime.InferenceSession(model).run(None, {"images": images})
        for model in (str(onnx_file), small.SerializeToString())
    )
    assert not np.array_equal(exact[0], rough[0])
    assert (exact[0].argmax(1) == rough[0].argmax(1)).mean() > 0.95
    assert np.abs(exact[2] - rough[2]).mean() < 1.0


def test_calibration_images_have_the_size_that_the_network_sees(tmp_path):
    from PIL import Image

    from panodeeplab.export.metadata import Metadata
    from panodeeplab.export.quantize import calibration_images

    for index in range(3):
        Image.fromarray(np.full((60, 90, 3), index, np.uint8)).save(tmp_path / f"{index}.png")
    metadata = Metadata(
        CITYSCAPES, PostprocessConfig(), InferenceConfig(input_size=(20, 40)), False, (0.0,) * 3, (1.0,) * 3
    )
    images = list(calibration_images(tmp_path, metadata))
    assert [image.shape for image in images] == [(20, 30, 3)] * 3
    assert [int(image.mean()) for image in images] == [0, 1, 2]
