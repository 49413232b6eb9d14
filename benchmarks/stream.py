"""Streams: throughput beside the slowest stage, and memory over an hour's frames.

python benchmarks/stream.py stages    synthetic stages that wait: pipeline against the slowest of them
python benchmarks/stream.py model     a video and the bundled model: each stage alone, then the pipeline
python benchmarks/stream.py memory    36,000 frames, an hour at ten a second, with a predictor that is none

Waiting stands for work that needs no processor time, such as a GPU's. On a CPU the stages share the cores, so
the pipeline can only reach the slowest stage's own rate where the others leave it its cores: "model" prints
both bounds, that of the slowest stage and that of the processor time of all stages, and what was reached.
"""

import argparse
import os
import tempfile
import time
from collections import deque
from dataclasses import replace
from itertools import chain, islice, repeat
from pathlib import Path

import numpy as np
import torch

from panodeeplab.bench.timing import processor
from panodeeplab.classes import CITYSCAPES
from panodeeplab.inference.demo import CLIP
from panodeeplab.inference.predictor import Predictor
from panodeeplab.inference.tracking import Tracker
from panodeeplab.postprocess import PanopticResult, PanopticSegment
from panodeeplab.stream import Pipeline, Source, VideoFile, open_source, run_stream
from panodeeplab.stream.frame import Frame


def synthetic(count: int = 300) -> None:
    def wait(milliseconds):
        def stage(item):
            time.sleep(milliseconds / 1000)
            return item

        return stage

    def source(milliseconds):
        return map(wait(milliseconds), range(count))

    for name, times_ms in (
        ("one slow stage", (3, 12, 2, 4)),
        ("equal stages", (10, 10, 10, 10)),
        ("the last is slow", (2, 3, 4, 12)),
    ):
        slowest = wait(max(times_ms))
        start = time.perf_counter()
        for number in range(count // 4):
            slowest(number)
        alone = (count // 4) / (time.perf_counter() - start)
        stages = [(f"stage {n}", wait(ms)) for n, ms in enumerate(times_ms[1:-1])]
        last = wait(times_ms[-1])
        start = time.perf_counter()
        with Pipeline(source(times_ms[0]), stages) as pipeline:
            for number in pipeline:
                last(number)
        rate = count / (time.perf_counter() - start)
        print(f"{name:<18} {times_ms} ms: {rate:.1f} of {alone:.1f} a second, {100 * rate / alone:.1f} %")


class Nowhere:
    """An output that takes pictures and forgets them."""

    def show(self, picture: np.ndarray, time_s: float) -> bool:
        return True

    def close(self) -> None:
        pass


def repeated(path: Path, count: int) -> Source:
    """A video again and again, so that filling and emptying the pipeline are not what is measured."""
    once = open_source(path)

    def frames(failed):
        rounds = chain.from_iterable(open_source(again).frames(failed) for again in repeat(path))
        for index, frame in enumerate(islice(rounds, count)):
            yield replace(frame, index=index, time_s=index / once.rate)

    return replace(once, frames=frames, length=count)


def with_model(path: Path, count: int, threads: int, output: bool) -> None:
    torch.set_num_threads(threads)
    predictor = Predictor.from_checkpoint("street-tiny")
    images = [frame.image for frame in repeated(path, count).frames(print)]
    results = [predictor(image) for image in images]
    with tempfile.TemporaryDirectory() as folder:
        video = VideoFile(Path(folder) / "alone.mp4", rate=25) if output else Nowhere()
        tracker = Tracker()
        stages = {
            "decode": lambda: deque(repeated(path, count).frames(print), maxlen=0),
            "predict": lambda: [predictor(image) for image in images],
            "track": lambda: [tracker.update(result) for result in results],
            "draw": lambda: [result.overlay(ids=True) for result in results],
            "output": lambda: [video.show(image, n / 25) for n, image in enumerate(images)],
        }
        alone, busy = {}, {}
        for name, stage in stages.items():
            start, processor_start = time.perf_counter(), time.process_time()
            stage()
            alone[name] = count / (time.perf_counter() - start)
            busy[name] = (time.process_time() - processor_start) / count
        video.close()
        outputs = [VideoFile(Path(folder) / "stream.mp4", rate=25)] if output else [Nowhere()]
        processor_start = time.process_time()
        summary = run_stream(repeated(path, count), predictor, outputs, tracker=Tracker())
        processor_s = time.process_time() - processor_start
    slowest = min(alone, key=alone.get)
    print(summary.table())
    for name, rate in alone.items():
        print(f"alone {name:<10} {rate:8.1f} FPS, {1000 * busy[name]:7.1f} ms of processor time a frame")
    # Stages that only waited would reach the slowest one's own rate; as they share the cores, all their work
    # has to fit into them as well. The lower of the two is what can be reached.
    shared = os.cpu_count() / sum(busy.values())
    bound = min(alone[slowest], shared)
    print(
        f"{processor()}, {os.cpu_count()} cores, torch {threads} threads\n"
        f"bound by the slowest stage, {slowest}: {alone[slowest]:8.1f} FPS\n"
        f"bound by processor time of all:  {shared:8.1f} FPS\n"
        f"pipeline:                        {summary.fps:8.1f} FPS, {100 * summary.fps / bound:.0f} % of the "
        f"lower bound, {100 * summary.fps / alone[slowest]:.0f} % of {slowest} alone\n"
        f"one stage after another:         {1 / sum(1 / rate for rate in alone.values()):8.1f} FPS\n"
        f"cores used by the pipeline:      {processor_s / summary.seconds:8.2f}; "
        f"{1000 * processor_s / summary.processed:.1f} ms of processor time a frame, "
        f"{1000 * sum(busy.values()):.1f} ms with each stage alone"
    )


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def memory(count: int, size: tuple[int, int]) -> None:
    """Things that move over the picture, drawn, labelled, tracked, encoded and written."""
    height, width = size
    base = np.zeros((height, width, 3), np.uint8)
    base[:] = np.linspace(0, 255, width, dtype=np.uint8)[None, :, None]

    def frames(failed):
        for index in range(count):
            yield Frame(index, index / 10, np.roll(base, index, axis=1), time.perf_counter())

    seen = 0

    def predict(image: np.ndarray) -> PanopticResult:
        nonlocal seen
        panoptic, segments = np.zeros((height, width), np.int32), []
        side = height // 6
        for n in range(6):
            x = (seen * (n + 1) * 2) % (width - side)
            box = (n * side, x, n * side + side - 2, x + side)
            panoptic[box[0] : box[2], box[1] : box[3]] = 13001 + n
            segments.append(PanopticSegment(13001 + n, 13, "car", True, (seen % 97) / 97, side, box, None))
        seen += 1
        return PanopticResult(panoptic, tuple(segments), CITYSCAPES, 1000, image, {"network": 1.0})

    class Watch(Nowhere):
        def __init__(self) -> None:
            self.count = 0

        def show(self, picture: np.ndarray, time_s: float) -> bool:
            self.count += 1
            if self.count in (100, 1000) or self.count % (count // 6) == 0:
                print(f"after {self.count:>6} frames: {resident_mib():.1f} MiB resident", flush=True)
            return True

    with tempfile.TemporaryDirectory() as folder:
        source = Source("synthetic", False, 10.0, count, size, frames)
        outputs = [VideoFile(Path(folder) / "hour.mp4", rate=10), Watch()]
        print(run_stream(source, predict, outputs, tracker=Tracker()).table())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["stages", "model", "memory"])
    parser.add_argument("--video", type=Path, default=CLIP, help="for model (default: the bundled clip)")
    parser.add_argument("--frames", type=int, help="(default: 100 for model, 36000 for memory)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch, for model")
    parser.add_argument("--no-output", action="store_true", help="for model: draw, but encode nothing")
    parser.add_argument("--size", type=int, nargs=2, default=(96, 160), metavar=("H", "W"), help="for memory")
    arguments = parser.parse_args()
    if arguments.what == "stages":
        synthetic()
    elif arguments.what == "model":
        with_model(arguments.video, arguments.frames or 100, arguments.threads, not arguments.no_output)
    else:
        memory(arguments.frames or 36_000, tuple(arguments.size))


if __name__ == "__main__":
    main()
