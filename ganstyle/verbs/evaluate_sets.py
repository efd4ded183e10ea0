"""Judging a folder of outputs: how near it is to real images, how much of the photos it keeps, what it copied."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ganstyle import __version__
from ganstyle.base.draws import stream_seed
from ganstyle.base.errors import UserError
from ganstyle.base.tables import pick
from ganstyle.evaluate.comparing import LEAST_IMAGES, compare, kernel_estimate
from ganstyle.evaluate.describers import Describer, describer
from ganstyle.evaluate.distances import STANDARDISED, enough_for_frechet, standardise
from ganstyle.evaluate.image_sets import ImageSet, images_of, oddities, read_set, unreadable_line
from ganstyle.evaluate.kept import beside, common_names
from ganstyle.evaluate.manifold import manifold
from ganstyle.evaluate.memorised import memorised
from ganstyle.evaluate.protocols import OURS, PROTOCOLS, Protocol
from ganstyle.train.hardware import available_device

FORMAT = "ganstyle evaluation 1"
ENOUGH = 2000  # images on a side; FID of fewer is known to be biased
STEADY = 100  # real images, whose features give a scale that hardly depends on which ones they are
MOST = 10_000  # images of a folder: all pairs of features stand in memory at once

Say = Callable[[str], None]
Watch = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Reader:
    """How folders become features, and what there is to warn of; the part that both verbs share."""

    way: Protocol
    protocol: str
    describe: Describer
    most: int
    skip_unreadable: bool
    say: Say
    watch: Watch
    warnings: list[str] = field(default_factory=list)

    def warn(self, line: str) -> None:
        """Tell it now, and keep it for the result."""
        self.warnings.append(line)
        self.say(f"warning: {line}")

    def read(self, folder: Path) -> ImageSet:
        """The images of a folder."""
        found = read_set(
            folder,
            partial(self.way.features, self.describe),
            most=self.most,
            skip_unreadable=self.skip_unreadable,
            advance=partial(self.watch, str(folder)),
        )
        if found.left_out:
            self.warn(f"{unreadable_line(found)}: they are left out")
        there = len(images_of(folder))
        if there > self.most:
            self.warn(f"{folder}: only the first {self.most} of its {there} images are read")
        return found

    def scaled(self, sets: Mapping[str, ImageSet]) -> dict[str, np.ndarray]:
        """Features as they are for published networks, else in deviations of the real images'."""
        if self.describe.published:
            return {role: each.features for role, each in sets.items()}
        real = sets["real"].features
        if len(real) < STEADY:
            self.warn(
                f"scores are in units of the {len(real)} real images: from fewer than {STEADY} they come out higher, "
                "and are less sure than the interval says"
            )
        scale = standardise(real)
        return {role: scale(each.features) for role, each in sets.items()}

    def warn_of_few(self, count: int) -> None:
        """Tell where there are too few images on one side for an interval."""
        if count < LEAST_IMAGES:
            self.warn(f"intervals of {count} images are far too narrow: give {LEAST_IMAGES} or more on each side")

    def facts(self, sets: Mapping[str, ImageSet]) -> dict[str, Any]:
        """What every result begins with."""
        described = self.describe
        length = int(next(iter(sets.values())).features.shape[1])
        return {
            "format": FORMAT,
            "software": f"ganstyle {__version__}",
            "protocol": {"name": self.protocol, "resize": self.way.resize, "statement": self.way.statement},
            "features": {
                "name": described.name,
                "statement": described.statement,
                "fingerprint": described.fingerprint,
                "length": length,
                "scale": "as they are" if described.published else STANDARDISED,
            },
            "sets": {role: _facts(each) for role, each in sets.items()},
        }


def evaluate_sets(
    fake: Path,
    real: Path,
    *,
    source: Path | None = None,
    truth: Path | None = None,
    train: Path | None = None,
    weights: str = "auto",
    protocol: str = OURS,
    device: str = "auto",
    most: int = MOST,
    skip_unreadable: bool = False,
    seed: int = 0,
    say: Say = print,
    watch: Watch = lambda *_: None,
) -> dict[str, Any]:
    """Measure a folder of outputs; plain values, ready for JSON.

    The result, whose keys stay as they are while `format` does:
    - `format`, `software`; `protocol`: `name`, `resize`, `statement`; `features`: `name`, `statement`, `fingerprint`
      (scores of others do not compare), `length`, `scale` (how features are measured: see `Standardisation`);
    - `sets`: for `fake`, `real` and perhaps `train` the `folder`, `split` (train, test, val or None, by its name),
      number of `images`, `formats`, `sizes` and `left_out`;
    - `scores`: `kid` with `value`, `low`, `high` (95 % by the bootstrap) and `deviation`; `fid` with `value` and
      `biased`; `precision`, `recall`, `density`, `coverage`, each with `value`;
    - where asked for: `content` and `truth` (see `kept.beside`), `memorised` (see `memorised`);
    - `warnings`: what was told. What cannot be measured is left out, and a warning says why.

    Args:
        fake: the outputs.
        real: real images of the style, best ones that were not trained on.
        source: the photos that outputs were made of, by the same relative names.
        truth: what outputs should have become, by the same relative names.
        train: the style images that were trained on: how near each output is to one of them.
        weights: the network of features, as `describer` takes it.
        protocol: a name of PROTOCOLS.
        device: auto, cpu, cuda, mps or cuda:N.
        most: images of a folder that are read at most, the first ones by name.
        skip_unreadable: leave out images that cannot be read, and tell it.
        seed: of the resamples.
        say: told one line at a time of what people should know.
        watch: told a folder, how many of its images are done, and of how many.

    Raises:
        UserError: a folder that is missing, empty, unreadable or given twice; fewer than two images; images that
            cannot be read; weights that cannot be used, or that are not those of the protocol.
    """
    others = {"real": real, "source": source, "truth": truth, "train": train}
    _check_folders({"fake": fake}, {role: folder for role, folder in others.items() if folder is not None})
    partners = {what: folder for what, folder in {"content": source, "truth": truth}.items() if folder is not None}
    for what, folder in partners.items():
        common_names(images_of(fake)[:most], fake, folder, what)
    reader = _reader(protocol, weights, device=device, most=most, skip_unreadable=skip_unreadable, say=say, watch=watch)
    folders = {"fake": fake, "real": real, **({} if train is None else {"train": train})}
    sets = {role: reader.read(folder) for role, folder in folders.items()}
    _check_counts(sets)
    for line in oddities(sets["fake"], sets["real"]):
        reader.warn(line)
    scaled = reader.scaled(sets)
    result = reader.facts(sets) | {"scores": _scores(reader, scaled["fake"], scaled["real"], seed)}
    for what, folder in partners.items():
        advance = partial(watch, f"{folder} ({what})")
        where = torch.device(reader.describe.device)
        result[what] = beside(sets["fake"], folder, what, reader.warn, device=where, advance=advance)
    if train is not None:
        result["memorised"] = memorised(sets, scaled, reader.warn)
    return {**result, "warnings": reader.warnings}


def compare_sets(
    a: Path,
    b: Path,
    real: Path,
    *,
    weights: str = "auto",
    device: str = "auto",
    most: int = MOST,
    skip_unreadable: bool = False,
    seed: int = 0,
    say: Say = print,
    watch: Watch = lambda *_: None,
) -> dict[str, Any]:
    """Say whether outputs A are nearer to real images than outputs B of the same photos, or that it cannot be told.

    The result begins as that of `evaluate_sets`, with the sets `a`, `b` and `real`. It goes on with KIDs `a`, `b` and
    their `difference` (each with `value`, `low`, `high`, `deviation`), `ratio` (None where a KID is below twice its
    deviation), `fewest` (images on the smaller side), `better` (`a`, `b`, or None where the difference's interval holds
    0 or fewest is below 10), `pairs` and `warnings`.

    Args:
        a: outputs.
        b: other outputs of the same photos, by the same relative names.
        real: real images of the style.
        weights: as `evaluate_sets` takes them, and so on.
        device: see there.
        most: see there.
        skip_unreadable: see there.
        seed: see there.
        say: see there.
        watch: see there.

    Raises:
        UserError: fewer than two photos are in both, or what `evaluate_sets` refuses.
    """
    _check_folders({"a": a}, {"b": b, "real": real})
    _check_folders({"b": b}, {"real": real})
    reader = _reader(OURS, weights, device=device, most=most, skip_unreadable=skip_unreadable, say=say, watch=watch)
    sets = {role: reader.read(folder) for role, folder in {"a": a, "b": b, "real": real}.items()}
    _check_counts(sets)
    lines = [line for role in "ab" for line in oddities(sets[role], sets["real"])]
    for line in dict.fromkeys(lines):
        reader.warn(line)
    rows_a, rows_b = _common_rows(sets["a"], sets["b"], reader.warn)
    scaled = reader.scaled(sets)
    found = compare(scaled["a"][rows_a], scaled["b"][rows_b], scaled["real"], _stream(seed))
    reader.warn_of_few(found.fewest)
    judged = {**asdict(found), "better": found.better, "pairs": len(rows_a)}
    return {**reader.facts(sets), **judged, "warnings": reader.warnings}


def _reader(protocol: str, weights: str, *, device: str, say: Say, **options: Any) -> Reader:
    way = pick(PROTOCOLS, "protocol", protocol)
    describe = describer(weights, available_device(device))
    way.check(describe, protocol)
    say(f"{describe.statement}; images: {way.resize}")
    return Reader(way, protocol, describe, say=say, **options)


def _check_folders(outputs: Mapping[str, Path], others: Mapping[str, Path]) -> None:
    """All hold images, and the outputs are none of the others."""
    for role, folder in outputs.items():
        images_of(folder)
        for other, elsewhere in others.items():
            images_of(elsewhere)
            if folder.resolve() == elsewhere.resolve():
                raise UserError(f"{folder} is given twice, as {role} and as {other}: expected two folders")


def _check_counts(sets: Mapping[str, ImageSet]) -> None:
    for images in sets.values():
        if len(images.paths) < 2:
            raise UserError(f"{images.folder} has one image: a distance of sets needs at least two on each side")


def _facts(images: ImageSet) -> dict[str, Any]:
    return {
        "folder": str(images.folder),
        "split": images.split(),
        "images": len(images.paths),
        "formats": images.formats(),
        "sizes": {f"{width}x{height}": count for (width, height), count in images.sizes.items()},
        "left_out": [{"file": str(path), "reason": why} for path, why in images.left_out],
    }


def _scores(reader: Reader, fake: np.ndarray, real: np.ndarray, seed: int) -> dict[str, Any]:
    count, length = min(len(fake), len(real)), fake.shape[1]
    found = reader.way.distances(fake, real)
    scores: dict[str, Any] = {name: {"value": value} for name, value in found.items()}
    if "kid" in found:
        reader.warn_of_few(count)
        scores["kid"] = {**asdict(kernel_estimate(fake, real, _stream(seed))), "value": found["kid"]}
    few, singular = count < ENOUGH, not enough_for_frechet(count, length)
    scores["fid"]["biased"] = few or singular
    if singular:
        reader.warn(f"FID: {count} images cannot tell the spread of {length} features, it is biased upwards; trust KID")
    elif few:
        reader.warn(f"FID of {count} images is biased upwards (it takes {ENOUGH} or more): trust KID")
    try:
        scores |= {name: {"value": value} for name, value in manifold(fake, real)._asdict().items()}
    except UserError as error:
        reader.warn(str(error))
    return scores


def _common_rows(a: ImageSet, b: ImageSet, warn: Say) -> tuple[list[int], list[int]]:
    """The rows of images of one name, in the order of A."""
    names_a, names_b = a.names(), b.names()
    common = [name for name in names_a if name in names_b]
    if len(common) < 2:
        both = f"{a.folder} and {b.folder}"
        raise UserError(f"{both} have {len(common)} images of one name: --compare takes outputs of the same photos")
    alone = len(a.paths) + len(b.paths) - 2 * len(common)
    if alone:
        warn(f"{alone} images are in one of {a.folder} and {b.folder} alone and are left out")
    return [names_a[name] for name in common], [names_b[name] for name in common]


def _stream(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(stream_seed("evaluate sets", seed)))
