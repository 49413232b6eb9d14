"""What a call costs beside the kernel: `panoptic_segmentation` on a tiny input, layer by layer.

    python benchmarks/overhead.py [--grid 8 --classes 19 --calls 4000]

Rows add up from the inside: the compiled function on addresses and finished outputs; the same with outputs
allocated and addresses taken; the dispatched op; the public function with its checks. Rounds of all rows
alternate, so that a busy machine disturbs all alike.
"""

import argparse
import time
from collections.abc import Callable
from types import ModuleType

import torch

from panodeeplab.bench.timing import processor
from panodeeplab.ops import _cpu, backend, panoptic_segmentation

ROUND = 20


def microseconds(function: Callable[[], object]) -> float:
    """Mean of a short round."""
    start = time.perf_counter()
    for _ in range(ROUND):
        function()
    return (time.perf_counter() - start) / ROUND * 1e6


def record(call: Callable[[], tuple]) -> tuple[Callable, tuple, tuple]:
    """The compiled function that `call` uses, what it hands over, and what it returns."""
    module, seen = _cpu.COMPILED, []
    recorder = ModuleType(module.__name__)
    recorder.panoptic_segmentation = lambda *given: seen.append(given) or module.panoptic_segmentation(*given)
    _cpu.COMPILED = recorder
    try:
        result = call()
    finally:
        _cpu.COMPILED = module
    return module.panoptic_segmentation, seen[0], result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--grid", type=int, default=8, help="side of the maps")
    parser.add_argument("--classes", type=int, default=19)
    parser.add_argument("--calls", type=int, default=4000)
    arguments = parser.parse_args()
    if backend() != "compiled":
        raise SystemExit("nothing to measure: the compiled module is not in use")

    torch.set_num_threads(1)
    side = arguments.grid
    generator = torch.Generator().manual_seed(0)
    maps = [
        torch.randn(1, channels, side, side, generator=generator) for channels in (arguments.classes, 1, 2)
    ]
    things = tuple(range(arguments.classes // 2, arguments.classes))
    given = (4, False, side * 4, side * 4, list(things), 0.1, 7, 200, 2048, 1000, -1, False)
    given += ("heatmap", 64, False)
    in_python = _cpu.panoptic_segmentation
    compiled, addresses, outputs = record(lambda: in_python(*maps, *given))
    rows = {
        "bare compiled function": lambda: compiled(*addresses),
        "with allocation": lambda: in_python(*maps, *given),
        "torch.ops call": lambda: torch.ops.panodeeplab.panoptic_segmentation(*maps, *given),
        "public function": lambda: panoptic_segmentation(*maps, stride=4, thing_ids=things),
    }
    assert outputs[0].shape[1:] == (side * 4, side * 4)  # and they live on, which the bare function needs
    times: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(max(3, arguments.calls // ROUND)):
        for name, function in rows.items():
            times[name].append(microseconds(function))
    print(f"{processor()}, 1 thread, torch {torch.__version__}, grid {side} x {side}")
    print(f"{'':26} {'median µs':>10} {'min µs':>10} {'over bare (min)':>16}")
    bare = min(times["bare compiled function"])
    for name, values in times.items():
        median, least = sorted(values)[len(values) // 2], min(values)
        print(f"{name:26} {median:10.1f} {least:10.1f} {least - bare:16.1f}")


if __name__ == "__main__":
    main()
