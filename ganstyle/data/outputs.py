"""From a photo or a folder of photos to the files that come out of it: names, places, what is done already."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ganstyle.base.errors import UserError
from ganstyle.data.encode import SUFFIX_FORMATS, format_named
from ganstyle.data.folders import find_images, identity_of_names
from ganstyle.data.images import FORMATS, SUFFIXES

# What common file systems take for a name: 255 bytes, or as many UTF-16 units, which are never more.
LONGEST_NAME_BYTES = 255
MOST_LINES = 10  # on names that had to change; the rest is a number


@dataclass(frozen=True)
class Task:
    """One file to make of another."""

    source: Path
    target: Path

    def is_done(self) -> bool:
        """Whether the target is there already; files are only ever whole."""
        return self.target.is_file()


def plan(
    source: Path,
    output: Path,
    *,
    format: str | None = None,
    leave_out: Sequence[Path] = (),
    reads: Sequence[Path] = (),
    say: Callable[[str], None] = lambda _: None,
    identity: Callable[[Path], Callable[[str], str]] = identity_of_names,
) -> list[Task]:
    """What to make: every image of a folder keeps its sub-folder and name; a single file goes to a file or a folder.

    Args:
        source: a file or a folder, searched recursively.
        output: a folder; for a single file also a file's name with an image's suffix.
        format: one of FORMATS to change to, else each keeps its own.
        leave_out: files and folders in `source` that are passed over.
        reads: files and folders that are used beside the input, such as masks: no output may take their place.
        say: told of names that could not stay as they are.
        identity: gives what is equal for two names of one file in the output; see `identity_of_names`.

    Raises:
        UserError: nothing to do, an unknown format, or an output that would meet the input.
    """
    if format is not None:
        format = format_named(format)
    if source.is_dir():
        images = _images_of(source, output, leave_out)
        tasks, changes = distinct([(path, path.relative_to(source)) for path in images], output, format, identity)
        _say_changes(changes, say)
        _refuse_overlap(tasks, source)
        _refuse_to_overwrite(tasks, reads)
        return tasks
    if not source.exists():
        raise UserError(f"{source}: there is no such file or folder")
    task = Task(source, _single_target(source, output, format, say))
    _refuse_overlap([task], None)
    _refuse_to_overwrite([task], reads)
    return [task]


def is_single(source: Path, output: Path) -> bool:
    """Whether `output` names the one file to be made, and no folder."""
    return not source.is_dir() and not output.is_dir() and output.suffix.lower() in SUFFIX_FORMATS


def _single_target(source: Path, output: Path, format: str | None, say: Callable[[str], None]) -> Path:
    if not is_single(source, output):
        if output.exists() and not output.is_dir():
            raise UserError(f"{output} is a file without an image's suffix: name a folder or another file")
        target = output / _shortened(_renamed(Path(source.name), format).name)
        if output.suffix and not output.exists():
            say(f"{output} is no image's name and is taken for a folder: {target}")
        return target
    named = SUFFIX_FORMATS[output.suffix.lower()]
    if format is not None and named != format:
        raise UserError(f"{output}: its suffix and --format {format} differ; leave one out")
    return output


def _images_of(source: Path, output: Path, leave_out: Sequence[Path]) -> list[Path]:
    if output.exists() and not output.is_dir():
        raise UserError(f"{output} is a file, and {source} a folder: name a folder for the output")
    inner, outer = _real(output), _real(source)
    if any(place == outer or _is_same(place, outer) for place in (inner, *inner.parents)):
        raise UserError(f"the output {output} is or lies in the input {source}: choose a folder outside of it")
    images = find_images(source, leave_out=leave_out)
    if not images:
        raise UserError(f"{source}: no images in it ({', '.join(sorted(SUFFIXES))})")
    return images


def distinct(
    images: Sequence[tuple[Path, Path]],
    output: Path,
    format: str | None = None,
    identity: Callable[[Path], Callable[[str], str]] = identity_of_names,
) -> tuple[list[Task], list[Task]]:
    """A target of its own for each image: of two that would be one file, the later one gets another name.

    An image that can keep its name does, before others are named.

    `a.jpg` and `a.webp` that would both become `a.png`: the later one keeps its old suffix, `a.webp.png`. What is
    still taken is numbered, `a-2.png`; names that are too long lose the end of their stem.

    Args:
        images: each with its place below the input.
        output: the folder to place them in.
        format: to change to.
        identity: gives what is equal for two names of one file there.

    Returns:
        The tasks, and those among them whose target's name is not simply the image's own.
    """
    same = identity(output)
    taken = {same(folder.as_posix()) for folder in {parent for _, place in images for parent in place.parents}}
    found: dict[Path, Path] = {}
    # Those that keep their own name come first, so that it is not taken from them.
    for _, place in sorted(images, key=lambda image: _renamed(image[1], format) != image[1]):
        natural = _renamed(place, format)
        for candidate in _candidates(natural, place.name):
            key = same(candidate.as_posix())
            if key not in taken:
                break
        taken.add(key)
        found[place] = candidate
    tasks = [Task(source, output / found[place]) for source, place in images]
    changes = [task for task, (_, place) in zip(tasks, images, strict=True) if found[place] != _renamed(place, format)]
    return tasks, changes


def _candidates(natural: Path, old_name: str) -> Iterator[Path]:
    """Names for one target, in the order of preference, without an end."""
    yield natural.with_name(_shortened(natural.name))
    if natural.name != old_name:
        yield natural.with_name(_shortened(old_name + natural.suffix))
    number = 2
    while True:
        yield natural.with_name(_shortened(natural.name, f"-{number}"))
        number += 1


def _shortened(name: str, end: str = "") -> str:
    """The name with `end` behind its stem, which is cut where all of it would be too long."""
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 - a name, not a path
    while stem and len(os.fsencode(stem + end + suffix)) > LONGEST_NAME_BYTES:
        stem = stem[:-1]
    return stem + end + suffix


def _renamed(path: Path, format: str | None) -> Path:
    """With the format's suffix; a name is joined and not put in place, as it may be too long or begin with dots."""
    return path if format is None else path.with_suffix(FORMATS[format])


def _say_changes(changes: Sequence[Task], say: Callable[[str], None]) -> None:
    for task in changes[:MOST_LINES]:
        say(f"{task.source}: written as {task.target.name}, as its own name is taken or too long there")
    if len(changes) > MOST_LINES:
        say(f"and {len(changes) - MOST_LINES} more under other names")


def _real(path: Path) -> Path:
    """The place itself, whatever links lead there; unlike `Path.resolve` it takes links that lead to themselves."""
    return Path(os.path.realpath(path))


def _refuse_overlap(tasks: Sequence[Task], folder: Path | None) -> None:
    """No output may stand in the place of an input, or among the inputs, under whatever name the place is known."""
    real = lru_cache(maxsize=None)(os.path.realpath)  # most files share their folder

    def place(path: Path) -> str:
        return os.path.realpath(path) if path.is_symlink() else os.path.join(real(path.parent), path.name)  # noqa: PTH118

    inner = real(folder) if folder is not None else None
    sources = {place(task.source) for task in tasks}
    for task in tasks:
        target = place(task.target)
        if target in sources or _is_same(task.target, task.source):
            raise UserError(f"{task.target} is one of the input's own files: choose another output")
        if inner is not None and target.startswith(os.path.join(inner, "")):  # noqa: PTH118
            raise UserError(f"{task.target} would lie in the input {folder}: choose another output")


def _refuse_to_overwrite(tasks: Sequence[Task], reads: Sequence[Path]) -> None:
    """No output may stand in the place of anything else that is read, or in a folder of it."""
    folders = [os.path.join(os.path.realpath(path), "") for path in reads if path.is_dir()]  # noqa: PTH118
    files = [path for path in reads if path.is_file()]
    for task in tasks:
        if any(_is_same(task.target, path) for path in files):
            raise UserError(f"{task.target} is read for this: choose another output")
        if any(os.path.realpath(task.target).startswith(folder) for folder in folders):
            raise UserError(f"{task.target} would lie among the files that are read for this: choose another output")


def _is_same(one: Path, other: Path) -> bool:
    """Whether both names lead to one place, as upper and lower case do on some disks."""
    try:
        return one.samefile(other)
    except OSError:
        return False
