"""Folders of images: what is in them, always in the same order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ganstyle.data.images import SUFFIXES


def find_images(folder: Path) -> list[Path]:
    """All files below `folder` that have an image's suffix, sorted by their relative path with forward slashes.

    Hidden files and folders are skipped; links to folders are followed, and each real folder is visited once.
    Files are found by name: whether they can be read is not asked here. A missing folder gives an empty list.
    """
    return [path for path in find_files(folder) if path.suffix.lower() in SUFFIXES]


def find_files(folder: Path) -> list[Path]:
    """All files below `folder` that are not hidden, in the order of `find_images`."""
    folder = Path(folder)
    return sorted(_walk(folder), key=lambda path: path.relative_to(folder).as_posix())


def _walk(folder: Path) -> Iterator[Path]:
    visited: set[str] = set()
    waiting = [folder]  # links to folders come last, so that a folder is known by its own name where it has one here
    while waiting:
        for current, folders, files in os.walk(waiting.pop(0)):
            real = os.path.realpath(current)
            if real in visited:
                folders.clear()
                continue
            visited.add(real)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            waiting += (link for name in folders if (link := Path(current, name)).is_symlink())
            yield from (Path(current, name) for name in files if not name.startswith("."))
