"""What a run would do, before anything is done: nothing is written, and no folder is made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ganstyle.data.folders import megapixels_of
from ganstyle.data.images import DEFAULT_MAX_PIXELS
from ganstyle.data.outputs import Task
from ganstyle.translate.ledger import Fate, Ledger, fates_of


@dataclass(frozen=True)
class Expected:
    """One file: what would become of it, its megapixels (0 where its header cannot be read) and its bytes."""

    task: Task
    fate: Fate
    megapixels: float
    source_bytes: int


@dataclass(frozen=True)
class Forecast:
    """All files of a run; the totals are those of the files to translate.

    Attributes:
        files: in the order of the tasks.
        seconds_per_megapixel: as measured or guessed; None where it is unknown.
        tells_bytes: whether files become about as large as their sources.
    """

    files: Sequence[Expected]
    seconds_per_megapixel: float | None = None
    tells_bytes: bool = True

    @property
    def to_translate(self) -> list[Expected]:
        """The files that would be made."""
        return [file for file in self.files if file.fate is Fate.TRANSLATE]

    @property
    def megapixels(self) -> float:
        """Of the files to translate."""
        return sum(file.megapixels for file in self.to_translate)

    @property
    def seconds(self) -> float | None:
        """How long they would take; None where the speed is unknown."""
        return None if self.seconds_per_megapixel is None else self.megapixels * self.seconds_per_megapixel

    @property
    def bytes(self) -> int:
        """About how much would be written: as much as the sources have."""
        return sum(file.source_bytes for file in self.to_translate)

    def lines(self) -> Iterator[str]:
        """A line for each file, and one of totals at the end."""
        for file in self.files:
            size = f"{file.megapixels:.2f} MP" if file.megapixels else "size unknown"
            yield f"{file.task.source} -> {file.task.target}: {file.fate.value}, {size}"
        yield str(self)

    def __str__(self) -> str:
        counts = Counter(file.fate for file in self.files)
        parts = [f"{counts[Fate.TRANSLATE]} to translate: {self.megapixels:.1f} MP"]
        parts += [_duration(self.seconds)] if self.seconds is not None else []
        parts += [f"about {self.bytes / 1e6:.1f} MB to write"] if self.tells_bytes else []
        parts += [f"{counts[fate]} {fate.value}" for fate in Fate if fate is not Fate.TRANSLATE and counts[fate]]
        return ", ".join(parts)


def forecast(
    tasks: Sequence[Task],
    *,
    ledger: Ledger | None = None,
    overwrite: bool = False,
    retry_failed: bool = False,
    sizes: Sequence[float] | None = None,
    originals: Sequence[float] | None = None,
    tells_bytes: bool = True,
    seconds_per_megapixel: float | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> Forecast:
    """What `translate_tasks` would do with the same arguments.

    Args:
        tasks: what to make of what.
        ledger: as there.
        overwrite: as there.
        retry_failed: as there.
        sizes: megapixels of each task's source as it is read; by default its header is asked.
        originals: the same before any is made smaller; `sizes` by default.
        tells_bytes: whether files become about as large as their sources.
        seconds_per_megapixel: of the model on this machine, where it is known.
        max_pixels: larger images are not read.

    Raises:
        UserError: what the ledger refuses.
    """
    fates = fates_of(tasks, ledger, overwrite=overwrite, retry_failed=retry_failed)
    sizes = megapixels_of([task.source for task in tasks]) if sizes is None else sizes
    files = []
    for task, fate, size, original in zip(tasks, fates, sizes, originals or sizes, strict=True):
        large = fate is Fate.TRANSLATE and original * 1e6 > max_pixels
        files.append(Expected(task, Fate.LARGE if large else fate, size, _bytes(task.source)))
    return Forecast(files, seconds_per_megapixel, tells_bytes)


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"about {hours} h {minutes} min"
    return f"about {minutes} min {rest} s" if minutes else f"about {rest} s"
