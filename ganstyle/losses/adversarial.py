"""Adversarial losses: how a discriminator learns to tell real from fake, and a generator to pass for real.

Scores are a discriminator's output of any shape, high for real; each loss is a scalar, the mean over all scores,
computed in float32. The discriminator's loss is halved, as in CycleGAN, to slow it against the generator.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor


class AdversarialLoss(Protocol):
    """What a method needs of an adversarial loss.

    `chance` is the least loss of a discriminator that gives every image the same score.
    """

    chance: float

    def generator(self, scores_of_fakes: Tensor) -> Tensor:
        """Low where fakes pass for real."""

    def discriminator(self, scores_of_reals: Tensor, scores_of_fakes: Tensor) -> Tensor:
        """Low where real and fake are told apart."""


class LeastSquares:
    """Pulls scores of reals to 1 and of fakes to 0, by their squared distance (Mao et al. 2017, equation 9)."""

    chance = 0.25

    def generator(self, scores_of_fakes: Tensor) -> Tensor:
        """Mean of (D(fake) - 1)^2."""
        return (scores_of_fakes.float() - 1).square().mean()

    def discriminator(self, scores_of_reals: Tensor, scores_of_fakes: Tensor) -> Tensor:
        """Half of: mean of (D(real) - 1)^2 plus mean of D(fake)^2."""
        real = (scores_of_reals.float() - 1).square().mean()
        fake = scores_of_fakes.float().square().mean()
        return 0.5 * (real + fake)


class NonSaturating:
    """Takes scores as logits of being real; the generator's gradient does not vanish (Goodfellow et al. 2014, 3)."""

    chance = math.log(2)

    def generator(self, scores_of_fakes: Tensor) -> Tensor:
        """Mean of -log sigmoid(D(fake))."""
        return F.softplus(-scores_of_fakes.float()).mean()

    def discriminator(self, scores_of_reals: Tensor, scores_of_fakes: Tensor) -> Tensor:
        """Half of: mean of -log sigmoid(D(real)) plus mean of -log(1 - sigmoid(D(fake)))."""
        real = F.softplus(-scores_of_reals.float()).mean()
        fake = F.softplus(scores_of_fakes.float()).mean()
        return 0.5 * (real + fake)


ADVERSARIAL: dict[str, type[LeastSquares] | type[NonSaturating]] = {
    "least_squares": LeastSquares,
    "non_saturating": NonSaturating,
}
