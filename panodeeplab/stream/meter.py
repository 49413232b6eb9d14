"""Latency and frame rate over a run of any length, in memory that does not grow."""

import math
import threading
import time
from collections import deque

_LEAST_MS = 0.001
_STEP = math.log(1.01)
_BINS = 2400  # up to 0.001 ms * 1.01 ** 2400, seven hours


class LatencyHistogram:
    """Percentiles to within 1 %, from counts in bins whose bounds grow by that."""

    def __init__(self) -> None:
        self._counts = [0] * _BINS
        self.count = 0

    def add(self, time_ms: float) -> None:
        place = int(math.log(max(time_ms, _LEAST_MS) / _LEAST_MS) / _STEP)
        self._counts[min(place, _BINS - 1)] += 1
        self.count += 1

    def percentile(self, share: float) -> float:
        """Milliseconds that `share`, 0..1, of the times do not exceed; NaN without any."""
        wanted, seen = share * self.count, 0
        for place, count in enumerate(self._counts):
            seen += count
            if count and seen >= wanted:
                return _LEAST_MS * math.exp(_STEP * (place + 0.5))
        return math.nan


class Meter:
    """Times of stages and of whole frames; any thread may report.

    Args:
        window: how many of the last frames the live figures are of.
    """

    def __init__(self, window: int = 100) -> None:
        self._lock = threading.Lock()
        self._stages: dict[str, LatencyHistogram] = {}
        self._latency = LatencyHistogram()
        self._recent: deque[tuple[float, float]] = deque(maxlen=window)
        self._first = self._last = 0.0

    def stage(self, name: str, time_ms: float) -> None:
        with self._lock:
            self._stages.setdefault(name, LatencyHistogram()).add(time_ms)

    def frame(self, latency_ms: float) -> None:
        """A frame has come to its end, `latency_ms` after it was decoded."""
        now = time.perf_counter()
        with self._lock:
            self._latency.add(latency_ms)
            self._recent.append((now, latency_ms))
            if self._latency.count == 1:
                self._first = now
            self._last = now

    @property
    def count(self) -> int:
        """Frames that have come to their end."""
        return self._latency.count

    def live(self) -> str:
        """Frame rate and latency of the last frames in a few words; empty before there are two."""
        with self._lock:
            recent = list(self._recent)
        if len(recent) < 2 or recent[-1][0] <= recent[0][0]:
            return ""
        rate = (len(recent) - 1) / (recent[-1][0] - recent[0][0])
        times = sorted(latency for _, latency in recent)
        p50, p99 = (times[math.ceil(share * len(times)) - 1] for share in (0.5, 0.99))
        return f"{rate:.1f} FPS, p50 {p50:.0f} ms, p99 {p99:.0f} ms"

    def fps(self) -> float:
        """Frames per second between the first frame and the last; 0 with fewer than two."""
        with self._lock:
            seconds = self._last - self._first
            return (self._latency.count - 1) / seconds if seconds > 0 else 0.0

    def latency_ms(self) -> dict[str, float]:
        """p50 and p99 of whole frames; NaN without any."""
        with self._lock:
            return _percentiles(self._latency)

    def stages_ms(self) -> dict[str, dict[str, float]]:
        """p50 and p99 of each stage."""
        with self._lock:
            return {name: _percentiles(histogram) for name, histogram in self._stages.items()}


def _percentiles(histogram: LatencyHistogram) -> dict[str, float]:
    return {"p50": histogram.percentile(0.5), "p99": histogram.percentile(0.99)}
