"""The list of training samples that cannot be read, and when there are too many of them."""

import json
from collections.abc import Iterable
from pathlib import Path

from panodeeplab.data.training_set import BadSample


class BadSamples:
    """Lists each sample that cannot be read once, in a file that processes of one run share.

    The file has a JSON object a line: `index`, the position in the training data, and `reason`. A run that
    goes on counts what it lists already.

    Args:
        path: of the list; it appears with the first bad sample.
        limit: stop at one more than this.
    """

    def __init__(self, path: Path, limit: int) -> None:
        self.path = path
        self.limit = limit
        self._known: set[int] = set()
        self._read()

    def _read(self) -> None:
        if not self.path.exists():
            return
        text = self.path.read_text()
        whole, _, rest = text.rpartition("\n")
        if rest:
            # A killed process left half a line behind.
            self.path.write_text(whole + "\n" if whole else "")
        self._known.update(json.loads(line)["index"] for line in whole.splitlines())

    def __len__(self) -> int:
        return len(self._known)

    def add(self, samples: Iterable[BadSample]) -> None:
        """List what a batch reports, see `Batch.bad`.

        Raises:
            ValueError: that makes more than `limit`; the message has the last one's reason.
        """
        for sample in samples:
            if sample.index in self._known:
                continue
            # Another process may have listed it.
            self._read()
            if sample.index in self._known:
                continue
            with self.path.open("a") as file:
                file.write(json.dumps(sample._asdict()) + "\n")
            self._known.add(sample.index)
            if len(self._known) > self.limit:
                count = len(self._known)
                raise ValueError(
                    f"{count} training sample{' cannot' if count == 1 else 's cannot'} be read, and "
                    f"training.max_bad_samples is {self.limit}: {sample.reason}; {self.path} lists "
                    f"{'it' if count == 1 else 'them'}"
                )
