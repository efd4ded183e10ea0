"""One page on which photos and their translations are compared under a slider: self-contained, opens offline."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path, PurePosixPath

import numpy as np
from jinja2 import Environment, StrictUndefined

from ganstyle.base.errors import UserError, printable
from ganstyle.base.files import atomic_write
from ganstyle.data.encode import LONGEST_SIDES
from ganstyle.data.folders import find_images
from ganstyle.data.images import SUFFIXES, Unreadable, encode_image, read_image, resize
from ganstyle.tracking.page import data_uri

TEMPLATE, STYLES, SCRIPT = "before_after.html.j2", ("page.css", "before_after.css"), "before_after.js"
FORMAT, QUALITY = "webp", 85
LONGEST_PX, MOST = 1280, 200
PAGE = "before-after.html"  # a name to advise
MOST_NAMES = 20  # in one line
# Sides that differ by so much in proportion are shown as they are: sizes are whole numbers of pixels.
SAME_ASPECT = 0.02

Pair = tuple[str, Path, Path]  # name, photo, translation


@dataclass(frozen=True)
class Shown:
    """One pair as it stands on the page: encoded images, and the box in pixels that both lie in."""

    name: str
    size: str
    width: int
    height: int
    before: bytes
    after: bytes


@dataclass
class Counts:
    """What came onto a page.

    Attributes:
        pairs: how many there are.
        shown: how many of them are on the page.
        without_source: translations whose photo was not found.
        without_result: photos whose translation was not found.
        failed: files that could not be read, with the reason.
    """

    pairs: int
    shown: int = 0
    without_source: Sequence[str] = ()
    without_result: Sequence[str] = ()
    failed: list[tuple[Path, str]] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [f"{self.shown:,} of {self.pairs:,} pairs" if self.shown < self.pairs else _pairs(self.shown)]
        alone = len(self.without_source) + len(self.without_result)
        parts += [f"{alone:,} file{'' if alone == 1 else 's'} without a partner"] if alone else []
        parts += [f"{len(self.failed):,} unreadable"] if self.failed else []
        return ", ".join(parts)

    def lines(self) -> list[str]:
        """What is not on the page, and why."""
        alone = {"no photo found for": self.without_source, "no translation found for": self.without_result}
        told = [f"{text} {_listed(names)}" for text, names in alone.items() if names]
        return [printable(line) for line in (*told, *(f"{path}: {reason}" for path, reason in self.failed))]


def before_after(out: Path, source: Path, page: Path, *, longest_px: int = LONGEST_PX, most: int = MOST) -> Counts:
    """Write one HTML file that shows translations over the photos that they were made of, each under a slider.

    Both images of a pair are shown upright, in sRGB and in one size. A translation belongs to the photo of the same
    relative path; else to one whose name it carries before its suffix (`a.webp.png` to `a.webp`); else to one that
    differs in the suffix only. A file that cannot be read is left out and told; of two files, each may have any name.

    Args:
        out: a folder of translations, or one.
        source: the folder of photos that they were made of, or one.
        page: the HTML file.
        longest_px: the longest side of the images on the page; smaller ones keep their size.
        most: so many pairs are shown at most, evenly chosen.

    Raises:
        UserError: nothing to show, one place for both, or a page that is a photo or cannot be written.
    """
    if not 1 <= longest_px <= LONGEST_SIDES[FORMAT] or most < 1:
        raise UserError(
            f"got images of {longest_px} px and {most} pairs at most: give 1 to {LONGEST_SIDES[FORMAT]} px, and a pair"
        )
    results, sources = _images(out), _images(source)
    _refuse(page, out, source, [*results.values(), *sources.values()])
    both_files = not out.is_dir() and not source.is_dir()
    partners = {out.name: source.name} if both_files else _partners(results, sources)
    pairs, counts = _paired(results, sources, partners)
    chosen = [pairs[number * len(pairs) // most] for number in range(most)] if len(pairs) > most else pairs
    _write(page, chosen, counts, title=f"{_name(out)}: before and after", longest_px=longest_px)
    return counts


def _images(place: Path) -> dict[str, Path]:
    """The images of a folder by their relative paths; a file by its name."""
    if place.is_dir():
        found = {path.relative_to(place).as_posix(): path for path in find_images(place)}
        if not found:
            raise UserError(f"{place}: no images in it ({', '.join(sorted(SUFFIXES))})")
        return found
    if not place.exists():
        raise UserError(f"{place}: there is no such file or folder")
    return {place.name: place}


def _refuse(page: Path, out: Path, source: Path, photos: Sequence[Path]) -> None:
    if os.path.realpath(out) == os.path.realpath(source):
        raise UserError(f"{out} and {source} are one place: name the translations first, then their photos")
    if page.is_dir():
        raise UserError(f"{page} is a folder: name a file such as {page / PAGE}")
    is_photo = os.path.realpath(page) in {os.path.realpath(photo) for photo in photos}
    if is_photo or page.suffix.lower() in SUFFIXES:
        raise UserError(f"{page} is an image's name: name a file such as {page.with_name(PAGE)}")


def _paired(
    results: Mapping[str, Path], sources: Mapping[str, Path], partners: Mapping[str, str]
) -> tuple[list[Pair], Counts]:
    """The pairs in the order of the translations, and what is left over."""
    pairs = [(name, sources[partners[name]], path) for name, path in results.items() if name in partners]
    # Photos that lie below the folder of translations are no translations.
    photos = {os.path.realpath(path) for path in sources.values()}
    alone = [name for name in results if name not in partners and os.path.realpath(results[name]) not in photos]
    used = set(partners.values())
    if not pairs:
        raise UserError(
            f"none of {len(results):,} translations has the name of one of {len(sources):,} photos: "
            "name the folder of translations first, then that of the photos they were made of"
        )
    missing = [name for name in sources if name not in used]
    return pairs, Counts(len(pairs), without_source=alone, without_result=missing)


def _partners(results: Mapping[str, Path], sources: Mapping[str, Path]) -> dict[str, str]:
    """The name of the photo of each translation that has one; a photo is taken twice only where none is left."""
    partners = {name: name for name in results if name in sources}
    for name in results:
        if name not in partners and _stem(name) in sources:
            partners[name] = _stem(name)
    by_stem: dict[str, list[str]] = {}
    for name in sources:
        by_stem.setdefault(_stem(name), []).append(name)
    used = set(partners.values())
    for name in results:
        candidates = by_stem.get(_stem(name), [])
        if name not in partners and candidates:
            partners[name] = next((each for each in candidates if each not in used), candidates[0])
            used.add(partners[name])
    return partners


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def _write(page: Path, chosen: Sequence[Pair], counts: Counts, *, title: str, longest_px: int) -> None:
    """Images are read, encoded and written one pair after the other, so that memory holds one, not all."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["data_uri"] = data_uri
    parts = environment.from_string(_source(TEMPLATE)).generate(
        title=title,
        summary=_summary(len(chosen), counts.pairs),
        pairs=_shown(chosen, counts, longest_px),
        counts=counts,  # whose lines are asked for after the last pair, when all is known
        style="\n".join(map(_source, STYLES)),
        script=_source(SCRIPT),
    )
    with atomic_write(page) as file:
        for part in parts:
            file.write(part.encode("utf-8", "backslashreplace"))


def _source(name: str) -> str:
    return files("ganstyle.tracking").joinpath(name).read_text("utf-8")


def _shown(pairs: Sequence[Pair], counts: Counts, longest_px: int) -> Iterator[Shown]:
    """The pairs that can be read, encoded; what cannot is noted in the counts."""
    for name, photo, result in pairs:
        try:
            before, after = _read(photo, counts), _read(result, counts)
        except Unreadable:
            continue
        yield _fitted(name, before, after, longest_px)
        counts.shown += 1


def _read(path: Path, counts: Counts) -> np.ndarray:
    try:
        return read_image(path).pixels
    except Unreadable as error:
        counts.failed.append((path, str(error)))
        raise


def _fitted(name: str, before: np.ndarray, after: np.ndarray, longest_px: int) -> Shown:
    """Both in the box of the larger one; in one size where their proportions are the same, else as they fit it."""
    height, width = box = _box(before.shape[:2], after.shape[:2], longest_px)
    encoded = [encode_image(resize(each, _within(each.shape[:2], box)), FORMAT, QUALITY) for each in (before, after)]
    return Shown(_name(name), _size(before.shape, after.shape), width, height, encoded[0], encoded[1])


def _box(before: tuple[int, ...], after: tuple[int, ...], longest_px: int) -> tuple[int, int]:
    """(height, width) of the larger one, made smaller until no side is longer than `longest_px`."""
    height, width = max(after, before, key=lambda size: size[0] * size[1])
    factor = min(1.0, longest_px / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def _within(size: tuple[int, ...], box: tuple[int, int]) -> tuple[int, int]:
    """The largest (height, width) of these proportions that the box holds; the box itself where they are its own."""
    factors = box[0] / size[0], box[1] / size[1]
    if max(factors) <= min(factors) * (1 + SAME_ASPECT):
        return box
    return max(1, round(size[0] * min(factors))), max(1, round(size[1] * min(factors)))


def _size(before: tuple[int, ...], after: tuple[int, ...]) -> str:
    sizes = dict.fromkeys(f"{width} × {height} px" for height, width, _ in (before, after))
    return " → ".join(sizes)


def _name(name: str | Path) -> str:
    """A name as text that shows everywhere; that of a folder such as `.` is its real one."""
    shown = name if isinstance(name, str) else name.name or name.resolve().name
    return printable(shown)


def _summary(shown: int, pairs: int) -> str:
    chosen = _pairs(pairs) if shown == pairs else f"{shown:,} of {pairs:,} pairs, evenly chosen"
    return f"{chosen[0].upper()}{chosen[1:]}. Left of the line the photo, right of it the translation."


def _pairs(count: int) -> str:
    return f"{count:,} pair{'' if count == 1 else 's'}"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more:,} more" if more > 0 else "")
