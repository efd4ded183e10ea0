"""Translating a folder: every image at its own size and place, whole or not at all, and nothing twice."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from ganstyle.base.errors import UserError
from ganstyle.base.files import drop_leftovers
from ganstyle.data.images import Unreadable, read_image, write_image
from ganstyle.data.outputs import Task

# Disk full, over quota, read-only, or failing.
STOPPING = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}

# A temporary file this old was left by a process that was killed; a younger one may be another process's work.
LEFT_S = 3600


class Translates(Protocol):
    """A model of any runtime."""

    def pixels(self, pixels: np.ndarray) -> np.ndarray:
        """Translate one array, uint8 (H, W, 3)."""
        ...


@dataclass
class Report:
    """What became of a folder."""

    done: int = 0
    skipped: int = 0
    failed: list[tuple[Path, str]] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [f"{self.done} translated"]
        parts += [f"{self.skipped} there already"] if self.skipped else []
        parts += [f"{len(self.failed)} failed"] if self.failed else []
        return ", ".join(parts)


def translate_tasks(
    translator: Translates, tasks: Sequence[Task], *, overwrite: bool, quality: int, advance: Callable[[str], None]
) -> Report:
    """Translate every file; one that fails is noted and does not stop the rest. A full disk does, as all would fail.

    Args:
        translator: the model.
        tasks: what to make of what.
        overwrite: make again what is there already.
        quality: of JPEG, WebP and AVIF.
        advance: called after each file with its name, or why it failed.
    """
    report = Report()
    folders: set[Path] = set()
    for task in tasks:
        try:
            if not overwrite and _is_done(task):
                report.skipped += 1
                advance(f"{task.source}: there already")
                continue
            _make_folder(task.target.parent)
            if task.target.parent not in folders:
                folders.add(task.target.parent)
                drop_leftovers(task.target.parent, older_than_s=LEFT_S)
            write_image(task.target, translator.pixels(read_image(task.source).pixels), quality=quality)
        except (Unreadable, UserError) as error:
            if _stops_all(error):
                raise UserError(f"{error} ({report} before it; the same command goes on from there)") from error
            report.failed.append((task.source, str(error)))
            advance(f"{task.source}: {error}")
            continue
        report.done += 1
        advance(str(task.source))
    return report


def _stops_all(error: Exception) -> bool:
    """Whether no later file could be written either."""
    cause = error.__cause__
    return isinstance(error, UserError) and isinstance(cause, OSError) and cause.errno in STOPPING


def _is_done(task: Task) -> bool:
    try:
        return task.is_done()
    except OSError:  # a name too long to ask for: writing it says so
        return False


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {folder}: {error.strerror}") from error
