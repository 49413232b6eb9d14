"""The part of benchmarks/postprocess.py for a GPU: CUDA events around replays of a captured graph."""

import argparse
from collections.abc import Callable

import torch
from street_outputs import street_outputs
from torch import Tensor

from panodeeplab.ops import PanopticOutput, backend, panoptic_segmentation, reference

REPLAYS = 20  # between two events, so that reading the clock does not count


def captured(function: Callable[[], object]) -> tuple[torch.cuda.CUDAGraph, object]:
    """A graph of the function's kernels, and its result, which every replay writes anew."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            function()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = function()
    return graph, result


def measure_on_gpu(function: Callable[[], object], seconds: float, repeats: int = 1) -> list[float]:
    """Milliseconds a call, `repeats` calls at a time, sorted."""
    function()
    torch.cuda.synchronize()
    times: list[float] = []
    while len(times) < 5 or sum(times) * repeats < seconds * 1e3:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(repeats):
            function()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / repeats)
    return sorted(times)


def batch_of(arguments: argparse.Namespace, batch: int) -> tuple[list[Tensor], tuple[int, ...]]:
    """Different images, so that a batch is no larger part in the cache than in use."""
    images = []
    for n in range(batch):
        *maps, things = street_outputs(
            arguments.height,
            arguments.width,
            arguments.stride,
            arguments.classes,
            arguments.instances,
            arguments.seed + n,
        )
        images.append(maps)
    return [torch.cat(m).cuda() for m in zip(*images, strict=True)], things


def rows_of(arguments: argparse.Namespace, batch: int) -> tuple[str, list[tuple[str, list[float]]]]:
    """What is measured, in words, and (name, milliseconds a call) for each variant; the copy comes first."""
    maps, things = batch_of(arguments, batch)
    seconds, stride = arguments.seconds, arguments.stride

    def op(maps: list[Tensor] = maps, **more: bool) -> PanopticOutput:
        return panoptic_segmentation(*maps, stride=stride, thing_ids=things, **more)

    result = op()
    on_cpu = op([m[:1].cpu() for m in maps])
    for name, ours, theirs in zip(result._fields, result, on_cpu, strict=True):
        if not torch.equal(ours[:1].cpu(), theirs):
            raise SystemExit(f"{name} differs between the GPU and the CPU ({backend()})")
    height, width = result.panoptic.shape[1:]

    moved = sum(m.numel() * m.element_size() for m in maps) + result.panoptic.numel() * 4
    source, target = torch.ones(2, moved // 2, dtype=torch.uint8, device="cuda")
    halves = [m.half() for m in maps]
    last = [m.contiguous(memory_format=torch.channels_last) for m in maps]
    variants: dict[str, Callable[[], object]] = {
        f"copy that moves {moved / 2**20:.1f} MiB": lambda: target.copy_(source),
        f"op ({backend('cuda')})": op,
        "op, semantic_probability=True": lambda: op(semantic_probability=True),
        "op, float16": lambda: op(halves),
        "op, channels-last": lambda: op(last),
    }
    rows = []
    for name, function in variants.items():
        graph, _ = captured(function)
        rows.append((f"{name}, graph", measure_on_gpu(graph.replay, seconds, REPLAYS)))
    rows.append(("op, called from Python", measure_on_gpu(op, seconds)))
    if batch == 1:
        given = (
            stride,
            False,
            height,
            width,
            list(things),
            0.1,
            7,
            200,
            2048,
            1000,
            -1,
            False,
            "heatmap",
            64,
            False,
        )
        rows.append(
            (
                "reference",
                measure_on_gpu(lambda: reference.panoptic_segmentation(*maps, *given), seconds),
            )
        )
    words = (
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}, batch {batch}: "
        f"{arguments.classes} classes at stride {stride} -> {height} x {width}, "
        f"{result.num_centers.tolist()} centers; milliseconds a call; "
        "the first image equals the CPU's result in every output"
    )
    return words, rows
