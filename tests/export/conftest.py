"""The bundled model as ONNX, converted once: that takes most of a minute on a busy machine."""

import os

import numpy as np
import pytest
from filelock import FileLock

from panodeeplab.inference.demo import CLIP, read_clip


@pytest.fixture(scope="session")
def frame() -> np.ndarray:
    """(256, 512, 3) uint8, a street."""
    return next(iter(read_clip(CLIP)))[0]


@pytest.fixture(scope="session")
def onnx_file(tmp_path_factory):
    """The bundled model, exported as `panodeeplab export` does it."""
    for needed in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(needed)
    from panodeeplab.export.run import export

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # which all workers share
    path = folder / "onnx" / "street.onnx"
    with FileLock(folder / "onnx.lock"):
        if not path.exists():
            assert export("street-tiny", path) == 0
    return path
