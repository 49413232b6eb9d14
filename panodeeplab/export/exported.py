"""Exported files as networks, whichever of ONNX Runtime, OpenVINO and PyTorch runs them."""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

from panodeeplab.export.metadata import KEY, Metadata

# Endings by which an exported file is told from a checkpoint.
SUFFIXES = (".onnx", ".xml", ".pt2")

MISSING_OPENVINO = 'OpenVINO is not installed: pip install "panodeeplab[openvino]"'
MISSING_ONNXRUNTIME = 'ONNX Runtime is not installed: pip install "panodeeplab[onnx]"'


@dataclass(frozen=True)
class Exported:
    """A file that `panodeeplab export` wrote, described but not yet loaded.

    Attributes:
        path: .onnx, .xml with its .bin beside it, or a .pt2 that AOTInductor compiled.
        metadata: what the file says of its network.
    """

    path: Path
    metadata: Metadata


def open_exported(path: str | Path) -> Exported:
    """Read the description of an exported file.

    Args:
        path: of an .onnx file, of an OpenVINO .xml or of an AOTInductor .pt2, whose code is not loaded.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no such network, or not one of this package.
        ModuleNotFoundError: neither ONNX Runtime nor OpenVINO is installed, or OpenVINO is not for an .xml.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint: no file {path}")
    readers = {".onnx": _read_onnx, ".xml": _read_openvino, ".pt2": _read_aoti}
    text = readers[path.suffix](path)
    if not text:
        raise ValueError(f"checkpoint: {path} was not exported by panodeeplab, it has no {KEY!r} metadata")
    try:
        return Exported(path, Metadata.from_json(text))
    except ValueError as error:
        raise ValueError(f"checkpoint: {path}: {error}") from None


def _read_onnx(path: Path) -> str:
    try:
        import onnxruntime
    except ModuleNotFoundError:
        try:
            return _read_openvino(path)
        except ModuleNotFoundError:
            raise ModuleNotFoundError(f"{MISSING_ONNXRUNTIME}, or panodeeplab[openvino]") from None
    options = onnxruntime.SessionOptions()
    # Only the description is wanted: as little work as a session can be had for.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions have no common base
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"checkpoint: {path} is not a network that ONNX Runtime can load: {reason}"
        ) from None
    return session.get_modelmeta().custom_metadata_map.get(KEY, "")


def _read_openvino(path: Path) -> str:
    try:
        from panodeeplab.openvino_core import openvino_core
    except ModuleNotFoundError:
        raise ModuleNotFoundError(MISSING_OPENVINO) from None
    core = openvino_core()
    try:
        model = core.read_model(path)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ValueError(f"checkpoint: {path} is not a network that OpenVINO can load: {reason}") from None
    where = ["framework", KEY] if path.suffix == ".onnx" else [KEY]
    return model.get_rt_info(where).astype(str) if model.has_rt_info(where) else ""


def _read_aoti(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as package:
            names = [name for name in package.namelist() if "/data/aotinductor/" in name]
            descriptions = [name for name in names if name.endswith("_metadata.json")]
            values = [json.loads(package.read(name)) for name in descriptions]
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise ValueError(f"checkpoint: {path} is not a package of AOTInductor: {error}") from None
    if not names:
        raise ValueError(
            f"checkpoint: {path} is no package of AOTInductor, which `panodeeplab export --format aoti` "
            "writes; docs/export.md says how to run a program of torch.export"
        )
    return next((value[KEY] for value in values if isinstance(value, dict) and KEY in value), "")
