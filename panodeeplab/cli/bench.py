"""Commands that measure speed."""

import argparse
from pathlib import Path

from panodeeplab.cli._common import Command


def _bench_postprocess(args: argparse.Namespace) -> int:
    from dataclasses import fields

    from panodeeplab.bench import PostprocessBench, bench_postprocess, plot_postprocess

    bench = PostprocessBench(**{field.name: getattr(args, field.name) for field in fields(PostprocessBench)})
    if args.plot is None:
        bench_postprocess(bench, as_json=args.json)
    else:
        plot_postprocess(bench, args.plot, as_json=args.json)
    return 0


def add_commands(command: Command) -> None:
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
