"""The command for video."""

import argparse
import json
import sys
from pathlib import Path

from panodeeplab.cli._common import BACKEND, PRECISION, Command


def _stream(args: argparse.Namespace) -> int:
    from panodeeplab.inference.predictor import Predictor
    from panodeeplab.inference.tracking import Tracker
    from panodeeplab.stream import MjpegServer, StageError, VideoFile, Window, open_source, run_stream

    if args.output is None and not args.show and args.serve is None:
        raise ValueError("give --output FILE, --show or --serve")
    source = open_source(args.source, rate=args.rate, retries=args.retries)
    outputs = []
    if args.output is not None:
        if args.output.exists() and Path(args.source).exists() and args.output.samefile(args.source):
            raise ValueError(f"--output is the source, {args.source}")
        outputs.append(VideoFile(args.output, rate=source.rate))
    if args.show:
        outputs.append(Window(f"panodeeplab: {args.source}"))
    if args.serve is not None:
        outputs.append(MjpegServer(args.serve))
        print(f"look at {outputs[-1].url}", file=sys.stderr)
    size = tuple(args.size) if args.size else "trained"
    predictor = Predictor.from_checkpoint(
        args.checkpoint, device=args.device, size=size, backend=args.backend, precision=args.precision
    )
    try:
        summary = run_stream(
            source,
            predictor,
            outputs,
            policy=args.policy,
            tracker=Tracker() if args.track else None,
            labels=args.labels,
            alpha=args.alpha,
            limit=args.frames,
        )
    except StageError as error:
        print(f"panodeeplab: {error}", file=sys.stderr)
        return 1
    print(json.dumps(summary.as_json(), indent=2) if args.json else summary.table())
    if summary.processed == 0:
        print(f"panodeeplab: no frame of {args.source} could be processed", file=sys.stderr)
        return 1
    # A camera has no other end.
    return 130 if summary.interrupted and not source.live and not args.show else 0


def add_commands(command: Command) -> None:
    sub = command("stream", _stream, "Segment a video, a folder of images or a camera; draw what is seen.")
    sub.add_argument("source", help="video file, folder of images, number of a camera, or rtsp://... address")
    sub.add_argument("--output", type=Path, metavar="FILE", help="video to write: .mp4, .mov or .mkv")
    sub.add_argument("--show", action="store_true", help="show it in a window; q ends it")
    sub.add_argument(
        "--serve",
        type=int,
        nargs="?",
        const=8080,
        metavar="PORT",
        help="show it to browsers on this machine (default port: 8080)",
    )
    sub.add_argument(
        "--policy",
        choices=["every", "newest"],
        help="process every frame, or drop those that come too fast (default: newest if live, else every)",
    )
    sub.add_argument(
        "--checkpoint", default="street-tiny", help="file, or a bundled model (default: %(default)s)"
    )
    sub.add_argument("--device", default="cpu", help="torch device (default: %(default)s)")
    sub.add_argument("--backend", default="auto", **BACKEND)
    sub.add_argument("--precision", default="auto", **PRECISION)
    sub.add_argument(
        "--size", type=int, nargs=2, metavar=("H", "W"), help="scale frames to fit (default: as trained)"
    )
    sub.add_argument(
        "--track",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep the numbers and colors of objects from frame to frame (default: yes)",
    )
    sub.add_argument(
        "--labels", action=argparse.BooleanOptionalAction, default=True, help="write names (default: yes)"
    )
    sub.add_argument("--alpha", type=float, default=0.5, help="weight of the colors (default: %(default)s)")
    sub.add_argument(
        "--rate", type=float, default=10.0, help="of a folder, images per second (default: %(default)s)"
    )
    sub.add_argument("--frames", type=int, metavar="N", help="end after so many frames")
    sub.add_argument(
        "--retries", type=int, default=5, help="to connect again to a camera that went (default: %(default)s)"
    )
    sub.add_argument("--json", action="store_true", help="print the summary as JSON")
