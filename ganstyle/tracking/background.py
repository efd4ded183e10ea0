"""A tracker that is told everything by a thread of its own, so that a slow one never holds up a step."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ganstyle.base.errors import one_line
from ganstyle.tracking.tracker import Cell, SilentTracker, Tracker

Message = Callable[[Tracker], None]
CLOSING_S = 100.0
LOOK_S = 0.2  # one long wait could not be interrupted on every system


class InBackground(SilentTracker):
    """Hands every call to one thread, which makes the tracker and tells it everything in order.

    Args:
        make: makes the tracker, in the thread: it may take its time.
        warn: told once when messages have to be dropped, or when the tracker raises, or when it does not end.
        name: what people know the tracker as.
        most_waiting: with so many messages waiting, new ones are dropped.
        closing_s: seconds that `close` waits at most for what still waits; then the thread is left behind.
    """

    def __init__(
        self,
        make: Callable[[], Tracker],
        warn: Callable[[str], None],
        *,
        name: str = "a tracker",
        most_waiting: int = 256,
        closing_s: float = CLOSING_S,
    ) -> None:
        self.warn, self.name, self.most_waiting, self.closing_s = warn, name, most_waiting, closing_s
        self.dropped = 0
        self._waiting: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._raised = self._closed = self._failed = False
        # A daemon: a thread that hangs in a library must not keep the process from ending.
        self._thread = threading.Thread(target=self._work, args=(make,), name=f"tracker: {name}", daemon=True)
        self._thread.start()

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Tell it later."""
        kept = dict(scalars)
        self._put(lambda tracker: tracker.log(step, kept))

    def distributions(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        """Tell it later."""
        kept = dict(values)
        self._put(lambda tracker: tracker.distributions(step, kept))

    def images(self, step: int, name: str, encoded: bytes) -> None:
        """Tell it later."""
        self._put(lambda tracker: tracker.images(step, name, encoded))

    def alert(self, title: str, text: str, *, level: str = "warn") -> None:
        """Tell it later."""
        self._put(lambda tracker: tracker.alert(title, text, level=level))

    def rewind(self, step: int) -> None:
        """Tell it later."""
        self._put(lambda tracker: tracker.rewind(step))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """Tell it later."""
        self._put(lambda tracker: tracker.table(name, columns, rows))

    def model(self, path: Path, alias: str, facts: Mapping[str, Any]) -> None:
        """Tell it later; the file must stay as it is until then."""
        kept = dict(facts)
        self._put(lambda tracker: tracker.model(path, alias, kept))

    def close(self, *, failed: bool = False) -> None:
        """Wait for what was told, `closing_s` at most, and no longer once a person interrupts it."""
        if self._closed:
            return
        self._closed, self._failed = True, failed
        self._waiting.put(None)
        try:
            self._wait()
        except KeyboardInterrupt:
            self.warn(f"{self.name} is left behind; it may lack the end")
            raise
        if self._thread.is_alive():
            self.warn(f"{self.name} did not end within {self.closing_s:.0f} s and is left behind; it may lack the end")

    def _wait(self) -> None:
        end = time.monotonic() + self.closing_s
        while self._thread.is_alive() and (left := end - time.monotonic()) > 0:
            self._thread.join(min(left, LOOK_S))

    def _put(self, message: Message) -> None:
        if self._closed:
            return
        if self._waiting.qsize() < self.most_waiting:
            self._waiting.put(message)
            return
        self.dropped += 1
        if self.dropped == 1:
            self.warn(f"{self.name} is too slow: what it is told while {self.most_waiting} messages wait is dropped")

    def _work(self, make: Callable[[], Tracker]) -> None:
        tracker = self._made(make)
        while (message := self._waiting.get()) is not None:
            self._attempt(message, tracker)
        self._attempt(lambda tracker: tracker.close(failed=self._failed), tracker)

    def _made(self, make: Callable[[], Tracker]) -> Tracker:
        try:
            return make()
        except Exception as error:
            self._tell(error)
            return SilentTracker()

    def _attempt(self, message: Message, tracker: Tracker) -> None:
        try:
            message(tracker)
        except Exception as error:  # no tracker should raise; were the thread to end, all the rest would be lost
            self._tell(error)

    def _tell(self, error: Exception) -> None:
        if not self._raised:
            self._raised = True
            self.warn(f"{self.name}: {one_line(error)[:200]}; training goes on")
