"""Whether outputs look like real images, and cover all of them: told from who lies near whom."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ganstyle.base.errors import UserError

ROWS = 1024  # of a matrix of distances, at once


class Manifold(NamedTuple):
    """Shares, each in 0 to 1 but density, which may be larger.

    Attributes:
        precision: of outputs that lie within reach of a real image.
        recall: of real images that lie within reach of an output.
        density: how many real images, of the k that are expected, have an output within reach.
        coverage: of real images that have an output within reach.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def manifold(fake: np.ndarray, real: np.ndarray, *, neighbours: int = 3, denser_neighbours: int = 5) -> Manifold:
    """Precision and recall, and density and coverage, of features (N, D) and (M, D); computed in float64.

    An image's reach is the distance to its k-th nearest image of its own set. Sources: Kynkaanniemi et al. 2019,
    "Improved Precision and Recall Metric", equations 1 and 2, with k = 3; Naeem et al. 2020, "Reliable Fidelity and
    Diversity Metrics", equations 4 and 5, with k = 5.

    Raises:
        UserError: a set that has no k other images.
    """
    most = max(neighbours, denser_neighbours)
    if min(len(fake), len(real)) <= most:
        raise UserError(f"{min(len(fake), len(real))} images: precision and recall need more than {most} on each side")
    fake, real = np.asarray(fake, np.float64), np.asarray(real, np.float64)
    reach_fake = reaches(fake, neighbours)
    reach_real, wide_real = reaches(real, neighbours), reaches(real, denser_neighbours)
    precise, recalled = np.zeros(len(fake), bool), np.zeros(len(real), bool)
    within, covered = 0, np.zeros(len(real), bool)
    for start in range(0, len(fake), ROWS):
        rows = slice(start, start + ROWS)
        apart = distances(fake[rows], real)
        precise[rows] = (apart <= reach_real).any(axis=1)
        recalled |= (apart <= reach_fake[rows, None]).any(axis=0)
        near = apart < wide_real
        within += int(near.sum())
        covered |= near.any(axis=0)
    density = within / (denser_neighbours * len(fake))
    return Manifold(float(precise.mean()), float(recalled.mean()), density, float(covered.mean()))


def reaches(features: np.ndarray, neighbours: int) -> np.ndarray:
    """The distance of each image to its k-th nearest other one, (N,)."""
    found = np.empty(len(features))
    for start in range(0, len(features), ROWS):
        rows = slice(start, start + ROWS)
        # It is itself the nearest of all.
        found[rows] = np.partition(distances(features[rows], features), neighbours, axis=1)[:, neighbours]
    return found


def nearest(features: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each image (N, D) the number of the nearest of the others (M, D), and how far it is; both (N,)."""
    parts = [distances(features[start : start + ROWS], others) for start in range(0, len(features), ROWS)]
    numbers = np.concatenate([part.argmin(axis=1) for part in parts])
    return numbers, np.concatenate([part.min(axis=1) for part in parts])


def distances(features: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Euclidean distances (N, M) of features (N, D) and (M, D), exactly zero for equal rows."""
    squares = (features**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2 * features @ others.T
    # What is nearly equal has lost its digits.
    scale = np.maximum((features**2).sum(axis=1)[:, None], (others**2).sum(axis=1))
    near = squares < 1e-9 * scale
    for row in np.flatnonzero(near.any(axis=1)):
        squares[row, near[row]] = ((features[row] - others[near[row]]) ** 2).sum(axis=1)
    return np.sqrt(np.maximum(squares, 0))
