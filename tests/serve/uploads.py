"""What the tests send, and how they wait for what comes of it."""

import io
import time

import numpy as np
from fastapi.testclient import TestClient
from PIL import Image


def finished(client: TestClient, job: dict) -> dict:
    """The state of a job when it is done or failed."""
    for _ in range(1200):
        if job["state"] in ("done", "failed"):
            return job
        time.sleep(0.05)
        job = client.get(f"/api/jobs/{job['id']}").json()
    raise AssertionError(f"not finished within a minute: {job}")


def encoded(image: np.ndarray, format: str, **options) -> bytes:
    """An image file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, format, **options)
    return file.getvalue()
