"""Images decoded and resized once into a memory-mapped pack, or read from their files each time.

A pack is a folder `KEY/` with `pixels.bin` (uint8 RGB, one image after the other) and `index.json`. Its key is hashed
from every file's path, size and times and from how images are prepared: when anything changes, another pack is built.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, Protocol

import numpy as np
from filelock import FileLock
from platformdirs import user_cache_path

from ganstyle.base.errors import UserError, one_line, printable
from ganstyle.base.files import fsync_folder, write_text
from ganstyle.data.images import SUFFIXES, Unreadable, read_image, resize

PACK_VERSION = 2  # of what `read_image` makes of the files, too: 2 knows colours that are named without a profile
UNUSED_DAYS = 30
# Beyond this the long side of an image whose short side is load_px would be mostly memory.
ASPECT_LIMIT = 16


@dataclass(frozen=True)
class Preparation:
    """How a file becomes an array: resized to load_px, squarely or by its short side, alpha over a background."""

    load_px: int
    resize: Literal["square", "short_side"]
    background: tuple[int, int, int] = (255, 255, 255)

    def __call__(self, path: Path) -> np.ndarray:
        """The prepared image, uint8 (H, W, 3); images below load_px are enlarged. `Unreadable` says why not."""
        if path.suffix.lower() not in SUFFIXES:
            raise Unreadable(f"not an image (its name ends in '{path.suffix}')")
        pixels = read_image(path, background=self.background).pixels
        return resize(pixels, self.target_size(*pixels.shape[:2]))

    def target_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) after resizing."""
        short, long = sorted((height, width))
        if long > ASPECT_LIMIT * short:
            raise Unreadable(f"{width} x {height} px is longer than 1:{ASPECT_LIMIT}: crop it first")
        if self.resize == "square":
            return self.load_px, self.load_px
        return round(height * self.load_px / short), round(width * self.load_px / short)


@dataclass(frozen=True)
class Prepared:
    """One usable file: which of the paths it was, and the BLAKE2b digest of its bytes."""

    position: int
    digest: str
    shape: tuple[int, int]


@dataclass(frozen=True)
class Skipped:
    """One file that cannot be used, and why."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return printable(f"{self.path}: {self.reason}")


class Index(NamedTuple):
    """What a pack has: its images in order, and the positions of the files that were skipped, with the reasons."""

    files: list[Prepared]
    skipped: list[tuple[int, str]]


class Images(Protocol):
    """Prepared images by number; picklable, so that loader workers can open them too."""

    files: Sequence[Prepared]

    def __getitem__(self, index: int) -> np.ndarray: ...


class FileImages:
    """Images that are decoded from their files each time they are asked for."""

    def __init__(self, paths: Sequence[Path], files: Sequence[Prepared], preparation: Preparation) -> None:
        self.paths, self.files, self.preparation = paths, files, preparation

    def __getitem__(self, index: int) -> np.ndarray:
        path = self.paths[self.files[index].position]
        try:
            return self.preparation(path)
        except Unreadable as error:
            raise UserError(f"{path}: could be read before and cannot be now: {error}") from error


class PackedImages:
    """Images in a pack; the file is mapped when the first one is asked for, in each process."""

    def __init__(self, folder: Path, files: Sequence[Prepared]) -> None:
        self.folder, self.files = folder, files
        sizes = [3 * height * width for height, width in (file.shape for file in files)]
        self._offsets = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        self._pixels: np.ndarray | None = None

    def __getitem__(self, index: int) -> np.ndarray:
        start, stop = self.span(index)
        return self.flat()[start:stop].reshape(*self.files[index].shape, 3)

    @property
    def size_bytes(self) -> int:
        """How large the pack is."""
        return int(self._offsets[-1])

    def span(self, index: int) -> tuple[int, int]:
        """Where the bytes of one image begin and end in `flat()`."""
        return int(self._offsets[index]), int(self._offsets[index + 1])

    def flat(self) -> np.ndarray:
        """The bytes of all images, one after the other; read-only, mapped from the file."""
        if self._pixels is None:
            self._pixels = self._mapped()
        return self._pixels

    def _mapped(self) -> np.ndarray:
        try:
            # A plain array on the map: slices of a memmap are several times slower to make.
            return np.asarray(np.memmap(self.folder / "pixels.bin", dtype=np.uint8, mode="r"))
        except (OSError, ValueError) as error:
            raise UserError(
                f"the image cache {self.folder} was deleted or damaged: run the same command again"
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pixels": None}


def cache_folder() -> Path:
    """Where packs are kept: $GANSTYLE_CACHE, or the user's cache folder."""
    named = os.environ.get("GANSTYLE_CACHE")
    return Path(named) if named else user_cache_path("ganstyle", appauthor=False)


def open_images(
    paths: Sequence[Path], preparation: Preparation, *, cache: bool, say: Callable[[str], None]
) -> tuple[Images, list[Skipped]]:
    """Prepare all files once, from a pack if there is one for exactly these files; also those that cannot be used.

    Every file is decoded whole before training begins, so that a broken one is found now. A pack that cannot be
    written (full or read-only disk) is said, and training reads the files instead.
    """
    if cache:
        try:
            return _open_pack(paths, preparation, say)
        except (OSError, NotImplementedError) as error:  # the second from file systems without locks
            reason = getattr(error, "strerror", None) or one_line(error)
            say(f"the image cache {cache_folder()} cannot be used ({reason}): reading files")
    files, skipped = [], []
    for position, outcome in enumerate(_prepare_all(paths, preparation, say)):
        if isinstance(outcome, Skipped):
            skipped.append(outcome)
        else:
            files.append(Prepared(position, outcome[1], outcome[0].shape[:2]))
    return FileImages(paths, files, preparation), skipped


def _open_pack(paths: Sequence[Path], preparation: Preparation, say: Callable[[str], None]) -> tuple[Images, list]:
    folder = cache_folder() / "packs" / _pack_key(paths, preparation)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Held while building: a second process that starts at once waits, then finds the pack.
    with FileLock(f"{folder}.lock"):
        index = _read_index(folder)
        if index is None:
            _drop_unused(folder.parent)
            index = _build_pack(folder, paths, preparation, say)
        os.utime(folder / "index.json")
    return PackedImages(folder, index.files), [Skipped(paths[position], reason) for position, reason in index.skipped]


def _pack_key(paths: Sequence[Path], preparation: Preparation) -> str:
    digest = hashlib.blake2b(json.dumps([PACK_VERSION, asdict(preparation)]).encode(), digest_size=16)
    for path in paths:
        facts = [str(path.absolute())]
        with suppress(OSError):
            stat = path.stat()
            facts += map(str, (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
        digest.update("\0".join([*facts, "\n"]).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _read_index(folder: Path) -> Index | None:
    """What a whole pack has; None where there is no pack, or a damaged one."""
    try:
        found = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        files = [Prepared(position, digest, (height, width)) for position, digest, (height, width) in found["files"]]
        skipped = [(position, reason) for position, reason in found["skipped"]]
        size = (folder / "pixels.bin").stat().st_size
        return Index(files, skipped) if size == sum(3 * file.shape[0] * file.shape[1] for file in files) else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _build_pack(folder: Path, paths: Sequence[Path], preparation: Preparation, say: Callable[[str], None]) -> Index:
    building = folder.with_name(f"{folder.name}.building")
    shutil.rmtree(building, ignore_errors=True)  # what a killed process left
    building.mkdir()
    try:
        with (building / "pixels.bin").open("wb") as pixels:
            index = _fill(pixels, _prepare_all(paths, preparation, say))
            pixels.flush()
            os.fsync(pixels.fileno())
        files = [(file.position, file.digest, file.shape) for file in index.files]
        try:
            write_text(building / "index.json", json.dumps({"files": files, "skipped": index.skipped}))
        except UserError as error:
            raise OSError(str(error)) from error
        shutil.rmtree(folder, ignore_errors=True)
        building.rename(folder)
        fsync_folder(folder.parent)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    return index


def _fill(pixels: BinaryIO, outcomes: Iterable[tuple[np.ndarray, str] | Skipped]) -> Index:
    index = Index([], [])
    for position, outcome in enumerate(outcomes):
        if isinstance(outcome, Skipped):
            index.skipped.append((position, outcome.reason))
        else:
            pixels.write(outcome[0].data)
            index.files.append(Prepared(position, outcome[1], outcome[0].shape[:2]))
    return index


def _drop_unused(packs: Path) -> None:
    """Delete packs that no run has opened for a month, and what killed builders left; all can be built again."""
    oldest = time.time() - UNUSED_DAYS * 86400
    for touched in (*packs.glob("*/index.json"), *packs.glob("*.building/pixels.bin")):
        with suppress(OSError):
            if touched.stat().st_mtime < oldest:
                shutil.rmtree(touched.parent, ignore_errors=True)  # its lock stays: another process may wait for it


def _prepare_all(
    paths: Sequence[Path], preparation: Preparation, say: Callable[[str], None]
) -> Iterator[tuple[np.ndarray, str] | Skipped]:
    """Every file's prepared image and digest, or why not, in the order of the paths, a few at a time in memory."""
    threads = min(8, os.cpu_count() or 1)
    told = time.monotonic()
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(paths), 8 * threads):
            yield from pool.map(lambda path: _prepare(path, preparation), paths[start : start + 8 * threads])
            if time.monotonic() - told > 5:
                told = time.monotonic()
                say(f"decoding images: {min(start + 8 * threads, len(paths))} of {len(paths)}")


def _prepare(path: Path, preparation: Preparation) -> tuple[np.ndarray, str] | Skipped:
    try:
        pixels = preparation(path)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except Unreadable as error:
        return Skipped(path, str(error))
    except OSError as error:
        return Skipped(path, error.strerror or one_line(error))
    return np.ascontiguousarray(pixels), digest
