"""Instance ids over generated videos with known objects: with the tracker, and frame by frame.

python benchmarks/tracking.py [--clips 6 --frames 40 --size 256 512 --rate 10]

"oracle" gives the tracker the true segments, numbered anew in each frame by where they are; "model" what the
bundled model sees. The last table is the time of the tracker at 1024 x 2048, on one thread.
"""

import argparse
import statistics
import time
from dataclasses import replace

import numpy as np
import torch
from tqdm import tqdm

from panodeeplab.bench.street_outputs import street_outputs
from panodeeplab.bench.timing import processor
from panodeeplab.classes import CITYSCAPES
from panodeeplab.data.sample import Sample
from panodeeplab.data.scenes import render_clip
from panodeeplab.evaluation.tracking_quality import TrackingQuality
from panodeeplab.inference.predictor import Predictor
from panodeeplab.inference.tracking import Tracker
from panodeeplab.ops import backend, panoptic_segmentation
from panodeeplab.postprocess import PanopticResult, PanopticSegment

DIVISOR = 1000


def result_of(panoptic: np.ndarray) -> PanopticResult:
    """A map as a result: boxes and areas of its ids."""
    segments = []
    for segment_id in np.unique(panoptic[panoptic >= 0]).tolist():
        mask = panoptic == segment_id
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
        category = segment_id // DIVISOR
        is_thing = category in CITYSCAPES.thing_ids and segment_id % DIVISOR > 0
        segments.append(
            PanopticSegment(
                segment_id, category, CITYSCAPES.names[category], is_thing, 1.0, int(mask.sum()), box, None
            )
        )
    return PanopticResult(panoptic, tuple(segments), CITYSCAPES, DIVISOR)


def oracle(sample: Sample) -> PanopticResult:
    """The truth of a frame with things numbered from left to right, as they lie in this frame alone."""
    panoptic = np.full(sample.panoptic.shape, -1, np.int32)
    found = []
    for info in sample.segments_info:
        mask = sample.panoptic == info["id"]
        if info["category_id"] in CITYSCAPES.thing_ids and not info["iscrowd"]:
            found.append((int(np.flatnonzero(mask.any(0))[0]), info["category_id"], mask))
        elif not info["iscrowd"]:
            panoptic[mask] = info["category_id"] * DIVISOR
    numbers = dict.fromkeys(CITYSCAPES.thing_ids, 0)
    for _, category, mask in sorted(found, key=lambda entry: entry[0]):
        numbers[category] += 1
        panoptic[mask] = category * DIVISOR + numbers[category]
    return result_of(panoptic)


def time_tracker(frames: int = 60) -> str:
    torch.set_num_threads(1)
    maps, results = street_outputs(1024, 2048, 4, 19, 50, seed=0), []
    panoptic = panoptic_segmentation(*maps[:3], stride=4, thing_ids=maps[3]).panoptic[0].numpy()
    for shift in range(4):
        results.append(result_of(np.ascontiguousarray(np.roll(panoptic, 6 * shift, axis=1))))
    tracker, wall_ms, processor_ms = Tracker(), [], []
    for index in range(frames):
        result = results[(0, 1, 2, 3, 2, 1)[index % 6]]
        result = replace(result, panoptic=result.panoptic.copy())
        start, processor_start = time.perf_counter(), time.thread_time()
        tracker.update(result)
        wall_ms.append(1000 * (time.perf_counter() - start))
        processor_ms.append(1000 * (time.thread_time() - processor_start))
    things = sum(segment.is_thing for segment in results[0].segments)
    return (
        f"1024 x 2048, {things} things: median {statistics.median(wall_ms):.2f} ms a frame, least "
        f"{min(wall_ms):.2f} ms; processor time {statistics.median(processor_ms):.2f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=6)
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--size", type=int, nargs=2, default=(256, 512), metavar=("H", "W"))
    parser.add_argument("--rate", type=float, default=10.0, help="frames per second (default: %(default)s)")
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--oracle-only", action="store_true")
    arguments = parser.parse_args()

    sources = {"oracle": oracle}
    if not arguments.oracle_only:
        predictor = Predictor.from_checkpoint("street-tiny")
        sources["model"] = lambda sample: predictor(sample.image)
    rows = {(name, how): TrackingQuality(CITYSCAPES) for name in sources for how in ("none", "tracker")}
    for seed in tqdm(range(arguments.first_seed, arguments.first_seed + arguments.clips), unit="clip"):
        trackers = {name: Tracker() for name in sources}
        clip = render_clip(seed, arguments.frames, tuple(arguments.size), frames_per_second=arguments.rate)
        for sample in clip:
            for name, segment in sources.items():
                result = segment(sample)
                for how in ("none", "tracker"):
                    if how == "tracker":
                        result = trackers[name].update(result)
                    rows[name, how].add(sample.panoptic, sample.segments_info, result.panoptic)
        for quality in rows.values():
            quality.next_video()

    print(
        f"{arguments.clips} generated clips of {arguments.frames} frames at {arguments.rate:g} FPS, ", end=""
    )
    print(f"{arguments.size[0]} x {arguments.size[1]}, seeds from {arguments.first_seed}")
    print("| segments | tracker | STQ | association | segmentation | switches | matches | objects |")
    print("|---|---|---|---|---|---|---|---|")
    for (name, how), quality in rows.items():
        s = quality.scores()
        print(
            f"| {name} | {how} | {100 * s.stq:.1f} | {100 * s.association:.1f} | {100 * s.segmentation:.1f} "
            f"| {s.switches} | {s.matches} | {s.objects} |"
        )
    print(f"\n{processor()}, 1 thread, {backend()} counts: {time_tracker()}")


if __name__ == "__main__":
    main()
