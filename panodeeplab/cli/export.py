"""The command that writes models for deployment."""

import argparse
from pathlib import Path

from panodeeplab.cli._common import Command


def _export(args: argparse.Namespace) -> int:
    from panodeeplab.export.run import export

    return export(
        args.checkpoint,
        args.output,
        format=args.format,
        size=args.size,
        precision=args.precision,
        calibration=args.calibration,
        postprocess=args.postprocess,
    )


def add_commands(command: Command) -> None:
    sub = command("export", _export, "Write a model as a file that runs without its definition.")
    sub.add_argument("checkpoint", help="file, or a bundled model such as street-tiny")
    sub.add_argument("output", type=Path, help="file to write")
    sub.add_argument(
        "--format",
        choices=["onnx", "openvino", "pt2", "aoti", "tensorrt"],
        help="of the file (default: by its ending: .onnx, .xml, .pt2, .engine)",
    )
    sub.add_argument(
        "--postprocess",
        choices=["none", "operators", "library"],
        default="none",
        help="put the post-processing into the .onnx: of ONNX's own operators, or of a compiled library that "
        "is written beside it (default: %(default)s: the file ends with the network's maps)",
    )
    sub.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        help="of the images, for operators and tensorrt, which want it fixed (default: as trained)",
    )
    sub.add_argument(
        "--precision",
        choices=["float32", "float16"],
        default="float32",
        help="of the weights and, on hardware that has it, the arithmetic (default: %(default)s)",
    )
    sub.add_argument("--int8", dest="precision", action="store_const", const="int8", help="quantize")
    sub.add_argument("--calibration", type=Path, help="folder of typical images, for --int8")
