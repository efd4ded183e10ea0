from __future__ import annotations

from collections.abc import Mapping

from ganstyle.tracking.console import ConsoleTracker
from ganstyle.tracking.tracker import SilentTracker, Tracker, Trackers


class Listening:
    def __init__(self) -> None:
        self.heard: list[tuple] = []

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        self.heard.append(("log", step, dict(scalars)))

    def images(self, step: int, name: str, encoded: bytes) -> None:
        self.heard.append(("images", step, name, encoded))

    def alert(self, title: str, text: str) -> None:
        self.heard.append(("alert", title, text))

    def close(self) -> None:
        self.heard.append(("close",))


def tell_everything(tracker: Tracker) -> None:
    tracker.log(1, {"generator/cycle_a": 0.5})
    tracker.images(2, "preview", b"jpeg")
    tracker.alert("stopped", "why")
    tracker.close()


def test_every_tracker_hears_everything_in_order() -> None:
    first, second = Listening(), Listening()
    tell_everything(Trackers([first, SilentTracker(), second]))
    expected = [
        ("log", 1, {"generator/cycle_a": 0.5}),
        ("images", 2, "preview", b"jpeg"),
        ("alert", "stopped", "why"),
        ("close",),
    ]
    assert first.heard == expected
    assert second.heard == expected


def test_no_tracker_is_one_too() -> None:
    tell_everything(Trackers([]))
    tell_everything(SilentTracker())
    tell_everything(ConsoleTracker(start=0, steps=2))
