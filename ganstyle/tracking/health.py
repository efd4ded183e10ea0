"""Tells of a run's health when it changes; what ails a run is for others to know."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from ganstyle.tracking.tracker import SilentTracker, Tracker

MOST_ROWS = 300  # the newest are looked at: what lasts longer is long since told


class Finding(Protocol):
    """What ails a run."""

    @property
    def key(self) -> str:
        """The same as long as it is the same ailment."""

    @property
    def title(self) -> str:
        """Its name."""

    @property
    def text(self) -> str:
        """What was measured."""

    @property
    def hint(self) -> str:
        """What to do."""

    @property
    def level(self) -> str:
        """`warn` or `error`."""


class HealthTracker(SilentTracker):
    """Alerts once when something begins to ail the run, and says when it is over.

    Args:
        rows: what was logged before, oldest first.
        diagnose: rows -> what ails the run at their end.
        tell: who is alerted.
    """

    def __init__(
        self,
        rows: Sequence[Mapping[str, Any]],
        diagnose: Callable[[Sequence[Mapping[str, Any]]], Sequence[Finding]],
        tell: Tracker,
    ) -> None:
        self.rows, self.diagnose, self.tell = list(rows[-MOST_ROWS:]), diagnose, tell
        self._ailing = {finding.key: finding.title for finding in diagnose(self.rows)}

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Look at the run anew."""
        self.rows = [*self.rows[1 - MOST_ROWS :], {"step": step, **scalars}]
        found = {finding.key: finding for finding in self.diagnose(self.rows)}
        for key, finding in found.items():
            if key not in self._ailing:
                self.tell.alert(finding.title, f"step {step}: {finding.text}. {finding.hint}", level=finding.level)
        for key, title in self._ailing.items():
            if key not in found:
                self.tell.alert(f"over: {title}", f"step {step}", level="info")
        self._ailing = {key: finding.title for key, finding in found.items()}

    def rewind(self, step: int) -> None:
        """Forget what was told of later steps."""
        self.rows = [row for row in self.rows if row["step"] <= step]
