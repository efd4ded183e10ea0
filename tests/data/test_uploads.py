"""The order of events only: a GPU test shows that copies arrive whole and that nothing waits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from ganstyle.data.uploads import uploaded


class FakeImage:
    """Says what is done with it."""

    device = "there"

    def __init__(self, name: str, told: list[str]) -> None:
        self.name, self.told = name, told

    def to(self, device: Any, *, non_blocking: bool) -> FakeImage:
        assert non_blocking
        self.told.append(f"copy {self.name}")
        return FakeImage(f"{self.name} there", self.told)

    def record_stream(self, stream: Any) -> None:
        self.told.append(f"keep {self.name}")


class FakeStream:
    """Numbers its events, and says when one is waited for."""

    def __init__(self, told: list[str]) -> None:
        self.told, self.events = told, 0

    def record_event(self) -> int:
        self.events += 1
        return self.events - 1

    def wait_event(self, event: int) -> None:
        self.told.append(f"wait {event}")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    events: list[str] = []
    copies, current = FakeStream(events), FakeStream(events)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: copies)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext(stream is copies or pytest.fail("the wrong")))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: current)
    return events


@pytest.mark.parametrize("count", [0, 1, 4])
def test_the_next_item_is_sent_before_one_is_given_out(told: list[str], count: int) -> None:
    def items() -> Iterator[Any]:
        for step in range(count):
            yield step, FakeImage(f"a{step}", told), FakeImage(f"b{step}", told)

    for step, a, b in uploaded(items(), torch.device("cuda")):
        told.append(f"train on {step}: {a.name}, {b.name}")  # type: ignore[attr-defined]
    expected = ["copy a0", "copy b0"] if count else []
    for step in range(count):
        expected += [f"copy a{step + 1}", f"copy b{step + 1}"] if step + 1 < count else []
        expected += [f"wait {step}", f"keep a{step} there", f"keep b{step} there"]
        expected += [f"train on {step}: a{step} there, b{step} there"]
    assert told == expected
