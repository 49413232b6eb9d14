"""How fast generated streets are rendered on one core.

    python benchmarks/scenes.py [--size 256 512] [--count 100]

Prints images per second and the time of one image in ms, by the clock and by the processor's time, which a
busy machine disturbs less.
"""

import argparse
import time

import cv2
import numpy as np

from panodeeplab.data.scenes import StreetScenes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, nargs=2, default=(256, 512), metavar=("H", "W"))
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    scenes = StreetScenes(arguments.count, size=tuple(arguments.size), seed=arguments.seed)
    start = time.perf_counter()
    for index in range(len(scenes)):  # fills the texture banks, once a process
        scenes[index]
    first = time.perf_counter() - start
    wall, used = np.empty(len(scenes)), np.empty(len(scenes))
    for index in range(len(scenes)):
        clock, processor = time.perf_counter(), time.process_time()
        scenes[index]
        wall[index], used[index] = time.perf_counter() - clock, time.process_time() - processor
    height, width = arguments.size
    print(f"{len(scenes)} scenes of {height} x {width}, one core; the first round took {first:.1f} s")
    print(f"by the clock      {1 / wall.mean():6.1f} images/s, {1e3 * np.median(wall):6.1f} ms median")
    print(f"by processor time {1 / used.mean():6.1f} images/s, {1e3 * np.median(used):6.1f} ms median")


if __name__ == "__main__":
    main()
