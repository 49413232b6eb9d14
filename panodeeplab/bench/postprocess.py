"""Times post-processing: network outputs at output stride → panoptic map.

On a CPU the op in use, with each source of centers, stands beside the project's reference, a careful version
in plain PyTorch, Detectron2's way (if asked for: it takes seconds) and, as a lower bound, a copy that moves
as many bytes as the op must. On a GPU, replays of a CUDA graph and calls from Python, at batch 1 and 8, stand
beside the copy and the reference.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from panodeeplab.bench.alternatives import careful, unfused
from panodeeplab.bench.street_outputs import TOP_K, street_outputs
from panodeeplab.bench.timing import Function, Row, figures, measure, measure_in_turns, print_table, processor
from panodeeplab.ops import PanopticOutput, backend, panoptic_segmentation, reference


@dataclass(frozen=True)
class PostprocessBench:
    """What is measured.

    Attributes:
        height, width: of the image, in pixels, multiples of `stride`.
        stride: of the network outputs.
        classes, instances: in the street; `instances` overlap, so fewer may be seen.
        threads: of the CPU; None: as many as torch has.
        seconds: for each variant, about.
        seed: of the street.
        device: "cpu" or "cuda".
        sources: only the sources of centers; on a CPU in turns, in processor time.
        unfused: Detectron2's way as well.
    """

    height: int = 1024
    width: int = 2048
    stride: int = 4
    classes: int = 19
    instances: int = 50
    threads: int | None = None
    seconds: float = 5.0
    seed: int = 0
    device: Literal["cpu", "cuda"] = "cpu"
    sources: bool = False
    unfused: bool = False

    def __post_init__(self) -> None:
        for name in ("height", "width", "stride", "classes", "instances", "threads"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, wanted at least 1")
        for name in ("height", "width"):
            if getattr(self, name) % self.stride or getattr(self, name) < 16 * self.stride:
                raise ValueError(
                    f"{name} is {getattr(self, name)}, wanted a multiple of the stride, {self.stride}, "
                    f"of at least {16 * self.stride}"
                )
        if self.classes < 2:
            raise ValueError(f"classes is {self.classes}, wanted at least 2: a thing and a stuff class")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device is 'cuda', but torch sees no CUDA device")

    def street(self, seed: int) -> tuple[tuple[Tensor, Tensor, Tensor], tuple[int, ...]]:
        """Network outputs, and the thing classes."""
        *maps, things = street_outputs(
            self.height, self.width, self.stride, self.classes, self.instances, seed
        )
        return tuple(maps), things


# Beside the default, the heatmap.
SOURCES: dict[str, dict[str, Any]] = {
    "op, centers from votes": {"center_source": "votes"},
    "op, centers from votes by class": {"center_source": "votes", "class_aware_votes": True},
    "op, centers from both": {"center_source": "both"},
}


def settings_of_reference(bench: PostprocessBench, things: tuple[int, ...]) -> tuple[Any, ...]:
    """The op's defaults with TOP_K, as the reference takes them, after the maps."""
    sizes = (bench.stride, False, bench.height, bench.width, list(things))
    return (*sizes, 0.1, 7, TOP_K, 2048, 1000, -1, False, "heatmap", 64, False)


@contextmanager
def threads_of(bench: PostprocessBench) -> Iterator[None]:
    """Gives torch, and so the op, as many threads as `bench` says."""
    before = torch.get_num_threads()
    torch.set_num_threads(bench.threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def circumstances(bench: PostprocessBench) -> dict[str, Any]:
    """What figures depend on, for JSON; to be called under `threads_of`."""
    return {
        "processor": processor(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "settings": asdict(bench),
    }


def print_circumstances() -> None:
    """The same in a line, but for the settings."""
    print(f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}")


def bench_postprocess(bench: PostprocessBench, *, as_json: bool = False) -> None:
    """Measure, and print a table for each batch, or one JSON object."""
    with threads_of(bench):
        tables = _on_gpu(bench) if bench.device == "cuda" else [_on_cpu(bench)]
        if as_json:
            listed = [
                {"what": words, "rows": figures(rows, compared_with)} for words, rows, compared_with in tables
            ]
            print(json.dumps(circumstances(bench) | {"tables": listed}, indent=2))
            return
        print_circumstances()
        for words, rows, compared_with in tables:
            print(words)
            print_table(rows, compared_with)


Table = tuple[str, list[Row], tuple[str, ...]]


def _on_cpu(bench: PostprocessBench) -> Table:
    maps, things = bench.street(bench.seed)

    def op(**options) -> PanopticOutput:
        return panoptic_segmentation(*maps, stride=bench.stride, thing_ids=things, top_k=TOP_K, **options)

    result = op()
    words = (
        f"{bench.classes} classes at stride {bench.stride} -> {bench.height} x {bench.width}, "
        f"{result.num_centers.item()} centers, {result.num_segments.item()} segments"
    )
    variants: dict[str, Function] = {
        f"op ({backend()})": op,
        **{name: partial(op, **options) for name, options in SOURCES.items()},
    }
    if bench.sources:
        return words, measure_in_turns(variants, bench.seconds), (f"op ({backend()})",)
    given = settings_of_reference(bench, things)
    plain: dict[str, Function] = {
        "reference": lambda: reference.panoptic_segmentation(*maps, *given)[0][0],
        "careful PyTorch": lambda: careful(*maps, bench.stride, things),
    }
    if bench.unfused:
        plain["unfused, as Detectron2"] = lambda: unfused(*maps, bench.stride, things)
    for name, function in plain.items():
        words += f"\n{name}: {(function() != result.panoptic[0]).sum().item()} pixels differ from the op"

    source, target = same_bytes(maps, result.panoptic)
    variants["op, semantic_probability=True"] = lambda: op(semantic_probability=True)
    variants |= plain
    variants["copy"] = lambda: target.copy_(source)
    rows = [measure(name, function, bench.seconds) for name, function in variants.items()]
    words += f"\nthe copy moves {(source.nbytes + target.nbytes) / 2**20:.1f} MiB, as the op must"
    return words, rows, ("reference", "careful PyTorch", "copy")


def same_bytes(maps: tuple[Tensor, ...], panoptic: Tensor) -> tuple[Tensor, Tensor]:
    """Source and target of a copy that reads and writes as many bytes as the maps and the result have."""
    moved = sum(m.nbytes for m in maps) + panoptic.nbytes
    source, target = torch.ones(2, moved // 2, dtype=torch.uint8, device=panoptic.device)
    return source, target


def _on_gpu(bench: PostprocessBench) -> list[Table]:
    from panodeeplab.bench.postprocess_cuda import table_of_batch

    return [table_of_batch(bench, batch) for batch in (1, 8)]
