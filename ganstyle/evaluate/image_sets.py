"""Folders of images as sets of features: read once, one after the other, and only what scores need is kept."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ganstyle.base.errors import UserError, printable
from ganstyle.data.folders import find_images
from ganstyle.data.images import Unreadable, read_image

BATCH = 8
MOST_NAMED = 3
SPLITS = ("train", "test", "val")
LOSSY = {".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".avif", ".heic"}

Describe = Callable[[np.ndarray], np.ndarray]
Advance = Callable[[int, int], None]


@dataclass(frozen=True)
class ImageSet:
    """The images of a folder that could be read.

    Attributes:
        folder: where they are.
        paths: of each image.
        features: of each, (N, D).
        digests: of each one's pixels.
        sizes: how many images have which (width, height).
        left_out: those that could not be read, and why.
    """

    folder: Path
    paths: Sequence[Path]
    features: np.ndarray
    digests: Sequence[str]
    sizes: Mapping[tuple[int, int], int]
    left_out: Sequence[tuple[Path, str]]

    def names(self) -> dict[str, int]:
        """The number of each image by its relative path without the suffix; those of one name twice are left out."""
        return numbers_by_name(self.paths, self.folder)

    def formats(self) -> dict[str, int]:
        """How many files have which suffix."""
        return dict(Counter(path.suffix.lower().lstrip(".") for path in self.paths))

    def split(self) -> str | None:
        """The part of a data set that the folder's name says it is: train, test or val."""
        name = self.folder.resolve().name.lower()
        return next((split for split in SPLITS if name.startswith(split)), None)

    def lossy(self) -> bool:
        """Whether most of it was compressed with loss."""
        return sum(path.suffix.lower() in LOSSY for path in self.paths) * 2 > len(self.paths)


def key_of(path: Path, folder: Path) -> str:
    """What an image is called, whatever its format."""
    return path.relative_to(folder).with_suffix("").as_posix()


def numbers_by_name(paths: Sequence[Path], folder: Path) -> dict[str, int]:
    """The number of each image by what it is called; those of one name in two formats are left out."""
    names = [key_of(path, folder) for path in paths]
    once = Counter(names)
    return {name: number for number, name in enumerate(names) if once[name] == 1}


def read_set(
    folder: Path,
    describe: Describe,
    *,
    most: int | None = None,
    skip_unreadable: bool = False,
    advance: Advance = lambda *_: None,
) -> ImageSet:
    """Describe all images below a folder, in the order of their names.

    Args:
        folder: of images of any sizes.
        describe: uint8 (N, H, W, 3) of one size to features (N, D).
        most: only the first so many.
        skip_unreadable: leave out what cannot be read, else refuse it: a set with holes is another set.
        advance: told after each batch how many are done, of how many.

    Raises:
        UserError: no such folder, no images in it, none that can be read, or one that cannot.
    """
    found = images_of(folder)[:most]
    paths: list[Path] = []
    features: list[np.ndarray] = []
    digests: list[str] = []
    left_out: list[tuple[Path, str]] = []
    sizes: Counter[tuple[int, int]] = Counter()
    for batch in _batches(found, left_out):
        features.append(describe(np.stack([pixels for _, pixels in batch])))
        for path, pixels in batch:
            paths.append(path)
            digests.append(_digest(pixels))
            sizes[pixels.shape[1], pixels.shape[0]] += 1
        advance(len(paths) + len(left_out), len(found))
    if not paths:
        raise UserError(f"{folder}: none of its {len(found)} images can be read ({left_out[0][1]})")
    images = ImageSet(folder, paths, np.concatenate(features), digests, sizes, left_out)
    if left_out and not skip_unreadable:
        raise UserError(f"{unreadable_line(images)}: mend or remove them, or leave them out with --skip-unreadable")
    return images


def images_of(folder: Path) -> list[Path]:
    """The images below a folder; `UserError` where there is none."""
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "is not there"
        raise UserError(f"{folder} {what}: expected a folder of images")
    found = find_images(folder)
    if not found:
        raise UserError(f"{folder}: there are no images in it")
    return found


def unreadable_line(images: ImageSet) -> str:
    """One line on what could not be read."""
    named = [f"{printable(path.name)} ({why})" for path, why in images.left_out[:MOST_NAMED]]
    rest = len(images.left_out) - len(named)
    told = "; ".join([*named, *([f"{rest} more"] if rest else [])])
    of = len(images.left_out) + len(images.paths)
    return f"{images.folder}: {len(images.left_out)} of {of} images cannot be read: {told}"


def oddities(fake: ImageSet, real: ImageSet) -> Iterator[str]:
    """What makes two sets compare badly, a line each: sizes, formats, images that are there more than once."""
    for images in (fake, real):
        if len(images.sizes) > 1:
            yield f"{images.folder}: images of {len(images.sizes)} sizes; all are resized alike, aspect not kept"
        twice = len(images.digests) - len(set(images.digests))
        if twice:
            yield f"{images.folder}: {twice} images are there more than once"
    usual_fake, usual_real = (max(images.sizes, key=lambda size: images.sizes[size]) for images in (fake, real))
    if usual_fake != usual_real:
        sizes = [f"{width}x{height} px" for width, height in (usual_fake, usual_real)]
        yield f"most of {fake.folder} are {sizes[0]} and most of {real.folder} {sizes[1]}: features see the difference"
    if fake.lossy() != real.lossy():
        one, other = (fake, real) if fake.lossy() else (real, fake)
        yield f"{one.folder} is compressed with loss and {other.folder} is not: features see the difference"
    same = len(set(fake.digests) & set(real.digests))
    if same:
        yield f"{same} images of {fake.folder} are in {real.folder}, too, pixel for pixel"
    if real.split() == "train":
        yield f"{real.folder} looks like images that were trained on: a model that copies them scores well"


def _batches(paths: Sequence[Path], left_out: list[tuple[Path, str]]) -> Iterator[list[tuple[Path, np.ndarray]]]:
    """A few images of one size each, in order; what cannot be read goes into `left_out`."""
    batch: list[tuple[Path, np.ndarray]] = []
    for path in paths:
        try:
            pixels = read_image(path).pixels
        except Unreadable as error:
            left_out.append((path, str(error)))
            continue
        if batch and (len(batch) == BATCH or batch[0][1].shape != pixels.shape):
            yield batch
            batch = []
        batch.append((path, pixels))
    if batch:
        yield batch


def _digest(pixels: np.ndarray) -> str:
    return hashlib.blake2b(f"{pixels.shape}".encode() + pixels.tobytes(), digest_size=16).hexdigest()
