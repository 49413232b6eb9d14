"""The queue in front of the model: one thread runs it, on one file at a time, and keeps what it found."""

import logging
import queue
import secrets
import threading
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from panodeeplab.inference.predictor import Predictor
from panodeeplab.serve.media import Clip, Decoded, Limits, Refused, decode_image
from panodeeplab.serve.rendering import Frame, render

_log = logging.getLogger(__name__)

# Finished jobs, failed ones included, which weigh next to nothing.
_KEPT_JOBS = 64


@dataclass(eq=False)
class Job:
    """A file on its way through the model. Only the worker's thread changes it, `cancelled` excepted."""

    kind: Literal["image", "clip"]
    data: bytes
    id: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    state: Literal["waiting", "running", "done", "failed"] = "waiting"
    frames: list[Frame] = field(default_factory=list)
    expected: int | None = 1
    note: str = ""
    error: str = ""
    cancelled: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes of the frames."""
        return sum(frame.nbytes for frame in self.frames)

    def status(self) -> dict[str, Any]:
        """What the page is told while it waits."""
        return {
            "id": self.id,
            "kind": self.kind,
            "state": self.state,
            "frames": len(self.frames),
            "expected": self.expected,
            "note": self.note,
            "error": self.error,
        }


class Worker:
    """Runs jobs one after the other in a thread of its own.

    A place has to be taken before a file is read, so that uploads, waiting files and the running one together
    stay within `limits.requests`.

    Args:
        predictor: made with `keep_predictions`.
        limits: of the jobs.

    Raises:
        ValueError: a predictor that keeps no predictions.
    """

    def __init__(self, predictor: Predictor, limits: Limits) -> None:
        if not predictor.keep_predictions:
            raise ValueError("predictor must be made with keep_predictions=True, the page shows them")
        self._predictor = predictor
        self._limits = limits
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._taken = 0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="panodeeplab-model", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the frame that it works on."""
        with self._lock:
            for job in self._jobs.values():
                job.cancelled = True
        self._queue.put(None)
        self._thread.join()

    def take_place(self) -> None:
        """Take a place in the queue; `give_back` or `submit` must follow.

        Raises:
            Refused: there is none left.
        """
        with self._lock:
            if self._taken >= self._limits.requests:
                raise Refused(
                    503, f"Busy: {self._taken} files are being worked on already. Try again in a moment."
                )
            self._taken += 1

    def give_back(self) -> None:
        """Give back a place that was taken and not used."""
        with self._lock:
            self._taken -= 1

    def submit(self, job: Job) -> None:
        """Put a job in the queue, on the place that was taken for it."""
        with self._lock:
            self._jobs[job.id] = job
        self._queue.put(job)

    def find(self, job_id: str) -> Job:
        """The job of an id.

        Raises:
            Refused: there is none, or it was forgotten.
        """
        with self._lock:
            job = self._jobs.get(job_id)
        if job is None:
            raise Refused(404, "This result is not kept any more. Open the file again.")
        return job

    def forget(self, job_id: str) -> None:
        """Drop a job and its results; one that runs ends after its frame."""
        with self._lock:
            job = self._jobs.pop(job_id, None)
        if job is not None:
            job.cancelled = True

    def _run(self) -> None:
        # The first run sets memory aside; that is not what the page should show as the model's time.
        self._predictor(np.zeros((*(self._predictor.size or (256, 512)), 3), np.uint8))
        while (job := self._queue.get()) is not None:
            try:
                if not job.cancelled:
                    job.state = "running"
                    self._process(job)
                job.state = "done"
            except Refused as error:
                job.error, job.state = str(error), "failed"
            except Exception:
                # The thread has to outlive whatever a file brings about.
                _log.exception("a job failed")
                job.error = "The model failed on this file; the terminal of the server says why."
                job.state = "failed"
            finally:
                job.data = b""
                self.give_back()
                self._forget_oldest()

    def _process(self, job: Job) -> None:
        if job.kind == "image":
            self._add(job, decode_image(job.data, self._limits))
            return
        clip = Clip(job.data, self._limits)
        job.expected = clip.frames
        for decoded in clip:
            if job.cancelled:
                return
            self._add(job, decoded)
        job.note, job.expected = clip.note, len(job.frames)

    def _add(self, job: Job, decoded: Decoded) -> None:
        job.frames.append(render(self._predictor(decoded.image), decoded))

    def _forget_oldest(self) -> None:
        """Keep within the bytes of finished results, the newest always."""
        with self._lock:
            finished = [job for job in self._jobs.values() if job.state in ("done", "failed")]
            total = sum(job.nbytes for job in finished)
            for count, job in zip(range(len(finished), 1, -1), finished[:-1], strict=True):
                if total <= self._limits.kept_bytes and count <= _KEPT_JOBS:
                    break
                total -= job.nbytes
                del self._jobs[job.id]
