"""What is wrong with folders of images, before hours are spent on training with them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from hashlib import blake2b
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np

from ganstyle.base.errors import UserError
from ganstyle.data.diagnosis import CheckedImage, Finding, Group, diagnose
from ganstyle.data.folders import find_files
from ganstyle.data.images import SUFFIXES, Unreadable, read_image

SAMPLED_PX = 512  # deviation and colour are measured on about so many rows and columns
GREY_SPREAD = 2  # largest difference between R, G and B, in levels, that still counts as grey

LAYOUT = {"trainA": ("train", "A"), "trainB": ("train", "B"), "testA": ("test", "A"), "testB": ("test", "B")}


@dataclass(frozen=True)
class Spread:
    """The smallest, the middle and the largest of some numbers."""

    min: float
    median: float
    max: float


@dataclass(frozen=True)
class GroupReport:
    """The figures of one group; widths and heights in pixels, aspect is width by height, None without images."""

    images: int  # readable ones
    unreadable: int
    other_files: int
    grey: int
    width: Spread | None
    height: Spread | None
    aspect: Spread | None


@dataclass(frozen=True)
class Report:
    """What `check_folders` found."""

    groups: dict[str, GroupReport]
    findings: list[Finding]

    @property
    def needs_attention(self) -> bool:
        """Whether any finding is more than information."""
        return any(finding.severity == "attention" for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries and lists: groups by name, findings, needs_attention."""
        return {
            "groups": {name: asdict(group) for name, group in self.groups.items()},
            "findings": [asdict(finding) for finding in self.findings],
            "needs_attention": self.needs_attention,
        }


def check_folders(folders: Sequence[Path], *, workers: int | None = None) -> Report:
    """Look at every image of the folders, sub-folders included, and tell what is doubtful.

    A folder that holds trainA, trainB, testA or testB is checked as these groups, any other is a group of its own.
    Duplicates are images with the same pixels, in whatever encoding. `workers` threads (as many as there are cores,
    at most 16) decode at once.

    Raises:
        UserError: a folder that does not exist or is not a folder.
    """
    places = _places([Path(folder) for folder in folders])
    with ThreadPoolExecutor(workers or min(16, os.cpu_count() or 1)) as pool:
        groups = [_look(name, *place, pool) for name, place in places.items()]
    return Report({group.name: _figures(group) for group in groups}, diagnose(groups))


def report_table(report: Report) -> list[list[str]]:
    """The groups as rows of text, the first row being the headings."""
    rows = [["group", "images", "unreadable", "other files", "grey", "width", "height", "width : height"]]
    for name, group in report.groups.items():
        counts = [str(count) for count in (group.images, group.unreadable, group.other_files, group.grey)]
        sizes = [_spread_text(group.width, ".0f"), _spread_text(group.height, ".0f"), _spread_text(group.aspect, ".2f")]
        rows.append([name, *counts, *sizes])
    return rows


def findings_table(report: Report) -> list[list[str]]:
    """The findings as rows of text, those that need attention first, the first row being the headings."""
    return [["severity", "what"], *([finding.severity, finding.message] for finding in report.findings)]


def _spread_text(spread: Spread | None, form: str) -> str:
    if spread is None:
        return "-"
    return " / ".join(format(value, form) for value in (spread.min, spread.median, spread.max))


def _places(folders: list[Path]) -> dict[str, tuple[Path, str, str]]:
    """Name -> (folder, split, domain) of every group."""
    found: dict[Path, tuple[Path, str, str]] = {}
    for folder in folders:
        if not folder.is_dir():
            problem = "is a file, not a folder" if folder.exists() else "does not exist"
            raise UserError(f"{folder} {problem}: give folders with images in them")
        parts = {name: roles for name, roles in LAYOUT.items() if (folder / name).is_dir()}
        for name, roles in parts.items():
            found[folder / name] = (folder / name, *roles)
        if not parts:
            # A domain of its own, unless the folder's name says which.
            found[folder] = (folder, *LAYOUT.get(folder.name, ("", str(folder))))
    short = [folder.name for folder in found]
    unique = len(set(short)) == len(short) and all(short)
    return {folder.name if unique else folder.as_posix(): place for folder, place in found.items()}


def _look(folder_name: str, folder: Path, split: str, domain: str, pool: ThreadPoolExecutor) -> Group:
    files = find_files(folder)
    images = [path for path in files if path.suffix.lower() in SUFFIXES]
    results = dict(zip(images, pool.map(_check, images), strict=True))
    return Group(
        name=folder_name,
        split=split,
        domain=domain,
        images=[result for result in results.values() if isinstance(result, CheckedImage)],
        unreadable={path: result for path, result in results.items() if isinstance(result, str)},
        others=[path for path in files if path.suffix.lower() not in SUFFIXES],
    )


def _check(path: Path) -> CheckedImage | str:
    """What is to be known of one image, or why it cannot be read."""
    try:
        pixels = read_image(path).pixels
    except Unreadable as error:
        return str(error)
    height, width = pixels.shape[:2]
    step = max(1, min(height, width) // SAMPLED_PX)
    sample = np.ascontiguousarray(pixels[::step, ::step])
    return CheckedImage(
        path=path,
        width=width,
        height=height,
        content=blake2b(pixels.data, digest_size=16, salt=f"{height}x{width}".encode()[:16]).digest(),
        deviation=float(cv2.meanStdDev(sample)[1].max()),
        grey=_is_grey(sample),
    )


def _is_grey(pixels: np.ndarray) -> bool:
    planes = cv2.split(pixels)
    return all(cv2.absdiff(one, other).max() <= GREY_SPREAD for one, other in combinations(planes, 2))


def _figures(group: Group) -> GroupReport:
    return GroupReport(
        images=len(group.images),
        unreadable=len(group.unreadable),
        other_files=len(group.others),
        grey=sum(image.grey for image in group.images),
        width=_spread(image.width for image in group.images),
        height=_spread(image.height for image in group.images),
        aspect=_spread(image.width / image.height for image in group.images),
    )


def _spread(values: Iterable[float]) -> Spread | None:
    known = list(values)
    return Spread(min(known), median(known), max(known)) if known else None
