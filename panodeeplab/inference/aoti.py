"""The network as AOTInductor compiled it, for CPUs."""

import torch
from torch import Tensor

from panodeeplab.export.exported import Exported
from panodeeplab.predictions import Predictions


class AotiNetwork:
    """A network of an AOTInductor package; see `panodeeplab.inference.backends` for its call.

    Threads that call it at once take turns.

    Args:
        model: an exported .pt2. It holds compiled code, which runs with the rights of this process.

    Raises:
        ValueError: PyTorch cannot load it.
    """

    def __init__(self, model: Exported) -> None:
        try:
            self._run = torch._inductor.aoti_load_package(str(model.path))
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"checkpoint: {model.path} cannot be loaded by this PyTorch: {reason}") from None

    def __call__(self, images: Tensor) -> Predictions:
        return Predictions(*self._run(images.permute(0, 2, 3, 1).contiguous()))
