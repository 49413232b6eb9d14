"""The part of `bench_postprocess` for a GPU: CUDA events around replays of a captured graph."""

from functools import partial

import torch
from torch import Tensor

from panodeeplab.bench.postprocess import SOURCES, PostprocessBench, same_bytes, settings_of_reference
from panodeeplab.bench.street_outputs import TOP_K
from panodeeplab.bench.timing import Function, Row
from panodeeplab.ops import PanopticOutput, backend, panoptic_segmentation, reference

REPLAYS = 20  # between two events, so that reading the clock does not count


def captured(function: Function) -> tuple[torch.cuda.CUDAGraph, object]:
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


def measure_on_gpu(name: str, function: Function, seconds: float, repeats: int = 1) -> Row:
    """Milliseconds a call, `repeats` calls at a time."""
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
    return Row(name, sorted(times))


def batch_of(bench: PostprocessBench, batch: int) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """Different images, so that a batch is no larger part in the cache than in use."""
    images, things = zip(*(bench.street(bench.seed + n) for n in range(batch)), strict=True)
    return tuple(torch.cat(maps).cuda() for maps in zip(*images, strict=True)), things[0]


def table_of_batch(bench: PostprocessBench, batch: int) -> tuple[str, list[Row], tuple[str, ...]]:
    """What is measured, in words, the variants, and what they are compared with.

    Raises:
        ValueError: the result is not the CPU's in every bit.
    """
    maps, things = batch_of(bench, batch)

    def op(maps: tuple[Tensor, ...] = maps, **options: bool | str) -> PanopticOutput:
        return panoptic_segmentation(*maps, stride=bench.stride, thing_ids=things, top_k=TOP_K, **options)

    first = tuple(m[:1].cpu() for m in maps)
    for options in ({}, *SOURCES.values()):
        result, on_cpu = op(**options), op(first, **options)
        for name, ours, theirs in zip(result._fields, result, on_cpu, strict=True):
            if not torch.equal(ours[:1].cpu(), theirs):
                raise ValueError(f"{name} differs between the GPU and the CPU ({backend()}) with {options}")

    result, default = op(), f"op ({backend('cuda')}), graph"
    source, target = same_bytes(maps, result.panoptic)
    halves = tuple(m.half() for m in maps)
    last = tuple(m.contiguous(memory_format=torch.channels_last) for m in maps)
    of_sources: dict[str, Function] = {default: op}
    of_sources |= {f"{name}, graph": partial(op, **options) for name, options in SOURCES.items()}
    replayed: dict[str, Function] = {
        "copy": lambda: target.copy_(source),
        **of_sources,
        "op, semantic_probability=True, graph": lambda: op(semantic_probability=True),
        "op, float16, graph": lambda: op(halves),
        "op, channels-last, graph": lambda: op(last),
    }
    rows = []
    for name, function in (of_sources if bench.sources else replayed).items():
        graph, _ = captured(function)
        rows.append(measure_on_gpu(name, graph.replay, bench.seconds, REPLAYS))
    words = (
        f"{torch.cuda.get_device_name()}, batch {batch}: "
        f"{bench.classes} classes at stride {bench.stride} -> {bench.height} x {bench.width}, "
        f"{result.num_centers.tolist()} centers; milliseconds a call; "
        "with each source of centers the first image equals the CPU's result in every output"
    )
    if bench.sources:
        return words, rows, (default,)
    rows.append(measure_on_gpu("op, called from Python", op, bench.seconds))
    if batch == 1:
        given = settings_of_reference(bench, things)
        rows.append(
            measure_on_gpu("reference", lambda: reference.panoptic_segmentation(*maps, *given), bench.seconds)
        )
    return words, rows, ("copy",)
