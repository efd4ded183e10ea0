"""Who watches a run. The loop talks to one tracker and never asks whether there is any behind it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

BINS = 64
Cell = str | float | bytes  # of a table; bytes are an encoded picture


class Tracker(Protocol):
    """What every tracker can be told; none of it may raise or wait for long: a broken tracker never stops training."""

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Numbers by name, as people see them (`generator/cycle_a`), after that many steps."""

    def distributions(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        """Many values of one kind by name, (N,) each, N at most a few thousand; shown as histograms."""

    def images(self, step: int, name: str, encoded: bytes) -> None:
        """One picture, encoded as JPEG or PNG."""

    def alert(self, title: str, text: str, *, level: str = "warn") -> None:
        """Something that a person should know now; the level is info, warn or error."""

    def rewind(self, step: int) -> None:
        """The run goes on from this earlier step; what was told of later ones is void."""

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """Rows of texts, numbers and encoded pictures."""

    def model(self, path: Path, alias: str, facts: Mapping[str, Any]) -> None:
        """A finished file of weights, known as `latest` or `best`."""

    def close(self, *, failed: bool = False) -> None:
        """The run has ended, as it should or by a failure."""


class SilentTracker:
    """Does nothing; what a tracker has no use for, it inherits from here."""

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Nothing."""

    def distributions(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        """Nothing."""

    def images(self, step: int, name: str, encoded: bytes) -> None:
        """Nothing."""

    def alert(self, title: str, text: str, *, level: str = "warn") -> None:
        """Nothing."""

    def rewind(self, step: int) -> None:
        """Nothing."""

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """Nothing."""

    def model(self, path: Path, alias: str, facts: Mapping[str, Any]) -> None:
        """Nothing."""

    def close(self, *, failed: bool = False) -> None:
        """Nothing."""


class Trackers(SilentTracker):
    """Several trackers as one."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self.trackers = trackers

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Tell each."""
        for tracker in self.trackers:
            tracker.log(step, scalars)

    def distributions(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        """Tell each."""
        for tracker in self.trackers:
            tracker.distributions(step, values)

    def images(self, step: int, name: str, encoded: bytes) -> None:
        """Tell each."""
        for tracker in self.trackers:
            tracker.images(step, name, encoded)

    def alert(self, title: str, text: str, *, level: str = "warn") -> None:
        """Tell each."""
        for tracker in self.trackers:
            tracker.alert(title, text, level=level)

    def rewind(self, step: int) -> None:
        """Tell each."""
        for tracker in self.trackers:
            tracker.rewind(step)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """Tell each."""
        for tracker in self.trackers:
            tracker.table(name, columns, rows)

    def model(self, path: Path, alias: str, facts: Mapping[str, Any]) -> None:
        """Tell each."""
        for tracker in self.trackers:
            tracker.model(path, alias, facts)

    def close(self, *, failed: bool = False) -> None:
        """Close each, in their order, whatever one of them raises: that is raised at the end, an interrupt first."""
        raised: list[BaseException] = []
        for tracker in self.trackers:
            try:
                tracker.close(failed=failed)
            except BaseException as error:  # Ctrl-C too must not leave the others open
                raised.append(error)
        if raised:
            raise min(raised, key=lambda error: isinstance(error, Exception))


def finite_numbers(scalars: Mapping[str, Any]) -> dict[str, float]:
    """What can be drawn as a curve: numbers (also numpy's and tensors') that are finite, as Python has them."""
    found = {name: _number(value) for name, value in scalars.items()}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _number(value: Any) -> float:
    """The same number; NaN for anything else."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last is a tensor of several elements
        return math.nan
    return value if type(value) is int else number


def histogram(values: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """(the values that are finite, counts, edges of the bins); None where there is nothing that can be counted."""
    try:
        flat = np.asarray(values, np.float64).ravel()
        with np.errstate(all="ignore"):
            flat = flat[np.isfinite(flat)]
            counts, edges = np.histogram(flat, bins=BINS)
    except (TypeError, ValueError):  # no numbers, or a range that has no bins
        return None
    return (flat, counts, edges) if len(flat) and np.isfinite(edges).all() else None
