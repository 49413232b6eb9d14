"""Time of `PanopticQuality.update` for a pair of 1024 x 2048 maps: `python benchmarks/panoptic_quality.py`.

The maps are a street of blocks with some 50 true segments, and a prediction that is noisy along outlines.
"""

import argparse
import time

import numpy as np
import torch

from panodeeplab.classes import CITYSCAPES
from panodeeplab.evaluation import PanopticQuality
from panodeeplab.ops import backend, pair_counts


def street(height: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list]:
    """Prediction, target and segments of a street: bands of stuff, instances on them, void below."""
    rng = np.random.default_rng(seed)
    stuff = np.arange(10)
    bands = np.sort(rng.choice(np.arange(height // 20, height), stuff.size - 1, replace=False))
    target = np.repeat(np.searchsorted(bands, np.arange(height), "right") + 1, width).reshape(height, width)
    classes = {int(c) + 1: int(c) for c in stuff}
    for number in range(50):
        size = rng.integers(height // 64, height // 5, 2)
        y, x = rng.integers(0, [height, width])
        category = int(rng.choice(CITYSCAPES.thing_ids))
        target[y : y + size[0], x : x + size[1]] = (category + 1) * 1000 + number
        classes[(category + 1) * 1000 + number] = category
    target[-height // 12 :] = 0
    predicted_id = np.full(max(classes) + 1, -1)
    for segment_id, category in classes.items():
        instance = segment_id % 1000 + 1 if category in CITYSCAPES.thing_ids else 0
        predicted_id[segment_id] = category * 1000 + instance
    y, x = np.mgrid[:height, :width]
    jitter = rng.integers(-4, 5, (2, height, width)) + 3
    source = target[(y + jitter[0]).clip(0, height - 1), (x + jitter[1]).clip(0, width - 1)]
    segments_info = [
        {"id": i, "category_id": c, "iscrowd": 0} for i, c in classes.items() if (target == i).any()
    ]
    return predicted_id[source].astype(np.int32), target.astype(np.int32), segments_info


def milliseconds(call, repeats: int) -> tuple[float, float]:
    """Median and 99th percentile of the wall time of a call."""
    times = []
    for _ in range(repeats + 3):
        start = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - start))
    return float(np.median(times[3:])), float(np.percentile(times[3:], 99))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, nargs=2, default=(1024, 2048), metavar=("H", "W"))
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    prediction, target, segments_info = street(*arguments.size)
    quality = PanopticQuality(CITYSCAPES)
    first, second = torch.from_numpy(target), torch.from_numpy(prediction)
    pairs, _ = pair_counts(first, second)
    print(
        f"{arguments.size[0]} x {arguments.size[1]}, {len(segments_info)} true segments, "
        f"{len(pairs)} pairs of ids, {arguments.threads} thread(s), backend {backend()}"
    )
    for name, call in (
        ("pair_counts", lambda: pair_counts(first, second)),
        ("PanopticQuality.update", lambda: quality.update(prediction, target, segments_info)),
    ):
        median, p99 = milliseconds(call, arguments.repeats)
        print(f"{name:24} p50 {median:7.3f} ms   p99 {p99:7.3f} ms")


if __name__ == "__main__":
    main()
