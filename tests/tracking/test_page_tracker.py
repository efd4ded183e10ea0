from __future__ import annotations

import pytest

from ganstyle.base.errors import UserError
from ganstyle.tracking.page_tracker import PageTracker


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Rewriting:
    """Counts the pages, which take their time, and may fail."""

    def __init__(self, clock: Clock, takes_s: float = 0.0) -> None:
        self.clock, self.takes_s, self.count = clock, takes_s, 0
        self.error: Exception | None = None

    def __call__(self) -> None:
        self.count += 1
        self.clock.now += self.takes_s
        if self.error is not None:
            raise self.error


def tracker(rewriting: Rewriting, said: list[str] | None = None) -> PageTracker:
    return PageTracker(rewriting, warn=(said if said is not None else []).append, clock=rewriting.clock)


def test_the_first_news_makes_a_page_and_the_next_wait_their_time() -> None:
    rewriting = Rewriting(Clock())
    page = tracker(rewriting)
    assert rewriting.count == 0
    page.log(1, {"x": 1.0})
    page.log(2, {"x": 1.0})
    rewriting.clock.now += 29.9
    page.images(3, "preview", b"")
    page.alert("a", "b")
    assert rewriting.count == 1
    rewriting.clock.now += 0.2
    page.alert("a", "b", level="error")
    page.log(4, {})
    assert rewriting.count == 2
    rewriting.clock.now += 30.1
    page.images(5, "preview", b"")
    assert rewriting.count == 3


def test_a_slow_page_takes_less_than_a_hundredth_of_the_time() -> None:
    rewriting = Rewriting(Clock(), takes_s=2.0)
    page = tracker(rewriting)
    began = rewriting.clock.now
    for step in range(20_000):
        rewriting.clock.now += 0.1
        page.log(step, {})
    passed = rewriting.clock.now - began
    assert rewriting.count >= 2
    assert (rewriting.count - 1) * rewriting.takes_s <= 0.01 * passed


def test_the_end_always_makes_a_page() -> None:
    rewriting = Rewriting(Clock())
    page = tracker(rewriting)
    page.log(1, {})
    page.close()
    assert rewriting.count == 2


@pytest.mark.parametrize("error", [UserError("cannot write report.html: no space left"), ZeroDivisionError()])
def test_what_goes_wrong_is_said_once_and_tried_again(error: Exception) -> None:
    rewriting, said = Rewriting(Clock()), []
    page = tracker(rewriting, said)
    rewriting.error = error
    for step in range(5):
        page.log(step, {})
        rewriting.clock.now += 31
    page.close()
    assert rewriting.count == 6
    assert len(said) == 1
    assert "page cannot be written" in said[0]
    assert "training goes on" in said[0]
    assert "\n" not in said[0]
