"""The run on the terminal: a progress bar where there is one, plain lines otherwise."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from ganstyle.base.errors import printable
from ganstyle.tracking.tracker import SilentTracker

OTHER_GROUPS = (
    "speed/", "memory/", "judged/", "health/", "gradient_norm/", "scores/", "guard/", "best/",
)  # fmt: skip
SCORES = {"kid": "KID", "fid": "FID", "content": "content"}


def error_console() -> Console:
    """Messages go to standard error; standard output is for results."""
    return Console(stderr=True, highlight=False, markup=False, emoji=False)


def say(text: str) -> None:
    """One plain line for a person."""
    error_console().print(printable(text, keep="\n"), soft_wrap=True)


class _Bar(Progress):
    """A progress bar with the newest numbers below it: beside it they would leave no room for the bar."""

    numbers = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        yield Text(self.numbers)


class ConsoleTracker(SilentTracker):
    """Progress, the losses, images a second, memory and time left; scores, when there are any, on a line of their own.

    Args:
        start: the step that the run goes on from.
        steps: the last step.
    """

    def __init__(self, *, start: int, steps: int) -> None:
        self.steps, self.start = steps, start
        self._began = time.monotonic()
        self._console = error_console()
        self._progress: _Bar | None = None
        if self._console.is_terminal:
            columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._progress = _Bar(TextColumn("step"), *columns, console=self._console)
            self._task = self._progress.add_task("step", total=steps, completed=start)
            self._progress.start()

    def say(self, text: str) -> None:
        """One plain line, above the progress bar if there is one."""
        self._console.print(printable(text, keep="\n"), soft_wrap=True)

    def advance(self, done: int) -> None:
        """Move the bar; costs nothing on the device."""
        if self._progress is not None:
            self._progress.update(self._task, completed=done)

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Show the numbers of one log."""
        if any(name.startswith("scores/") for name in scalars):
            self.say(scores_line(step, scalars))
            if not any(map(_is_loss, scalars)):
                return  # a log of scores alone
        if self._progress is not None:
            self._progress.numbers = _numbers(scalars)
            self._progress.update(self._task, completed=step, refresh=True)
        else:
            self.say(f"step {step}/{self.steps}  {_numbers(scalars)}  {self._time_left(step)}")

    def alert(self, title: str, text: str, *, level: str = "warn") -> None:
        """Show it at once."""
        self.say(f"{title}: {text}")

    def close(self, *, failed: bool = False) -> None:
        """Leave the terminal as it was."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _time_left(self, step: int) -> str:
        seconds = (time.monotonic() - self._began) / max(step - self.start, 1) * (self.steps - step)
        return f"{duration(seconds)} left"


def _numbers(scalars: Mapping[str, float]) -> str:
    losses = [f"{_short(name)} {value:.3f}" for name, value in scalars.items() if _is_loss(name)]
    speed = scalars.get("speed/images_per_second", 0.0)
    waiting = f"{scalars.get('speed/waiting_for_data', 0.0):.0%} waiting for data"
    return "  ".join([*losses, f"{speed:.1f} images/s", waiting, f"{scalars.get('memory/gigabytes', 0.0):.1f} GB"])


def _short(name: str) -> str:
    """`cycle_a` for `generator/cycle_a`; `discriminator_a` keeps its group, or it would be a letter."""
    group, _, rest = name.partition("/")
    return rest if len(rest) > 1 else f"{group}_{rest}"


def _is_loss(name: str) -> bool:
    """A loss, by what it is not: methods name their losses as they like."""
    return "/" in name and not name.startswith(OTHER_GROUPS)


def scores_line(step: int, scalars: Mapping[str, float]) -> str:
    """`scores at step 1500: KID a to b 1.23 ± 0.05, b to a 0.98 ± 0.04; content 0.61; best so far: step 1500`."""
    parts = [_score(name, label, scalars) for name, label in SCORES.items()]
    if "best/step" in scalars:
        parts.append(f"best so far: step {scalars['best/step']:.0f}")
    return f"scores at step {step}: {'; '.join(part for part in parts if part)}"


def _score(name: str, label: str, scalars: Mapping[str, float]) -> str:
    """One kind of score, for each way there is, or the mean over the ways where that is all; empty if there is none."""
    ways = {"ab": "a to b", "ba": "b to a"}
    found = [
        f"{spoken} {_with_deviation(scalars, f'{name}_{way}', f'{name}_deviation_{way}')}"
        for way, spoken in ways.items()
        if f"scores/{name}_{way}" in scalars
    ]
    if not found and f"scores/{name}" in scalars:
        found = [_with_deviation(scalars, name, f"{name}_deviation")]
    return f"{label} {', '.join(found)}" if found else ""


def _with_deviation(scalars: Mapping[str, float], name: str, deviation: str) -> str:
    spread = scalars.get(f"scores/{deviation}")
    return _short_score(scalars[f"scores/{name}"]) + ("" if spread is None else f" ± {spread:.2g}")


def _short_score(value: float) -> str:
    """Three significant digits, zeros kept: 1.23, 0.0500, 120."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}"


def duration(seconds: float) -> str:
    """`1 h 05 min`, `3 min 20 s`, `12 s`."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"
