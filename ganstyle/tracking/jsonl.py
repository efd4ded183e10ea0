"""`metrics.jsonl` and the preview pictures in the run's folder: always written, each step once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from ganstyle.base.errors import UserError, one_line
from ganstyle.base.files import atomic_write
from ganstyle.tracking.tracker import SilentTracker


class FolderTracker(SilentTracker):
    """A line of JSON for each log, and a file for each picture.

    Args:
        folder: the run's folder.
        start: the step that the run goes on from; lines after it came from steps that are done again, and are dropped.
        warn: told once if nothing can be written any more.
    """

    def __init__(self, folder: Path, *, start: int, warn: Callable[[str], None]) -> None:
        self.folder, self.warn = folder, warn
        self._broken = False
        self._cut = False
        self.path = folder / "metrics.jsonl"
        try:
            kept = [row for row in read_metrics(self.path) if row["step"] <= start]
            with atomic_write(self.path) as file:
                file.write("".join(json.dumps(row) + "\n" for row in kept).encode())
        except (OSError, UserError) as error:
            self._tell(one_line(error))

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Append one line and hand it to the system at once."""
        line = json.dumps({"step": step, **scalars}) + "\n"
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write("\n" + line if self._cut else line)
            self._cut = False
        except OSError as error:
            self._cut = True  # half a line may stand there, and the next one shall not be lost with it
            self._tell(f"cannot write {self.path}: {error.strerror or one_line(error)}")

    def images(self, step: int, name: str, encoded: bytes) -> None:
        """Write `previews/step-00001000.jpg`."""
        folder = self.folder / f"{name}s"
        try:
            folder.mkdir(exist_ok=True)
            with atomic_write(folder / f"step-{step:08d}.jpg") as file:
                file.write(encoded)
        except (OSError, UserError) as error:
            self._tell(one_line(error))

    def _tell(self, reason: str) -> None:
        if not self._broken:
            self._broken = True
            self.warn(f"{reason}; training goes on without it")


def read_metrics(path: Path) -> list[dict]:
    """The rows of a `metrics.jsonl`, oldest first; lines that were cut off by a kill or a full disk are left out."""
    rows = []
    for line in path.read_bytes().split(b"\n") if path.is_file() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows.append(row)
    return rows
