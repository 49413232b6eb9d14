"""Models that come with the package."""

from pathlib import Path

_ASSETS = Path(__file__).resolve().parent / "assets"
BUNDLED = {
    "street-tiny": _ASSETS / "street_tiny.safetensors",
    # The same in 8 bits, exported: for OpenVINO or ONNX Runtime.
    "street-tiny-int8": _ASSETS / "street_tiny_int8.onnx",
}


def model_path(source: str | Path) -> Path:
    """The file of a model: that of a bundled one, or what the user named.

    Raises:
        FileNotFoundError: no such file and no such bundled model.
    """
    path = BUNDLED.get(str(source), Path(source))
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint: no file {path}, and the bundled models are {sorted(BUNDLED)}")
    return path
