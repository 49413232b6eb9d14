"""Stages in threads of their own, with bounded queues between them."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from panodeeplab.stream.channel import Channel, Closed

Item = TypeVar("Item")
Stage = tuple[str, Callable[[Item], Item]]

_STUCK_SECONDS = 10.0


class StageError(RuntimeError):
    """A stage of a pipeline failed; the cause is `__cause__`."""

    @classmethod
    def of(cls, stage: str, error: BaseException) -> "StageError":
        """Names the stage and what it raised."""
        return cls(f"stage {stage} failed: {type(error).__name__}: {str(error) or 'no message'}")


class Pipeline(Generic[Item]):
    """Runs a source and stages side by side, each in a thread of its own; iterate over it for the results.

    Items keep their order. Threads gain where stages let go of the interpreter lock, as decoders, kernels and
    encoders do. Never more than `capacity` items wait before a stage, so memory does not grow however slow
    the last one is. Use it as a context manager: leaving the block ends all threads.

    Args:
        source: items; its `next` is the first stage and runs in the first thread.
        stages: (name, function from item to item).
        capacity: of each queue.
        newest: drop the oldest item that waits for the first stage when a newer one comes, instead of making
            the source wait.
        on_time: called with the name of a stage and the milliseconds that an item took in it, from the
            thread of the stage; the source is "decode".
    """

    def __init__(
        self,
        source: Iterable[Item],
        stages: list[Stage],
        *,
        capacity: int = 2,
        newest: bool = False,
        on_time: Callable[[str, float], None] = lambda name, time_ms: None,
    ) -> None:
        self._source = iter(source)
        self._on_time = on_time
        self._channels: list[Channel[Item]] = [
            Channel(capacity, newest=newest and index == 0) for index in range(len(stages) + 1)
        ]
        self._error: StageError | None = None
        self._error_lock = threading.Lock()
        self._stopping = False
        self.dropped = 0
        self.emitted = 0  # by the source
        self._threads = [threading.Thread(target=self._feed, name="decode", daemon=True)]
        for index, (name, function) in enumerate(stages):
            self._threads.append(
                threading.Thread(target=self._work, args=(index, name, function), name=name, daemon=True)
            )

    def __enter__(self) -> "Pipeline[Item]":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()
        for channel in self._channels:
            channel.abort()
        for thread in self._threads:
            # A camera that answers no more may hold its thread; as a daemon it ends with the process.
            thread.join(_STUCK_SECONDS)

    def __iter__(self) -> Iterator[Item]:
        """Results in order.

        Raises:
            StageError: a stage or the source raised; everything else has been ended.
        """
        quiet_since = time.monotonic()
        while True:
            try:
                item = self._channels[-1].get(timeout=0.2)
            except Closed:
                break
            except TimeoutError:
                # After `stop` the source may never come back from waiting for its device.
                if self._stopping and time.monotonic() - quiet_since > _STUCK_SECONDS:
                    break
                if not self._stopping:
                    quiet_since = time.monotonic()
                continue
            quiet_since = time.monotonic()
            yield item
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Take no more from the source; what is on its way still comes out. Safe in a signal handler."""
        self._stopping = True

    def _feed(self) -> None:
        try:
            while not self._stopping:
                start = time.perf_counter()
                try:
                    item = next(self._source)
                except StopIteration:
                    break
                self._on_time("decode", 1000.0 * (time.perf_counter() - start))
                self.emitted += 1
                self.dropped += self._channels[0].put(item)
            self._channels[0].close()
        except Closed:
            pass
        except BaseException as error:
            self._fail("decode", error)

    def _work(self, index: int, name: str, function: Callable[[Item], Item]) -> None:
        taken, given = self._channels[index], self._channels[index + 1]
        try:
            while True:
                item = taken.get()
                start = time.perf_counter()
                item = function(item)
                self._on_time(name, 1000.0 * (time.perf_counter() - start))
                given.put(item)
        except Closed:
            given.close()
        except BaseException as error:
            self._fail(name, error)

    def _fail(self, name: str, error: BaseException) -> None:
        with self._error_lock:
            if self._error is None:
                self._error = StageError.of(name, error)
                self._error.__cause__ = error
        for channel in self._channels:
            channel.abort()
