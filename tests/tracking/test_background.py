from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ganstyle.tracking.background import InBackground
from ganstyle.tracking.tracker import SilentTracker, Tracker, Trackers
from tests.tracking.test_tracker import Listening, expected, tell_everything


class Hanging(SilentTracker):
    """Stops at the first log until it is let go."""

    def __init__(self) -> None:
        self.let_go, self.heard = threading.Event(), []

    def log(self, step: int, scalars: Any) -> None:
        self.let_go.wait(20)
        self.heard.append(step)


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    tracker = Hanging()
    yield tracker
    tracker.let_go.set()


def in_background(make: Callable[[], Tracker], warned: list[str], **options: Any) -> InBackground:
    return InBackground(make, warned.append, name="the service", **options)


@pytest.mark.parametrize("failed", [False, True])
def test_everything_is_told_in_order_by_another_thread(failed: bool) -> None:
    listening, warned, made_in = Listening(), [], []

    def make() -> Tracker:
        made_in.append(threading.current_thread())
        return listening

    tracker = in_background(make, warned)
    tell_everything(tracker, failed=failed)
    assert listening.heard == expected(failed=failed)
    assert made_in[0] is not threading.current_thread()
    assert warned == []
    tracker.close()
    tracker.log(9, {})
    assert listening.heard == expected(failed=failed)


def test_numbers_that_change_later_are_told_as_they_were() -> None:
    listening, wait = Listening(), threading.Event()

    def make() -> Tracker:
        wait.wait(20)
        return listening

    tracker = in_background(make, [])
    scalars, values = {"loss": 1.0}, {"judged/b_real": np.ones(2)}
    tracker.log(1, scalars)
    tracker.distributions(1, values)
    scalars["loss"] = 2.0
    values.clear()
    wait.set()
    tracker.close()
    assert listening.heard[0] == ("log", 1, {"loss": 1.0})
    assert listening.heard[1][2].keys() == {"judged/b_real"}


def test_a_tracker_that_hangs_holds_nobody_up(hanging: Hanging) -> None:
    warned: list[str] = []
    tracker = in_background(lambda: hanging, warned, most_waiting=10, closing_s=0.2)
    began = time.monotonic()
    for step in range(100):
        tracker.log(step, {"loss": 1.0})
    assert time.monotonic() - began < 1
    assert warned == ["the service is too slow: what it is told while 10 messages wait is dropped"]
    assert tracker.dropped in (89, 90)  # one may have been taken already
    tracker.close()
    assert time.monotonic() - began < 3
    assert len(warned) == 2
    assert "did not end within 0 s and is left behind" in warned[1]


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C means what it means in a terminal, whatever other tests have left."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_an_interrupt_leaves_it_behind_at_once(hanging: Hanging) -> None:
    warned: list[str] = []
    tracker = in_background(lambda: hanging, warned, closing_s=20)
    tracker.log(1, {})
    press = threading.Timer(0.3, signal.raise_signal, [signal.SIGINT])
    press.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        tracker.close()
    press.join()
    tracker.close()
    assert time.monotonic() - began < 10
    assert warned == ["the service is left behind; it may lack the end"]


@pytest.mark.usefixtures("ctrl_c")
def test_an_interrupt_leaves_one_behind_and_the_others_are_closed(hanging: Hanging) -> None:
    listening = Listening()
    warned: list[str] = []
    slow = in_background(lambda: hanging, warned, closing_s=20)
    slow.log(1, {})
    both = Trackers([slow, in_background(lambda: listening, warned)])
    threading.Timer(0.3, signal.raise_signal, [signal.SIGINT]).start()
    with pytest.raises(KeyboardInterrupt):
        both.close(failed=True)
    assert listening.heard == [("close", True)]
    assert len(warned) == 1


def test_what_waited_is_told_and_only_the_newest_is_dropped(hanging: Hanging) -> None:
    tracker = in_background(lambda: hanging, [], most_waiting=10)
    for step in range(20):
        tracker.log(step, {})
    hanging.let_go.set()
    tracker.close()
    assert hanging.heard == list(range(20 - tracker.dropped))
    assert len(hanging.heard) >= 10


@pytest.mark.parametrize("broken", ["make", "log", "close"])
def test_a_tracker_that_raises_is_one_warning(broken: str) -> None:
    class Raising(Listening):
        def log(self, step: int, scalars: Any) -> None:
            super().log(step, scalars)
            if broken == "log":
                raise OSError("it broke\nin two lines")

        def close(self, *, failed: bool = False) -> None:
            super().close(failed=failed)
            if broken == "close":
                raise OSError("it broke\nin two lines")

    made = Raising()

    def make() -> Tracker:
        if broken == "make":
            raise OSError("it broke\nin two lines")
        return made

    warned: list[str] = []
    tracker = in_background(make, warned)
    tracker.log(1, {})
    tracker.log(2, {})
    tracker.alert("title", "text")
    tracker.close()
    assert warned == ["the service: it broke in two lines; training goes on"]
    if broken != "make":
        assert [each[0] for each in made.heard] == ["log", "log", "alert", "close"]


def test_a_path_is_handed_on(tmp_path: Path) -> None:
    listening = Listening()
    tracker = in_background(lambda: listening, [])
    tracker.model(tmp_path / "x.safetensors", "best", {"direction": "ab"})
    tracker.close()
    assert listening.heard[0] == ("model", tmp_path / "x.safetensors", "best", {"direction": "ab"})
