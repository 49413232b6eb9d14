"""Panoptic video: from a source to a file, a window or a browser."""

import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from tqdm import tqdm

from panodeeplab.inference.tracking import Tracker
from panodeeplab.postprocess import PanopticResult
from panodeeplab.stream.frame import Frame
from panodeeplab.stream.meter import Meter
from panodeeplab.stream.outputs import Output
from panodeeplab.stream.pipeline import Pipeline, StageError
from panodeeplab.stream.sources import Source
from panodeeplab.visualize import draw_caption

Policy = Literal["every", "newest"]

_REPORTED_FAILURES = 10
_QUEUE = 2


@dataclass(frozen=True)
class StreamSummary:
    """What became of the frames of a stream.

    Attributes:
        source: as it was given.
        policy: "every" or "newest".
        frames_in: that could be decoded.
        processed: that came to the outputs.
        dropped: that newer ones took the place of.
        failed: that could not be decoded, and lost connections.
        interrupted: whether a signal or the window ended it.
        seconds: from the first to the last.
        fps: processed frames per second.
        latency_ms: p50 and p99 from a decoded frame to its picture at the outputs, waiting included.
        stages_ms: p50 and p99 of each stage by itself. "predict" holds "preprocess", "network" and
            "postprocess".
    """

    source: str
    policy: str
    frames_in: int
    processed: int
    dropped: int
    failed: int
    interrupted: bool
    seconds: float
    fps: float
    latency_ms: dict[str, float]
    stages_ms: dict[str, dict[str, float]]

    def as_json(self) -> dict:
        """Its fields for JSON, which knows no NaN: null stands for it."""

        def plain(value):
            if isinstance(value, dict):
                return {key: plain(inner) for key, inner in value.items()}
            return None if isinstance(value, float) and math.isnan(value) else value

        return plain(asdict(self))

    def table(self) -> str:
        lines = [
            f"{self.source}: {self.frames_in} frames in, {self.processed} processed, {self.dropped} dropped, "
            f"{self.failed} failed{', interrupted' if self.interrupted else ''}",
            f"{self.fps:.1f} frames per second in {self.seconds:.1f} s; policy {self.policy}",
            f"{'':<16}{'p50 ms':>9}{'p99 ms':>9}",
        ]
        rows = [*self.stages_ms.items(), ("latency", self.latency_ms)]
        lines += [f"{name:<16}{times['p50']:>9.1f}{times['p99']:>9.1f}" for name, times in rows]
        return "\n".join(lines)


def check_options(policy: Policy | None, alpha: float, limit: int | None) -> None:
    """The checks of `run_stream`, for who wants to know before a model is loaded.

    Raises:
        ValueError: an argument is out of range.
    """
    if policy not in (None, "every", "newest"):
        raise ValueError(f"policy must be 'every' or 'newest', got {policy!r}")
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1 frame, got {limit}")
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f"alpha must lie in 0..1, got {alpha}")


def run_stream(
    source: Source,
    predictor: Callable[[np.ndarray], PanopticResult],
    outputs: Sequence[Output],
    *,
    policy: Policy | None = None,
    tracker: Tracker | None = None,
    labels: bool = True,
    alpha: float = 0.5,
    limit: int | None = None,
) -> StreamSummary:
    """Segment, track and draw the frames of a source while the next ones are decoded.

    Decoding, prediction, tracking and drawing each have a thread, the outputs the caller's; memory does not
    grow with the length of the stream. Ctrl-C and SIGTERM end it as the end of the source would: what is on
    its way is finished, and the outputs are closed. Progress and broken frames go to standard error.

    Args:
        source: see `open_source`.
        predictor: such as `Predictor`; called from one thread.
        outputs: take the pictures, one after another, and are closed at the end whatever happens.
        policy: "every" frame is processed, or only the "newest", so that the picture never lags; by default
            "newest" for what is live.
        tracker: keeps instance ids steady; None leaves them as they are in each frame.
        labels: whether names, and with a tracker instance numbers, are written.
        alpha: weight of the colors, 0..1.
        limit: end after so many frames of the source.

    Returns:
        What became of the frames.

    Raises:
        StageError: a stage or an output failed; what was written until then can be played.
        ValueError: an argument is out of range.
    """
    check_options(policy, alpha, limit)
    policy = policy or ("newest" if source.live else "every")
    meter = Meter()
    failed = 0

    def report(text: str) -> None:
        nonlocal failed
        failed += 1
        if failed <= _REPORTED_FAILURES:
            progress.write(f"panodeeplab: {text}", file=sys.stderr)
        if failed == _REPORTED_FAILURES:
            progress.write("panodeeplab: further failures are only counted", file=sys.stderr)

    def frames() -> Iterator[Frame]:
        for count, frame in enumerate(source.frames(report), start=1):
            yield frame
            if count == limit:
                return

    def predict(frame: Frame) -> Frame:
        frame.result = predictor(frame.image)
        for name, time_ms in frame.result.timings_ms.items():
            meter.stage(name, time_ms)
        return frame

    def track(frame: Frame) -> Frame:
        frame.result = tracker.update(frame.result)
        return frame

    def draw(frame: Frame) -> Frame:
        frame.picture = frame.result.overlay(alpha=alpha, labels=labels, ids=tracker is not None)
        draw_caption(frame.picture, meter.live())
        frame.image = frame.result = None  # not needed any more, and they are large
        return frame

    stages = [("predict", predict), ("draw", draw)]
    if tracker is not None:
        stages.insert(1, ("track", track))
    newest = policy == "newest"
    length = source.length if limit is None or source.length is None else min(source.length, limit)
    start = time.perf_counter()
    with ExitStack() as cleanup:
        for output in outputs:
            cleanup.callback(output.close)
        progress = cleanup.enter_context(tqdm(total=length or limit, unit="frame"))
        pipeline = Pipeline(
            frames(), stages, capacity=1 if newest else _QUEUE, newest=newest, on_time=meter.stage
        )

        def stop() -> None:
            pipeline.stop()
            source.stopped.set()

        cleanup.callback(source.stopped.set)  # before the threads are waited for
        cleanup.enter_context(pipeline)
        interrupted = cleanup.enter_context(_signals(stop))
        for frame in pipeline:
            begun = time.perf_counter()
            try:
                # All of them see it, even when one wants no more.
                wanted = [output.show(frame.picture, frame.time_s) for output in outputs]
            except Exception as error:
                raise StageError.of("output", error) from error
            if not all(wanted):
                interrupted.append(0)
                stop()
            now = time.perf_counter()
            meter.stage("output", 1000.0 * (now - begun))
            meter.frame(1000.0 * (now - frame.decoded_at))
            progress.set_postfix_str(_live(meter, pipeline.dropped, failed), refresh=False)
            progress.update()
    return StreamSummary(
        source=source.name,
        policy=policy,
        frames_in=pipeline.emitted,
        processed=meter.count,
        dropped=pipeline.dropped,
        failed=failed,
        interrupted=bool(interrupted),
        seconds=time.perf_counter() - start,
        fps=meter.fps(),
        latency_ms=meter.latency_ms(),
        stages_ms=meter.stages_ms(),
    )


def _live(meter: Meter, dropped: int, failed: int) -> str:
    parts = [meter.live(), f"{dropped} dropped" if dropped else "", f"{failed} failed" if failed else ""]
    return ", ".join(part for part in parts if part)


@contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[list[int]]:
    """Calls `stop` at the first Ctrl-C or SIGTERM, and lets the second through; gives those that came."""
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def handle(number: int, frame: object) -> None:
        came.append(number)
        restore()
        stop()

    for number in numbers:
        signal.signal(number, handle)
    try:
        yield came
    finally:
        restore()
