"""Who watches a run. The loop talks to one tracker and never asks whether there is any behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class Tracker(Protocol):
    """What every tracker can be told; none of it may raise, for a broken tracker never stops training."""

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Numbers by name, as people see them (`generator/cycle_a`), after that many steps."""

    def images(self, step: int, name: str, encoded: bytes) -> None:
        """One picture, encoded as JPEG or PNG."""

    def alert(self, title: str, text: str) -> None:
        """Something that a person should know now."""

    def close(self) -> None:
        """The run has ended."""


class SilentTracker:
    """Does nothing."""

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Nothing."""

    def images(self, step: int, name: str, encoded: bytes) -> None:
        """Nothing."""

    def alert(self, title: str, text: str) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class Trackers(SilentTracker):
    """Several trackers as one."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self.trackers = trackers

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Tell each."""
        for tracker in self.trackers:
            tracker.log(step, scalars)

    def images(self, step: int, name: str, encoded: bytes) -> None:
        """Tell each."""
        for tracker in self.trackers:
            tracker.images(step, name, encoded)

    def alert(self, title: str, text: str) -> None:
        """Tell each."""
        for tracker in self.trackers:
            tracker.alert(title, text)

    def close(self) -> None:
        """Close each."""
        for tracker in self.trackers:
            tracker.close()
