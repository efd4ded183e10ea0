"""The page in the run's folder, made again as the run goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from ganstyle.base.errors import one_line
from ganstyle.tracking.tracker import SilentTracker

SHARE = 0.01  # of the time may go into the page


class PageTracker(SilentTracker):
    """Has the page made again when something was told, but not too often, and at the end.

    Args:
        rewrite: makes the page from what stands in the run's folder by then.
        warn: told once if that fails; training goes on.
        every_s: the least time between two pages; more where making one takes over 1 % of it.
        clock: seconds.
    """

    def __init__(
        self,
        rewrite: Callable[[], object],
        *,
        warn: Callable[[str], None],
        every_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rewrite, self.warn, self.every_s, self.clock = rewrite, warn, every_s, clock
        self._not_before = clock()
        self._warned = False

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """There are new numbers."""
        self._perhaps()

    def images(self, step: int, name: str, encoded: bytes) -> None:
        """There is a new preview."""
        self._perhaps()

    def alert(self, title: str, text: str, *, level: str = "warn") -> None:
        """There is a new event."""
        self._perhaps()

    def close(self, *, failed: bool = False) -> None:
        """Make the last page, whenever the one before was made."""
        self._make()

    def _perhaps(self) -> None:
        if self.clock() >= self._not_before:
            self._make()

    def _make(self) -> None:
        began = self.clock()
        try:
            self.rewrite()
        except Exception as error:  # whatever is wrong with the page, training goes on
            if not self._warned:
                self._warned = True
                self.warn(f"the run's page cannot be written: {one_line(error)}; training goes on without it")
        ended = self.clock()
        self._not_before = ended + max(self.every_s, (ended - began) / SHARE)
