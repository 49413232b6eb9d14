"""What the options of training cost and save: memory of a step of a recipe, and time of a step here.

    python benchmarks/training_options.py --steps 5

Memory is worked out from the shapes of what autograd keeps, for `--recipe` at batch `--batch`. Time is processor
time of steps of `--timed`, options taken in turns: the median, and its ratio to none.
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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", default="cityscapes_detectron2_resnet52")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--timed", default="street_tiny")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="time torch.compile too; takes minutes")
    args = parser.parse_args()

    print(f"memory of a step, GB: {args.recipe}, batch {args.batch}")
    print(f"{'':28} {'weights':>8} {'optimizer':>9} {'average':>8} {'network':>8} {'losses':>7} {'total':>7}")
    base = [f"training.batch_size={args.batch}", "data.root=."]
    for name, settings in OPTIONS.items():
        if name == "compile":
            continue
        overrides = base + [f"training.{setting}" for setting in settings]
        config = configuration.load(ROOT / f"configs/{args.recipe}.yaml", overrides)
        images = config.training.micro_batch_size or args.batch
        memory = step_memory(config, num_classes=19, images=images)
        sizes = (memory.weights, memory.optimizer, memory.average, memory.network, memory.losses)
        columns = zip(sizes, (8, 9, 8, 8, 7), strict=True)
        row = " ".join(f"{size / 1e9:{width}.2f}" for size, width in columns)
        print(f"{name:28} {row} {memory.total / 1e9:7.2f}")

    steps = {}
    for name, settings in OPTIONS.items():
        if name != "compile" or args.compile:
            overrides = ["training.device=cpu", *(f"training.{setting}" for setting in settings)]
            config = configuration.load(ROOT / f"configs/{args.timed}.yaml", overrides)
            steps[name] = make_step(config)
    steps["not channels_last"] = make_step(
        configuration.load(ROOT / f"configs/{args.timed}.yaml"), channels_last=False
    )
    batch = make_batch(config.training.batch_size, config.augmentation.crop_size)
    times = {name: [] for name in steps}
    for iteration in range(args.steps + 1):
        for name, step in steps.items():
            started = time.process_time()
            step(batch, iteration)
            # The first step allocates, and compiles.
            if iteration > 0:
                times[name].append(time.process_time() - started)
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(f"\nprocessor time of a step: {args.timed}, {args.steps} steps, {torch.get_num_threads()} threads")
    for name, median in medians.items():
        print(f"{name:28} {median:7.2f} s   x {median / medians['none']:.2f}")


if __name__ == "__main__":
    main()
