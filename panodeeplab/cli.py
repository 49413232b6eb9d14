"""The command `panodeeplab`: a subcommand for each thing that users do. Heavy imports wait."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path


def _scenes(args: argparse.Namespace) -> int:
    from panodeeplab.data.scenes import write_cityscapes

    write_cityscapes(args.output, args.count, size=tuple(args.size), seed=args.seed, split=args.split)
    print(f"wrote {args.count} streets to {args.output}")
    return 0


def _clip(args: argparse.Namespace) -> int:
    from panodeeplab.data.scenes import render_clip
    from panodeeplab.inference.demo import write_clip

    frames = render_clip(args.seed, args.frames, tuple(args.size))
    write_clip(args.output, (sample.image for sample in frames))
    print(f"wrote {args.frames} frames to {args.output}")
    return 0


def _check_data(args: argparse.Namespace) -> int:
    from panodeeplab import config as configuration
    from panodeeplab.data import check
    from panodeeplab.data.cityscapes import OFFICIAL_IDS, CityscapesDataset, read_instance_id_table
    from panodeeplab.data.coco_dataset import CocoPanopticDataset

    kind = {".json": "JSON", ".yaml": "run", ".yml": "run"}.get(args.path.suffix, "folder")
    for name, wanted in (("images", "JSON"), ("pngs", "JSON"), ("split", "folder"), ("classes", "folder")):
        if getattr(args, name) is not None and kind != wanted:
            raise ValueError(f"--{name} goes with a {wanted}, got the {kind} {args.path}")
    if kind == "JSON":
        if args.images is None:
            raise ValueError(f"give the folder of the pictures of {args.path} with --images")
        report = check.check_coco_panoptic(args.images, args.path, args.pngs)

        def datasets():
            yield f"{args.path.stem}_", CocoPanopticDataset(args.images, args.path, args.pngs)

    elif kind == "run":
        config = configuration.load(args.path)
        report = check.check_run(config, str(args.path))

        def datasets():
            for split in report.splits:
                yield f"{split}_", check.dataset_of_run(config, split)

    else:
        ids = read_instance_id_table(args.classes) if args.classes else OFFICIAL_IDS
        report = check.check_cityscapes(args.path, args.split, ids)

        def datasets():
            for split in report.splits:
                yield f"{split}_", CityscapesDataset(args.path, split, ids)

    print(check.format_report(report))
    if args.preview:
        written = []
        try:
            for prefix, dataset in datasets():
                written += check.write_previews(dataset, args.preview, prefix=prefix)
        except ValueError as error:
            print(f"no further pictures: {error}")
        print(f"wrote {check.number(len(written), 'picture')} to {args.preview}")
    return 1 if report.errors else 0


def _convert_masks(args: argparse.Namespace) -> int:
    from panodeeplab.data.convert import convert_masks

    path = convert_masks(
        args.images, args.semantic, args.instances, args.classes, args.output, name=args.name
    )
    print(f"wrote {path} and {path.with_suffix('')}")
    return 0


def _convert_coco(args: argparse.Namespace) -> int:
    from panodeeplab.data.convert import convert_coco_instances

    path = convert_coco_instances(args.annotations, args.semantic, args.classes, args.output, name=args.name)
    print(f"wrote {path} and {path.with_suffix('')}")
    return 0


def _train(args: argparse.Namespace) -> int:
    from panodeeplab import config as configuration
    from panodeeplab.training import train

    config = configuration.load(args.config, args.set)
    output = args.output or Path("runs") / args.config.stem
    last = train(config, output=output, resume=args.resume)
    print(f"wrote {last} and {last.with_name('best.safetensors')}")
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    from panodeeplab import config as configuration
    from panodeeplab.classes import CITYSCAPES
    from panodeeplab.data.datasets import build_dataset
    from panodeeplab.evaluation.evaluate import evaluate
    from panodeeplab.evaluation.tables import format_evaluation
    from panodeeplab.files import replacing
    from panodeeplab.inference.predictor import Predictor
    from panodeeplab.inference.results import CityscapesWriter, CocoWriter
    from panodeeplab.model import load_checkpoint

    checkpoint = load_checkpoint(args.checkpoint)
    if args.config is None:
        config = configuration.override(checkpoint.config, args.set)
    else:
        config = configuration.load(args.config, args.set)
    dataset = build_dataset(config.data, args.split)
    if dataset.classes.label_ids != checkpoint.classes.label_ids:
        raise ValueError(
            f"checkpoint has the {len(checkpoint.classes)} classes of {checkpoint.classes.name!r}, "
            f"the data the {len(dataset.classes)} of {dataset.classes.name!r}"
        )
    predictor = Predictor(
        checkpoint.model,
        checkpoint.classes,
        config=config.postprocess,
        size=config.inference.input_size,
        device=args.device,
        scales=config.inference.scales,
        flip=config.inference.flip,
        class_map=True,
    )
    divisor = config.postprocess.label_divisor
    official = dataset.classes.label_ids == CITYSCAPES.label_ids
    ap = args.ap or ("cityscapes" if official else "none")
    options = {
        "label_divisor": divisor,
        "ap": None if ap == "none" else ap,
        "workers": config.training.workers if args.workers is None else args.workers,
    }
    if args.output is None:
        result = evaluate(predictor, dataset, **options)
    else:
        if args.format == "cityscapes":
            writer = CityscapesWriter(args.output, predictor.classes, split=args.split, label_divisor=divisor)
        else:
            writer = CocoWriter(args.output, predictor.classes, label_divisor=divisor)
        with writer:
            result = evaluate(
                predictor, dataset, write=lambda name, seen: writer.add(seen, image_id=name), **options
            )
        with replacing(args.output / "scores.json") as temporary:
            temporary.write_text(json.dumps(result, indent=1))
    if args.json:
        print(json.dumps(result, indent=1))
    else:
        print(f"{len(dataset)} images of {args.split}")
        print(format_evaluation(result, dataset.classes))
    return 0


def _import_checkpoint(args: argparse.Namespace) -> int:
    import yaml

    from panodeeplab.files import replacing
    from panodeeplab.model import import_checkpoint, save_checkpoint

    run = args.output.with_suffix(".yaml")
    if args.output.suffix != ".safetensors":
        raise ValueError(f"output must end in .safetensors, got {args.output}")
    if run.exists():
        raise ValueError(f"output: {run} exists, and the run to fine-tune with would be written there")
    window = tuple(args.pooling_window) if args.pooling_window else None
    loaded = import_checkpoint(args.source, pooling_window=window)
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
    return 0


def _predict(args: argparse.Namespace) -> int:
    from panodeeplab.inference.predict import predict_files

    return predict_files(
        args.source,
        checkpoint=args.checkpoint,
        output=args.output,
        device=args.device,
        format=args.format,
        scales=args.scales,
        flip=args.flip,
    )


def _demo(args: argparse.Namespace) -> int:
    from panodeeplab.inference.demo import run_demo

    return run_demo(args.output)


def _score(args: argparse.Namespace) -> int:
    from panodeeplab.data.coco_panoptic import load_panoptic_json
    from panodeeplab.evaluation.score import format_table, score

    result = score(args.gt, args.pred, args.gt_dir, args.pred_dir)
    if args.json:
        print(json.dumps(result, indent=1))
    else:
        print(format_table(result, load_panoptic_json(args.gt)["categories"]))
    return 0


def _bench_postprocess(args: argparse.Namespace) -> int:
    from dataclasses import fields

    from panodeeplab.bench import PostprocessBench, bench_postprocess, plot_postprocess

    bench = PostprocessBench(**{field.name: getattr(args, field.name) for field in fields(PostprocessBench)})
    if args.plot is None:
        bench_postprocess(bench, as_json=args.json)
    else:
        plot_postprocess(bench, args.plot, as_json=args.json)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="panodeeplab", description="Panoptic-DeepLab: train, evaluate, predict, and know the latency."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    override = {
        "action": "append",
        "default": [],
        "metavar": "SECTION.KEY=VALUE",
        "help": "change a setting of the run, as in training.learning_rate=1e-3; may be given several times",
    }

    result_format = {
        "choices": ["coco", "cityscapes"],
        "default": "coco",
        "help": "COCO panoptic files, or the folders for Cityscapes' server (default: %(default)s)",
    }

    sub = command("demo", _demo, "Run the bundled model on the bundled clip and draw what it sees.")
    sub.add_argument("--output", type=Path, default=Path("demo_output"), help="folder (default: %(default)s)")

    sub = command("predict", _predict, "Write overlays and COCO panoptic files for images.")
    sub.add_argument("source", type=Path, help="image or folder of images")
    sub.add_argument(
        "--checkpoint", default="street-tiny", help="file, or a bundled model (default: %(default)s)"
    )
    sub.add_argument("--output", type=Path, required=True, help="folder")
    sub.add_argument("--device", default="cpu", help="torch device (default: %(default)s)")
    sub.add_argument("--format", **result_format)
    sub.add_argument(
        "--scales",
        type=float,
        nargs="+",
        metavar="SCALE",
        help="average predictions at these sizes, relative to the trained one (default: as configured)",
    )
    sub.add_argument(
        "--flip",
        action=argparse.BooleanOptionalAction,
        help="average with the mirrored image's predictions (default: as configured)",
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

    sub = command("train", _train, "Train a model.")
    sub.add_argument("--config", type=Path, required=True, help="YAML file of the run")
    sub.add_argument("--output", type=Path, help="folder of the run (default: runs/NAME of the config)")
    sub.add_argument("--set", **override)
    sub.add_argument(
        "--resume",
        nargs="?",
        const="yes",
        default="no",
        choices=["yes", "no", "auto"],
        help="go on with the run in --output; auto: if there is one",
    )

    sub = command("evaluate", _evaluate, "Panoptic quality, IoU and AP of a checkpoint on a data set.")
    sub.add_argument("--config", type=Path, help="YAML file of a run (default: the one in the checkpoint)")
    sub.add_argument(
        "--checkpoint", default="street-tiny", help="file, or a bundled model (default: %(default)s)"
    )
    sub.add_argument("--split", choices=["train", "val"], default="val")
    sub.add_argument("--set", **override)
    sub.add_argument("--device", default="cpu", help="torch device (default: %(default)s)")
    sub.add_argument(
        "--ap",
        choices=["cityscapes", "coco", "none"],
        help="AP of instances, as which benchmark (default: cityscapes for its classes, none for others)",
    )
    sub.add_argument("--workers", type=int, help="processes that read images (default: as configured)")
    sub.add_argument("--output", type=Path, help="folder for the predictions and the scores as JSON")
    sub.add_argument("--format", **result_format)
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = command("score", _score, "Panoptic quality of any system's results in COCO panoptic format.")
    sub.add_argument("--gt", type=Path, required=True, help="ground truth JSON")
    sub.add_argument("--pred", type=Path, required=True, help="predictions JSON")
    sub.add_argument(
        "--gt-dir", type=Path, help="folder of the PNGs (default: the JSON's path without suffix)"
    )
    sub.add_argument("--pred-dir", type=Path, help="likewise")
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = command(
        "check-data", _check_data, "Say what is wrong with a data set, file by file, and count what is in it."
    )
    sub.add_argument(
        "path",
        type=Path,
        help="folder in Cityscapes' layout, JSON of COCO panoptic, or YAML file of a run",
    )
    sub.add_argument("--split", action="append", help="of a folder: only this; may be given several times")
    sub.add_argument(
        "--classes", type=Path, help="of a folder: YAML table of its classes, if not Cityscapes'"
    )
    sub.add_argument("--images", type=Path, help="of a JSON: folder of its pictures")
    sub.add_argument(
        "--pngs", type=Path, help="of a JSON: folder of its PNGs (default: its path without suffix)"
    )
    sub.add_argument(
        "--preview", type=Path, metavar="DIR", help="write pictures of the first samples of each split"
    )

    sub = command("convert", None, "Make COCO panoptic files from other annotations.")
    sources = sub.add_subparsers(required=True, metavar="FROM")
    masks = sources.add_parser(
        "masks", help="instance masks and semantic maps", description="From instance masks and semantic maps."
    )
    masks.set_defaults(run=_convert_masks)
    masks.add_argument("--images", type=Path, required=True, help="folder of the pictures")
    masks.add_argument(
        "--instances", type=Path, required=True, help="folder of NAME.png with numbers, or NAME/*.png masks"
    )
    coco = sources.add_parser(
        "coco",
        help="COCO instances and semantic maps",
        description="From COCO instance annotations and semantic maps.",
    )
    coco.set_defaults(run=_convert_coco)
    coco.add_argument("--annotations", type=Path, required=True, help="JSON of the instances")
    for source in (masks, coco):
        source.add_argument("--semantic", type=Path, required=True, help="folder of NAME.png with label ids")
        source.add_argument("--classes", type=Path, required=True, help="YAML table of the classes")
        source.add_argument("--output", type=Path, required=True, help="folder")
        source.add_argument("--name", default="panoptic", help="of the JSON (default: %(default)s)")

    sub = command("bench", None, "Measure speed, beside what it is compared with.")
    sub = sub.add_subparsers(required=True, metavar="WHAT").add_parser(
        "postprocess", help="network outputs to panoptic map", description="Time post-processing."
    )
    sub.set_defaults(run=_bench_postprocess)
    for name, default, text in (
        ("height", 1024, "pixels"),
        ("width", 2048, "pixels"),
        ("stride", 4, "of the network outputs"),
        ("classes", 19, "of the network outputs"),
        ("instances", 50, "in the street"),
        ("seed", 0, "of the street"),
    ):
        sub.add_argument(f"--{name}", type=int, default=default, help=f"{text} (default: %(default)s)")
    sub.add_argument("--threads", type=int, help="of the CPU (default: as many as torch has)")
    sub.add_argument("--seconds", type=float, default=5.0, help="for each variant (default: %(default)s)")
    sub.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    sub.add_argument(
        "--sources",
        action="store_true",
        help="only the sources of centers; on a CPU in turns, in processor time",
    )
    sub.add_argument("--unfused", action="store_true", help="Detectron2's way as well, seconds a run")
    sub.add_argument(
        "--plot",
        type=Path,
        metavar="FILE.png",
        help="time against instances and against pixels instead, drawn; takes minutes",
    )
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = command("scenes", _scenes, "Write generated streets in Cityscapes' layout.")
    sub.add_argument("--output", type=Path, required=True, help="folder")
    sub.add_argument("--count", type=int, default=100, help="images (default: %(default)s)")
    sub.add_argument("--size", type=int, nargs=2, default=(256, 512), metavar=("H", "W"))
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--split", default="train", help="folder below leftImg8bit (default: %(default)s)")

    sub = command("clip", _clip, "Write a drive through a generated street as a video.")
    sub.add_argument("--output", type=Path, required=True, help="file ending in .mp4")
    sub.add_argument("--frames", type=int, default=16, help="ten a second (default: %(default)s)")
    sub.add_argument("--size", type=int, nargs=2, default=(256, 512), metavar=("H", "W"))
    sub.add_argument("--seed", type=int, default=0)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status. Bad input ends in one line on standard error and status 2."""
    args = _parser().parse_args(arguments)
    try:
        return args.run(args)
    except (ValueError, FileNotFoundError, ModuleNotFoundError, FloatingPointError) as error:
        print(f"panodeeplab: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("panodeeplab: interrupted", file=sys.stderr)
        return 130
