"""The tests of this folder need a GPU and the CUDA kernels; they use what tests/ops draws its inputs with."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).resolve().parent.parent / "ops"))


@pytest.fixture(scope="session", autouse=True)
def gpu() -> torch.device:
    """The GPU that the tests run on."""
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    from panodeeplab.ops import backend

    if backend("cuda") != "compiled":
        pytest.skip("panodeeplab was built without its CUDA kernels: install it with PANODEEPLAB_CUDA=1")
    return torch.device("cuda")
