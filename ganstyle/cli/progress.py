"""A progress bar for files of very different sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from ganstyle.base.errors import printable
from ganstyle.tracking.console import duration, error_console

if TYPE_CHECKING:
    from ganstyle.translate.folder import Progress as Told

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
