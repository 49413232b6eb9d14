"""Times post-processing: network outputs at output stride → panoptic map.

    python benchmarks/postprocess.py [--height 1024 --width 2048 --classes 19 --instances 50] [--unfused]
    python benchmarks/postprocess.py --device cuda

Compares the op in use, the project's reference, a careful version in plain PyTorch, Detectron2's way
(with --unfused: it takes seconds) and, as a lower bound, a copy that moves as many bytes as the op must.
On a GPU: the op in replays of a CUDA graph and called from Python, at batch 1 and 8, beside the copy and the
reference.
"""

import argparse
import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from postprocess_cuda import rows_of
from street_outputs import street_outputs
from torch import Tensor

from panodeeplab.ops import PanopticOutput, backend, panoptic_segmentation, reference


def plain_centers(center: Tensor, threshold: float, nms_kernel: int, top_k: int) -> Tensor:
    pooled = F.max_pool2d(center[None], nms_kernel, stride=1, padding=nms_kernel // 2)[0]
    peaks = (center > threshold) & (center == pooled)
    if peaks.sum() >= top_k:
        peaks &= center > center[peaks].topk(top_k).values[-1]
    return peaks.nonzero()


def careful(semantic: Tensor, center: Tensor, offset: Tensor, stride: int, things: tuple[int, ...]) -> Tensor:
    """The best of plain PyTorch: thing pixels only, distances in chunks, one count of votes, one look-up."""
    label = F.interpolate(semantic, scale_factor=stride, mode="bilinear")[0].argmax(0)
    heat = F.interpolate(center, scale_factor=stride, mode="bilinear")[0, 0]
    centers = plain_centers(heat, 0.1, 7, 200)
    classes, count = semantic.shape[1], len(centers)
    y, x = torch.isin(label, torch.tensor(things)).nonzero(as_tuple=True)
    moves = F.interpolate(offset, scale_factor=stride, mode="bilinear")[0][:, y, x] * stride
    votes = torch.stack((y, x)).float() + moves
    nearest = torch.empty(len(y), dtype=torch.int64)
    for begin in range(0, len(y), 1 << 16):
        part = votes[:, begin : begin + (1 << 16)]
        nearest[begin : begin + (1 << 16)] = (
            (part[:, :, None] - centers.T.float()[:, None]).square().sum(0).argmin(1)
        )
    ballot = torch.bincount(nearest * classes + label[y, x], minlength=count * classes).view(count, classes)
    category = ballot.argmax(1)
    ids = torch.zeros(count, dtype=torch.int32)
    counters = [0] * classes
    for k in ballot.sum(1).nonzero()[:, 0].tolist():
        counters[category[k]] += 1
        ids[k] = category[k] * 1000 + counters[category[k]]
    areas = torch.bincount(label.flatten(), minlength=classes)
    stuff = torch.where(areas >= 2048, torch.arange(classes) * 1000, -1).int()
    panoptic = stuff[label]
    panoptic[y, x] = ids[nearest]
    return panoptic


def unfused(semantic: Tensor, center: Tensor, offset: Tensor, stride: int, things: tuple[int, ...]) -> Tensor:
    """Step by step on whole maps, as Detectron2 does: every distance at once, a mask for every segment."""
    label = F.interpolate(semantic, scale_factor=stride, mode="bilinear")[0].argmax(0)
    centers = plain_centers(F.interpolate(center, scale_factor=stride, mode="bilinear")[0, 0], 0.1, 7, 200)
    moves = F.interpolate(offset, scale_factor=stride, mode="bilinear")[0] * stride
    height, width = label.shape
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    votes = (torch.stack((y, x)) + moves).flatten(1).T[None]
    instance = (centers[:, None] - votes).norm(dim=-1).argmin(0).view(height, width) + 1
    thing = torch.zeros_like(label, dtype=torch.bool)
    for index in things:
        thing[label == index] = True
    instance = instance * thing
    panoptic = torch.full_like(label, -1)
    counters = dict.fromkeys(range(semantic.shape[1]), 0)
    for index in instance.unique().tolist():
        if index == 0:
            continue
        mask = (instance == index) & thing
        category = label[mask].flatten().mode().values.item()
        counters[category] += 1
        panoptic[mask] = category * 1000 + counters[category]
    for index in label.unique().tolist():
        mask = (label == index) & (instance == 0)
        if index not in things and mask.sum() >= 2048:
            panoptic[mask] = index * 1000
    return panoptic.int()


def measure(function: Callable[[], object], seconds: float) -> list[float]:
    """Milliseconds of runs that fill `seconds`, at least three, after one to warm up."""
    function()
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - start < seconds:
        before = time.perf_counter()
        function()
        times.append((time.perf_counter() - before) * 1e3)
    return sorted(times)


def measure_in_turns(
    rows: list[tuple[str, Callable[[], object]]], seconds: float
) -> list[tuple[str, list[float]]]:
    """As `measure` for each row, but processor time, a run of each at a time: small differences show,
    whatever else the machine does. All threads count, so use one.
    """
    times: list[list[float]] = [[] for _ in rows]
    start = time.perf_counter()
    while len(times[0]) < 4 or time.perf_counter() - start < seconds * len(rows):
        for (_, function), row in zip(rows, times, strict=True):
            before = time.process_time()
            function()
            row.append((time.process_time() - before) * 1e3)
    return [(name, sorted(row[1:])) for (name, _), row in zip(rows, times, strict=True)]


def processor() -> str:
    """Name of the processor."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def print_table(rows: list[tuple[str, list[float]]]) -> None:
    """The first row is what the others are compared with."""
    first = rows[0][1]
    print(f"{'':40} {'median ms':>10} {'p90 ms':>10} {'min ms':>10} {'x median':>9} {'runs':>6}")
    for name, times in rows:
        median, p90 = times[len(times) // 2], times[int(len(times) * 0.9)]
        ratio = median / first[len(first) // 2]
        print(f"{name:40} {median:10.4g} {p90:10.4g} {times[0]:10.4g} {ratio:9.1f} {len(times):6}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--height", type=int, default=1024)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--stride", type=int, default=4)
    parser.add_argument("--classes", type=int, default=19)
    parser.add_argument("--instances", type=int, default=50)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=5.0, help="time for each row of the table")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--sources", action="store_true", help="only the sources of centers, in turns, processor time"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--unfused", action="store_true", help="also Detectron2's way, seconds a run")
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    if arguments.device == "cuda":
        for batch in (1, 8):
            words, rows = rows_of(arguments, batch)
            print(words)
            print_table(rows)
        return
    semantic, center, offset, things = street_outputs(
        arguments.height,
        arguments.width,
        arguments.stride,
        arguments.classes,
        arguments.instances,
        arguments.seed,
    )
    maps, stride = (semantic, center, offset), arguments.stride

    def op(**settings) -> PanopticOutput:
        return panoptic_segmentation(*maps, stride=stride, thing_ids=things, **settings)

    result = op()
    height, width = result.panoptic.shape[1:]

    def by_reference() -> tuple[Tensor, ...]:
        sizes = (stride, False, height, width, list(things))
        settings = (0.1, 7, 200, 2048, 1000, -1, False, "heatmap", 64, False)
        return reference.panoptic_segmentation(*maps, *sizes, *settings)

    print(f"{processor()}, {arguments.threads} threads, torch {torch.__version__}")
    print(
        f"{arguments.classes} classes at stride {stride} -> {height} x {width}, "
        f"{result.num_centers.item()} centers, {result.num_segments.item()} segments"
    )
    moved = sum(m.numel() * m.element_size() for m in maps) + result.panoptic.numel() * 4
    source, target = torch.ones(2, moved // 2, dtype=torch.uint8)

    sources = [
        (f"op ({backend()})", op),
        ("op, centers from votes", lambda: op(center_source="votes")),
        ("op, centers from votes by class", lambda: op(center_source="votes", class_aware_votes=True)),
        ("op, centers from both", lambda: op(center_source="both")),
    ]
    if arguments.sources:
        print_table(measure_in_turns(sources, arguments.seconds))
        return
    rows = [*sources, ("op, semantic_probability=True", lambda: op(semantic_probability=True))]
    rows.append(("reference", by_reference))
    rows.append(("careful PyTorch", lambda: careful(*maps, stride, things)))
    if arguments.unfused:
        rows.append(("unfused, as Detectron2", lambda: unfused(*maps, stride, things)))
    rows.append((f"copy that moves {moved / 2**20:.1f} MiB", lambda: target.copy_(source)))
    for name, function in rows[len(sources) + 1 : -1]:
        panoptic = function()
        panoptic = panoptic if isinstance(panoptic, Tensor) else panoptic[0][0]
        print(f"{name}: {(panoptic != result.panoptic[0]).sum().item()} pixels differ from the op")
    print_table([(name, measure(function, arguments.seconds)) for name, function in rows])


if __name__ == "__main__":
    main()
