"""The network on OpenVINO, for CPUs."""

import queue
from pathlib import Path

import numpy as np
import openvino
import torch
from torch import Tensor, nn

from panodeeplab.export.exported import Exported
from panodeeplab.export.openvino import convert
from panodeeplab.predictions import Predictions


class OpenVinoNetwork:
    """A network that OpenVINO runs; see `panodeeplab.inference.backends` for its call.

    Args:
        model: an exported file, or our network, which is converted (seconds).
        precision: of the arithmetic, "float32" or "bfloat16".
    """

    def __init__(self, model: nn.Module | Exported, *, precision: str) -> None:
        core = openvino.Core()
        network = core.read_model(Path(model.path)) if isinstance(model, Exported) else convert(model)
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision],
        }
        self._compiled = core.compile_model(network, "CPU", settings)
        # A request holds the memory of one run; as many are made as threads ever call at once.
        self._requests: queue.SimpleQueue = queue.SimpleQueue()

    def __call__(self, images: Tensor) -> Predictions:
        batch = np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())
        try:
            request = self._requests.get_nowait()
        except queue.Empty:
            request = self._compiled.create_infer_request()
        try:
            request.infer([batch], share_inputs=True, share_outputs=True)
            # The request's memory is written by the next run: the maps are copied.
            outputs = [torch.from_numpy(request.get_output_tensor(i).data.copy()) for i in range(3)]
        finally:
            self._requests.put(request)
        return Predictions(*outputs)
