"""Runs a model from an encoded image to a picture again and again, and says how long each stage takes."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from panodeeplab.bench.streets import Street
from panodeeplab.bench.timing import Row

STAGES = ("decode", "preprocess", "network", "postprocess", "draw")
LEAST_RUNS = 5
_BUSY = 1.5  # p99 over median, from which on a reader must be told


@dataclass(frozen=True)
class Setting:
    """One measurement.

    Attributes:
        model: a bundled name, a checkpoint, an exported file, or a run's YAML, whose weights are random.
        backend, precision: see `Predictor.from_checkpoint`.
        size: (H, W) that the network sees; None: the size of `image`.
        batch: images in a call.
        threads: of the CPU; None: as many as torch takes.
        device: of torch.
        cuda_graph: see `Predictor`; for models of this project.
        image: the file to read; None: generated streets of `size`.
        warmup: calls that are not counted.
        runs: calls that are; None: as many as fill `seconds`, at least LEAST_RUNS.
        seconds: for the runs, about.
        seed: of the streets.
    """

    model: str = "street-tiny"
    backend: str = "auto"
    precision: str = "auto"
    size: tuple[int, int] | None = (512, 1024)
    batch: int = 1
    threads: int | None = None
    device: str = "cpu"
    cuda_graph: bool = False
    image: Path | None = None
    warmup: int = 3
    runs: int | None = None
    seconds: float = 10.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("batch", "threads", "runs"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, wanted at least 1")
        if self.warmup < 0:
            raise ValueError(f"warmup is {self.warmup}, wanted at least 0")
        if self.seconds <= 0:
            raise ValueError(f"seconds is {self.seconds}, wanted more than 0")
        if self.size is None and self.image is None:
            raise ValueError("size is None, wanted (H, W) for generated streets")
        if self.size is not None and min(self.size) < 32:
            raise ValueError(f"size is {self.size[0]}x{self.size[1]}, wanted at least 32x32")


class Run(NamedTuple):
    """What one call took.

    Attributes:
        stages_ms: by name, in order; those of the call itself and those around it.
        end_to_end_ms: of the call, arrays in memory to finished maps.
        segments: that were found, in the mean of the images.
        processor_ms: of all threads, of the call.
        outside_network_ms: the part of it that was not in the network; None if that is not known.
    """

    stages_ms: dict[str, float]
    end_to_end_ms: float
    segments: float
    processor_ms: float
    outside_network_ms: float | None


class Pipeline(Protocol):
    """A model, ready to run.

    Attributes:
        facts: what the report says of it: backend, precision, weights.
        notes: what a reader of its figures must know.
    """

    facts: dict[str, Any]
    notes: tuple[str, ...]

    def __call__(self, streets: Sequence[Street]) -> Run: ...


def measure_stages(
    pipeline: Pipeline,
    streets: Sequence[Street],
    setting: Setting,
    after_warmup: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Warm up, run, and sum up.

    Streets are taken in turn, `setting.batch` of them for a call.

    Returns:
        "stages" and "end_to_end" with quantiles, "file_to_picture", "postprocess_share", "runs",
        "processor", "segments", "notes", "warnings", for JSON.
    """
    count = 0

    def next_batch() -> list[Street]:
        nonlocal count
        batch = [streets[(count + i) % len(streets)] for i in range(setting.batch)]
        count += setting.batch
        return batch

    for _ in range(setting.warmup):
        pipeline(next_batch())
    after_warmup()
    runs: list[Run] = []
    start = time.perf_counter()
    while not _enough(len(runs), time.perf_counter() - start, setting):
        runs.append(pipeline(next_batch()))
    names = runs[0].stages_ms
    stages = {name: quantiles([run.stages_ms[name] for run in runs]) for name in names}
    end_to_end = quantiles([run.end_to_end_ms for run in runs])
    whole = quantiles([_file_to_picture(run) for run in runs])
    result = {
        "warmup": setting.warmup,
        "runs": len(runs),
        "segments": round(sum(run.segments for run in runs) / len(runs), 1),
        "stages": stages,
        "end_to_end": end_to_end | {"fps": 1e3 * setting.batch / end_to_end["median_ms"]},
        "file_to_picture": whole | {"fps": 1e3 * setting.batch / whole["median_ms"]},
        "postprocess_share": stages["postprocess"]["median_ms"] / end_to_end["median_ms"],
        "processor": _processor(runs),
    }
    notes = [*_what_is_in_it(setting), *pipeline.notes]
    return result | {"notes": notes, "warnings": _busy(result)}


def quantiles(times_ms: Sequence[float]) -> dict[str, float]:
    """Median, p90, p99 (nearest rank) and the least, in milliseconds."""
    row = Row("", sorted(times_ms))
    return {
        "median_ms": row.median,
        "p90_ms": row.quantile(0.9),
        "p99_ms": row.quantile(0.99),
        "min_ms": row.times[0],
    }


def _processor(runs: Sequence[Run]) -> dict[str, float]:
    """Processor time of the calls, which others on the machine lengthen less than the wall clock's."""
    total = _median([run.processor_ms for run in runs])
    outside = [run.outside_network_ms for run in runs if run.outside_network_ms is not None]
    share = {"outside_network_share": _median(outside) / total} if outside and total > 0 else {}
    return {"end_to_end_ms": total} | share


def _median(values: Sequence[float]) -> float:
    return Row("", sorted(values)).median


def _enough(runs: int, seconds: float, setting: Setting) -> bool:
    if setting.runs is not None:
        return runs >= setting.runs
    return runs >= LEAST_RUNS and seconds >= setting.seconds


def _file_to_picture(run: Run) -> float:
    around = ("decode", "draw")
    return run.end_to_end_ms + sum(run.stages_ms.get(name, 0.0) for name in around)


def _what_is_in_it(setting: Setting) -> list[str]:
    image = "the image file" if setting.image else "a generated street, JPEG of quality 95"
    per = "call" if setting.batch == 1 else f"call of {setting.batch} images"
    return [
        f"Times are of one {per}; fps counts images. Each stage waits until the device is done.",
        "end_to_end: from (H, W, 3) uint8 arrays in memory to panoptic maps with their segments, on the "
        "host; decode and draw are not in it, file_to_picture has them.",
        f"decode: {image}, in memory, to RGB with OpenCV. draw: the overlay with outlines and labels. Not "
        "timed: reading from a disk or a camera, showing and writing.",
    ]


def _busy(result: dict[str, Any]) -> list[str]:
    notes = []
    if result["runs"] < 50:  # nearest rank
        notes.append(f"p99 of {result['runs']} runs is the slowest of them.")
    ratio = result["end_to_end"]["p99_ms"] / result["end_to_end"]["median_ms"]
    if ratio > _BUSY:
        notes.append(
            f"p99 is {ratio:.1f} times the median: something else used the machine, or its clock changed; "
            "trust shares and ratios within one run more than milliseconds."
        )
    return notes
