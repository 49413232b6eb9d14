"""The network on ONNX Runtime."""

import onnxruntime
import torch
from torch import Tensor, nn

from panodeeplab.export.exported import Exported
from panodeeplab.export.network import OUTPUTS
from panodeeplab.predictions import Predictions


class OnnxRuntimeNetwork:
    """A network that ONNX Runtime runs; see `panodeeplab.inference.backends` for its call.

    Args:
        model: an exported .onnx file, or our network, which is exported first (up to a minute).
        device: "cpu" or "cuda"; the latter needs onnxruntime-gpu.

    Raises:
        ValueError: this ONNX Runtime cannot use the device.
    """

    def __init__(self, model: nn.Module | Exported, *, device: torch.device) -> None:
        self._device = device
        providers: list = ["CPUExecutionProvider"]
        if device.type == "cuda":
            if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
                raise ValueError("device is CUDA, but this ONNX Runtime has no CUDA: install onnxruntime-gpu")
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.index or 0}))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # Its threads would keep their cores after a run, and the post-processing would have one of two.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if isinstance(model, Exported):
            network = str(model.path)
        else:
            from panodeeplab.export.onnx import network_to_onnx

            network = network_to_onnx(model).SerializeToString()
        self._session = onnxruntime.InferenceSession(network, options, providers=providers)
        self._input = self._session.get_inputs()[0].name

    def __call__(self, images: Tensor) -> Predictions:
        batch = images.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        outputs = self._session.run(OUTPUTS, {self._input: batch})
        return Predictions(*(torch.from_numpy(x).to(self._device) for x in outputs))
