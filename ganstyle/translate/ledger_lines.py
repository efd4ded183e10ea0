"""The lines of a ledger: from and to JSON, whatever a kill or an editor has made of them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from ganstyle.base.errors import UserError, one_line

VERSION = 1
LEDGERS = "ganstyle-ledger*.jsonl"
# No line is nearly as long.
TAIL_BYTES = 2**20

Stamp = tuple[int, int]  # a source's bytes and its time of change in ns


@dataclass(frozen=True)
class Run:
    """What a header says: settings as plain values, and the input's real place; both empty where it was damaged."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""

    def differing(self, later: Run) -> str:
        """In words, what another run has set differently; empty where all is the same or nothing is known."""
        if not self.source:
            return ""
        names = [*self.settings, *(name for name in later.settings if name not in self.settings)]
        pairs = [(name, self.settings.get(name), later.settings.get(name)) for name in names]
        return ", ".join(f"{name} {_word(old)} -> {_word(new)}" for name, old, new in pairs if old != new)


@dataclass(frozen=True)
class Entry:
    """What became of one file: `source` is its place below the input, `of` what it was when it was read."""

    run: Run
    source: str
    done: bool
    of: Stamp | None
    target_bytes: int | None
    time: str


@dataclass
class Records:
    """What ledgers say, by the target's place below the output folder: the last entry of each, and the last done."""

    latest: dict[str, Entry] = field(default_factory=dict)
    made: dict[str, Entry] = field(default_factory=dict)

    def add(self, file: str, entry: Entry) -> None:
        """An entry of a file, unless a later one is known."""
        for known in (self.latest, self.made) if entry.done else (self.latest,):
            if file not in known or entry.time >= known[file].time:
                known[file] = entry


@dataclass
class Story:
    """What one ledger says: of all its runs, and of the one that overwrites and has not come to its end."""

    all: Records = field(default_factory=Records)
    ended: bool = True
    overwriting: Run | None = None
    since: Records = field(default_factory=Records)


def read_story(path: Path, say: Callable[[str], None]) -> Story:
    """Read one ledger; damaged lines are passed over and told of once, half a line at the end is passed over silently.

    Raises:
        UserError: it cannot be read, or was written by a newer version.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or one_line(error)}") from error
    story, run, damaged = Story(), Run(), 0
    for line in lines if _parsed(lines[-1]) else lines[:-1]:
        row = _parsed(line)
        if isinstance(row.get("version"), int):
            if row["version"] > VERSION:
                raise UserError(f"{path} was written by a newer ganstyle: update this one, or use another folder")
            run = _header(story, row)
        elif "ended" in row:
            story.ended, story.overwriting = True, None
        elif (entry := _entry(row, run)) is not None:
            story.all.add(row["file"], entry)
            story.since.add(row["file"], entry)
        elif line.strip():
            damaged += 1
    if damaged:
        say(f"{path}: {damaged} damaged {'line is' if damaged == 1 else 'lines are'} passed over")
    return story


def _header(story: Story, row: Mapping[str, Any]) -> Run:
    settings = row.get("settings")
    run = Run(settings if isinstance(settings, dict) else {}, str(row.get("input", "")))
    story.ended = False
    if row.get("goes_on") is not True:
        story.since = Records()
        story.overwriting = run if row.get("overwrite") is True else None
    return run


def _entry(row: Mapping[str, Any], run: Run) -> Entry | None:
    file, source, status, moment = (row.get(name) for name in ("file", "source", "status", "time"))
    if not (isinstance(file, str) and isinstance(source, str) and status in ("done", "failed")):
        return None
    stamp = (row.get("source_bytes"), row.get("source_mtime_ns"))
    size = row.get("target_bytes")
    return Entry(
        run=run,
        source=source,
        done=status == "done",
        of=(stamp[0], stamp[1]) if isinstance(stamp[0], int) and isinstance(stamp[1], int) else None,
        target_bytes=size if isinstance(size, int) else None,
        time=moment if isinstance(moment, str) else "",
    )


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) else {}


def line_of(row: Mapping[str, Any]) -> bytes:
    """A line of JSON with its line end; names that are no Unicode are escaped."""
    try:
        return json.dumps(row, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(row).encode() + b"\n"


def now() -> str:
    """The time in UTC, to the millisecond; texts of it sort by time."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def mend_end(file: BinaryIO) -> None:
    """Take away half a line at the end of a ledger that is open for appending; a whole one gets its line end."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - TAIL_BYTES))
    last = file.read().rsplit(b"\n", 1)[-1]
    if not last:
        return
    if _parsed(last) or len(last) == TAIL_BYTES:
        file.write(b"\n")
    else:
        file.truncate(size - len(last))
    file.flush()


def ledgers_in(folder: Path) -> Iterator[Path]:
    """All ledgers of a folder, in the order of their names."""
    yield from sorted(folder.glob(LEDGERS))


def _word(value: Any) -> str:
    return "none" if value is None else str(value)
