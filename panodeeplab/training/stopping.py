"""Stopping a run without losing anything: Ctrl-C, `kill`, a batch system that wants the machine."""

import os
import signal
import sys
import threading
from types import FrameType
from typing import Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class RunStopped(Exception):
    """A signal stopped the run after its checkpoint was written.

    Attributes:
        signal: number of the signal.
        iteration: that the checkpoint is of.
        exit_status: what a shell expects of a process that the signal ended, 128 + its number.
    """

    def __init__(self, number: int, iteration: int, output: os.PathLike[str] | str) -> None:
        self.signal, self.iteration = number, iteration
        self.exit_status = 128 + number
        super().__init__(
            f"stopped by {signal.Signals(number).name}; iteration {iteration} is saved in {output}, "
            f"go on with --resume (exit status {self.exit_status})"
        )


class StopRequest:
    """While it is entered, SIGINT and SIGTERM are noted instead of ending the process.

    A second signal ends the process at once, but under torchrun: there a batch system's signal arrives twice,
    once by way of torchrun, which itself kills what has not ended after 30 seconds. Outside the main thread,
    which Python gives all signals to, it does nothing.

    Attributes:
        signal: number of the first signal that came; 0: none.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = self.signal or number
        if "TORCHELASTIC_RUN_ID" in os.environ:
            return
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        # Not print: the signal may have come in the middle of one.
        os.write(
            sys.__stderr__.fileno() if sys.__stderr__ else 2,
            f"\n{signal.Signals(number).name}: saving and stopping; once more to stop at once\n".encode(),
        )
