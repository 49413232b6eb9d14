"""Where the time of a step goes."""

from collections.abc import Callable
from pathlib import Path
from typing import Self

import torch
from torch.profiler import ProfilerActivity, profile, schedule

TRACE = "trace.json.gz"
# The first steps allocate memory and choose algorithms.
_WARMUP = 2
# The regions that the loop marks, in the order of a step.
REGIONS = ("data", "hard pixels", "forward", "loss", "backward", "optimizer", "communication")


class StepProfile:
    """Profiles some steps of a run, then writes a trace and says where the time went.

    Args:
        steps: to profile, after two that are not counted; 0: does nothing.
        output: folder that `trace.json.gz` is written to, for chrome://tracing or Perfetto; None: a process
            that takes part, but writes nothing.
        device: of the run.
        say: is given the table.
    """

    def __init__(
        self, steps: int, output: Path | None, device: torch.device, say: Callable[[str], None]
    ) -> None:
        self._steps, self._output, self._device, self._say = steps, output, device, say
        self._profile = None
        if steps > 0:
            activities = [ProfilerActivity.CPU]
            if device.type == "cuda":
                activities.append(ProfilerActivity.CUDA)
            self._profile = profile(
                activities=activities,
                schedule=schedule(wait=0, warmup=_WARMUP, active=steps, repeat=1),
                on_trace_ready=self._finish,
            )

    def __enter__(self) -> Self:
        if self._profile is not None:
            self._profile.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._profile is not None:
            self._profile.stop()

    def step(self) -> None:
        """A step is over."""
        if self._profile is not None:
            self._profile.step()

    def _finish(self, finished: profile) -> None:
        if self._output is None:
            return
        finished.export_chrome_trace(str(self._output / TRACE))
        self._say(f"{self._table(finished)}\nwrote {self._output / TRACE}")

    def _table(self, finished: profile) -> str:
        averages = {event.key: event for event in finished.key_averages()}
        steps = max(1, sum(e.count for key, e in averages.items() if key.startswith("ProfilerStep")))
        whole = sum(e.cpu_time_total for key, e in averages.items() if key.startswith("ProfilerStep")) or 1.0
        gpu = self._device.type == "cuda"
        lines = [f"{'ms a step':24} {'time':>8} {'share':>6}" + (f" {'on GPU':>8}" if gpu else "")]

        def line(name: str, time_us: float, gpu_us: float) -> None:
            text = f"{name:24} {time_us / steps / 1e3:8.1f} {time_us / whole:6.0%}"
            lines.append(text + (f" {gpu_us / steps / 1e3:8.1f}" if gpu else ""))

        rest = whole
        for region in REGIONS:
            if region in averages:
                event = averages[region]
                rest -= event.cpu_time_total
                line(region, event.cpu_time_total, event.device_time_total if gpu else 0)
        line("other", rest, 0)
        exchanged = [e for key, e in averages.items() if key.startswith(("gloo:", "nccl:"))]
        if exchanged:
            times = sum(e.device_time_total if gpu else e.cpu_time_total for e in exchanged)
            line("exchange, meanwhile", times, times)
        line("step", whole, 0)
        return "\n".join(lines)
