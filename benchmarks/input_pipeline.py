"""What a training sample costs: samples a second a core, stage by stage, from files and from the cache.

    python benchmarks/input_pipeline.py --root cityscapes
    python benchmarks/input_pipeline.py --root cityscapes --opencv

Stages are the processor time of one core: the median over samples of the least of three tries, so that a busy
machine shows little. The last lines are a whole loader, with the time of all its processes.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np
import torch

from panodeeplab import config as configuration
from panodeeplab.data import png
from panodeeplab.data.cache import write_cache
from panodeeplab.data.cityscapes import CityscapesDataset, label_path, read_instance_ids
from panodeeplab.data.datasets import build_dataset
from panodeeplab.data.image import read_image
from panodeeplab.data.loader import collate, training_loader
from panodeeplab.data.sample import PanopticDataset
from panodeeplab.data.training_set import TrainingSet
from panodeeplab.training.batches import training_samples


def cost(function: Callable, arguments: Iterable, tries: int = 3) -> float:
    """Seconds of processor time of a call: the median over the arguments of the least of several tries."""
    times = []
    for argument in arguments:
        best = float("inf")
        for _ in range(tries):
            started = time.process_time()
            function(argument)
            best = min(best, time.process_time() - started)
        times.append(best)
    return float(np.median(times))


def print_row(name: str, seconds: float) -> None:
    print(f"{name:38s} {1e3 * seconds:8.1f} ms {1 / seconds:10.1f} /s")


def stages(samples: TrainingSet, files: CityscapesDataset, count: int) -> None:
    """Each stage on its own, then a sample from end to end."""
    paths = files.images[:12]
    print_row("  image", cost(read_image, paths))
    print_row("  label", cost(lambda path: read_instance_ids(label_path(files.root, path)), paths))
    print_row("read (both, ids, segments)", cost(samples.dataset.__getitem__, range(min(12, len(files)))))
    read = [samples.dataset[i % len(files)] for i in range(min(count, 24))]
    numbered = list(enumerate(read))
    print_row("crop, scale, flip, color", cost(lambda n: samples.transform(n[1], rng(n[0])), numbered))
    augmented = [samples.transform(sample, rng(n)) for n, sample in numbered]
    print_row("targets", cost(samples.make_targets, augmented))


def rng(n: int) -> np.random.Generator:
    return np.random.default_rng(n)


def end_to_end(name: str, samples: TrainingSet, count: int) -> None:
    print_row(f"{name}: sample", cost(samples.__getitem__, range(count)))
    made = [samples[n] for n in range(4)]
    print_row(f"{name}: batch of 4, each", cost(collate, [made] * 5) / 4)


def processor_time() -> float:
    """Seconds of this process and of its children that have ended."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    usages = [resource.getrusage(kind) for kind in kinds]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def whole_loader(name: str, samples: TrainingSet, workers: int, batches: int) -> None:
    started, before = time.perf_counter(), processor_time()
    loader = training_loader(samples, batch_size=4, iterations=batches, workers=workers)
    for batch in loader:
        batch.to("cpu")
    del loader
    wall, cpu = time.perf_counter() - started, processor_time() - before
    rate, per_core = 4 * batches / wall, 4 * batches / cpu
    print(f"{name}, {workers} workers: {rate:6.1f} samples/s, {per_core:6.1f} a core")


def run(root: Path, cache: Path, args: argparse.Namespace) -> None:
    base = configuration.load(args.config, [f"data.root={root}", *args.set])
    files = build_dataset(base.data, "train")
    started = time.perf_counter()
    written = write_cache(files, cache, "train")
    print(
        f"cache: {written.samples} samples, {written.length / written.samples / 1e6:.1f} MB each, "
        f"{written.samples / (time.perf_counter() - started):.1f} /s to write"
    )
    cached = base.data.model_copy(update={"cache": cache})
    datasets: dict[str, PanopticDataset] = {"files": files, "cache": build_dataset(cached, "train")}
    for jitter in (0.0, 0.3):
        config = configuration.override(base, [f"augmentation.color_jitter={jitter}"])
        print(f"\ncolor_jitter {jitter}")
        for name, dataset in datasets.items():
            samples = training_samples(config, dataset)
            if name == "files":
                stages(samples, files, args.count)
            end_to_end(name, samples, args.count)
            whole_loader(name, samples, args.workers, args.count // 4)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True, help="Cityscapes, or data in its layout")
    parser.add_argument(
        "--config", type=Path, default=Path("configs/cityscapes_detectron2_resnet52.yaml"), help="of the run"
    )
    parser.add_argument("--count", type=int, default=48, help="samples (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="of the whole loader (default: %(default)s)")
    parser.add_argument("--opencv", action="store_true", help="decode with OpenCV alone")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    args = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    if args.opencv:
        png.backend = lambda: "reference"
    with tempfile.TemporaryDirectory() as folder:
        run(args.root, Path(folder), args)


if __name__ == "__main__":
    main()
