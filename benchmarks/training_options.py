"""What the options of training cost and save: memory of a step of a recipe, and time of a step here.

    python benchmarks/training_options.py
    python benchmarks/training_options.py --compile --crop 128x256 --steps 3

Memory is worked out from the shapes of all tensors of a step, for `--recipe` at batch `--batch`. Time is that
of steps of `--timed` on the CPU, each option once in every round: the median over the rounds of its ratio to
a step of the same round without options.
"""

import argparse
import statistics
import time
from pathlib import Path

import torch

from panodeeplab import config as configuration
from panodeeplab.data.loader import Batch
from panodeeplab.model import PanopticDeepLab
from panodeeplab.targets import PanopticTargets
from panodeeplab.training.memory import step_memory
from panodeeplab.training.recompute import checkpoint_activations
from panodeeplab.training.step import TrainingStep

ROOT = Path(__file__).resolve().parent.parent
OPTIONS = {
    "none": [],
    "precision: bfloat16": ["precision=bfloat16"],
    "precision: float16": ["precision=float16"],
    "activation_checkpointing": ["activation_checkpointing=true"],
    "bfloat16 and checkpointing": ["precision=bfloat16", "activation_checkpointing=true"],
    "micro_batch_size: 1": ["micro_batch_size=1"],
    "ema_decay: 0.999": ["ema_decay=0.999"],
    "max_gradient_norm: 1": ["max_gradient_norm=1"],
    "compile": ["compile=true"],
}


def make_batch(images: int, size: tuple[int, int]) -> Batch:
    shape = (images, *size)
    targets = PanopticTargets(
        sem_seg=torch.randint(0, 19, shape),
        center=torch.rand(shape),
        offset=torch.rand(images, 2, *size),
        sem_seg_weights=torch.ones(shape),
        center_weights=torch.ones(images, 1, *size),
        offset_weights=torch.ones(images, 1, *size),
        center_points=torch.empty(images, 0, 2),
    )
    return Batch(torch.randint(0, 256, (images, 3, *size), dtype=torch.uint8), targets)


def make_step(config: configuration.RunConfig, *, channels_last: bool = True) -> TrainingStep:
    model = PanopticDeepLab(config.model, num_classes=19)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    if config.training.activation_checkpointing:
        checkpoint_activations(model.backbone)
    step = TrainingStep(model, torch.optim.Adam(model.parameters()), config, torch.device("cpu"))
    step.train_mode()
    return step


def print_memory(recipe: str, batch: int) -> None:
    print(f"memory of a step, GB: {recipe}, batch {batch}")
    print(f"{'':28} {'weights':>8} {'optimizer':>9} {'average':>8} {'network':>8} {'rest':>7} {'all':>7}")
    for name, settings in OPTIONS.items():
        if name == "compile":
            # It chooses what to keep by itself.
            continue
        overrides = [f"training.batch_size={batch}", "data.root=."]
        overrides += [f"training.{setting}" for setting in settings]
        config = configuration.load(ROOT / f"configs/{recipe}.yaml", overrides)
        memory = step_memory(config, num_classes=19, images=batch)
        sizes = (memory.weights, memory.optimizer, memory.average, memory.network, memory.rest, memory.total)
        columns = zip(sizes, (8, 9, 8, 8, 7, 7), strict=True)
        print(f"{name:28} " + " ".join(f"{size / 1e9:{width}.2f}" for size, width in columns), flush=True)


def make_steps(timed: str, base: list[str], *, compiled: bool) -> dict[str, TrainingStep]:
    steps = {}
    for name, settings in OPTIONS.items():
        if name == "compile" and not compiled:
            continue
        overrides = base + [f"training.{setting}" for setting in settings]
        steps[name] = make_step(configuration.load(ROOT / f"configs/{timed}.yaml", overrides))
    plain = configuration.load(ROOT / f"configs/{timed}.yaml", base)
    return steps | {"not channels_last": make_step(plain, channels_last=False)}


def print_times(steps: dict[str, TrainingStep], batch: Batch, count: int) -> None:
    clocks = (time.process_time, time.perf_counter)
    times = {name: [] for name in steps}
    for number in range(count + 1):
        for name, step in steps.items():
            started = [clock() for clock in clocks]
            step(batch, number)
            # The first step allocates, and compiles.
            if number > 0:
                times[name].append([clock() - start for clock, start in zip(clocks, started, strict=True)])
    print(f"{'':28} {'processor time':>22} {'time':>8}")
    for name, values in times.items():
        ratios = [
            statistics.median(
                own[clock] / none[clock] for own, none in zip(values, times["none"], strict=True)
            )
            for clock in range(2)
        ]
        seconds = statistics.median(processor for processor, _ in values)
        print(f"{name:28} {seconds:10.2f} s   x {ratios[0]:6.2f} x {ratios[1]:6.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", default="cityscapes_detectron2_resnet52", help="(default: %(default)s)")
    parser.add_argument("--batch", type=int, default=2, help="of the recipe (default: %(default)s)")
    parser.add_argument("--timed", default="street_tiny", help="(default: %(default)s)")
    parser.add_argument("--crop", help="HxW of the timed steps; by default the configuration's")
    parser.add_argument("--steps", type=int, default=5, help="rounds (default: %(default)s)")
    parser.add_argument("--compile", action="store_true", help="time torch.compile too; takes minutes")
    args = parser.parse_args()

    print_memory(args.recipe, args.batch)
    base = ["training.device=cpu"]
    if args.crop:
        base.append(f"augmentation.crop_size=[{args.crop.replace('x', ',')}]")
    config = configuration.load(ROOT / f"configs/{args.timed}.yaml", base)
    images, size = config.training.batch_size, config.augmentation.crop_size
    print(
        f"\na step on the CPU: {args.timed}, batch {images} of {size[0]} x {size[1]}, "
        f"{args.steps} rounds, {torch.get_num_threads()} threads"
    )
    steps = make_steps(args.timed, base, compiled=args.compile)
    print_times(steps, make_batch(images, size), args.steps)


if __name__ == "__main__":
    main()
