"""Photos on their way to another look: read, made, and written with what says how."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ganstyle.base.errors import UserError, one_line
from ganstyle.base.files import write_text
from ganstyle.data.folders import megapixels
from ganstyle.data.images import write_image
from ganstyle.data.outputs import Task
from ganstyle.data.photos import Keeping, Photo, read_photo, write_photo
from ganstyle.translate.folder import Progress as FolderProgress
from ganstyle.translate.folder import Report, translate_tasks
from ganstyle.translate.ledger import Ledger
from ganstyle.translate.pipeline import Limits, Stages
from ganstyle.verbs.editing import Edit
from ganstyle.verbs.painting import Painted, Painter, Progress

SIDECAR, STATE, PREVIEW = ".json", ".ganstyle-state", ".preview.jpg"


@dataclass(frozen=True)
class PaintingJob:
    """Photos with all that is needed to give them a look.

    Args:
        painter: gives the look.
        tasks: what to make of what.
        sizes: (width, height) of each task's photo as it will be read; None where its header cannot be.
        size_px: the longer side at most.
        edit: what is done with the result before it is written.
        keeping: what its file keeps of the photo's.
        note: how all are made, in plain values, for the files beside them.
        ledger: where it is noted; None where the output is one named file.
        report: the folder of reports on what a sparse code says; None for none.
        preview_every: a preview is written beside the output after so many rounds of work; None for none.
        resume: go on from the state that an interrupted run left.
        overwrite: make again what is there.
        retry_failed: try again what failed before.
        made: what is not written yet.
        stopped: a line on what a person broke off.
        previewed: photos beside whose output there is a preview of this run.
        no_preview: why there is none, once.
    """

    painter: Painter
    tasks: Sequence[Task]
    sizes: Sequence[tuple[int, int] | None]
    size_px: int | None
    edit: Edit
    keeping: Keeping
    note: Mapping[str, Any]
    ledger: Ledger | None
    report: Path | None = None
    preview_every: int | None = None
    resume: bool = False
    overwrite: bool = False
    retry_failed: bool = False
    made: dict[Path, Painted] = field(default_factory=dict)
    stopped: list[str] = field(default_factory=list)
    previewed: set[Path] = field(default_factory=set)
    no_preview: list[str] = field(default_factory=list)

    def run(
        self,
        watch: Callable[[Path, Progress], None] = lambda *_: None,
        advance: Callable[[FolderProgress], None] = lambda _: None,
    ) -> Report:
        """Make them; `watch` is called as each photo goes, `advance` after each.

        Raises:
            KeyboardInterrupt: in a folder; the next run begins with the photo that was broken off. Of a single photo
                the best so far is written instead.
        """

        def compute(photos: Sequence[tuple[Task, Photo]]) -> list[np.ndarray]:
            return [self._painted(task, photo, watch) for task, photo in photos]

        report = translate_tasks(
            self.tasks,
            Stages(lambda task: read_photo(task.source, longest_px=self.size_px), compute, self._write),
            ledger=self.ledger,
            overwrite=self.overwrite,
            retry_failed=self.retry_failed,
            limits=Limits(readers=1, writers=1),
            sizes={task.source: megapixels(size) for task, size in zip(self.tasks, self.sizes, strict=True)},
            advance=advance,
        )
        report.verb = self.painter.done
        return report

    def _painted(self, task: Task, photo: Photo, watch: Callable[[Path, Progress], None]) -> np.ndarray:
        def told(progress: Progress) -> None:
            watch(task.source, progress)
            if self.preview_every and progress.done % self.preview_every == 0:
                self._preview(task, progress.pixels())

        task.target.parent.mkdir(parents=True, exist_ok=True)
        painted = self.painter.paint(
            photo.pixels, source=task.source, watch=told, state=beside(task, STATE), resume=self.resume
        )
        if painted.stopped and self.ledger is not None:
            raise KeyboardInterrupt
        self.made[task.source] = painted
        return painted.pixels

    def _preview(self, task: Task, pixels: np.ndarray) -> None:
        """Write it; one that cannot be written is told once, and is no reason to end the photo."""
        try:
            write_image(beside(task, PREVIEW), pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8))
            self.previewed.add(task.source)
        except OSError as error:
            if not self.no_preview:
                self.no_preview.append(f"no preview could be written: {error.strerror or one_line(error)}")

    def _write(self, task: Task, photo: Photo, pixels: np.ndarray) -> list[str]:
        painted = self.made.pop(task.source)
        lines = write_photo(task.target, photo, self.edit(task.source, photo.pixels, pixels), keeping=self.keeping)
        height, width = pixels.shape[:2]
        told = {**self.note, "content": task.source.name, "width": width, "height": height, **painted.facts}
        lines += _noted(beside(task, SIDECAR), told) + self.no_preview
        self.no_preview.clear()
        if task.source in self.previewed:
            beside(task, PREVIEW).unlink(missing_ok=True)
        if painted.stopped:
            further = "; --resume goes on from there" if self.painter.resumes else ""
            self.stopped.append(f"stopped: {task.target} is the best so far{further}")
        else:
            beside(task, STATE).unlink(missing_ok=True)
        if self.report is not None and painted.report is not None:
            lines += painted.report(self.report if self.ledger is None else self.report / task.target.name)
        return lines


def refuse_beside(tasks: Sequence[Task], reads: Sequence[Path]) -> None:
    """Raise `UserError` where what is written beside an output is something that is read."""
    read = {os.path.realpath(path): path for path in reads if path.is_file()}
    for task in tasks:
        for end in (SIDECAR, STATE, PREVIEW):
            found = read.get(os.path.realpath(beside(task, end)))
            if found is not None:
                raise UserError(f"{found} is read for this, and has the name of what is written beside {task.target}")


def _noted(path: Path, told: Mapping[str, Any]) -> list[str]:
    """Write how a picture was made; a person's own file of that name stays, and a line says so."""
    if path.exists() and not _is_ours(path):
        return [f"{path.name} is somebody's own file: how this was made is not written"]
    write_text(path, json.dumps(told, indent=1, default=str) + "\n")
    return []


def _is_ours(path: Path) -> bool:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["software"]).startswith("ganstyle ")
    except (OSError, ValueError, KeyError, TypeError):
        return False


def beside(task: Task, end: str) -> Path:
    """A file that belongs to a task's target."""
    return task.target.with_name(task.target.name + end)
