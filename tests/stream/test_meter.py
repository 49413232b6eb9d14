import math

import numpy as np
import pytest

from panodeeplab.stream.meter import LatencyHistogram, Meter


@pytest.mark.parametrize("scale", [0.1, 1.0, 5000.0])
def test_percentiles_are_true_to_a_hundredth(scale):
    times = scale * np.random.default_rng(0).lognormal(0, 1, 5000)
    histogram = LatencyHistogram()
    for time_ms in times:
        histogram.add(time_ms)
    for share in (0.0, 0.5, 0.9, 0.99, 1.0):
        exact = np.quantile(times, share, method="inverted_cdf")
        assert histogram.percentile(share) == pytest.approx(exact, rel=0.011)


def test_times_out_of_range_are_counted_at_its_ends():
    histogram = LatencyHistogram()
    for time_ms in (0.0, -1.0, 1e12):
        histogram.add(time_ms)
    assert histogram.count == 3
    assert 0 < histogram.percentile(0.5) < 0.002
    assert histogram.percentile(1.0) > 1e6
    assert math.isnan(LatencyHistogram().percentile(0.5))


def test_a_meter_tells_rate_and_latency(monkeypatch):
    now = 100.0
    monkeypatch.setattr("panodeeplab.stream.meter.time.perf_counter", lambda: now)
    meter = Meter(window=4)
    assert (meter.live(), meter.fps(), meter.count) == ("", 0.0, 0)
    assert math.isnan(meter.latency_ms()["p50"])
    for latency_ms in (500, 10, 20, 30, 40):
        meter.frame(latency_ms)
        meter.stage("draw", latency_ms / 10)
        now += 0.05
    assert meter.live() == "20.0 FPS, p50 20 ms, p99 40 ms"  # of the last four
    assert meter.fps() == pytest.approx(20)
    assert meter.latency_ms()["p99"] == pytest.approx(500, rel=0.011)
    assert meter.stages_ms()["draw"]["p50"] == pytest.approx(3, rel=0.011)
