"""Files that are either whole or not there: written beside their place, flushed to disk, then renamed into it."""

from __future__ import annotations

import errno
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

from ganstyle.base.errors import UserError, one_line

ADVICE = {
    errno.ENOSPC: "no space left on device: free some space and run again",
    errno.EDQUOT: "disk quota exceeded: free some space and run again",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.EACCES: "no permission: change the rights of the folder or choose another one",
    errno.EPERM: "no permission: change the rights of the folder or choose another one",
    errno.ENOENT: "the folder does not exist: make it first",
    errno.ENOTDIR: "a file stands where a folder is needed: move it or choose another folder",
    errno.EISDIR: "a folder of this name is in the way: move it or choose another name",
    errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
    errno.EFBIG: "the file is larger than this disk or account allows: choose another folder",
}

TEMPORARY = re.compile(r"\.\d+-[0-9a-f]{8}\.tmp")


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A binary file that takes the place of `path` when the block ends well, and leaves no trace when it does not.

    The bytes go to a hidden file in the same folder (a short name, so that names of 255 bytes work), are flushed to
    disk and renamed over `path`; then the folder is flushed. A process killed at any moment leaves the old file or
    the new one, whole. The file can be read and sought too. A symbolic link at `path` is replaced, not followed.

    Raises:
        UserError: for any OSError inside the block or while writing: one line with the path, the reason and what to do.
    """
    path = Path(path)
    temporary = path.parent / f".{os.getpid()}-{secrets.token_hex(4)}.tmp"
    try:
        with temporary.open("x+b") as file:
            yield cast(BinaryIO, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        fsync_folder(path.parent)
    except OSError as error:
        raise UserError(f"cannot write {path}: {_reason(error)}") from error
    finally:
        with suppress(OSError):  # the first error is the one to tell
            temporary.unlink(missing_ok=True)


def drop_leftovers(folder: Path, *, older_than_s: float = 0) -> None:
    """Delete what a killed `atomic_write` left in a folder; give an age where another process may be writing now."""
    oldest = time.time() - older_than_s
    for path in folder.glob(".*.tmp"):
        with suppress(OSError):
            if TEMPORARY.fullmatch(path.name) and changed_at(path) <= oldest:
                path.unlink()


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; `UserError` where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {folder}: {error.strerror or one_line(error)}") from error


def changed_at(path: Path) -> float:
    """When anything of a file was changed last, its times too: a file may get those of another while it is written."""
    status = path.stat()
    return max(status.st_mtime, status.st_ctime)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically, line ends as they are."""
    with atomic_write(path) as file:
        file.write(text.encode("utf-8"))


def fsync_folder(path: Path) -> None:
    """Flush a folder's entries to disk, so that a rename survives a power cut; nothing where the platform lacks it."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network and FUSE file systems have no fsync for folders.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
            raise
    finally:
        os.close(descriptor)


def _reason(error: OSError) -> str:
    if error.errno in ADVICE:
        return ADVICE[error.errno]
    return error.strerror or one_line(error)
