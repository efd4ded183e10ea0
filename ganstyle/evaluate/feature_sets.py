"""How far apart the features of two pictures are, each told at many places; told relative to the features' own size."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from ganstyle.base.draws import stream_seed
from ganstyle.evaluate.distances import frechet_distance

MOST_PLACES = 65_536  # many more than any layer has channels where there are so many, and few enough for memory
DIRECTIONS = 32


def places_of(maps: Tensor, *, most: int = MOST_PLACES) -> np.ndarray:
    """The features of one picture (1, C, h, w) as a row for each place, (N, C) float64.

    Of more than `most` places as many are drawn, the same ones for every map of that size.
    """
    rows = maps[0].flatten(1)
    if rows.shape[1] > most:
        stream = np.random.Generator(np.random.PCG64(stream_seed("places", *maps.shape[2:])))
        chosen = np.sort(stream.choice(rows.shape[1], most, replace=False))
        rows = rows[:, chosen]
    return rows.T.cpu().double().numpy()  # not every device has float64


def relative_distance(rows: np.ndarray, reference: np.ndarray) -> float:
    """The 2-Wasserstein distance of normal distributions fitted to features (N, C) and (M, C), relative to the latter.

    The root of the Fréchet distance over the reference's mean squared length: 0 for the same distribution, 1 for
    features as far away as nothing at all (all zeros).
    """
    return _relative(frechet_distance(rows, reference), reference)


def relative_sliced_distance(rows: np.ndarray, reference: np.ndarray) -> float:
    """The sliced 2-Wasserstein distance of features (N, C) and (M, C), on the scale of `relative_distance`.

    It sees what mean and covariance do not, such as two kinds of places where the other has one in between.
    """
    return _relative(squared_sliced_distance(rows, reference), reference)


def squared_sliced_distance(rows: np.ndarray, others: np.ndarray, *, directions: int = DIRECTIONS) -> float:
    """C times the mean over random directions of the squared 2-Wasserstein distance along each.

    Sets of one size are sorted and compared in order; of another size, at as many quantiles as the larger has places.
    A shift by a vector v gives |v|^2 on average over all directions, hence the factor C. The directions are the same
    for every call with that C. Source: Bonneel et al. 2015, "Sliced and Radon Wasserstein Barycenters", section 3.
    """
    channels = rows.shape[1]
    stream = np.random.Generator(np.random.PCG64(stream_seed("sliced directions", channels)))
    drawn = stream.standard_normal((directions, channels))
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    count = max(len(rows), len(others))
    gaps = _quantiles(drawn @ rows.T, count) - _quantiles(drawn @ others.T, count)
    return float(channels * np.mean(gaps**2))


def _quantiles(projected: np.ndarray, count: int) -> np.ndarray:
    """The values of (K, N) at `count` evenly spaced quantiles of each row, (K, count)."""
    ordered = np.sort(projected, axis=1)
    return ordered[:, ((np.arange(count) + 0.5) / count * ordered.shape[1]).astype(np.int64)]


def _relative(squared: float, reference: np.ndarray) -> float:
    length = float(np.mean((reference**2).sum(axis=1)))
    # Rounding leaves a little, also less than nothing, where both are the same; a layer that is silent tells nothing.
    return math.sqrt(max(squared, 0.0) / max(length, 1e-12))
