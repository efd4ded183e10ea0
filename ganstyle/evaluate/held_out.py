"""Scores of a run: held-out images are translated and compared with the other domain."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ganstyle.base.draws import stream_seed
from ganstyle.base.errors import UserError
from ganstyle.data.batches import centre_crops
from ganstyle.data.domains import Subset
from ganstyle.data.tensors import to_pixels, to_tensor
from ganstyle.evaluate.describers import Describer
from ganstyle.evaluate.distances import (
    enough_for_frechet,
    frechet_distance,
    kernel_distance,
    kernel_distance_deviation,
    standardise,
)
from ganstyle.evaluate.structure import WINDOW_PX, structure_similarities

BATCH = 4
MOST = 5000  # on a side: enough for FID on Inception, and few enough to keep all pairs of features in memory
MEASURES = ("kid", "fid", "content")  # those with a mean over the directions
Place = tuple[Subset, int]


@dataclass(frozen=True)
class Example:
    """One held-out image and its translation, uint8 (H, W, 3); `content` is NaN for a non-finite translation."""

    direction: str
    image: np.ndarray
    translation: np.ndarray
    content: float


@dataclass(frozen=True)
class Reference:
    """The real images of one domain: how features are scaled by theirs, and theirs, scaled."""

    scale: Callable[[np.ndarray], np.ndarray]
    features: np.ndarray


class HeldOutScores:
    """Translates each domain's held-out images and scores the translations by distance to the other domain.

    Only held-out images are translated: on those trained on, a generator that learned them by heart would look good.
    They are compared with all images there are of the other domain, also those trained on: the held-out ones alone
    are often a few dozen, far too few to tell a distribution, and since nothing of them goes into a translation but by
    way of the discriminator, taking them all flatters at most a generator that copies them. Every image counts as its
    centre crop; of more than `most` on a side, those with the lowest content digests are taken, the same each time.

    Args:
        models: gives the generators by direction, `ab` and perhaps `ba`.
        held_out: by domain, the images to translate; never those that final results are reported on.
        reference: by domain, the sets whose images are compared with.
        describe: the network whose features are compared.
        crop_px: the size of the crops.
        device: where the generators are.
        seed: the run's; decides the resamples of the deviation, the same ones each time.
        evaluating: puts modules into evaluation mode without gradients for a while.
        most: how many images are taken on a side.

    Raises:
        UserError: crops too small for the network or for the content score.
    """

    def __init__(
        self,
        models: Callable[[], Mapping[str, nn.Module]],
        *,
        held_out: Mapping[str, Subset],
        reference: Mapping[str, Sequence[Subset]],
        describe: Describer,
        crop_px: int,
        device: torch.device,
        seed: int,
        evaluating: Callable[..., AbstractContextManager[None]],
        most: int = MOST,
    ) -> None:
        check_crop(describe, crop_px)
        self.models, self.describe, self.evaluating = models, describe, evaluating
        self.crop_px, self.device, self.seed = crop_px, device, seed
        self.held_out = {side: _lowest_digests([images], most) for side, images in held_out.items()}
        self.reference = {side: _lowest_digests(sets, most) for side, sets in reference.items()}
        self._references: dict[str, Reference] = {}

    def remarks(self) -> list[str]:
        """What cannot be scored and why, a line each; to be said once, when the run starts."""
        return [line for direction in self.models() if (line := self._remark(direction[0], direction[1]))]

    def _remark(self, source: str, target: str) -> str:
        held_out, others = len(self.held_out[source]), len(self.reference[target])
        way = f"scores {source} to {target}"
        if held_out == 0:
            return f"{way}: no image of {source} is held out, so there are none; raise data.holdout"
        if held_out < 2:
            return (
                f"{way}: 1 image of {source} is held out and KID needs 2, so only content is told; raise data.holdout"
            )
        if others < 2:
            return f"{way}: there is {others} image of {target} and KID needs 2, so only content is told"
        return ""

    def __call__(self) -> dict[str, float]:
        """Scores by name: `scores/kid_ab`, `scores/kid_deviation_ab`, `scores/fid_ab`, `scores/content_ab`, and so on.

        `scores/kid`, `scores/fid` and `scores/content` are means over the directions that have them. FID is given
        where there are enough images for it (see `enough_for_frechet`). Where a translation is non-finite, its
        direction's scores and the means are left out.
        """
        scores: dict[str, float] = {}
        models = self.models()
        with self.evaluating(*models.values()):
            for direction, model in models.items():
                found = self._score(direction, model)
                scores |= {f"scores/{measure}_{direction}": value for measure, value in found.items()}
        for measure in MEASURES:
            values = [scores[name] for way in models if (name := f"scores/{measure}_{way}") in scores]
            if values:
                scores[f"scores/{measure}"] = float(np.mean(values))
        return {name: value for name, value in scores.items() if np.isfinite(value)}

    def examples(self, count: int) -> list[Example]:
        """The first `count` held-out images of each domain with their translations, the same images each time."""
        models = self.models()
        with self.evaluating(*models.values()):
            return [
                Example(direction, image, translation, float(content))
                for direction, model in models.items()
                for part in self._translated(direction, model, most=count)
                for image, translation, content in zip(*part, strict=True)
            ]

    def _score(self, direction: str, model: nn.Module) -> dict[str, float]:
        """The measures of one direction by name; NaN for all of them if any translation is non-finite."""
        source, target = direction[0], direction[1]
        if not self.held_out[source]:
            return {}
        comparable = min(len(self.held_out[source]), len(self.reference[target])) >= 2
        contents, features = [], []
        for _, translations, content in self._translated(direction, model):
            contents.append(content)
            if comparable:
                features.append(self.describe(translations))
        found = {"content": float(np.concatenate(contents).mean())}
        if comparable:
            found |= self._distances(direction, np.concatenate(features))
        return found if np.isfinite(found["content"]) else dict.fromkeys(found, float("nan"))

    def _distances(self, direction: str, features: np.ndarray) -> dict[str, float]:
        reference = self._real(direction[1])
        x, y = reference.scale(features), reference.features
        stream = np.random.Generator(np.random.PCG64(stream_seed("kid deviation", self.seed, direction)))
        found = {"kid": kernel_distance(x, y), "kid_deviation": kernel_distance_deviation(x, y, stream)}
        if enough_for_frechet(min(len(x), len(y)), x.shape[1]):
            found["fid"] = frechet_distance(x, y)
        return found

    def _real(self, side: str) -> Reference:
        """The real images of a domain, described once."""
        if side not in self._references:
            features = np.concatenate([self.describe(self._crops(part)) for part in _parts(self.reference[side])])
            scale = _unchanged if self.describe.published else standardise(features)
            self._references[side] = Reference(scale, scale(features))
        return self._references[side]

    def _translated(
        self, direction: str, model: nn.Module, *, most: int | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """(images, translations, content scores) a few at a time; the score of a non-finite translation is NaN."""
        for part in _parts(self.held_out[direction[0]][:most]):
            images = self._crops(part)
            outputs = model(to_tensor(images, self.device)).float()
            finite = torch.isfinite(outputs).flatten(1).all(dim=1).cpu().numpy()
            translations = to_pixels(torch.nan_to_num(outputs, nan=0.0, posinf=1.0, neginf=-1.0))
            yield images, translations, np.where(finite, structure_similarities(translations, images), np.nan)

    def _crops(self, places: Sequence[Place]) -> np.ndarray:
        return np.concatenate([centre_crops(images, [number], self.crop_px) for images, number in places])


def check_crop(describe: Describer, crop_px: int) -> None:
    """`UserError` for crops too small for the network or for the content score."""
    smallest = max(describe.minimum_px, WINDOW_PX)
    if crop_px < smallest:
        raise UserError(
            f"data.crop_px: got {crop_px}; scores on {describe.name} need at least {smallest}; "
            "use larger crops or evaluate.every=0"
        )


def _lowest_digests(sets: Sequence[Subset], most: int) -> list[Place]:
    """Where the images with the lowest content digests are; one of several with the same content."""
    places = {digest: (images, number) for images in sets for number, digest in enumerate(images.digests())}
    return [places[digest] for digest in sorted(places)[:most]]


def _parts(places: Sequence[Place]) -> Iterator[Sequence[Place]]:
    for start in range(0, len(places), BATCH):
        yield places[start : start + BATCH]


def _unchanged(features: np.ndarray) -> np.ndarray:
    return features
