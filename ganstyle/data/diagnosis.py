"""From what is known of groups of images to what somebody should be told. Opens no file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal

# Levels of 255. What varies by less than 2 is hardly more than the noise that JPEG adds to one colour.
FLAT_DEVIATION = 2.0
TINY_PX = 64  # short side
LONGEST_ASPECT = 4.0  # long side to short side
MOST_IMBALANCE = 10.0  # images of one domain to images of the other
FEW_IMAGES = 20
NAMED = 3  # files named in a message

Severity = Literal["attention", "information"]


@dataclass(frozen=True)
class Finding:
    """One thing that somebody should know; `files` has every file it is about."""

    kind: str
    severity: Severity
    message: str
    files: list[str]


@dataclass(frozen=True)
class CheckedImage:
    """One readable image; `content` is a hash of its decoded pixels, so that another encoding of them is found too."""

    path: Path
    width: int
    height: int
    content: bytes
    deviation: float  # of the channel that varies most over the image, in levels of 255
    grey: bool

    @property
    def short_side(self) -> int:
        """In pixels."""
        return min(self.width, self.height)

    @property
    def elongation(self) -> float:
        """The long side as a multiple of the short one."""
        return max(self.width, self.height) / self.short_side


@dataclass(frozen=True)
class Group:
    """The images that are one side of a training or a test set."""

    name: str
    split: str  # "train" or "test"; "" where the folder does not say
    domain: str
    images: list[CheckedImage]
    unreadable: dict[Path, str]  # and why
    others: list[Path]


def diagnose(groups: Sequence[Group]) -> list[Finding]:
    """All findings, those that need attention first."""
    findings = [finding for group in groups for finding in _within(group)]
    findings += [finding for one, other in combinations(groups, 2) for finding in _between(one, other)]
    return sorted(findings, key=lambda finding: finding.severity)  # the order within a severity stays


def _within(group: Group) -> Iterator[Finding]:
    yield from _unreadable(group)
    yield from _duplicates(group)
    yield from _odd_images(group)
    yield from _numbers(group)
    yield from _other_files(group)


def _between(one: Group, other: Group) -> Iterator[Finding]:
    if one.split != other.split and one.split and other.split:
        yield from _shared("train_and_test", "training would see what it is tested on", one, other)
    elif one.domain != other.domain:
        yield from _shared("both_domains", "the two domains must differ", one, other)
        yield from _imbalance(one, other)


def _unreadable(group: Group) -> Iterator[Finding]:
    for path, reason in group.unreadable.items():
        yield Finding("unreadable", "attention", f"{path}: {reason}", [path.as_posix()])


def _duplicates(group: Group) -> Iterator[Finding]:
    same: dict[bytes, list[CheckedImage]] = defaultdict(list)
    for image in group.images:
        same[image.content].append(image)
    for images in same.values():
        if len(images) > 1:
            message = f"{group.name}: {len(images)} files are the same image: {_names(images)}"
            yield Finding("duplicate", "attention", message, _files(images))


def _odd_images(group: Group) -> Iterator[Finding]:
    flat = [image for image in group.images if image.deviation < FLAT_DEVIATION]
    if flat:
        text = f"flat, one colour all over (standard deviation under {FLAT_DEVIATION:g} of 255 levels)"
        yield _about("flat", "attention", group, flat, text)
    tiny = [image for image in group.images if image.short_side < TINY_PX]
    if tiny:
        yield _about("tiny", "attention", group, tiny, f"tiny (short side under {TINY_PX} px)")
    long = [image for image in group.images if image.elongation > LONGEST_ASPECT]
    if long:
        text = f"very long (one side over {LONGEST_ASPECT:g} times the other)"
        yield _about("aspect", "attention", group, long, text)


def _about(kind: str, severity: Severity, group: Group, images: list[CheckedImage], text: str) -> Finding:
    count = f"{len(images)} of {len(group.images)} images {'is' if len(images) == 1 else 'are'}"
    return Finding(kind, severity, f"{group.name}: {count} {text}: {_names(images)}", _files(images))


def _numbers(group: Group) -> Iterator[Finding]:
    count, grey = len(group.images), [image for image in group.images if image.grey]
    if not count:
        yield Finding("empty", "attention", f"{group.name}: no image that can be used", [])
    elif count < FEW_IMAGES and group.split != "test":
        message = f"{group.name}: {count} images are few to learn from; hundreds are usual"
        yield Finding("few", "information", message, [])
    if 0 < len(grey) < count:
        yield _about("grey", "information", group, grey, f"grey ({len(grey) / count:.0%})")


def _other_files(group: Group) -> Iterator[Finding]:
    if len(group.others) > NAMED:
        message = f"{group.name}: {len(group.others)} files have no image's suffix and are not used"
        yield Finding("other_file", "information", message, [path.as_posix() for path in group.others])
        return
    for path in group.others:
        yield Finding("other_file", "information", f"{path}: has no image's suffix and is not used", [path.as_posix()])


def _shared(kind: str, why: str, one: Group, other: Group) -> Iterator[Finding]:
    theirs: dict[bytes, CheckedImage] = {image.content: image for image in other.images}
    pairs = [(image, theirs[image.content]) for image in one.images if image.content in theirs]
    if pairs:
        named = ", ".join(f"{mine.path.name} = {their.path.name}" for mine, their in pairs[:NAMED])
        more = ", ..." if len(pairs) > NAMED else ""
        message = f"{one.name} and {other.name} share {_plural(len(pairs))} ({why}): {named}{more}"
        yield Finding(kind, "attention", message, _files([image for pair in pairs for image in pair]))


def _imbalance(one: Group, other: Group) -> Iterator[Finding]:
    smaller, larger = sorted((one, other), key=lambda group: len(group.images))
    if smaller.images and len(larger.images) > MOST_IMBALANCE * len(smaller.images):
        message = (
            f"{larger.name} has {_plural(len(larger.images))} and {smaller.name} {len(smaller.images)}, "
            f"over {MOST_IMBALANCE:g} times as many: add images to {smaller.name}"
        )
        yield Finding("imbalance", "attention", message, [])


def _plural(count: int) -> str:
    return f"{count} image" if count == 1 else f"{count} images"


def _names(images: list[CheckedImage]) -> str:
    named = ", ".join(f"{image.path.name} ({image.width} x {image.height})" for image in images[:NAMED])
    return named + (", ..." if len(images) > NAMED else "")


def _files(images: list[CheckedImage]) -> list[str]:
    return [image.path.as_posix() for image in images]
