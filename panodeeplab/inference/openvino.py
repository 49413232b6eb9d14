"""The network on OpenVINO, for CPUs."""

import queue
import threading
from pathlib import Path

import numpy as np
import openvino
import torch
from torch import Tensor, nn

from panodeeplab.export.exported import Exported
from panodeeplab.export.openvino import convert
from panodeeplab.inference.cpu import has_amx
from panodeeplab.openvino_core import openvino_core
from panodeeplab.predictions import Predictions

# OpenVINO's kernels for int8 and any shape crash on many CPUs with AMX (openvinotoolkit/openvino, issue
# 37577), so that there each shape has its own.
_MOST_SHAPES = 4


class OpenVinoNetwork:
    """A network that OpenVINO runs; see `panodeeplab.inference.backends` for its call.

    It is compiled at the first call, for that shape of images, which is faster than for any; once more, for
    any, when another shape comes. Where int8 is not safe for any shape, it is compiled for each, and the last
    few are kept.

    Args:
        model: an exported file, or our network, which is converted (seconds).
        precision: of the arithmetic, "float32" or "bfloat16"; "int8" for a file that is quantized.
    """

    def __init__(self, model: nn.Module | Exported, *, precision: str) -> None:
        self._network = (
            openvino_core().read_model(Path(model.path)) if isinstance(model, Exported) else convert(model)
        )
        self._settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32",
        }
        self._only_fixed = precision == "int8" and has_amx()
        self._lock = threading.Lock()
        self._fixed: dict[tuple[int, ...], _Compiled] = {}  # by shape, the one used longest ago first
        self._any: _Compiled | None = None

    def __call__(self, images: Tensor) -> Predictions:
        batch = np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())
        return self._for(batch.shape)(batch)

    def _for(self, shape: tuple[int, ...]) -> "_Compiled":
        with self._lock:
            compiled = self._fixed.pop(shape, None)
            if compiled is None and self._fixed and not self._only_fixed:
                if self._any is None:
                    self._any = self._compile(self._network)
                return self._any
            if compiled is None:
                if len(self._fixed) == _MOST_SHAPES:
                    del self._fixed[next(iter(self._fixed))]
                fixed = self._network.clone()
                fixed.reshape(list(shape))
                compiled = self._compile(fixed)
            self._fixed[shape] = compiled
            return compiled

    def _compile(self, network: openvino.Model) -> "_Compiled":
        return _Compiled(openvino_core().compile_model(network, "CPU", self._settings))


class _Compiled:
    def __init__(self, compiled: openvino.CompiledModel) -> None:
        self._compiled = compiled
        # A request holds the memory of one run; as many are made as threads ever call at once.
        self._requests: queue.SimpleQueue = queue.SimpleQueue()

    def __call__(self, batch: np.ndarray) -> Predictions:
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
