"""The examples take the fastest backend, whose conversion would be most of the time of these tests."""

import pytest

from panodeeplab.inference import backends


@pytest.fixture(autouse=True, scope="module")
def pytorch_is_the_fastest():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backends, "_fastest", lambda model, device: "eager")
        yield
