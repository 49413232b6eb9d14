"""A small run as a program, for torchrun: `run_small.py OUTPUT [SECTION.KEY=VALUE ...]`; resumes.

With DIE_AT=N in the environment, the last process dies at iteration N, once.
"""

import os
import signal
import sys
from pathlib import Path

from small_run import make_config

from panodeeplab.training import RunStopped, step, train


def die_once(output: Path, iteration: int) -> None:
    rate, marker = step.learning_rate, output / "died"

    def learning_rate(now, config):
        if now == iteration and not marker.exists() and os.environ["RANK"] != "0":
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return rate(now, config)

    step.learning_rate = learning_rate


if __name__ == "__main__":
    output, overrides = Path(sys.argv[1]), sys.argv[2:]
    if "DIE_AT" in os.environ:
        die_once(output, int(os.environ["DIE_AT"]))
    try:
        train(make_config(*overrides), output=output, resume="auto")
    except RunStopped as stop:
        print(stop, file=sys.stderr)
        sys.exit(stop.exit_status)
