"""What has been made of which file, with which settings: lines in the output folder that people can read.

`ganstyle-ledger.jsonl`, or `ganstyle-ledger.2-of-8.jsonl` for a shard, gets a header for each run and a line for each
file, once the file is in place. All ledgers of a folder are read, so that shards may change their number.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from stat import S_ISREG
from threading import Lock
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from ganstyle.base.errors import UserError, one_line
from ganstyle.data.outputs import Task
from ganstyle.translate.ledger_lines import (
    VERSION,
    Entry,
    Records,
    Run,
    Stamp,
    Story,
    ledgers_in,
    line_of,
    mend_end,
    now,
    read_story,
)
from ganstyle.translate.shards import WHOLE, Shard

# Another process that asks whether this ledger is in use holds its lock for a moment.
LOCK_S = 2.0
# A temporary file this old was left by a process that was killed; a younger one may be another process's work.
LEFT_S = 3600.0


class Fate(Enum):
    """What becomes of a file, before anything is done with it."""

    TRANSLATE = "to translate"
    THERE = "there already"
    FAILED = "failed before"
    LARGE = "too large"


class LedgerError(UserError):
    """The ledger cannot be written: no further file may be made that it would not know of."""


class Ledger:
    """The ledgers of one output folder, of which this run writes one.

    Args:
        folder: the output folder; it need not exist yet.
        source: the input, a folder or a file.
        settings: all that makes the results what they are, as plain values; None counts as not given.
        shard: which one this is.
        say: told of damaged lines, once a ledger.

    Raises:
        UserError: a ledger that cannot be read, or was written by a newer version.
    """

    def __init__(
        self,
        folder: Path,
        source: Path,
        settings: Mapping[str, Any],
        *,
        shard: Shard = WHOLE,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.folder, self._input = folder, source if source.is_dir() else source.parent
        self.path = folder / ledger_name(shard)
        plain = json.loads(json.dumps(dict(settings), default=str))  # as it will be when it is read again
        self.run, self._shard = Run(plain, os.path.realpath(self._input)), shard
        self._own, self._all = Story(), Records()
        for path in ledgers_in(folder):
            story = read_story(path, say)
            self._own = story if path == self.path else self._own
            for file, entry in (*story.all.made.items(), *story.all.latest.items()):
                self._all.add(file, entry)
        self._stamps: dict[Path, Stamp | None] = {}
        self._file: BinaryIO | None = None
        self._lock = Lock()

    def fates(self, tasks: Sequence[Task], *, overwrite: bool = False, retry_failed: bool = False) -> list[Fate]:
        """What becomes of each task; nothing is written.

        Args:
            tasks: all of this run's.
            overwrite: make again what is there, but for what this same command has made before it was interrupted.
            retry_failed: try again what failed before.

        Raises:
            UserError: files that an earlier run made with other settings or of other photos, without `overwrite`.
        """
        self._stamps = {task.source: _stamp(task.source) for task in tasks}
        sizes = [_size(task.target) for task in tasks]
        if not overwrite:
            for task, size in zip(tasks, sizes, strict=True):
                if size is not None:
                    self._refuse_others(task)
            known = self._all
        else:
            known = self._own.since if self.goes_on_overwriting() else Records()
        return [
            self._fate(task, size, known, overwrite=overwrite, retry_failed=retry_failed)
            for task, size in zip(tasks, sizes, strict=True)
        ]

    @property
    def unfinished(self) -> bool:
        """Whether the last run that wrote this ledger was interrupted; in its last moment only its lock tells."""
        return not self._own.ended or _lock_of(self.path).exists()

    def goes_on_overwriting(self) -> bool:
        """Whether a run that overwrites was interrupted, and this is the same command again."""
        before = self._own.overwriting
        return before is not None and before.source == self.run.source and not before.differing(self.run)

    def _fate(self, task: Task, size: int | None, known: Records, *, overwrite: bool, retry_failed: bool) -> Fate:
        """What becomes of a task whose target has so many bytes, or is not there."""
        last, made = known.latest.get(self._name(task)), known.made.get(self._name(task))
        if size is not None and not overwrite and (made is None or made.target_bytes not in (None, size)):
            return Fate.THERE  # somebody's own file, or one that somebody has worked on since
        if size is not None and self._fits(made, task):
            return Fate.THERE
        failed = last is not None and not last.done and self._fits(last, task)
        return Fate.FAILED if failed and not retry_failed else Fate.TRANSLATE

    def _fits(self, entry: Entry | None, task: Task) -> bool:
        """Whether the entry is of this very source, as it is now, and of these settings."""
        if entry is None or entry.of is None or entry.run.differing(self.run):
            return False
        return entry.source == self._source(task) and entry.of == self._stamps[task.source]

    def _refuse_others(self, task: Task) -> None:
        """UserError where the target was made with other settings, or of a file of another folder."""
        made = self._all.made.get(self._name(task))
        if made is None:
            return
        if differing := made.run.differing(self.run):
            raise UserError(
                f"{self.folder} holds files that were made with other settings ({differing}): "
                "use another folder, or --overwrite to make them again"
            )
        if made.run.source not in ("", self.run.source) and made.of != self._stamps[task.source]:
            raise UserError(
                f"{task.target} was made of {made.run.source}{os.sep}{made.source}, not of {task.source}: "
                "use another folder, or --overwrite to make it again"
            )

    @contextmanager
    def writing(self, *, overwrite: bool = False) -> Iterator[None]:
        """Open for new lines; the header is written at once, so that a folder that takes none is known by now.

        Raises:
            UserError: a folder that cannot be written, or another run that writes this ledger.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LedgerError(f"cannot make the folder {self.folder}: {error.strerror or one_line(error)}") from error
        with _locked(self.path, LOCK_S) as held:
            if held is False:
                raise UserError(
                    f"another run is writing {self.path}: wait for it, or give each run a shard of its own "
                    f"(if there is none, delete {_lock_of(self.path)})"
                )
            try:
                self._open()
                self._append(self._header(overwrite))
                yield
            finally:
                if self._file is not None:
                    with suppress(OSError):  # a full disk has been told already
                        self._file.close()
                self._file = None

    def leftover_age_s(self) -> float:
        """From which age on a temporary file in the folder belongs to nobody, while this run writes nothing.

        Where no other shard's run is at work, all that is older than this ledger's last line; else it may be in use.
        """
        written = time.time() - self.path.stat().st_mtime  # by the clock of the disk, which may be another machine's
        others = [path for path in ledgers_in(self.folder) if path != self.path]
        return written if _sees_locks(self.path) and all(map(_is_idle, others)) else LEFT_S

    def done(self, task: Task, *, seconds: float, megapixels: float, notes: Sequence[str] = ()) -> None:
        """Note that the target is in place; from any thread."""
        told = {"notes": list(notes)} if notes else {}
        facts = {"seconds": round(seconds, 3), "megapixels": round(megapixels, 3), "target_bytes": _size(task.target)}
        self._append(self._row(task, {"status": "done", **facts, **told}, self._stamps.get(task.source)))

    def failed(self, task: Task, reason: str) -> None:
        """Note why it could not be made; from any thread."""
        stamp = _stamp(task.source)
        unchanged = stamp == self._stamps.get(task.source)  # else it shall be tried again
        self._append(self._row(task, {"status": "failed", "reason": reason}, stamp if unchanged else None))

    def end(self, *, done: int, failed: int) -> None:
        """Note that all files have had their turn: from here on --overwrite begins anew."""
        self._append({"ended": now(), "done": done, "failed": failed})

    def _header(self, overwrite: bool) -> dict[str, Any]:
        going_on = {"goes_on": True} if overwrite and self.goes_on_overwriting() else {}
        facts = {"what": "ganstyle translate", "version": VERSION, "started": now(), "shard": str(self._shard)}
        return {**facts, "overwrite": overwrite, **going_on, "input": self.run.source, "settings": self.run.settings}

    def _row(self, task: Task, facts: Mapping[str, Any], stamp: Stamp | None) -> dict[str, Any]:
        of = {} if stamp is None else {"source_bytes": stamp[0], "source_mtime_ns": stamp[1]}
        return {"file": self._name(task), "source": self._source(task), **facts, **of, "time": now()}

    def _open(self) -> None:
        try:
            self._file = self.path.open("a+b")
            mend_end(self._file)
        except OSError as error:
            raise LedgerError(f"cannot write {self.path}: {error.strerror or one_line(error)}") from error

    def _append(self, row: Mapping[str, Any]) -> None:
        assert self._file is not None, "lines are written inside `writing`"
        try:
            with self._lock:
                self._file.write(line_of(row))
                self._file.flush()
        except OSError as error:
            raise LedgerError(f"cannot write {self.path}: {error.strerror or one_line(error)}") from error

    def _name(self, task: Task) -> str:
        return task.target.relative_to(self.folder).as_posix()

    def _source(self, task: Task) -> str:
        return task.source.relative_to(self._input).as_posix()


def fates_of(
    tasks: Sequence[Task], ledger: Ledger | None, *, overwrite: bool = False, retry_failed: bool = False
) -> list[Fate]:
    """What becomes of each task, as `Ledger.fates`; without a ledger what is there is taken as it is."""
    if ledger is not None:
        return ledger.fates(tasks, overwrite=overwrite, retry_failed=retry_failed)
    return [Fate.THERE if not overwrite and _size(task.target) is not None else Fate.TRANSLATE for task in tasks]


def ledger_name(shard: Shard) -> str:
    """The file's name; shards have their own, so that no two processes write one file."""
    return "ganstyle-ledger.jsonl" if shard.count == 1 else f"ganstyle-ledger.{shard.index}-of-{shard.count}.jsonl"


def _stamp(path: Path) -> Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _size(path: Path) -> int | None:
    """Bytes of a file; None where none is, or where its name cannot even be asked for."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size if S_ISREG(status.st_mode) else None


def _lock_of(path: Path) -> Path:
    return path.with_name(f".{path.stem}.lock")


@contextmanager
def _locked(path: Path, timeout_s: float) -> Iterator[bool | None]:
    """The ledger's lock, a hidden file: True when held, False when another has it, None where locks do not work."""
    lock = FileLock(_lock_of(path), timeout=timeout_s)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    except (OSError, NotImplementedError):  # some network disks
        yield None
        return
    try:
        yield True
    finally:
        with suppress(OSError):  # before it is released: afterwards it may be another's
            _lock_of(path).unlink()
        lock.release()


def _is_idle(path: Path) -> bool:
    with _locked(path, 0) as held:
        return held is True


def _sees_locks(path: Path) -> bool:
    """Whether the lock that is held is seen; on some network disks none is."""
    with _locked(path, 0) as held:
        return held is False
