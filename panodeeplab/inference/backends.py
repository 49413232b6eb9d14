"""What runs the network: PyTorch, AOTInductor, ONNX Runtime or OpenVINO, behind one call.

A network, as the predictor sees it, is a callable from a batch (N, 3, H, W) uint8 RGB on its device to
`Predictions`; the normalization is inside. Several threads may call it at once.
"""

import importlib.util
from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from panodeeplab.export.exported import MISSING_ONNXRUNTIME, MISSING_OPENVINO, Exported
from panodeeplab.inference.cpu import has_fast_bfloat16
from panodeeplab.inference.eager import fold_batch_norm, is_foldable, with_precision
from panodeeplab.predictions import Predictions

Network = Callable[[Tensor], Predictions]
Backend = Literal["auto", "eager", "compile", "onnxruntime", "openvino", "aoti"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]

# What each backend computes in, by kind of device.
_LEGAL = {
    ("eager", "cpu"): ("float32", "bfloat16"),
    ("eager", "cuda"): ("float32", "bfloat16", "float16"),
    ("compile", "cpu"): ("float32", "bfloat16"),
    ("compile", "cuda"): ("float32", "bfloat16", "float16"),
    ("onnxruntime", "cpu"): ("float32",),
    ("onnxruntime", "cuda"): ("float32",),
    ("openvino", "cpu"): ("float32", "bfloat16"),
    ("aoti", "cpu"): ("float32",),
}


def choose(
    model: nn.Module | Exported, backend: Backend, precision: Precision, device: torch.device
) -> tuple[str, str]:
    """The backend and the precision to run a model with.

    "auto" takes the fastest backend that is legal: one that is installed, runs on the device, starts within
    seconds and gives the maps of PyTorch to 1e-4 of their largest value at float32. On a CPU that is
    OpenVINO, else ONNX Runtime for an exported file and PyTorch for a checkpoint; on other devices PyTorch.
    A precision of "auto" is float16 on CUDA, bfloat16 on CPUs with instructions for it, else float32; an
    exported file in int8 stays that. A .pt2 is compiled code, for which "aoti" must be asked.

    Raises:
        ValueError: no such backend or precision, or they do not go together with the model or the device.
        ModuleNotFoundError: the backend is not installed.
    """
    if backend not in get_args(Backend):
        raise ValueError(f"backend must be one of {', '.join(get_args(Backend))}, got {backend!r}")
    if precision not in get_args(Precision):
        raise ValueError(f"precision must be one of {', '.join(get_args(Precision))}, got {precision!r}")
    is_package = isinstance(model, Exported) and model.path.suffix == ".pt2"
    if is_package and backend != "aoti":
        raise ValueError(
            f"backend must be aoti for {model.path}, got {backend!r}: it holds compiled code, which runs "
            "with your rights, so take it only from whom you trust"
        )
    if backend == "aoti" and not is_package:
        raise ValueError(
            "backend is 'aoti', which runs a .pt2 that `panodeeplab export --format aoti` wrote, got "
            f"{model.path if isinstance(model, Exported) else 'a checkpoint'}"
        )
    if backend == "auto":
        backend = _fastest(model, device)
    if backend in ("eager", "compile") and isinstance(model, Exported):
        raise ValueError(
            f"backend must be onnxruntime or openvino for an exported file, got {backend!r}: "
            "PyTorch runs checkpoints"
        )
    if backend == "onnxruntime" and isinstance(model, Exported) and model.path.suffix != ".onnx":
        raise ValueError(f"backend is 'onnxruntime', which reads .onnx, got {model.path}")
    for name, module, missing in (
        ("openvino", "openvino", MISSING_OPENVINO),
        ("onnxruntime", "onnxruntime", MISSING_ONNXRUNTIME),
    ):
        if backend == name and not _installed(module):
            raise ModuleNotFoundError(f"backend is {name!r}, but {missing}")
    legal = _LEGAL.get((backend, device.type))
    if legal is None and backend in ("onnxruntime", "openvino", "aoti"):
        raise ValueError(f"backend {backend!r} does not run on device {str(device)!r}")
    legal = legal or ("float32",)
    if isinstance(model, Exported) and model.metadata.precision == "int8":
        if precision != "auto":
            raise ValueError(f"precision must be auto for {model.path}, which is int8, got {precision!r}")
        return backend, "int8"
    whole = isinstance(model, Exported) or is_foldable(model)
    if precision == "auto":
        precision = "float32"
        if device.type == "cuda" and whole and "float16" in legal:
            precision = "float16"
        elif device.type == "cpu" and whole and "bfloat16" in legal and has_fast_bfloat16():
            precision = "bfloat16"
    if precision not in legal:
        raise ValueError(
            f"precision must be one of {', '.join(legal)} for backend {backend!r} on {device.type}, "
            f"got {precision!r}"
        )
    if precision != "float32" and not whole:
        raise ValueError(f"precision must be float32 for a {type(model).__name__}, got {precision!r}")
    return backend, precision


def load_network(model: nn.Module | Exported, backend: str, precision: str, device: torch.device) -> Network:
    """The network, ready to be called; `backend` and `precision` are those of `choose`.

    ONNX Runtime and OpenVINO take as many CPU threads as torch has now.
    """
    if backend == "openvino":
        from panodeeplab.inference.openvino import OpenVinoNetwork

        return OpenVinoNetwork(model, precision=precision)
    if backend == "onnxruntime":
        from panodeeplab.inference.onnxruntime import OnnxRuntimeNetwork

        return OnnxRuntimeNetwork(model, device=device)
    if backend == "aoti":
        from panodeeplab.inference.aoti import AotiNetwork

        return AotiNetwork(model)
    if is_foldable(model):
        model = with_precision(fold_batch_norm(model), getattr(torch, precision))
    model = model.eval().to(device, memory_format=torch.channels_last)
    return _Compiled(model) if backend == "compile" else model


class _Compiled:
    """`torch.compile` of a network: for the first shape of images, then for all others at once.

    Left to itself, it would compile again for each dimension that differs, and soon be at its limit of eight
    compilations. One image and several are still two cases to it, and sizes with and without padding.
    """

    def __init__(self, model: nn.Module) -> None:
        self._network = torch.compile(model)
        self._first: torch.Size | None = None

    def __call__(self, images: Tensor) -> Predictions:
        if self._first is None:
            self._first = images.shape
        if images.shape != self._first:
            torch._dynamo.maybe_mark_dynamic(images, (0, 2, 3))
        return self._network(images)


def _fastest(model: nn.Module | Exported, device: torch.device) -> str:
    if isinstance(model, Exported):
        if device.type != "cpu" or not _installed("openvino"):
            return "onnxruntime" if model.path.suffix == ".onnx" else "openvino"
        return "openvino"
    # Another module than ours may do what cannot be converted.
    return "openvino" if device.type == "cpu" and is_foldable(model) and _installed("openvino") else "eager"


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
