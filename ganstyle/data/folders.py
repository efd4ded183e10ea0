"""Folders of images: what is in them, always in the same order, and how large."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ganstyle.base.errors import UserError
from ganstyle.data.images import SUFFIXES, Unreadable, read_size

# Headers come from disks and networks that answer several questions at once.
HEADER_THREADS = 8


def find_images(folder: Path, *, leave_out: Sequence[Path] = ()) -> list[Path]:
    """All files below `folder` that have an image's suffix, sorted by their relative path with forward slashes.

    Hidden files and folders are skipped; links to folders are followed, and each real folder is visited once.
    Files are found by name: whether they can be read is not asked here. A missing folder gives an empty list.

    Args:
        folder: where to look.
        leave_out: files, and folders with all that is in them, that are passed over, such as masks.
    """
    return [path for path in find_files(folder, leave_out=leave_out) if path.suffix.lower() in SUFFIXES]


def find_files(folder: Path, *, leave_out: Sequence[Path] = ()) -> list[Path]:
    """All files below `folder` that are not hidden, in the order of `find_images`."""
    folder = Path(folder)
    left_out = {os.path.realpath(each) for each in leave_out}
    return sorted(_walk(folder, left_out), key=lambda path: path.relative_to(folder).as_posix())


def _walk(folder: Path, left_out: set[str]) -> Iterator[Path]:
    names = {os.path.basename(each) for each in left_out}  # noqa: PTH119 - few are worth asking for their real place
    visited = set(left_out)
    waiting = [folder]  # links to folders come last, so that a folder is known by its own name where it has one here
    while waiting:
        for current, folders, files in os.walk(waiting.pop(0), onerror=_refuse_unreadable):
            real = os.path.realpath(current)
            if real in visited:
                folders.clear()
                continue
            visited.add(real)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            waiting += (link for name in folders if (link := Path(current, name)).is_symlink())
            for name in files:
                path = Path(current, name)
                if not name.startswith(".") and not (name in names and os.path.realpath(path) in left_out):
                    yield path


def _refuse_unreadable(error: OSError) -> None:
    """A folder that is not there has nothing in it; one that cannot be read may have, and nobody would miss it."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise UserError(f"{error.filename}: the folder cannot be read ({error.strerror}): change its rights or move it")


def sizes_of(paths: Sequence[Path]) -> list[tuple[int, int] | None]:
    """Each image's (width, height) upright by its header; None for what cannot be read."""

    def size(path: Path) -> tuple[int, int] | None:
        try:
            return read_size(path)
        except Unreadable:
            return None

    with ThreadPoolExecutor(HEADER_THREADS) as threads:
        return list(threads.map(size, paths))


def megapixels_of(paths: Sequence[Path]) -> list[float]:
    """Each image's megapixels, as `sizes_of`; 0 for what cannot be read."""
    return [megapixels(size) for size in sizes_of(paths)]


def megapixels(size: tuple[int, int] | None) -> float:
    """Of an image of this size; 0 where it is unknown."""
    return 0.0 if size is None else size[0] * size[1] / 1e6


def nearest_folder(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    return next((each for each in (folder, *folder.absolute().parents) if each.is_dir()), Path(folder.anchor))


def folds_names(folder: Path) -> bool:
    """Whether names that differ only in upper and lower case would be one file in a folder that may not exist yet.

    What is in the nearest folder that exists is asked whether it answers to its name in swapped case, and where
    nothing is in it, the folder itself.
    """
    exists = nearest_folder(folder)
    names = _names(exists)
    for place in (*(exists / name for name in names), exists.absolute()):
        swapped = place.name.swapcase()
        if swapped != place.name and swapped not in names:
            return _same(place, place.with_name(swapped))
    return sys.platform in {"win32", "darwin"}


def folded(name: str) -> str:
    """What is equal for two names that a file system without case would take for one: case and Unicode's forms."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def as_given(name: str) -> str:
    """The name itself; macOS takes Unicode's forms of one name for the same everywhere."""
    return unicodedata.normalize("NFC", name) if sys.platform == "darwin" else name


def identity_of_names(folder: Path) -> Callable[[str], str]:
    """What is equal for two names of one file below this folder."""
    return folded if folds_names(folder) else as_given


def _names(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))  # noqa: PTH208 - names, not paths
    except OSError:
        return set()


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
