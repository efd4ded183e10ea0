"""How sure a score of two sets is, and whether one set of outputs is better than another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ganstyle.evaluate.distances import draw_resamples, kernel_distance, kernel_distance_resampled

RESAMPLES = 1000
INTERVAL = (2.5, 97.5)  # percent
# Under this the bootstrap's intervals are far too narrow: of 2 images nearly all resamples are the same two.
LEAST_IMAGES = 10
LEAST_DEVIATIONS = 2.0  # from zero, of a distance that may stand in a ratio


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % bootstrap interval and standard deviation."""

    value: float
    low: float
    high: float
    deviation: float


@dataclass(frozen=True)
class Comparison:
    """Two sets of outputs against one set of real images.

    Attributes:
        a: KID of the first.
        b: KID of the second.
        difference: a - b; below 0 the first is nearer to the real images.
        ratio: a / b, None where one of them is not told from zero.
        fewest: images on the smaller side.
    """

    a: Estimate
    b: Estimate
    difference: Estimate
    ratio: float | None
    fewest: int

    @property
    def better(self) -> str | None:
        """`a` or `b`, or None where the interval of the difference holds zero, or there are too few images for one."""
        if self.fewest < LEAST_IMAGES or self.difference.low <= 0 <= self.difference.high:
            return None
        return "a" if self.difference.value < 0 else "b"


def kernel_estimate(
    fake: np.ndarray, real: np.ndarray, stream: np.random.Generator, *, resamples: int = RESAMPLES
) -> Estimate:
    """KID with its interval: both sets drawn again with replacement; see `kernel_distance`."""
    counts = draw_resamples(len(fake), len(real), stream, resamples=resamples)
    return _estimate(kernel_distance(fake, real), kernel_distance_resampled(fake, real, *counts))


def compare(
    a: np.ndarray, b: np.ndarray, real: np.ndarray, stream: np.random.Generator, *, resamples: int = RESAMPLES
) -> Comparison:
    """Compare outputs (N, D) made of the same photos, row for row, with real images (M, D), by KID.

    Each resample draws the same photos for both and the same real images: what is easy or hard about them is the same
    on both sides, and the difference is surer than either distance.
    """
    assert a.shape == b.shape, f"{a.shape} and {b.shape}"
    counts = draw_resamples(len(a), len(real), stream, resamples=resamples)
    values = kernel_distance(a, real), kernel_distance(b, real)
    drawn = tuple(kernel_distance_resampled(each, real, *counts) for each in (a, b))
    first, second = (_estimate(value, each) for value, each in zip(values, drawn, strict=True))
    sure = all(each.value > LEAST_DEVIATIONS * each.deviation for each in (first, second))
    difference = _estimate(values[0] - values[1], drawn[0] - drawn[1])
    return Comparison(first, second, difference, values[0] / values[1] if sure else None, min(len(a), len(real)))


def _estimate(value: float, drawn: np.ndarray) -> Estimate:
    low, high = np.percentile(drawn, INTERVAL)
    return Estimate(value, float(low), float(high), float(drawn.std(ddof=1)))
