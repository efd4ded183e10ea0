"""Translating a folder: every image at its own size and place, whole or not at all, and nothing twice."""

from __future__ import annotations

import errno
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ganstyle.base.errors import UserError, one_line
from ganstyle.base.files import drop_leftovers, make_folder
from ganstyle.data.folders import megapixels_of
from ganstyle.data.images import Unreadable
from ganstyle.data.outputs import Task
from ganstyle.translate.ledger import LEFT_S, Fate, Ledger, LedgerError, fates_of
from ganstyle.translate.pipeline import USUAL_LIMITS, HasPixels, Limits, Passed, Stages, StageTimes, run_pipeline

P = TypeVar("P", bound=HasPixels)

# Disk full, over quota, read-only, or failing.
STOPPING = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}
# So many photos in a row that cannot be computed, by no fault that is told of as the photo's own, are the model's or
# the device's fault.
MOST_BROKEN = 8


@dataclass
class Report:
    """What became of a folder."""

    done: int = 0
    skipped: int = 0
    failed: list[tuple[Path, str]] = field(default_factory=list)
    failed_before: int = 0
    notes: list[tuple[Path, str]] = field(default_factory=list)  # what could not be kept of files that are done
    megapixels: float = 0  # translated
    times: StageTimes = field(default_factory=StageTimes)
    verb: str = "translated"  # what was done with those that are done

    def __str__(self) -> str:
        parts = [f"{self.done} {self.verb}"]
        parts += [f"{self.skipped} there already"] if self.skipped else []
        parts += [f"{len(self.failed)} failed"] if self.failed else []
        parts += [f"{self.failed_before} failed before (--retry-failed tries again)"] if self.failed_before else []
        return ", ".join(parts)


@dataclass(frozen=True)
class Progress:
    """How far a run has come; `line` is the last file's name, or why it failed."""

    files: int
    files_total: int
    megapixels: float
    megapixels_total: float
    seconds: float
    line: str

    @property
    def megapixels_per_s(self) -> float:
        """Since the start; 0 before the first file."""
        return self.megapixels / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """By the megapixels that are left; None before the first file."""
        speed = self.megapixels_per_s
        return max(0.0, self.megapixels_total - self.megapixels) / speed if speed > 0 else None


def translate_tasks(
    tasks: Sequence[Task],
    stages: Stages[Task, P],
    *,
    ledger: Ledger | None = None,
    overwrite: bool = False,
    retry_failed: bool = False,
    limits: Limits = USUAL_LIMITS,
    sizes: Mapping[Path, float] | None = None,
    begin: Callable[[Sequence[Task]], None] = lambda _: None,
    advance: Callable[[Progress], None] = lambda _: None,
) -> Report:
    """Translate every file; one that fails is noted and does not stop the rest. A full disk does, as all would fail.

    Args:
        tasks: what to make of what.
        stages: how: see `Stages`.
        ledger: where it is noted; without one, every file that is there already is taken as it is.
        overwrite: make again what is there already.
        retry_failed: try again what failed in an earlier run.
        limits: how much is done at once.
        sizes: each source's megapixels as it will be read; by default its header is asked.
        begin: told, before anything is written, which of the tasks are left to translate.
        advance: called after each file.

    Raises:
        UserError: what would befall every further file, or what the ledger refuses.
    """
    fates = fates_of(tasks, ledger, overwrite=overwrite, retry_failed=retry_failed)
    chosen = [task for task, fate in zip(tasks, fates, strict=True) if fate is Fate.TRANSLATE]
    begin(chosen)
    if sizes is None:
        paths = [task.source for task in chosen]
        sizes = dict(zip(paths, megapixels_of(paths), strict=True))
    run = _Run(stages, ledger, sizes, _Teller(len(tasks), sum(sizes[task.source] for task in chosen), advance))
    for task, fate in zip(tasks, fates, strict=True):
        run.leave(task, fate)
    if ledger is None:
        with _ending_on_sigterm():
            _drop_leftovers(chosen, LEFT_S)
            run.translate(chosen, limits)
    elif chosen or overwrite or ledger.unfinished:
        with ledger.writing(overwrite=overwrite), _ending_on_sigterm():
            _drop_leftovers(tasks, ledger.leftover_age_s())
            run.translate(chosen, limits)
            ledger.end(done=run.report.done, failed=len(run.report.failed))
            # Of several shards the last sees that all others are idle, and sweeps up after a killed one.
            _drop_leftovers(tasks, ledger.leftover_age_s())
    order = {task.source: position for position, task in enumerate(tasks)}
    for told in (run.report.failed, run.report.notes):
        told.sort(key=lambda pair: order[pair[0]])
    return run.report


class _Teller:
    """Counts for `advance`."""

    def __init__(self, files: int, megapixels: float, advance: Callable[[Progress], None]) -> None:
        self.files, self.megapixels, self.advance = files, megapixels, advance
        self.files_done, self.megapixels_done, self.start = 0, 0.0, time.perf_counter()

    def tell(self, line: str, megapixels: float = 0) -> None:
        self.files_done += 1
        self.megapixels_done += megapixels
        seconds = time.perf_counter() - self.start
        self.advance(Progress(self.files_done, self.files, self.megapixels_done, self.megapixels, seconds, line))


class _Run:
    """The stages with the ledger and the report around them."""

    def __init__(
        self, stages: Stages[Task, Any], ledger: Ledger | None, sizes: Mapping[Path, float], teller: _Teller
    ) -> None:
        self.stages, self.ledger, self.sizes, self.teller = stages, ledger, sizes, teller
        self.report = Report()
        self.seconds: defaultdict[Path, float] = defaultdict(float)  # of each source, until it is done
        self.broken: list[tuple[Task, str]] = []  # not computed, by whatever fault; not noted yet

    def leave(self, task: Task, fate: Fate) -> None:
        """Count a file that is left as it is."""
        if fate is Fate.TRANSLATE:
            return
        self.report.skipped += fate is Fate.THERE
        self.report.failed_before += fate is Fate.FAILED
        self.teller.tell(f"{task.source}: {fate.value}")

    def translate(self, tasks: Sequence[Task], limits: Limits) -> None:
        try:
            self.report.times = run_pipeline(
                tasks,
                Stages(self.read, self.compute, self.write),
                limits,
                passed=self.passed,
                stops=_stops_all,
                pixels_of=lambda task: round(self.sizes[task.source] * 1e6),
            )
        except UserError as error:
            raise UserError(f"{error} ({self.report} before it; the same command goes on from there)") from error
        self.note_broken()

    def read(self, task: Task) -> Any:
        with self.timed(task):
            return self.stages.read(task)

    def compute(self, photos: Sequence[tuple[Task, Any]]) -> Sequence[np.ndarray]:
        with self.timed(*(task for task, _ in photos)):
            results = self.stages.compute(photos)
        self.note_broken()
        return results

    def write(self, task: Task, photo: Any, pixels: np.ndarray) -> list[str]:
        with self.timed(task):
            make_folder(task.target.parent)
            notes = self.stages.write(task, photo, pixels)
        if self.ledger is not None:  # at once, and not when the computing thread comes to it
            height, width = photo.pixels.shape[:2]
            seconds = self.seconds.pop(task.source, 0.0)
            self.ledger.done(task, seconds=seconds, megapixels=height * width / 1e6, notes=notes)
        return notes

    @contextmanager
    def timed(self, *tasks: Task) -> Iterator[None]:
        """Count the seconds of the block for these files, in equal parts; a file is in one stage at a time."""
        start = time.perf_counter()
        yield
        for task in tasks:
            self.seconds[task.source] += (time.perf_counter() - start) / len(tasks)

    def passed(self, passed: Passed[Task]) -> None:
        """Count one file."""
        task, error = passed.task, passed.error
        if error is None:
            self.report.done += 1
            self.report.megapixels += passed.pixels / 1e6
            self.report.notes += [(task.source, note) for note in passed.notes]
            self.teller.tell(str(task.source), self.sizes[task.source])
            return
        told = isinstance(error, Unreadable | UserError)
        reason = str(error) if told else _unexpected(error)
        self.report.failed.append((task.source, reason))
        self.teller.tell(f"{task.source}: {reason}", self.sizes[task.source])
        if passed.stage == "compute" and not told:
            self.broken.append((task, reason))
            self.stop_where_all_break(reason)
        else:
            self.note(task, reason)

    def stop_where_all_break(self, reason: str) -> None:
        """The model's or the device's fault is not noted as that of the photos: the same command tries them again."""
        if len(self.broken) >= MOST_BROKEN:
            count = len(self.broken)
            raise UserError(f"{count} files in a row could not be translated: {reason}")

    def note_broken(self) -> None:
        """Others could be computed, so it was these photos' own fault."""
        for task, reason in self.broken:
            self.note(task, reason)
        self.broken = []

    def note(self, task: Task, reason: str) -> None:
        if self.ledger is not None:
            self.ledger.failed(task, reason)


def _stops_all(error: Exception) -> bool:
    """Whether no later file could be written either."""
    cause = error if isinstance(error, OSError) else error.__cause__
    return isinstance(error, LedgerError) or (isinstance(cause, OSError) and cause.errno in STOPPING)


def _unexpected(error: Exception) -> str:
    text = one_line(error)
    name = type(error).__name__
    return text if text == name else f"{name}: {text}"


def _drop_leftovers(tasks: Sequence[Task], age_s: float) -> None:
    for folder in {task.target.parent for task in tasks}:
        drop_leftovers(folder, older_than_s=age_s)


@contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """SIGTERM unwinds the block, as Ctrl-C does, and ends the process with 143; only the main thread can see to it."""

    def end(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:  # somebody sees to it already
        yield
        return
    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
