"""A progress bar for files of very different sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from ganstyle.base.errors import printable
from ganstyle.tracking.console import duration, error_console

if TYPE_CHECKING:
    from pathlib import Path

    from ganstyle.translate.folder import Progress as Told
    from ganstyle.verbs.painting import Progress as Step

NAME_LENGTH = 60


class FileProgress:
    """A bar with files, megapixels a second and time left on a terminal; nothing elsewhere."""

    def __init__(self) -> None:
        console = error_console()
        columns = (
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TextColumn("{task.description}"),
        )
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self._bar = self._progress.add_task("", total=None, speed="")

    def advance(self, told: Told) -> None:
        """Show how far it has come."""
        left = "" if told.seconds_left is None else f", {duration(told.seconds_left)} left"
        self._progress.update(
            self._bar,
            completed=told.files,
            total=told.files_total,
            speed=f"{told.megapixels_per_s:.2f} MP/s{left}",
            description=escape(printable(told.line)[-NAME_LENGTH:]),
        )

    def __enter__(self) -> FileProgress:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


class PhotoProgress:
    """A bar for each photo that takes long, with the words of its method; of several, how many are done."""

    def __init__(self, count: int) -> None:
        console = error_console()
        columns = (BarColumn(), TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self._bar = self._progress.add_task("", total=None)
        self._count, self._done = count, 0

    def watch(self, source: Path, told: Step) -> None:
        """Show how far one photo has come."""
        place = f"{self._done + 1}/{self._count} " if self._count > 1 else ""
        name = escape(printable(source.name)[-NAME_LENGTH:])
        self._progress.update(self._bar, completed=told.done, total=told.of, description=f"{place}{name}: {told.words}")

    def advance(self, told: Told) -> None:
        """One more is done."""
        self._done = told.files
        if told.files < told.files_total:
            self._progress.reset(self._bar)

    def __enter__(self) -> PhotoProgress:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


@contextmanager
def reading() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for folders that are read one after the other, on a terminal; nothing elsewhere.

    Gives what is to be told a folder, how many of its images are done, and of how many.
    """
    console = error_console()
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bars: dict[str, TaskID] = {}

        def watch(folder: str, done: int, of: int) -> None:
            if folder not in bars:
                bars[folder] = progress.add_task(escape(printable(folder)[-NAME_LENGTH:]), total=of)
            progress.update(bars[folder], completed=done)

        yield watch
