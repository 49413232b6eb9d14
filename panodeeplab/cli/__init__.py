"""The command `panodeeplab`: a subcommand for each thing that users do. Heavy imports wait until it runs."""

import argparse
import sys
from collections.abc import Sequence

from panodeeplab.cli import bench, data, evaluation, inference, serve, stream, training


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="panodeeplab", description="Panoptic-DeepLab: train, evaluate, predict, and know the latency."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    for group in (inference, stream, serve, training, evaluation, data, bench):
        group.add_commands(command)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status. Bad input ends in one line on standard error and status 2."""
    args = _parser().parse_args(arguments)
    try:
        return args.run(args)
    except (ValueError, OSError, ModuleNotFoundError, FloatingPointError) as error:
        print(f"panodeeplab: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("panodeeplab: interrupted", file=sys.stderr)
        return 130
