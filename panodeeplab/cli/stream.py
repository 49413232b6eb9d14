"""The command for video."""

import argparse
import json
import sys
from pathlib import Path

from panodeeplab.cli._common import BACKEND, PRECISION, Command


def _stream(args: argparse.Namespace) -> int:
    from panodeeplab.inference.predictor import Predictor
    from panodeeplab.inference.tracking import Tracker
    from panodeeplab.stream import (
        MjpegServer,
        StageError,
        VideoFile,
        Window,
        check_options,
        check_video_path,
        open_source,
        run_stream,
    )

    # All that can be wrong is found before a camera is opened, and all else before a model is loaded.
    if args.output is None and not args.show and args.serve is None:
        raise ValueError("give --output FILE, --show or --serve")
    check_options(args.policy, args.alpha, args.frames)
    if args.size is not None and min(args.size) < 1:
        raise ValueError(f"--size must be pixels, at least 1 x 1, got {args.size[0]} x {args.size[1]}")
    _check_device(args.device)
    local = Path(args.source)
    if args.rate is not None and local.is_file():
        raise ValueError(f"--rate is for a folder of images; {args.source} is a video with a rate of its own")
    if args.output is not None:
        check_video_path(args.output)
        if args.output.exists() and local.exists() and args.output.samefile(local):
            raise ValueError(f"--output is the source, {args.source}")
    source = open_source(args.source, rate=10.0 if args.rate is None else args.rate, retries=args.retries)
    outputs = []
    if args.output is not None:
        outputs.append(VideoFile(args.output, rate=source.rate))
    if args.show:
        outputs.append(Window(f"panodeeplab: {args.source}"))
    if args.serve is not None:
        outputs.append(MjpegServer(args.serve))
        print(f"look at {outputs[-1].url}", file=sys.stderr)
    size = tuple(args.size) if args.size else "trained"
    try:
        predictor = Predictor.from_checkpoint(
            args.checkpoint, device=args.device, size=size, backend=args.backend, precision=args.precision
        )
        if source.size is not None:
            predictor.warm_up(source.size)
    except BaseException:
        for output in outputs:
            output.close()
        raise
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


def _check_device(name: str) -> None:
    import torch

    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"--device must be one of torch, such as cpu or cuda, got {name}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"--device is {name}, but torch finds no CUDA device")


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
    sub.add_argument("--rate", type=float, metavar="FPS", help="images per second of a folder (default: 10)")
    sub.add_argument("--frames", type=int, metavar="N", help="end after so many frames")
    sub.add_argument(
        "--retries", type=int, default=5, help="to connect again to a camera that went (default: %(default)s)"
    )
    sub.add_argument("--json", action="store_true", help="print the summary as JSON")
