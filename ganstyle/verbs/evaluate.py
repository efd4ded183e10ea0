"""Judging results from their files: one photo in the look of one picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypedDict, TypeVar

import numpy as np
import torch

from ganstyle.base.errors import UserError
from ganstyle.data.images import Unreadable, read_pixels, read_size
from ganstyle.evaluate.pair import LONGEST_PX, MEANINGS, PairJudge, at_one_size, baselines
from ganstyle.evaluate.perceptual import Distance, grey_lpips, single_image_frechet
from ganstyle.networks.inception import Inception, cached_file, check_installed, is_inception
from ganstyle.networks.vgg import Vgg
from ganstyle.networks.vgg_files import load_features
from ganstyle.networks.weight_files import read_weights
from ganstyle.train.hardware import available_device

OUTPUT = "output"
SAME_ASPECT = 0.02  # sides are whole numbers of pixels
MUCH_COPIED = 0.1

Say = Callable[[str], None]
Made = TypeVar("Made")


class Triple(NamedTuple):
    """The files of one pair and of what was made of them."""

    content: Path
    style: Path
    output: Path


class Row(TypedDict):
    """The scores of one answer to one pair.

    `answer` is "output", or the name of an answer that took no work (see `pair.baselines`); `size` is the (height,
    width) at which it was measured; `features` the network of the held-out layers, None where there was none.
    """

    content: str
    style: str
    output: str
    answer: str
    size: tuple[int, int]
    features: str | None
    scores: dict[str, float]


def triples_of(files: Sequence[Path]) -> list[Triple]:
    """Files in the order CONTENT STYLE OUTPUT, three for each pair.

    Raises:
        UserError: none, or a number that three do not divide.
    """
    if not files or len(files) % 3:
        raise UserError(f"got {len(files)} files: --pair takes CONTENT STYLE OUTPUT, three files for each pair")
    return [Triple(*files[start : start + 3]) for start in range(0, len(files), 3)]


def evaluate_pairs(
    triples: Sequence[Triple | tuple[Path, Path, Path]],
    *,
    weights: Path | None = None,
    features: str | None = None,
    inception: Path | None = None,
    device: str = "auto",
    longest_px: int = LONGEST_PX,
    style_scale: float = 1.0,
    say: Say = print,
) -> list[Row]:
    """Measure outputs, and beside each the photo as it is and with the picture's colours; see `pair.PairJudge`.

    Args:
        triples: content, style and output of each pair.
        weights: a file of a VGG's weights; with `features`, as `ganstyle stylize` takes them.
        features: the name of a VGG.
        inception: the file of FID's Inception, for SIFID; by default the one in torch's cache.
        device: auto, cpu, cuda, mps or cuda:N.
        longest_px: larger outputs are measured at this longer side.
        style_scale: how large the style picture was used, as `ganstyle stylize` takes it; see `pair.at_one_size`.
        say: is told what is left out for want of weights, and what looks odd.

    Raises:
        UserError: a file that is missing or no image, a picture that is too small, or weights that were named and
            cannot be used.
    """
    if not (math.isfinite(style_scale) and style_scale > 0):
        raise UserError(f"--style-scale: got {style_scale:g}, expected a number above 0")
    pairs = [Triple(*(Path(path) for path in each)) for each in triples]
    for path in dict.fromkeys(path for pair in pairs for path in pair):
        _size(path)
    judge, name = _judge(weights, features, inception, available_device(device), say)
    rows = []
    for pair in pairs:
        rows += _rows(pair, judge, name, longest_px=longest_px, style_scale=style_scale, say=say)
    return rows


def mean_rows(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """The mean of each measure over all pairs, by answer; one that a pair lacks is left out."""
    found: dict[str, dict[str, float]] = {}
    for answer in dict.fromkeys(row["answer"] for row in rows):
        scores = [row["scores"] for row in rows if row["answer"] == answer]
        common = [name for name in MEANINGS if all(name in each for each in scores)]
        found[answer] = {name: float(np.mean([each[name] for each in scores])) for name in common}
    return found


def _rows(
    pair: Triple, judge: PairJudge, features: str | None, *, longest_px: int, style_scale: float, say: Say
) -> list[Row]:
    content, style, output = (read_pixels(path) for path in pair)
    _tell_aspects(pair, content.shape, output.shape, say)
    try:
        content, style, output = at_one_size(content, style, output, longest_px=longest_px, style_scale=style_scale)
    except UserError as error:
        raise UserError(f"{pair.output}: {error}") from error
    scores = judge(content, style, {OUTPUT: output, **baselines(content, style)})
    copied = scores[OUTPUT]["copied_share"]
    if copied >= MUCH_COPIED:
        say(f"{pair.output}: {copied:.0%} of it is found word for word in {pair.style}")
    names = {key: str(path) for key, path in pair._asdict().items()}
    size = (output.shape[0], output.shape[1])
    return [
        Row(
            content=names["content"],
            style=names["style"],
            output=names["output"],
            answer=answer,
            size=size,
            features=features,
            scores=found,
        )
        for answer, found in scores.items()
    ]


def _judge(
    weights: Path | None, features: str | None, inception: Path | None, device: torch.device, say: Say
) -> tuple[PairJudge, str | None]:
    """The judge with what networks there are, and the VGG's name; those not named and not to be had are told."""

    def wanted(make: Callable[[], Made], what: str, *, named: bool) -> Made | None:
        try:
            return make()
        except UserError as error:
            if named:
                raise
            say(f"{what} is left out: {error}")
            return None

    vgg: Vgg | None = wanted(
        lambda: load_features(features, weights),
        "the style distance on held-out layers",
        named=weights is not None or features is not None,
    )
    lpips = wanted(lambda: grey_lpips(device), "LPIPS", named=False)
    sifid = wanted(lambda: _sifid(inception, device), "SIFID", named=inception is not None)
    return PairJudge(device, vgg=vgg, lpips=lpips, sifid=sifid), None if vgg is None else vgg.name


def _sifid(given: Path | None, device: torch.device) -> Distance:
    check_installed()
    path = given or cached_file()
    if path is None:
        raise UserError("the weights of Inception are not in torch's cache; give their file with --inception")
    weights = read_weights(path)
    if not is_inception(weights):
        raise UserError(f"{path}: not the Inception of FID (its first tensor is '{next(iter(weights), 'none')}')")
    return single_image_frechet(Inception(weights), device)


def _size(path: Path) -> tuple[int, int]:
    try:
        return read_size(path)
    except Unreadable as error:
        raise UserError(f"{path}: {error}") from error


def _tell_aspects(pair: Triple, content: tuple[int, ...], output: tuple[int, ...], say: Say) -> None:
    ratio = content[1] * output[0] / (content[0] * output[1])
    if abs(ratio - 1) > SAME_ASPECT:
        sizes = [f"{width} x {height}" for height, width, _ in (content, output)]
        say(f"{pair.output}: has another aspect than its photo ({sizes[1]} and {sizes[0]} px); the photo is stretched")
