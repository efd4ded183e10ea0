"""`metrics.jsonl`, `events.jsonl` and the preview pictures in the run's folder: always written."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from ganstyle.base.errors import UserError, one_line
from ganstyle.base.files import atomic_write
from ganstyle.tracking.tracker import SilentTracker, finite_numbers

PICTURE = re.compile(r"step-(\d{8,})\.jpg")
MOST_WHOLE = 2**63  # whole numbers beyond it are damage, and some are beyond all floats


class FolderTracker(SilentTracker):
    """A line of JSON for each log and for each event, and a file for each picture.

    Args:
        folder: the run's folder.
        start: the step that the run goes on from; lines after it came from steps that are done again, and are dropped.
        warn: told once if nothing can be written any more.
    """

    def __init__(self, folder: Path, *, start: int, warn: Callable[[str], None]) -> None:
        self.folder, self.warn = folder, warn
        self.path, self.events = folder / "metrics.jsonl", folder / "events.jsonl"
        self._step = start
        self._broken = False
        self._drop_rows(start)

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Append one line and hand it to the system at once; what is not finite is left out, for JSON has no NaN."""
        self._step = step
        self._append(self.path, {"step": step, **finite_numbers(scalars)})

    def alert(self, title: str, text: str, *, level: str = "warn") -> None:
        """Append one line to the events, with the last step that was told of and the time in UTC."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self._append(self.events, {"step": self._step, "time": now, "level": level, "title": title, "text": text})

    def images(self, step: int, name: str, encoded: bytes) -> None:
        """Write `previews/step-00001000.jpg`."""
        self._step = step
        folder = self.folder / f"{name}s"
        try:
            folder.mkdir(exist_ok=True)
            with atomic_write(folder / f"step-{step:08d}.jpg") as file:
                file.write(encoded)
        except (OSError, UserError) as error:
            self._tell(one_line(error))

    def rewind(self, step: int) -> None:
        """Drop the rows and previews of later steps; events stay, for they happened."""
        self._step = step
        self._drop_rows(step)
        try:
            for picture in (self.folder / "previews").glob("step-*.jpg"):
                found = PICTURE.fullmatch(picture.name)
                if found and int(found[1]) > step:
                    picture.unlink()
        except OSError as error:
            self._tell(one_line(error))

    def _drop_rows(self, after: int) -> None:
        try:
            kept = [row for row in read_metrics(self.path) if row["step"] <= after]
            with atomic_write(self.path) as file:
                file.write("".join(json.dumps(row) + "\n" for row in kept).encode())
        except (OSError, UserError) as error:
            self._tell(one_line(error))

    def _append(self, path: Path, row: Mapping[str, Any]) -> None:
        line = json.dumps(row).encode() + b"\n"
        try:
            with path.open("a+b") as file:
                file.write(b"\n" + line if _is_cut(file) else line)
        except OSError as error:
            self._tell(f"cannot write {path}: {error.strerror or one_line(error)}")

    def _tell(self, reason: str) -> None:
        if not self._broken:
            self._broken = True
            self.warn(f"{reason}; training goes on without it")


def _is_cut(file: BinaryIO) -> bool:
    """Whether half a line stands at the end, left by a kill or a full disk; the next one shall not be lost with it."""
    if not file.tell():
        return False
    file.seek(-1, os.SEEK_END)
    return file.read(1) != b"\n"


def read_metrics(path: Path) -> list[dict]:
    """The rows of a `metrics.jsonl`, oldest first; lines that were cut off by a kill or a full disk are left out.

    A step's scores stand in a row of their own, so that two rows may have the same step.
    """
    return list(_rows(path))


def read_events(path: Path) -> list[dict]:
    """The rows of an `events.jsonl`, oldest first: step, time, level, title and text of each."""
    return [row for row in _rows(path) if isinstance(row.get("title"), str)]


def _rows(path: Path) -> Iterator[dict]:
    for line in path.read_bytes().split(b"\n") if path.is_file() else []:
        row = _row(line)
        if isinstance(row.get("step"), int) and not isinstance(row["step"], bool):
            yield row


def _row(line: bytes) -> dict:
    """The texts and numbers of one line; empty where it is damaged."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return {name: value for name, value in row.items() if _is_plain(value)} if isinstance(row, dict) else {}


def _is_plain(value: Any) -> bool:
    """Whether it is what a tracker writes, who nests nothing."""
    if isinstance(value, int):
        return abs(value) < MOST_WHOLE
    return not isinstance(value, dict | list)
