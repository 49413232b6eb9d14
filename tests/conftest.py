"""Where the tests find the shared reference data, which the project does not carry."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """Golden vectors and small real data: PANODEEPLAB_SHARED, by default `../shared` of the checkout."""
    path = Path(os.environ.get("PANODEEPLAB_SHARED", ROOT.parent / "shared"))
    if not path.is_dir():
        pytest.skip(f"no folder {path}: set PANODEEPLAB_SHARED to run the comparisons with shared data")
    return path


@pytest.fixture(scope="session")
def golden(shared: Path) -> Path:
    """Outputs of the reference implementations."""
    return shared / "golden"
