"""Timing functions side by side, and printing what came out."""

import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

Function = Callable[[], object]


class Row(NamedTuple):
    """A variant and the milliseconds of its runs, in ascending order."""

    name: str
    times: list[float]

    def quantile(self, share: float) -> float:
        return self.times[int(share * (len(self.times) - 1) + 0.5)]

    @property
    def median(self) -> float:
        return self.quantile(0.5)


def measure(name: str, function: Function, seconds: float) -> Row:
    """Runs that fill `seconds`, at least three, after one to warm up."""
    function()
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - start < seconds:
        before = time.perf_counter()
        function()
        times.append((time.perf_counter() - before) * 1e3)
    return Row(name, sorted(times))


def measure_in_turns(variants: dict[str, Function], seconds: float) -> list[Row]:
    """As `measure` for each variant, but processor time, a run of each at a time: small differences show,
    whatever else the machine does. All threads count, so use one.
    """
    times: dict[str, list[float]] = {name: [] for name in variants}
    start = time.perf_counter()
    while min(map(len, times.values())) < 4 or time.perf_counter() - start < seconds * len(variants):
        for name, function in variants.items():
            before = time.process_time()
            function()
            times[name].append((time.process_time() - before) * 1e3)
    return [Row(name, sorted(runs[1:])) for name, runs in times.items()]


def processor() -> str:
    """Name of the processor."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def figures(rows: Sequence[Row], compared_with: Sequence[str] = ()) -> list[dict[str, float | str]]:
    """Of each row: median, p10, p90 and minimum in ms, the number of runs, and how many times the median of
    the rows named in `compared_with` it takes.
    """
    medians = {row.name: row.median for row in rows}
    return [
        {
            "name": row.name,
            "median_ms": row.median,
            "p10_ms": row.quantile(0.1),
            "p90_ms": row.quantile(0.9),
            "min_ms": row.times[0],
            "runs": len(row.times),
        }
        | {f"times {name}": row.median / medians[name] for name in compared_with}
        for row in rows
    ]


def print_table(rows: Sequence[Row], compared_with: Sequence[str] = ()) -> None:
    """The figures as a table; a ratio below 1 is given as one over what it is."""
    print(
        f"{'':40} {'median ms':>10} {'p10':>8} {'p90':>8} {'min':>8} {'runs':>6}"
        + "".join(f"  {'x ' + name:>{max(len(name) + 2, 8)}}" for name in compared_with)
    )
    for line in figures(rows, compared_with):
        ratios = [line[f"times {name}"] for name in compared_with]
        print(
            f"{line['name']:40} {line['median_ms']:10.4g} {line['p10_ms']:8.4g} {line['p90_ms']:8.4g} "
            f"{line['min_ms']:8.4g} {line['runs']:6}"
            + "".join(
                f"  {_ratio(ratio):>{max(len(name) + 2, 8)}}"
                for name, ratio in zip(compared_with, ratios, strict=True)
            )
        )


def _ratio(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio >= 1 else f"1 / {1 / ratio:.1f}"
