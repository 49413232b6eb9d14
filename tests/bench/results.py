"""What tests of measurements share: a quick setting, and what every result has."""

import json

import pytest

from panodeeplab.bench.stages import STAGES

FAST = {"size": (64, 128), "warmup": 1, "runs": 2, "threads": 1, "backend": "eager"}
QUANTILES = {"median_ms", "p90_ms", "p99_ms", "min_ms"}


def check_result(result: dict, stages=STAGES) -> None:
    """What scripts rely on."""
    json.dumps(result)
    assert list(result["stages"]) == list(stages)
    for timing in [*result["stages"].values(), result["end_to_end"], result["file_to_picture"]]:
        assert timing.keys() >= QUANTILES
        assert 0 < timing["min_ms"] <= timing["median_ms"] <= timing["p90_ms"] <= timing["p99_ms"]
    assert result["end_to_end"]["fps"] == pytest.approx(
        1e3 * result["batch"] / result["end_to_end"]["median_ms"]
    )
    assert result["postprocess_share"] == pytest.approx(
        result["stages"]["postprocess"]["median_ms"] / result["end_to_end"]["median_ms"]
    )
    assert 0 < result["processor"]["outside_network_share"] < 1
    assert {"processor", "cpus", "threads", "torch", "python", "clock_mhz", "device"} <= result[
        "environment"
    ].keys()
    assert result["notes"]
