"""Adversarial losses: how a discriminator learns to tell real from fake, and a generator to pass for real.

Scores are a discriminator's output, high for real: one map of any shape, or several maps with their weights. A loss is
a scalar, computed in float32: of one map the mean over all its scores, of several the sum of each one's, weighted. The
discriminator's loss is halved, as in CycleGAN, to slow it against the generator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

Scores = Tensor | Sequence[tuple[float, Tensor]]


class AdversarialLoss(Protocol):
    """What a method needs of an adversarial loss.

    `chance` is the least loss of a discriminator that gives every image the same score, of maps whose weights sum to
    1; None where that says nothing.
    """

    chance: float | None

    def generator(self, scores_of_fakes: Scores) -> Tensor:
        """Low where fakes pass for real."""

    def discriminator(self, scores_of_reals: Scores, scores_of_fakes: Scores) -> Tensor:
        """Low where real and fake are told apart."""


def mean_score(function: Callable[[Tensor], Tensor], scores: Scores) -> Tensor:
    """The mean of a function of each score: of one map, or the weighted sum of several maps' means."""
    if isinstance(scores, Tensor):
        return function(scores.float()).mean()
    return torch.stack([weight * function(each.float()).mean() for weight, each in scores]).sum()


class LeastSquares:
    """Pulls scores of reals to 1 and of fakes to 0, by their squared distance (Mao et al. 2017, equation 9)."""

    chance: float | None = 0.25

    def generator(self, scores_of_fakes: Scores) -> Tensor:
        """Mean of (D(fake) - 1)^2."""
        return mean_score(lambda scores: (scores - 1).square(), scores_of_fakes)

    def discriminator(self, scores_of_reals: Scores, scores_of_fakes: Scores) -> Tensor:
        """Half of: mean of (D(real) - 1)^2 plus mean of D(fake)^2."""
        real = mean_score(lambda scores: (scores - 1).square(), scores_of_reals)
        return 0.5 * (real + mean_score(torch.square, scores_of_fakes))


class NonSaturating:
    """Takes scores as logits of being real; the generator's gradient does not vanish (Goodfellow et al. 2014, 3)."""

    chance: float | None = math.log(2)

    def generator(self, scores_of_fakes: Scores) -> Tensor:
        """Mean of -log sigmoid(D(fake))."""
        return mean_score(lambda scores: F.softplus(-scores), scores_of_fakes)

    def discriminator(self, scores_of_reals: Scores, scores_of_fakes: Scores) -> Tensor:
        """Half of: mean of -log sigmoid(D(real)) plus mean of -log(1 - sigmoid(D(fake)))."""
        real = mean_score(lambda scores: F.softplus(-scores), scores_of_reals)
        return 0.5 * (real + mean_score(F.softplus, scores_of_fakes))


class Hinge:
    """Asks for scores of reals above 1 and of fakes below -1, and no more (Lim and Ye 2017; Miyato et al. 2018)."""

    chance: float | None = 1.0

    def generator(self, scores_of_fakes: Scores) -> Tensor:
        """Minus the mean of D(fake)."""
        return -mean_score(_itself, scores_of_fakes)

    def discriminator(self, scores_of_reals: Scores, scores_of_fakes: Scores) -> Tensor:
        """Half of: mean of max(0, 1 - D(real)) plus mean of max(0, 1 + D(fake))."""
        real = mean_score(lambda scores: F.relu(1 - scores), scores_of_reals)
        return 0.5 * (real + mean_score(lambda scores: F.relu(1 + scores), scores_of_fakes))


class Wasserstein:
    """Drives scores of reals and fakes apart (Arjovsky et al. 2017, equation 2).

    It needs a discriminator whose slope is bounded, by a gradient penalty or by spectral norm.
    """

    chance: float | None = None

    def generator(self, scores_of_fakes: Scores) -> Tensor:
        """Minus the mean of D(fake)."""
        return -mean_score(_itself, scores_of_fakes)

    def discriminator(self, scores_of_reals: Scores, scores_of_fakes: Scores) -> Tensor:
        """Half of: mean of D(fake) minus mean of D(real)."""
        return 0.5 * (mean_score(_itself, scores_of_fakes) - mean_score(_itself, scores_of_reals))


def _itself(scores: Tensor) -> Tensor:
    return scores


ADVERSARIAL: dict[str, Callable[[], AdversarialLoss]] = {
    "least_squares": LeastSquares,
    "non_saturating": NonSaturating,
    "hinge": Hinge,
    "wasserstein": Wasserstein,
}
