"""Commands that measure speed."""

import argparse
from pathlib import Path
from typing import Any

from panodeeplab.cli._common import BACKEND, PRECISION, Command


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition("x")
    try:
        return int(height), int(width)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no HEIGHTxWIDTH, as 512x1024") from None


def _bench(args: argparse.Namespace) -> int:
    from itertools import product

    from panodeeplab.bench import Setting, bench_models

    sizes = args.size or ([None] if args.image is not None else [(512, 1024)])
    settings = [
        Setting(model=model, backend=backend, precision=precision, size=size, batch=batch, threads=threads)
        for model, backend, precision, size, batch, threads in product(
            args.model, args.backend, args.precision, sizes, args.batch, args.threads or [None]
        )
    ]
    common = _common(args) | {"image": args.image}
    return bench_models([_replaced(setting, common) for setting in settings], _outputs(args))


def _sweep(args: argparse.Namespace) -> int:
    from panodeeplab.bench import bench_sweep

    return bench_sweep(args.configs or [Path("configs")], _setting(args), _outputs(args))


def _peers(args: argparse.Namespace) -> int:
    from panodeeplab.bench import bench_peers

    return bench_peers(args.peers, args.configs, _setting(args), _outputs(args))


def _setting(args: argparse.Namespace) -> Any:
    from panodeeplab.bench import Setting

    chosen = {"size": args.size, "batch": args.batch, "threads": args.threads, "precision": args.precision}
    return Setting(backend=args.backend, **chosen, **_common(args))


def _common(args: argparse.Namespace) -> dict[str, Any]:
    return {
        name: getattr(args, name) for name in ("device", "cuda_graph", "warmup", "runs", "seconds", "seed")
    }


def _replaced(setting: Any, values: dict[str, Any]) -> Any:
    from dataclasses import replace

    return replace(setting, **values)


def _outputs(args: argparse.Namespace) -> Any:
    from panodeeplab.bench import Outputs

    form = "json" if args.json else "markdown" if args.markdown else "text"
    return Outputs(form=form, output=args.output, compare=args.compare, plot=args.plot)


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
    bench = command(
        "bench", _bench, "Time a model from image file to picture, stage by stage; or what stands below WHAT."
    )
    what = bench.add_subparsers(metavar="WHAT")
    bench.add_argument(
        "--model",
        nargs="+",
        default=["street-tiny"],
        help="bundled model, checkpoint, exported file, or a run's YAML, whose weights are random "
        "(default: street-tiny)",
    )
    bench.add_argument("--backend", nargs="+", default=["auto"], **BACKEND)
    bench.add_argument("--precision", nargs="+", default=["auto"], **PRECISION)
    bench.add_argument(
        "--size",
        nargs="+",
        type=_size,
        metavar="HxW",
        help="that the network sees (default: 512x1024; with --image, the image's)",
    )
    bench.add_argument("--batch", nargs="+", type=int, default=[1], help="images in a call (default: 1)")
    bench.add_argument("--threads", nargs="+", type=int, help="of the CPU (default: as many as torch takes)")
    bench.add_argument("--image", type=Path, help="image file to read (default: generated streets)")
    _add_common(bench, warmup=3, seconds=10.0)

    sweep = what.add_parser(
        "sweep",
        help="every recipe, with random weights",
        description="Time recipes with random weights, and set published accuracy against the time.",
    )
    sweep.set_defaults(run=_sweep)
    sweep.add_argument("configs", nargs="*", type=Path, help="YAML files or folders (default: configs)")
    _add_single(sweep)

    peers = what.add_parser(
        "peers",
        help="what one would pick instead, in one run with ours",
        description="Time panoptic models of transformers, with random weights and their own "
        "post-processing, and recipes of this project.",
    )
    peers.set_defaults(run=_peers)
    peers.add_argument("peers", nargs="*", metavar="PEER", help="by name (default: all)")
    peers.add_argument(
        "--configs", type=Path, default=Path("configs"), help="folder of the recipes (default: %(default)s)"
    )
    _add_single(peers)
    _add_postprocess(what)


def _add_single(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--backend", choices=BACKEND["choices"], default="auto", help="of ours (default: %(default)s)"
    )
    sub.add_argument("--precision", choices=PRECISION["choices"], default="auto")
    sub.add_argument("--size", type=_size, default=(512, 1024), metavar="HxW", help="(default: 512x1024)")
    sub.add_argument("--batch", type=int, default=1, help="images in a call (default: %(default)s)")
    sub.add_argument("--threads", type=int, help="of the CPU (default: as many as torch takes)")
    _add_common(sub, warmup=1, seconds=5.0)


def _add_common(sub: argparse.ArgumentParser, *, warmup: int, seconds: float) -> None:
    sub.add_argument("--device", default="cpu", help="torch device (default: %(default)s)")
    sub.add_argument(
        "--cuda-graph",
        action="store_true",
        help="on CUDA, launch all that the GPU does for an image as one recorded graph",
    )
    sub.add_argument(
        "--warmup", type=int, default=warmup, help="calls that do not count (default: %(default)s)"
    )
    sub.add_argument("--runs", type=int, help="calls that count (default: as many as fill --seconds)")
    sub.add_argument(
        "--seconds", type=float, default=seconds, help="for the runs, at least 5 (default: %(default)s)"
    )
    sub.add_argument("--seed", type=int, default=0, help="of the streets (default: %(default)s)")
    form = sub.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    form.add_argument("--markdown", action="store_true", help="print a table in Markdown")
    sub.add_argument("--output", type=Path, metavar="FILE", help="write the JSON to a file as well")
    sub.add_argument("--compare", type=Path, metavar="OLD.json", help="ratios to an earlier --json")
    sub.add_argument("--plot", type=Path, metavar="FILE.png", help="draw what was measured")


def _add_postprocess(what: Any) -> None:
    sub = what.add_parser(
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
