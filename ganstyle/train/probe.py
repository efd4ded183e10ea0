"""How the networks do on the preview images at one moment of training: numbers for the curves and the health."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ganstyle.data.tensors import to_pixels, to_tensor
from ganstyle.losses.adversarial import Scores
from ganstyle.methods.method import Judge
from ganstyle.train.ema import evaluating


class Gauge(Protocol):
    """Measures what became of images: numbers by name."""

    def __call__(
        self, images: np.ndarray, translations: np.ndarray, cycled: np.ndarray | None, target: np.ndarray | None
    ) -> Mapping[str, float]:
        """Of images uint8 (N, H, W, 3), their translations, those brought back, and real images translated into."""


@dataclass(frozen=True)
class Probed:
    """Finite numbers by name, and the scores that the discriminators gave, float32 (number of scores,) by name."""

    scalars: dict[str, float]
    distributions: dict[str, np.ndarray]


class Probe:
    """Has the preview images translated, measured and judged by the networks as they are now, not their averages.

    Gives `health/NAME_ab` for every NAME that the gauge gives, and of each discriminator, such as b's:

    - `judged/b_real`, `judged/b_fake`: its mean score of real images and of fakes, and all its scores;
    - `health/discriminator_loss_b`: its loss as a share of what it would be by chance: 0 when it is always right and
      sure, 1 when it tells nothing, more when it is wrong; not there for a loss of which chance says nothing;
    - `health/discriminator_spread_b`: the deviation of all its scores, in units of a score: for least squares 0.5 when
      it is always right and sure, 0 when it scores everything alike.

    Of a discriminator with several maps of scores these are means over the maps, by their weights.

    What is not finite is left out. Networks are only borrowed: their modes are put back, and no gradients are made.

    Args:
        translators: generators by direction, `ab` and perhaps `ba`.
        judges: by the domain whose images they tell from fakes.
        images: gives the fixed images by domain, uint8 (N, H, W, 3), all of one size.
        device: where the networks are.
        autocast: the precision to run them in.
        gauge: measures translations.
    """

    def __init__(
        self,
        translators: Mapping[str, nn.Module],
        judges: Mapping[str, Judge],
        images: Callable[[], Mapping[str, np.ndarray]],
        *,
        device: torch.device,
        autocast: Callable[[], AbstractContextManager] = nullcontext,
        gauge: Gauge,
    ) -> None:
        self.translators, self.judges, self.images = translators, judges, images
        self.device, self.autocast, self.gauge = device, autocast, gauge

    def __call__(self) -> Probed:
        """Look once; waits for the device."""
        images = self.images()
        with self._borrowed():
            real = {domain: to_tensor(pixels, self.device) for domain, pixels in images.items()}
            fakes = {way: self.translators[way](real[way[0]]) for way in self.translators}
            scalars = self._gauged(images, fakes)
            distributions: dict[str, np.ndarray] = {}
            for domain, judge in self.judges.items():
                into = [fake for way, fake in fakes.items() if way[1] == domain]
                if into:
                    scores = _scores(judge.discriminator, real[domain], into[0])
                    scalars |= _judged(domain, judge, scores)
                    distributions |= _distributions(domain, scores)
        return Probed({name: number for name, number in scalars.items() if math.isfinite(number)}, distributions)

    @contextmanager
    def _borrowed(self) -> Iterator[None]:
        discriminators = [judge.discriminator for judge in self.judges.values()]
        with evaluating(*self.translators.values(), *discriminators), self.autocast():
            yield

    def _gauged(self, images: Mapping[str, np.ndarray], fakes: Mapping[str, Tensor]) -> dict[str, float]:
        numbers: dict[str, float] = {}
        for way, fake in fakes.items():
            back = self.translators.get(way[::-1])
            translations, cycled = _pixels(fake, None if back is None else back(fake))
            if translations is not None:
                measured = self.gauge(images[way[0]], translations, cycled, images.get(way[1]))
                numbers |= {f"health/{name}_{way}": float(number) for name, number in measured.items()}
        return numbers


def _pixels(fake: Tensor, cycled: Tensor | None) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Both as images, read from the device at once; None for what is not finite."""
    parts = [fake] if cycled is None else [fake, cycled]
    read = torch.cat(parts).float().cpu().split(len(fake))
    images = [to_pixels(each) if bool(each.isfinite().all()) else None for each in read]
    return images[0], images[1] if len(images) > 1 else None


@dataclass(frozen=True)
class _Map:
    """A discriminator's scores on one of its maps, float32 (number of scores,) on the CPU, and the map's weight."""

    weight: float
    real: Tensor
    fake: Tensor


def _scores(discriminator: nn.Module, real: Tensor, fake: Tensor) -> list[_Map]:
    """All scores of real images and of fakes, read from the device at once."""
    of_real, of_fake = _maps(discriminator(real)), _maps(discriminator(fake))
    flat = [each.flatten().float() for _, each in (*of_real, *of_fake)]
    read = torch.cat(flat).cpu().split([len(each) for each in flat])
    pairs = zip(of_real, read[: len(of_real)], read[len(of_real) :], strict=True)
    return [_Map(weight, reals, fakes) for (weight, _), reals, fakes in pairs]


def _maps(scores: Scores) -> list[tuple[float, Tensor]]:
    return [(1.0, scores)] if isinstance(scores, Tensor) else list(scores)


def _judged(domain: str, judge: Judge, maps: Sequence[_Map]) -> dict[str, float]:
    total = sum(each.weight for each in maps)

    def mean(measure: Callable[[_Map], Tensor]) -> float:
        return sum(each.weight * measure(each).item() for each in maps) / total

    judged = {
        f"judged/{domain}_real": mean(lambda each: each.real.mean()),
        f"judged/{domain}_fake": mean(lambda each: each.fake.mean()),
        # Map by map: two maps that each give one score everywhere are not spread.
        f"health/discriminator_spread_{domain}": mean(lambda each: torch.cat([each.real, each.fake]).std(correction=0)),
    }
    if judge.loss.chance is None:
        return judged
    loss = mean(lambda each: judge.loss.discriminator(each.real, each.fake))
    return judged | {f"health/discriminator_loss_{domain}": loss / judge.loss.chance}


def _distributions(domain: str, maps: Sequence[_Map]) -> dict[str, np.ndarray]:
    whole = {
        f"judged/{domain}_real": torch.cat([each.real for each in maps]),
        f"judged/{domain}_fake": torch.cat([each.fake for each in maps]),
    }
    finite = {name: scores[scores.isfinite()] for name, scores in whole.items()}
    return {name: scores.numpy() for name, scores in finite.items() if len(scores)}
