"""Which settings of the training matter for PQ on small data: short runs on generated streets, one at a time.

    python benchmarks/hyper_parameters.py --iterations 600 --seeds 2 --backbone-weights mobilenet_v2.pth

Each run is configs/street_tiny.yaml on fewer and smaller streets, from ImageNet's backbone where a file of it
is given; it is evaluated once, at its end, on streets that it has not seen. The table gives the mean over
seeds and half their range: a difference below that range says nothing. Runs that are there are not repeated,
so that more seeds, or a run that was stopped, cost only what is missing.
"""

import argparse
import json
from pathlib import Path

from panodeeplab import config as configuration
from panodeeplab.training import train

# Beside the baseline, one setting at a time. The baseline's own values are those of street_tiny.
VARIANTS: dict[str, list[str]] = {
    "baseline": [],
    "hard pixels 1.0": ["loss.semantic_top_k=1.0"],
    "hard pixels 0.5": ["loss.semantic_top_k=0.5"],
    "hard pixels 0.1": ["loss.semantic_top_k=0.1"],
    "small instances x 1": ["targets.small_instance_weight=1"],
    "small instances x 5": ["targets.small_instance_weight=5"],
    "sigma x 1/2": ["targets.sigma=SIGMA*0.5"],
    "sigma x 2": ["targets.sigma=SIGMA*2"],
    "offsets x 1/3": ["loss.offset_weight=0.01"],
    "offsets x 3": ["loss.offset_weight=0.09"],
    # In the first steps a decay is less than asked for: 0.985 at the 600th.
    "EMA 0.95": ["training.ema_decay=0.95"],
    "EMA 0.98": ["training.ema_decay=0.98"],
    "backbone from scratch": ["model.backbone_weights=null"],
}
FIGURES = ("pq", "pq_things", "pq_stuff", "miou")


def settings(args: argparse.Namespace) -> list[str]:
    """What makes the runs short and small: lengths in pixels shrink with the images."""
    height, width = args.size
    scale = height / 256
    sigma = max(1, round(4 * scale))
    return [
        f"data.image_size=[{height},{width}]",
        f"data.train_count={args.images}",
        f"data.val_count={args.validation}",
        f"inference.input_size=[{height},{width}]",
        f"augmentation.crop_size=[{height},{width}]",
        f"targets.sigma={sigma}",
        f"targets.small_instance_area={round(512 * scale**2)}",
        f"postprocess.stuff_area={round(256 * scale**2)}",
        f"training.iterations={args.iterations}",
        f"training.evaluate_every={args.iterations}",
        f"training.checkpoint_every={args.iterations}",
        f"training.warmup_iterations={args.iterations // 20}",
        "training.workers=0",
        "training.device=cpu",
        *([f"model.backbone_weights={args.backbone_weights}"] if args.backbone_weights else []),
    ]


def score(folder: Path) -> dict[str, float] | None:
    """The evaluation at the end of a run; None: it has not got there."""
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    records = [json.loads(line) for line in lines]
    return next((record for record in reversed(records) if record["kind"] == "evaluation"), None)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("runs/hyper_parameters"))
    parser.add_argument("--config", type=Path, default=Path("configs/street_tiny.yaml"))
    parser.add_argument("--backbone-weights", type=Path, help="ImageNet's MobileNetV2, a .pth of torchvision")
    parser.add_argument("--size", type=int, nargs=2, default=(128, 256), metavar=("H", "W"))
    parser.add_argument("--images", type=int, default=200, help="streets to train on (default: %(default)s)")
    parser.add_argument("--validation", type=int, default=40, help="unseen ones (default: %(default)s)")
    parser.add_argument("--iterations", type=int, default=600, help="of each run (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=2, help="runs of each setting (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    args = parser.parse_args()
    base = settings(args)
    sigma = configuration.load(args.config, base).targets.sigma
    print(f"{args.iterations} iterations, {args.images} streets of {args.size[0]} x {args.size[1]}")
    print(f"{'setting':20s}" + "".join(f"{name:>18s}" for name in FIGURES))
    for name in args.only:
        changes = [
            f"targets.sigma={max(1, round(sigma * float(text.split('*')[1])))}" if "SIGMA" in text else text
            for text in VARIANTS[name]
        ]
        scores = []
        for seed in range(args.seeds):
            config = configuration.load(args.config, [*base, *changes, f"training.seed={seed}"])
            folder = args.output / f"{name.replace(' ', '_').replace('/', '-')}_{seed}"
            if score(folder) is None:
                train(config, output=folder, resume="auto")
            scores.append(score(folder))
        cells = []
        for figure in FIGURES:
            values = [result[figure] for result in scores]
            cells.append(f"{sum(values) / len(values):10.1f} ± {(max(values) - min(values)) / 2:4.1f}")
        print(f"{name:20s}" + "".join(f"{cell:>18s}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
