"""A bounded queue between two threads that can be closed and aborted."""

import threading
from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Closed(Exception):
    """Nothing more comes out of a channel."""


class Channel(Generic[Item]):
    """At most `capacity` items on their way from a thread to another.

    Args:
        capacity: at least 1.
        newest: whether a full channel drops its oldest item for a new one, instead of making `put` wait.
    """

    def __init__(self, capacity: int, *, newest: bool = False) -> None:
        self._capacity, self._newest = capacity, newest
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, item: Item) -> int:
        """Hand over an item; how many were dropped for it.

        Raises:
            Closed: the channel was aborted, or closed.
        """
        with self._changed:
            while len(self._items) >= self._capacity and not self._newest and not self._closed:
                self._changed.wait()
            if self._closed:
                raise Closed
            dropped = 0
            while len(self._items) >= self._capacity:
                self._items.popleft()
                dropped += 1
            self._items.append(item)
            self._changed.notify_all()
            return dropped

    def get(self, timeout: float | None = None) -> Item:
        """The oldest item, as soon as there is one.

        Raises:
            Closed: there is none and none will come.
            TimeoutError: none came within `timeout` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._items or self._closed, timeout):
                raise TimeoutError
            if not self._items:
                raise Closed
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def close(self) -> None:
        """No more items; those inside can still be had."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def abort(self) -> None:
        """No more items, and those inside are forgotten."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()
