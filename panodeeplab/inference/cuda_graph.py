"""CUDA graphs: all that the GPU does for images of one shape, recorded once and launched as one.

Without, the CPU launches each of some hundred kernels by itself, which for a small network takes longer than
what they compute. A graph reads and writes the memory that it was recorded with: images are copied in, and
results are copied out before the next run.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TypeVar

import torch
from torch import Tensor

# Runs before the recording, in which libraries choose their algorithms and set memory aside.
_WARM_UP = 3
# Keys that are remembered without having a graph.
_REMEMBERED = 256

Made = TypeVar("Made")
Finished = TypeVar("Finished")


def record(function: Callable[[], Made], device: torch.device) -> tuple[Callable[[], None], Made]:
    """Record what a function has the GPU do.

    Args:
        function: waits for nothing, and copies nothing between CPU and GPU.
        device: a CUDA device.

    Returns:
        What runs it again, on the current stream, and what it made, whose tensors are written by every run.

    Raises:
        ValueError: the function cannot be recorded.
    """
    with torch.cuda.device(device):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                function()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        try:
            # What is forbidden during a recording is forbidden to this thread only.
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                made = function()
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"cuda_graph must be False for this model, which cannot be recorded: {reason}"
            ) from error
    return graph.replay, made


class GraphedRuns:
    """Runs a function of images, by a graph where the shape is one that comes again.

    A graph is recorded when its key comes for the second time. When there are `capacity` graphs, the one that
    was used longest ago makes room, but only if none of the last `patience` calls used it: recording takes as
    long as several runs, and where shapes keep changing, the function is run without. A graph keeps the
    memory of one run for as long as it lives.

    Several threads may call at once; they run one after the other.

    Args:
        device: a CUDA device.
        capacity: the most graphs that are kept.
        patience: see above.
        recorder: makes the graphs; see `record`.
    """

    def __init__(
        self,
        device: torch.device,
        *,
        capacity: int = 4,
        patience: int = 100,
        recorder: Callable = record,
    ) -> None:
        self._device = device
        self._capacity = capacity
        self._patience = patience
        self._recorder = recorder
        self._lock = threading.Lock()
        self._calls = 0
        # By the order of use, the longest ago first.
        self._graphs: OrderedDict[Hashable, _Graph] = OrderedDict()
        self._seen: OrderedDict[Hashable, None] = OrderedDict()

    def __len__(self) -> int:
        """How many graphs there are."""
        return len(self._graphs)

    def __call__(
        self,
        function: Callable[[Tensor], Made],
        images: Tensor,
        *,
        key: Hashable,
        finish: Callable[[Made], Finished],
    ) -> Finished:
        """`finish(function(images))`, by a graph if there is one.

        Args:
            function: see `record`; takes images on the device.
            images: on any device.
            key: of all that the function depends on but the values of the images; their shape and dtype are
                added to it.
            finish: copies what it wants to keep. It has ended before the next run begins.
        """
        key = (images.shape, images.dtype, key)
        with self._lock:
            self._calls += 1
            graph = self._graphs.get(key)
            if graph is None and self._deserves_graph(key):
                graph = _Graph(function, images, self._device, self._recorder)
                self._graphs[key] = graph
            if graph is None:
                return finish(function(images.to(self._device)))
            self._graphs.move_to_end(key)
            graph.last_call = self._calls
            return finish(graph.run(images))

    def _deserves_graph(self, key: Hashable) -> bool:
        """Whether a graph is to be recorded; makes room for it."""
        if key not in self._seen:
            self._seen[key] = None
            if len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
            return False
        if len(self._graphs) == self._capacity:
            oldest = next(iter(self._graphs.values()))
            if self._calls - oldest.last_call <= self._patience:
                return False
            self._graphs.popitem(last=False)
        return True


class _Graph:
    """One recording with the memory that its images are copied to."""

    def __init__(
        self, function: Callable[[Tensor], Made], images: Tensor, device: torch.device, recorder: Callable
    ) -> None:
        self._images = torch.empty_like(images, device=device, memory_format=torch.contiguous_format)
        self._images.copy_(images)
        self._replay, self._made = recorder(lambda: function(self._images), device)
        self.last_call = 0

    def run(self, images: Tensor) -> Made:
        self._images.copy_(images)
        self._replay()
        return self._made
