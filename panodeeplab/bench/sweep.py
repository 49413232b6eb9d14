"""How the time of post-processing grows with instances and with pixels: measured, printed and drawn."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from panodeeplab.bench.alternatives import careful
from panodeeplab.bench.plot import Panel, line_plot
from panodeeplab.bench.postprocess import (
    PostprocessBench,
    circumstances,
    print_circumstances,
    same_bytes,
    threads_of,
)
from panodeeplab.bench.street_outputs import TOP_K
from panodeeplab.bench.timing import Function, figures, measure
from panodeeplab.ops import PanopticOutput, backend, panoptic_segmentation

INSTANCES = (5, 20, 50, 100, 200, 500)
SIZES = (
    (512, 1024),
    (768, 1536),
    (1024, 2048),
    (1536, 3072),
    (2048, 4096),
    (3072, 6144),
    (4096, 8192),
)
CAREFUL_PIXELS = 2**23  # beyond them plain PyTorch takes many seconds a run, and gigabytes


class Sweep(NamedTuple):
    """Streets that differ in one thing."""

    by_instances: list[PostprocessBench]
    by_pixels: list[PostprocessBench]


class Point(NamedTuple):
    """What one street took.

    Attributes:
        bench: its settings.
        centers: found in it; a few instances are hidden by others.
        variants: `timing.figures` of each.
    """

    bench: PostprocessBench
    centers: int
    variants: list[dict[str, float | str]]

    @property
    def megapixels(self) -> float:
        return self.bench.height * self.bench.width / 1e6

    def medians(self) -> dict[str, float]:
        """Milliseconds by variant."""
        return {v["name"]: v["median_ms"] for v in self.variants}


def sweep_of(bench: PostprocessBench) -> Sweep:
    """The streets to measure: what does not vary is as in `bench`, and sizes are whole numbers of cells."""
    sizes = [tuple(n // bench.stride * bench.stride for n in size) for size in SIZES]
    return Sweep(
        [replace(bench, instances=n) for n in INSTANCES],
        [replace(bench, height=h, width=w) for h, w in sizes if h >= 16 * bench.stride],
    )


def variants_of(bench: PostprocessBench) -> tuple[dict[str, Function], int]:
    """The op, the careful variant in plain PyTorch where it is not too slow, and the copy; the centers that
    they find.
    """
    maps, things = bench.street(bench.seed)

    def op() -> PanopticOutput:
        return panoptic_segmentation(*maps, stride=bench.stride, thing_ids=things, top_k=TOP_K)

    result = op()
    source, target = same_bytes(maps, result.panoptic)
    variants: dict[str, Function] = {f"op ({backend()})": op}
    if bench.height * bench.width <= CAREFUL_PIXELS:
        variants["careful PyTorch"] = lambda: careful(*maps, bench.stride, things)
    variants["copy"] = lambda: target.copy_(source)
    return variants, result.num_centers.item()


def measure_point(bench: PostprocessBench) -> Point:
    variants, centers = variants_of(bench)
    rows = [measure(name, function, bench.seconds) for name, function in variants.items()]
    return Point(bench, centers, figures(rows))


def measure_all(sweep: Sweep) -> dict[PostprocessBench, Point]:
    """Each street of the sweeps once."""
    benches = dict.fromkeys((*sweep.by_instances, *sweep.by_pixels))
    bar = tqdm(benches, "streets", disable=not sys.stderr.isatty())
    return {bench: measure_point(bench) for bench in bar}


def lines_of(points: list[Point], x: str) -> dict[str, list[tuple[float, float]]]:
    """Medians over an attribute of the points, a line for each variant; not every point has every one."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for point in points:
        for name, median_ms in point.medians().items():
            lines.setdefault(name, []).append((getattr(point, x), median_ms))
    return lines


def panels_of(bench: PostprocessBench, sweep: Sweep, points: dict[PostprocessBench, Point]) -> list[Panel]:
    by_instances, by_pixels = ([points[b] for b in benches] for benches in sweep)
    return [
        Panel(
            f"{bench.height} x {bench.width}",
            "centers",
            "ms a frame",
            lines_of(by_instances, "centers"),
            x_log=True,
            y_log=True,
        ),
        Panel(
            f"{bench.instances} instances",
            "megapixels",
            "ms a frame",
            lines_of(by_pixels, "megapixels"),
            x_log=True,
            y_log=True,
        ),
    ]


def plot_postprocess(bench: PostprocessBench, path: str | Path, *, as_json: bool = False) -> None:
    """Measure streets with 5 to 500 instances, and of 0.5 to 34 megapixels; print and draw medians.

    Args:
        bench: what does not vary, and the seconds for each variant of each street.
        path: of the PNG.
        as_json: print one JSON object, not a table.

    Raises:
        ValueError: `path` does not end in .png or its folder does not exist, or `bench` is for a GPU or asks
            for other variants.
    """
    path = Path(path)
    _check(bench, path)
    sweep = sweep_of(bench)
    with threads_of(bench):
        points = measure_all(sweep)
        line_plot(path, panels_of(bench, sweep, points))
        if as_json:
            print(
                json.dumps(circumstances(bench) | {"points": list(map(_as_dict, points.values()))}, indent=2)
            )
            return
        print_circumstances()
        _print_points(bench, list(points.values()))
        print(f"wrote {path}")


def _check(bench: PostprocessBench, path: Path) -> None:
    """Before minutes of measuring."""
    if path.suffix.lower() != ".png":
        raise ValueError(f"plot is {str(path)!r}, wanted a name that ends in .png")
    if not path.parent.is_dir():
        raise ValueError(f"plot is {str(path)!r}, but there is no folder {str(path.parent)!r}")
    if bench.device != "cpu":
        raise ValueError(f"device is {bench.device!r}, wanted 'cpu' for a plot")
    for name in ("sources", "unfused"):
        if getattr(bench, name):
            raise ValueError(f"{name} was asked for, but a plot does not have it")


def _as_dict(point: Point) -> dict[str, Any]:
    bench = point.bench
    return {
        "height": bench.height,
        "width": bench.width,
        "instances": bench.instances,
        "centers": point.centers,
        "variants": point.variants,
    }


def _print_points(bench: PostprocessBench, points: list[Point]) -> None:
    names = list(dict.fromkeys(name for point in points for name in point.medians()))
    print(f"{bench.classes} classes at stride {bench.stride}, median ms")
    print(f"{'pixels':>12} {'instances':>10} {'centers':>8}" + "".join(f"  {name:>16}" for name in names))
    for point in points:
        size = f"{point.bench.height} x {point.bench.width}"
        medians = point.medians()
        print(
            f"{size:>12} {point.bench.instances:10} {point.centers:8}"
            + "".join(f"  {f'{medians[name]:.4g}' if name in medians else '-':>16}" for name in names)
        )
