from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ganstyle.tracking.health import MOST_ROWS, HealthTracker
from ganstyle.tracking.tracker import SilentTracker


@dataclass(frozen=True)
class Fever:
    key: str = "fever"
    title: str = "fever (a)"
    text: str = "40 degrees"
    hint: str = "rest"
    level: str = "error"


class Told(SilentTracker):
    def __init__(self) -> None:
        self.alerts: list[tuple[str, str, str]] = []

    def alert(self, title: str, text: str, *, level: str = "warn") -> None:
        self.alerts.append((title, text, level))


def feverish(rows: Sequence[Mapping[str, float]]) -> list[Fever]:
    return [Fever()] if rows and rows[-1].get("heat", 0) > 39 else []


def test_it_is_told_once_and_when_it_is_over() -> None:
    told = Told()
    tracker = HealthTracker([], feverish, told)
    for step, heat in enumerate([37, 40, 41, 40, 37, 40], start=1):
        tracker.log(step, {"heat": heat})
    assert told.alerts == [
        ("fever (a)", "step 2: 40 degrees. rest", "error"),
        ("over: fever (a)", "step 5", "info"),
        ("fever (a)", "step 6: 40 degrees. rest", "error"),
    ]


def test_what_was_told_before_a_resume_is_not_told_again() -> None:
    told = Told()
    tracker = HealthTracker([{"step": 1, "heat": 40}], feverish, told)
    tracker.log(2, {"heat": 40})
    assert told.alerts == []


def test_rows_after_a_rewind_are_forgotten_and_no_more_are_kept_than_are_looked_at() -> None:
    seen: list[int] = []

    def look(rows: Sequence[Mapping[str, float]]) -> list[Fever]:
        seen[:] = [int(row["step"]) for row in rows]
        return []

    tracker = HealthTracker([{"step": step} for step in range(1, 2 * MOST_ROWS)], look, Told())
    assert seen == list(range(MOST_ROWS, 2 * MOST_ROWS))
    tracker.log(2 * MOST_ROWS, {})
    assert len(seen) == MOST_ROWS
    tracker.rewind(MOST_ROWS + 5)
    tracker.log(MOST_ROWS + 6, {})
    assert seen == list(range(MOST_ROWS + 1, MOST_ROWS + 7))
