"""The command that serves the page."""

import argparse

from panodeeplab.cli._common import BACKEND, PRECISION, Command


def _serve(args: argparse.Namespace) -> int:
    if not 0 <= args.port <= 65535:
        raise ValueError(f"port must lie in 0..65535, got {args.port}")
    try:
        from panodeeplab.serve.media import Limits
        from panodeeplab.serve.server import serve
    except ModuleNotFoundError as error:
        if error.name not in ("av", "fastapi", "starlette", "uvicorn"):
            raise
        raise ModuleNotFoundError(
            f"the page is served with FastAPI, uvicorn and PyAV, and {error.name} is not installed: "
            "pip install 'panodeeplab[serve]'"
        ) from error

    limits = Limits(
        upload_bytes=round(args.max_upload * 2**20),
        pixels=round(args.max_megapixels * 1e6),
        frames=args.max_frames,
    )
    return serve(
        args.checkpoint,
        device=args.device,
        backend=args.backend,
        precision=args.precision,
        host=args.host,
        port=args.port,
        limits=limits,
    )


def add_commands(command: Command) -> None:
    sub = command("serve", _serve, "Serve a local web page that shows what a model sees in your images.")
    sub.add_argument(
        "--checkpoint", default="street-tiny", help="file, or a bundled model (default: %(default)s)"
    )
    sub.add_argument("--device", default="cpu", help="torch device (default: %(default)s)")
    sub.add_argument("--backend", default="auto", **BACKEND)
    sub.add_argument("--precision", default="auto", **PRECISION)
    sub.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: %(default)s, this machine only)"
    )
    sub.add_argument("--port", type=int, default=8765, help="0 takes a free one (default: %(default)s)")
    sub.add_argument("--max-upload", type=float, default=64, metavar="MIB", help="of one file (default: 64)")
    sub.add_argument(
        "--max-megapixels", type=float, default=25, metavar="MP", help="of an image or frame (default: 25)"
    )
    sub.add_argument(
        "--max-frames", type=int, default=32, metavar="N", help="segmented of a clip (default: %(default)s)"
    )
