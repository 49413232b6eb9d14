"""Speed and memory of scoring 1024 x 2048 pairs: `python benchmarks/scoring.py`.

In memory, 1000 pairs: panoptic quality alone, and with mIoU, iIoU and AP. As files, decoding included:
`score` beside hotcoco, in turns, where it is installed. The maps are those of benchmarks/panoptic_quality.py.
"""

import argparse
import contextlib
import io
import json
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from panoptic_quality import street

from panodeeplab.classes import CITYSCAPES
from panodeeplab.data.coco_writer import PanopticWriter, coco_categories, write_panoptic_png
from panodeeplab.evaluation import InstanceAP, PanopticQuality, SemanticIoU, score
from panodeeplab.evaluation.semantic import CITYSCAPES_INSTANCE_SIZES, IGNORE_LABEL


def in_memory(pairs: list, count: int, *, everything: bool) -> None:
    """Score `count` pairs, going round, and say how fast and how much memory it took."""
    quality, ap = PanopticQuality(CITYSCAPES), InstanceAP(CITYSCAPES)
    semantic = SemanticIoU(CITYSCAPES, instance_sizes=CITYSCAPES_INSTANCE_SIZES)
    peak = 0
    start, processor = time.perf_counter(), time.process_time()
    for number in range(count):
        prediction, target, segments_info, scores, class_map = pairs[number % len(pairs)]
        quality.update(prediction, target, segments_info)
        if everything:
            semantic.update_segments(class_map, target, segments_info)
            ap.update(prediction, target, segments_info, scores)
        if number == count // 10:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, processor = time.perf_counter() - start, time.process_time() - processor
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) / 1024
    print(
        f"  {'PQ, mIoU, iIoU, AP' if everything else 'PQ':20} {count / wall:7.1f} pairs/s   "
        f"{1000 * wall / count:6.2f} ms, {1000 * processor / count:6.2f} ms of processor; "
        f"peak memory grew by {grown:.1f} MiB after the first tenth"
    )


def write_files(folder: Path, pairs: list) -> tuple[Path, Path]:
    """The pairs in COCO panoptic format: paths of the JSON files."""
    annotations = []
    (folder / "gt").mkdir()
    with PanopticWriter(folder, CITYSCAPES, name="pred") as writer:
        for number, (prediction, target, segments_info, *_) in enumerate(pairs):
            writer.add(prediction, image_id=number, image_file=f"{number}.png")
            write_panoptic_png(folder / "gt" / f"{number}.png", target)
            segments = [
                s
                | {
                    "category_id": CITYSCAPES.label_ids[s["category_id"]],
                    "area": int((target == s["id"]).sum()),
                }
                for s in segments_info
            ]
            annotations.append({"image_id": number, "file_name": f"{number}.png", "segments_info": segments})
    images = json.loads((folder / "pred.json").read_text())["images"]
    content = {"images": images, "annotations": annotations, "categories": coco_categories(CITYSCAPES)}
    (folder / "gt.json").write_text(json.dumps(content))
    return folder / "gt.json", folder / "pred.json"


def as_files(pairs: list, rounds: int) -> None:
    """`score` and hotcoco in turns."""
    with tempfile.TemporaryDirectory() as folder:
        truth, results = write_files(Path(folder), pairs)

        def ours():
            with contextlib.redirect_stderr(io.StringIO()):
                score(truth, results)

        calls = {"score": ours}
        try:
            from hotcoco.panoptic import PanopticEval
        except ModuleNotFoundError:
            print("  hotcoco is not installed", file=sys.stderr)
        else:
            calls["hotcoco"] = lambda: PanopticEval(str(truth), str(results)).evaluate()
        times: dict[str, list] = {name: [] for name in calls}
        for _ in range(rounds + 1):
            for name, call in calls.items():
                start, processor = time.perf_counter(), time.process_time()
                call()
                times[name].append((time.perf_counter() - start, time.process_time() - processor))
        for name, values in times.items():
            wall, processor = (
                1000 * statistics.median(v) / len(pairs) for v in zip(*values[1:], strict=True)
            )
            print(f"  {name:20} {wall:6.2f} ms a pair, {processor:6.2f} ms of processor")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, nargs=2, default=(1024, 2048), metavar=("H", "W"))
    parser.add_argument("--count", type=int, default=1000, help="pairs in memory (default: %(default)s)")
    parser.add_argument("--distinct", type=int, default=20, help="different pairs (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="over the files (default: %(default)s)")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    pairs = []
    for seed in range(arguments.distinct):
        prediction, target, segments_info = street(*arguments.size, seed)
        scores = {i: float(rng.random()) for i in np.unique(prediction).tolist()}
        class_map = np.where(prediction < 0, np.int32(IGNORE_LABEL), prediction // np.int32(1000))
        pairs.append((prediction, target, segments_info, scores, class_map))
    print(f"{arguments.size[0]} x {arguments.size[1]}, torch with {torch.get_num_threads()} thread(s)")
    print(f"in memory, {arguments.count} pairs")
    for everything in (False, True):
        in_memory(pairs, arguments.count, everything=everything)
    print(f"as files, {len(pairs)} pairs, median of {arguments.rounds} rounds")
    as_files(pairs, arguments.rounds)


if __name__ == "__main__":
    main()
