"""Ctrl-C and SIGTERM finish the step; a second Ctrl-C stops at once."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any


class StopRequest:
    """While entered, signals are noted in `signal` instead of ending the process.

    Args:
        say: told once, when the first signal comes.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.signal: signal.Signals | None = None
        self._say = say
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        for each in (signal.SIGINT, signal.SIGTERM):
            try:
                self._before[each] = signal.signal(each, self._note)
            except ValueError:  # only the main thread may: in a notebook's worker, signals keep their usual meaning
                break
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.signal is None:
            self.signal = signal.Signals(number)
            self._say("stopping after this step and saving; Ctrl-C again stops at once")
