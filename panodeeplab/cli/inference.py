"""Commands that run a model."""

import argparse
from pathlib import Path

from panodeeplab.cli._common import RESULT_FORMAT, Command


def _demo(args: argparse.Namespace) -> int:
    from panodeeplab.inference.demo import run_demo

    return run_demo(args.output)


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
        images_from=args.images_from,
    )


def add_commands(command: Command) -> None:
    sub = command("demo", _demo, "Run the bundled model on the bundled clip and draw what it sees.")
    sub.add_argument("--output", type=Path, default=Path("demo_output"), help="folder (default: %(default)s)")

    sub = command("predict", _predict, "Write overlays and COCO panoptic files for images.")
    sub.add_argument("source", type=Path, help="image or folder of images")
    sub.add_argument(
        "--checkpoint", default="street-tiny", help="file, or a bundled model (default: %(default)s)"
    )
    sub.add_argument(
        "--images-from",
        type=Path,
        metavar="JSON",
        help="predict the images that this COCO JSON lists, with its image ids, as COCO's scores want them",
    )
    sub.add_argument("--output", type=Path, required=True, help="folder")
    sub.add_argument("--device", default="cpu", help="torch device (default: %(default)s)")
    sub.add_argument("--format", **RESULT_FORMAT)
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
