"""Commands that make a model: training, and importing a published one."""

import argparse
import os
import sys
from pathlib import Path

from panodeeplab.cli._common import OVERRIDE, Command


def _train(args: argparse.Namespace) -> int:
    from panodeeplab import config as configuration
    from panodeeplab.training import RunStopped, train

    if args.profile < 0:
        raise ValueError(f"--profile must be at least 0, got {args.profile}")
    config = configuration.load(args.config, args.set)
    if args.plan:
        from panodeeplab.training.plan import plan

        print(*plan(config), sep="\n")
        return 0
    output = args.output or Path("runs") / args.config.stem
    try:
        last = train(config, output=output, resume=args.resume, profile=args.profile)
    except RunStopped as stop:
        print(f"panodeeplab: {stop}", file=sys.stderr)
        return stop.exit_status
    # Of the processes that torchrun starts, one speaks.
    if os.environ.get("RANK", "0") == "0":
        print(f"wrote {last} and {last.with_name('best.safetensors')}")
    return 0


def _import_checkpoint(args: argparse.Namespace) -> int:
    import yaml

    from panodeeplab.data.class_table import read_class_table
    from panodeeplab.files import replacing
    from panodeeplab.model import import_checkpoint, save_checkpoint

    run = args.output.with_suffix(".yaml")
    if args.output.suffix != ".safetensors":
        raise ValueError(f"output must end in .safetensors, got {args.output}")
    if run.exists():
        raise ValueError(f"output: {run} exists, and the run to fine-tune with would be written there")
    window = tuple(args.pooling_window) if args.pooling_window else None
    classes = read_class_table(args.classes).classes if args.classes else None
    loaded = import_checkpoint(args.source, pooling_window=window, classes=classes)
    config = loaded.config.model
    args.output.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(args.output, loaded.model, config=loaded.config, classes=loaded.classes, iteration=0)
    # A run that goes on from this checkpoint.
    tree = loaded.config.model_dump(mode="json")
    tree["training"]["init_checkpoint"] = str(args.output)
    with replacing(run) as temporary:
        temporary.write_text(yaml.safe_dump(tree, sort_keys=False))
    parameters = sum(parameter.numel() for parameter in loaded.model.parameters())
    print(
        f"{config.backbone}, output stride {config.output_stride}, {len(loaded.classes)} classes "
        f"({loaded.classes.name}), {parameters / 1e6:.1f} M parameters"
    )
    print(f"wrote {args.output}, and {run} to fine-tune it with")
    data = loaded.config.data
    if data is None:
        what = f"fill in the data section of {run}: docs/data.md has one for each format"
    else:
        where = "data.root" if data.dataset == "cityscapes" else "data.train and data.val"
        what = f"set {where} in {run} to where your {data.dataset} is"
    print(f"before you train or evaluate, {what}")
    return 0


def add_commands(command: Command) -> None:
    sub = command("train", _train, "Train a model.")
    sub.add_argument("--config", type=Path, required=True, help="YAML file of the run")
    sub.add_argument("--output", type=Path, help="folder of the run (default: runs/NAME of the config)")
    sub.add_argument("--set", **OVERRIDE)
    sub.add_argument(
        "--resume",
        nargs="?",
        const="yes",
        default="no",
        choices=["yes", "no", "auto"],
        help="go on with the run in --output; auto: if there is one",
    )
    sub.add_argument(
        "--plan", action="store_true", help="say what the run would be, its memory too, and start nothing"
    )
    sub.add_argument(
        "--profile",
        type=int,
        default=0,
        metavar="N",
        help="profile N steps: a trace in --output, and a table of where the time goes",
    )

    sub = command(
        "import-checkpoint",
        _import_checkpoint,
        "Make a checkpoint of Detectron2's or bowenc0221's Panoptic-DeepLab one of this project.",
    )
    sub.add_argument("source", type=Path, help="file ending in .pkl, .pth or .safetensors")
    sub.add_argument(
        "output", type=Path, help="file ending in .safetensors; a run to fine-tune it is written beside it"
    )
    sub.add_argument(
        "--pooling-window",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        help="of a Detectron2 model: its crop in training, in pixels (default: as published)",
    )
    sub.add_argument(
        "--classes",
        type=Path,
        metavar="YAML",
        help="table of the model's classes, in its order (default: Cityscapes for 19, COCO for 133)",
    )
