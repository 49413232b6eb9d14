"""What all tests of training share."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _leave_torch_as_it_was():
    before = torch.are_deterministic_algorithms_enabled()
    yield
    torch.use_deterministic_algorithms(before)
