from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from ganstyle.tracking import console
from ganstyle.tracking.console import ConsoleTracker, duration, say, scores_line

SCALARS = {
    "generator/cycle_a": 0.12345,
    "discriminator/b": 2.0,
    "learning_rate": 2e-4,
    "speed/images_per_second": 3.14159,
    "speed/seconds_per_step": 0.3,
    "memory/gigabytes": 1.26,
}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """A clock that only moves when it is told to."""
    now = [1000.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])

    def move(seconds: float) -> None:
        now[0] += seconds

    return move


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (12.3, "12 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (60, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 00 min"),
        (3900, "1 h 05 min"),
        (100 * 3600, "100 h 00 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_plain_lines_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], clock: Callable[[float], None]
) -> None:
    tracker = ConsoleTracker(start=100, steps=400)
    clock(50)
    tracker.advance(150)
    tracker.log(200, SCALARS)
    tracker.alert("training stopped", "why")
    tracker.images(200, "preview", b"")
    tracker.close()
    captured = capsys.readouterr()
    assert captured.out == ""
    # 100 steps in 50 seconds, and 200 are left.
    assert captured.err == (
        "step 200/400  cycle_a 0.123  discriminator_b 2.000  3.1 images/s  0% waiting for data  1.3 GB  "
        "1 min 40 s left\n"
        "training stopped: why\n"
    )


def test_the_first_step_has_a_time_left(capsys: pytest.CaptureFixture[str], clock: Callable[[float], None]) -> None:
    ConsoleTracker(start=5, steps=5).log(5, {})
    assert capsys.readouterr().err.endswith("0 s left\n")


def test_only_the_losses_are_in_the_line(capsys: pytest.CaptureFixture[str], clock: Callable[[float], None]) -> None:
    others = dict.fromkeys(
        ("judged/b_real", "health/change_ab", "gradient_norm/generator", "guard/skipped", "best/step", "learning_rate"),
        7.0,
    )
    ConsoleTracker(start=0, steps=4).log(2, {**others, "speed/waiting_for_data": 0.25, "generator/cycle_a": 0.5})
    assert capsys.readouterr().err == "step 2/4  cycle_a 0.500  0.0 images/s  25% waiting for data  0.0 GB  0 s left\n"


SCORES = {
    "scores/kid_ab": 1.234,
    "scores/kid_deviation_ab": 0.05,
    "scores/kid_ba": -0.001,
    "scores/kid": 0.6167,
    "scores/fid_ab": 123.4,
    "scores/content_ab": 0.61,
    "scores/content": 0.61,
    "best/step": 1500.0,
}


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (
            list(SCORES),
            "KID a to b 1.23 ± 0.05, b to a -0.00100; FID a to b 123; content a to b 0.610; best so far: step 1500",
        ),
        (["scores/kid", "scores/content"], "KID 0.617; content 0.610"),
        (["scores/content_ab"], "content a to b 0.610"),
    ],
)
def test_scores_in_words(names: list[str], told: str) -> None:
    assert scores_line(2000, {name: SCORES[name] for name in names}) == f"scores at step 2000: {told}"


def test_scores_have_a_line_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    tracker = ConsoleTracker(start=0, steps=4000)
    tracker.log(2000, SCORES)
    alone = capsys.readouterr().err
    tracker.log(2000, {**SCORES, "generator/cycle_a": 0.5})
    both = capsys.readouterr().err.splitlines()
    assert alone == scores_line(2000, SCORES) + "\n"
    assert both[0] + "\n" == alone
    assert both[1].startswith("step 2000/4000  cycle_a 0.500  0.0 images/s")
    assert len(both) == 2


@pytest.mark.parametrize(
    "text",
    [
        "[bold]photos[/bold]",
        "[/]",
        "photos [2024]/a.jpg: [red",
        "a\\[b] c\\",
        ":smile: and :warning:",
        "x" * 500,
        "müde 写真",
        "{braces} %s",
    ],
)
def test_text_is_shown_as_it_is(capsys: pytest.CaptureFixture[str], text: str) -> None:
    say(text)
    tracker = ConsoleTracker(start=0, steps=1)
    tracker.say(text)
    tracker.alert(text, text)
    tracker.log(1, {f"generator/{text.replace('/', '|')}": 1.0})
    lines = capsys.readouterr().err.splitlines()
    assert lines[:3] == [text, text, f"{text}: {text}"]
    assert f"{text.replace('/', '|')} 1.000" in lines[3]
    assert len(lines) == 4


def on_a_terminal(monkeypatch: pytest.MonkeyPatch, width: int = 150) -> io.StringIO:
    """What a terminal gets from our own console."""
    output, ours = io.StringIO(), console.error_console()
    wide: dict[str, Any] = {"file": output, "force_terminal": True, "width": width}

    def terminal() -> Console:
        return Console(**wide, soft_wrap=ours.soft_wrap, highlight=False, markup=False, emoji=False)

    monkeypatch.setattr(console, "error_console", terminal)
    return output


def test_a_narrow_terminal_shows_the_bar_and_all_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    output = on_a_terminal(monkeypatch, width=60)
    tracker = ConsoleTracker(start=0, steps=40)
    tracker.log(20, {f"generator/loss_number_{number}": float(number) for number in range(8)})
    tracker.close()
    text = output.getvalue()
    assert "20/40" in text
    assert "\u2501" in text  # the bar
    assert all(f"loss_number_{number}" in text and f"{number}.000" in text for number in range(8))
    assert "images/s" in text


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    output = on_a_terminal(monkeypatch)
    tracker = ConsoleTracker(start=10, steps=40)
    tracker.advance(15)
    tracker.say("a line [bold]between[/bold]")
    tracker.log(20, {**SCALARS, "generator/[red]odd": 4.0})
    tracker.close(failed=True)
    tracker.close()
    text = output.getvalue()
    assert "20/40" in text
    assert "cycle_a 0.123" in text
    assert "3.1 images/s" in text
    assert "[red]odd 4.000" in text
    assert "a line [bold]between[/bold]" in text
    assert "\x1b[?25h" in text  # the cursor is back


def test_the_terminal_is_left_as_it_was_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    output = on_a_terminal(monkeypatch)
    tracker: Any = ConsoleTracker(start=0, steps=4)
    tracker.close()
    written = len(output.getvalue())
    tracker.advance(3)
    assert len(output.getvalue()) == written
