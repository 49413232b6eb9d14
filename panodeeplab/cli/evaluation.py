"""Commands that score."""

import argparse
import json
from pathlib import Path

from panodeeplab.cli._common import BACKEND, OVERRIDE, PRECISION, RESULT_FORMAT, Command


def _evaluate(args: argparse.Namespace) -> int:
    from panodeeplab import config as configuration
    from panodeeplab.bundled import model_path
    from panodeeplab.classes import CITYSCAPES
    from panodeeplab.data.datasets import build_dataset
    from panodeeplab.evaluation.evaluate import evaluate
    from panodeeplab.evaluation.tables import format_evaluation
    from panodeeplab.export.exported import SUFFIXES, open_exported
    from panodeeplab.files import replacing
    from panodeeplab.inference.predictor import Predictor
    from panodeeplab.inference.results import CityscapesWriter, CocoWriter
    from panodeeplab.model import load_checkpoint

    path = model_path(args.checkpoint)
    exported = path.suffix in SUFFIXES
    if exported and args.config is None:
        raise ValueError("config: an exported file does not say where data are, give --config")
    if exported:
        model = open_exported(path)
        classes = model.metadata.classes
    else:
        checkpoint = load_checkpoint(path)
        model, classes = checkpoint.model, checkpoint.classes
    if args.config is None:
        config = configuration.override(checkpoint.config, args.set)
    else:
        config = configuration.load(args.config, args.set)
    dataset = build_dataset(config.data, args.split)
    if dataset.classes.label_ids != classes.label_ids:
        raise ValueError(
            f"checkpoint has the {len(classes)} classes of {classes.name!r}, "
            f"the data the {len(dataset.classes)} of {dataset.classes.name!r}"
        )
    predictor = Predictor(
        model,
        classes,
        config=config.postprocess,
        size=config.inference.input_size,
        device=args.device,
        scales=config.inference.scales,
        flip=config.inference.flip,
        class_map=True,
        # Scores are to be repeatable: PyTorch in full precision, unless something else is asked for.
        backend=args.backend or ("auto" if exported else "eager"),
        precision=args.precision or ("auto" if exported else "float32"),
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


def _score(args: argparse.Namespace) -> int:
    from panodeeplab.data.coco_panoptic import load_panoptic_json
    from panodeeplab.evaluation.score import format_table, score

    result = score(args.gt, args.pred, args.gt_dir, args.pred_dir)
    if args.json:
        print(json.dumps(result, indent=1))
    else:
        print(format_table(result, load_panoptic_json(args.gt)["categories"]))
    return 0


def add_commands(command: Command) -> None:
    sub = command("evaluate", _evaluate, "Panoptic quality, IoU and AP of a checkpoint on a data set.")
    sub.add_argument("--config", type=Path, help="YAML file of a run (default: the one in the checkpoint)")
    sub.add_argument(
        "--checkpoint",
        default="street-tiny",
        help="checkpoint, exported .onnx or .xml, or a bundled model (default: %(default)s)",
    )
    sub.add_argument("--split", choices=["train", "val"], default="val")
    sub.add_argument("--set", **OVERRIDE)
    sub.add_argument("--device", default="cpu", help="torch device (default: %(default)s)")
    sub.add_argument(
        "--backend",
        **BACKEND | {"help": "what runs the network (default: eager; auto for an exported file)"},
    )
    sub.add_argument(
        "--precision",
        **PRECISION | {"help": "of the network (default: float32; auto for an exported file)"},
    )
    sub.add_argument(
        "--ap",
        choices=["cityscapes", "coco", "none"],
        help="AP of instances, as which benchmark (default: cityscapes for its classes, none for others)",
    )
    sub.add_argument("--workers", type=int, help="processes that read images (default: as configured)")
    sub.add_argument("--output", type=Path, help="folder for the predictions and the scores as JSON")
    sub.add_argument("--format", **RESULT_FORMAT)
    sub.add_argument("--json", action="store_true", help="print JSON")

    sub = command("score", _score, "Panoptic quality of any system's results in COCO panoptic format.")
    sub.add_argument("--gt", type=Path, required=True, help="ground truth JSON")
    sub.add_argument("--pred", type=Path, required=True, help="predictions JSON")
    sub.add_argument(
        "--gt-dir", type=Path, help="folder of the PNGs (default: the JSON's path without suffix)"
    )
    sub.add_argument("--pred-dir", type=Path, help="likewise")
    sub.add_argument("--json", action="store_true", help="print JSON")
