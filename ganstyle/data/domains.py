"""The two domains of a run: which files they are made of, which are usable, and which are held out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ganstyle.base.errors import UserError
from ganstyle.data.cache import Images, Preparation, Skipped, open_images
from ganstyle.data.folders import find_files
from ganstyle.data.images import SUFFIXES

SHOWN_SKIPS = 200


@dataclass(frozen=True)
class Subset:
    """Some of a set of prepared images; picklable."""

    images: Images
    indices: Sequence[int]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> np.ndarray:
        """One prepared image, uint8 (H, W, 3)."""
        return self.images[self.indices[index]]

    def digests(self) -> list[str]:
        """The content digest of every image, in order."""
        return [self.images.files[index].digest for index in self.indices]


@dataclass(frozen=True)
class Domain:
    """The images of one side: those to train on, those held out of them, and those of a test folder."""

    train: Subset
    held_out: Subset
    test: Subset | None = None

    @property
    def shown(self) -> Subset:
        """Where previews are taken from: images that are not trained on, where there are any."""
        return next(each for each in (self.test, self.held_out, self.train) if each)

    def fingerprint(self) -> str:
        """A digest of the images that are trained on; it does not depend on where they are."""
        return hashlib.blake2b("\n".join(sorted(self.train.digests())).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class DomainFiles:
    """Where the images of one side are, before anything was read."""

    key: str
    train: Sequence[str]
    test: Sequence[str] | None


def domain_files(
    *,
    root: str | None,
    a: Sequence[str] | None,
    b: Sequence[str] | None,
    test_a: Sequence[str] | None,
    test_b: Sequence[str] | None,
) -> list[DomainFiles]:
    """The folders of both sides, from `data.root` (trainA, trainB, testA, testB) or each named; all mistakes told."""
    if root is not None:
        a, b = [str(Path(root, "trainA"))], [str(Path(root, "trainB"))]
        test_a = test_a or _existing(Path(root, "testA"))
        test_b = test_b or _existing(Path(root, "testB"))
    missing = [f"data.{key}: missing; name a folder of images" for key, value in (("a", a), ("b", b)) if not value]
    named = {"a": a, "b": b, "test_a": test_a, "test_b": test_b}
    for key, entries in named.items():
        missing += [
            f"data.{key}: there is no folder or file '{entry}'" for entry in entries or () if not _exists(Path(entry))
        ]
    if missing:
        raise UserError("the data has mistakes:" + "".join(f"\n  {line}" for line in missing))
    assert a is not None
    assert b is not None
    return [DomainFiles("a", a, test_a), DomainFiles("b", b, test_b)]


def _existing(folder: Path) -> list[str] | None:
    """A test folder of `data.root`; one without files is as good as none, for many data sets lack one side's."""
    return [str(folder)] if find_files(folder) else None


def list_paths(entries: Sequence[str]) -> list[Path]:
    """The files of several entries: folders are searched, an image stands for itself, other files list paths.

    A list has one path a line, relative to the working directory, or else to the list's own folder.
    """
    return [path for entry in entries for path in _entry_paths(Path(entry))]


def _entry_paths(entry: Path) -> Iterator[Path]:
    if entry.is_dir():
        yield from find_files(entry)
    elif entry.suffix.lower() in SUFFIXES:
        yield entry
    else:
        for line in filter(None, (line.strip() for line in _lines(entry))):
            path, beside = Path(line), entry.parent / line
            yield beside if not _exists(path) and _exists(beside) else path


def _lines(entry: Path) -> list[str]:
    try:
        text = entry.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        text = "\0"
    if "\0" in text:
        raise UserError(f"{entry}: expected a folder, an image or a text file of paths, one a line")
    return text.split("\n")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # too long for a path
        return False


def open_domain(
    files: DomainFiles,
    preparation: Preparation,
    *,
    holdout: float,
    scored: bool = False,
    cache: bool,
    strict: bool,
    say: Callable[[str], None],
) -> Domain:
    """Prepare the images of one side and hold some out; `UserError` when nothing usable is left to train on.

    Where there is a test folder, images are held out only when the run is `scored` on them: what is chosen by the test
    images would be no test any more.
    """

    def usable(entries: Sequence[str], key: str) -> Images:
        paths = list_paths(entries)
        images, skipped = open_images(paths, preparation, cache=cache, say=say)
        if skipped and strict:
            raise UserError(f"data.{key}: {skipped[0]} (data.strict is on)")
        _tell(skipped, len(paths), key, say)
        if not images.files:
            raise UserError(
                f"data.{key}: none of the {len(paths)} files in {', '.join(entries)} is an image that can be used"
            )
        return images

    images = usable(files.train, files.key)
    everything = range(len(images.files))
    test = None
    if files.test is not None:
        tests = usable(files.test, f"test_{files.key}")
        test = Subset(tests, range(len(tests.files)))
    share = holdout if scored or test is None else 0
    held_out = held_out_digests([file.digest for file in images.files], share)
    return Domain(
        Subset(images, [index for index in everything if images.files[index].digest not in held_out]),
        Subset(images, [index for index in everything if images.files[index].digest in held_out]),
        test,
    )


def held_out_digests(digests: Sequence[str], share: float) -> set[str]:
    """The contents that are held out: those whose hash falls below the share.

    An image stays on its side when others are added, and its duplicates stay with it. At least one is held out where
    there are two or more (the one with the lowest hash, when none falls below the share), and one is always left to
    train on.
    """
    by_hash = sorted(set(digests), key=_unit_hash)
    if share == 0 or len(by_hash) < 2:
        return set()
    count = sum(_unit_hash(digest) < share for digest in by_hash)
    return set(by_hash[: min(max(count, 1), len(by_hash) - 1)])


def _unit_hash(digest: str) -> float:
    hashed = hashlib.blake2b(f"held out {digest}".encode(), digest_size=8).digest()
    return int.from_bytes(hashed, "big") / 2**64


def _tell(skipped: Sequence[Skipped], total: int, key: str, say: Callable[[str], None]) -> None:
    for each in skipped[:SHOWN_SKIPS]:
        say(f"skipped {each}")
    if len(skipped) > SHOWN_SKIPS:
        say(f"skipped {len(skipped) - SHOWN_SKIPS} more of data.{key}: `ganstyle dataset check` lists them all")
    if skipped:
        say(f"data.{key}: {total - len(skipped)} of {total} files are used, {len(skipped)} skipped")
