"""From a photo or a folder of photos to the files that come out of it: names, places, what is done already."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ganstyle.base.errors import UserError
from ganstyle.data.encode import SUFFIX_FORMATS, format_named
from ganstyle.data.folders import find_images
from ganstyle.data.images import FORMATS, SUFFIXES


@dataclass(frozen=True)
class Task:
    """One file to make of another."""

    source: Path
    target: Path

    def is_done(self) -> bool:
        """Whether the target is there already; files are only ever whole."""
        return self.target.is_file()


def plan(source: Path, output: Path, *, format: str | None = None) -> list[Task]:
    """What to make: every image of a folder keeps its sub-folder and name; a single file goes to a file or a folder.

    Args:
        source: a file or a folder, searched recursively.
        output: a folder; for a single file also a file's name with an image's suffix.
        format: one of FORMATS to change to, else each keeps its own.

    Raises:
        UserError: nothing to do, an unknown format, or an output that is or lies in the input.
    """
    if format is not None:
        format = format_named(format)
    if source.is_dir():
        return _plan_folder(source, output, format)
    if not source.exists():
        raise UserError(f"{source}: there is no such file or folder")
    task = Task(source, _single_target(source, output, format))
    _refuse_overlap([task])
    return [task]


def _single_target(source: Path, output: Path, format: str | None) -> Path:
    named = SUFFIX_FORMATS.get(output.suffix.lower())
    if named is None or output.is_dir():
        if output.exists() and not output.is_dir():
            raise UserError(f"{output} is a file without an image's suffix: name a folder or another file")
        return output / _renamed(Path(source.name), format)
    if format is not None and named != format:
        raise UserError(f"{output}: its suffix and --format {format} differ; leave one out")
    return output


def _plan_folder(source: Path, output: Path, format: str | None) -> list[Task]:
    if output.exists() and not output.is_dir():
        raise UserError(f"{output} is a file, and {source} a folder: name a folder for the output")
    inner, outer = _real(output), _real(source)
    if inner == outer or outer in inner.parents:
        raise UserError(f"the output {output} is or lies in the input {source}: choose a folder outside of it")
    images = find_images(source)
    if not images:
        raise UserError(f"{source}: no images in it ({', '.join(sorted(SUFFIXES))})")
    tasks = _distinct([Task(path, output / _renamed(path.relative_to(source), format)) for path in images])
    _refuse_overlap(tasks)
    return tasks


def _renamed(path: Path, format: str | None) -> Path:
    return path if format is None else path.with_suffix(FORMATS[format])


def _distinct(tasks: Sequence[Task]) -> list[Task]:
    """`a.jpg` and `a.webp` that would both become `a.png`: every further one keeps its old suffix, `a.webp.png`."""
    taken: set[Path] = set()
    distinct = []
    for task in tasks:
        target = task.target
        if target in taken:
            target = target.with_name(task.source.name + target.suffix)
        taken.add(target)
        distinct.append(Task(task.source, target))
    return distinct


def _real(path: Path) -> Path:
    """The place itself, whatever links lead there; unlike `Path.resolve` it takes links that lead to themselves."""
    return Path(os.path.realpath(path))


def _refuse_overlap(tasks: Sequence[Task]) -> None:
    """No output may stand in the place of an input, under whatever name the place is known."""
    sources = {_real(task.source) for task in tasks}
    for task in tasks:
        if _real(task.target) in sources:
            raise UserError(f"{task.target} is one of the input's own files: choose another output")
