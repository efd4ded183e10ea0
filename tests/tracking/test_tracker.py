from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ganstyle.tracking.background import InBackground
from ganstyle.tracking.console import ConsoleTracker
from ganstyle.tracking.jsonl import FolderTracker
from ganstyle.tracking.page_tracker import PageTracker
from ganstyle.tracking.tensorboard import TensorboardTracker
from ganstyle.tracking.tracker import BINS, SilentTracker, Tracker, Trackers, finite_numbers, histogram
from ganstyle.tracking.wandb import WandbTracker

VALUES = {"judged/b_real": np.ones(3)}
ROWS = [["a.jpg", 1.0, b"jpeg"]]


class Listening:
    def __init__(self) -> None:
        self.heard: list[tuple] = []

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        self.heard.append(("log", step, dict(scalars)))

    def distributions(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        self.heard.append(("distributions", step, dict(values)))

    def images(self, step: int, name: str, encoded: bytes) -> None:
        self.heard.append(("images", step, name, encoded))

    def alert(self, title: str, text: str, *, level: str = "warn") -> None:
        self.heard.append(("alert", title, text, level))

    def rewind(self, step: int) -> None:
        self.heard.append(("rewind", step))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        self.heard.append(("table", name, list(columns), [list(row) for row in rows]))

    def model(self, path: Path, alias: str, facts: Mapping[str, Any]) -> None:
        self.heard.append(("model", path, alias, dict(facts)))

    def close(self, *, failed: bool = False) -> None:
        self.heard.append(("close", failed))


def tell_everything(tracker: Tracker, *, failed: bool = False) -> None:
    tracker.log(1, {"generator/cycle_a": 0.5})
    tracker.distributions(1, VALUES)
    tracker.images(2, "preview", b"jpeg")
    tracker.alert("stopped", "why")
    tracker.alert("finished", "all", level="info")
    tracker.rewind(1)
    tracker.table("validation", ["name", "content", "picture"], ROWS)
    tracker.model(Path("x.safetensors"), "best", {"direction": "ab"})
    tracker.close(failed=failed)


def expected(*, failed: bool = False) -> list[tuple]:
    return [
        ("log", 1, {"generator/cycle_a": 0.5}),
        ("distributions", 1, VALUES),
        ("images", 2, "preview", b"jpeg"),
        ("alert", "stopped", "why", "warn"),
        ("alert", "finished", "all", "info"),
        ("rewind", 1),
        ("table", "validation", ["name", "content", "picture"], ROWS),
        ("model", Path("x.safetensors"), "best", {"direction": "ab"}),
        ("close", failed),
    ]


@pytest.mark.parametrize("failed", [False, True])
def test_every_tracker_hears_everything_in_order(failed: bool) -> None:
    first, second = Listening(), Listening()
    tell_everything(Trackers([first, SilentTracker(), second]), failed=failed)
    assert first.heard == expected(failed=failed)
    assert second.heard == expected(failed=failed)


class Closing(SilentTracker):
    """Notes that it is closed, and raises."""

    def __init__(self, name: str, closed: list[str], error: BaseException | None) -> None:
        self.name, self.closed, self.error = name, closed, error

    def close(self, *, failed: bool = False) -> None:
        self.closed.append(self.name)
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize(
    ("errors", "raised"),
    [
        ([KeyboardInterrupt("a"), None, None], "a"),
        ([None, OSError("b"), None], "b"),
        ([OSError("a"), None, OSError("c")], "a"),
        ([OSError("a"), KeyboardInterrupt("b"), OSError("c")], "b"),
        ([KeyboardInterrupt("a"), KeyboardInterrupt("b"), None], "a"),
    ],
)
def test_all_are_closed_in_order_whatever_one_raises(errors: list[BaseException | None], raised: str) -> None:
    closed: list[str] = []
    trackers = Trackers([Closing(name, closed, error) for name, error in zip("abc", errors, strict=True)])
    with pytest.raises((KeyboardInterrupt, OSError)) as told:
        trackers.close(failed=True)
    assert closed == ["a", "b", "c"]
    assert str(told.value) == raised


def test_no_tracker_is_one_too() -> None:
    tell_everything(Trackers([]))
    tell_everything(SilentTracker())
    tell_everything(ConsoleTracker(start=0, steps=2))


def test_everything_that_can_be_told_is_told_here() -> None:
    names = {name for name, member in vars(Tracker).items() if inspect.isfunction(member) and not name.startswith("_")}
    assert {each[0] for each in expected()} == names


@pytest.mark.parametrize(
    "kind",
    [
        SilentTracker,
        Trackers,
        ConsoleTracker,
        FolderTracker,
        InBackground,
        PageTracker,
        WandbTracker,
        TensorboardTracker,
    ],
)
def test_trackers_are_told_by_the_same_words(kind: type) -> None:
    for name, member in vars(Tracker).items():
        if inspect.isfunction(member) and not name.startswith("_"):
            wanted, got = (inspect.signature(each).parameters for each in (member, getattr(kind, name)))
            assert list(got) == list(wanted)


def test_numbers_are_python_s_and_finite() -> None:
    told = {
        "integer": 3,
        "numpy": np.float32(0.5),
        "tensor": torch.tensor(2.5),
        "nan": math.nan,
        "infinite": -math.inf,
        "text": "many",
        "nothing": None,
        "several": torch.ones(2),
        "too large": 10**400,
    }
    assert finite_numbers(told) == {"integer": 3, "numpy": 0.5, "tensor": 2.5}
    assert {type(value) for value in finite_numbers(told).values()} == {int, float}


def test_a_histogram_counts_what_is_finite() -> None:
    values = np.array([[0.0, 0.3], [1.0, np.nan], [0.3, -np.inf]])
    found = histogram(values)
    assert found is not None
    flat, counts, edges = found
    assert sorted(flat) == [0.0, 0.3, 0.3, 1.0]
    slow = [0] * BINS
    for value in flat:
        slow[min(int(value * BINS), BINS - 1)] += 1
    assert counts.tolist() == slow
    assert edges.tolist() == pytest.approx([number / BINS for number in range(BINS + 1)])


@pytest.mark.parametrize("values", [[], [np.nan], ["text"], [1e308, -1e308], None], ids=str)
def test_what_cannot_be_counted_has_no_histogram(values: list) -> None:
    assert histogram(values) is None
