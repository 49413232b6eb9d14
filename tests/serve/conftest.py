"""The page's server with the bundled model, in this process and as a program of its own."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from panodeeplab.inference.predictor import Predictor
from panodeeplab.serve.app import create_app
from panodeeplab.serve.media import Limits


@pytest.fixture(scope="session")
def predictor() -> Predictor:
    return Predictor.from_checkpoint("street-tiny", keep_predictions=True, backend="eager")


@pytest.fixture
def client(predictor) -> Iterator[TestClient]:
    """A server with limits that are easily broken."""
    limits = Limits(upload_bytes=1_000_000, pixels=300_000, frames=4, requests=3)
    with TestClient(create_app(predictor, limits=limits, stall_s=0.5), base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """Of `panodeeplab serve` as a user starts it."""
    command = [sys.executable, "-m", "panodeeplab", "serve", "--port", "0", "--max-upload", "2"]
    command += ["--backend", "eager"]  # as `predictor`
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            line = server.stdout.readline()
            assert line.startswith("http://127.0.0.1:"), line
            yield line.split()[0].rstrip("/")
        finally:
            server.terminate()
