from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ganstyle.losses.adversarial import (
    ADVERSARIAL,
    AdversarialLoss,
    Hinge,
    LeastSquares,
    NonSaturating,
    Wasserstein,
)


def scores(seed: int, *shape: int, scale: float = 2.0) -> Tensor:
    return torch.from_numpy(scale * np.random.default_rng(seed).standard_normal(shape)).float()


def slow_mean(terms: list[float]) -> float:
    return math.fsum(terms) / len(terms)


def sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


REALS, FAKES = scores(0, 2, 1, 5, 4), scores(1, 3, 1, 4, 4)


def test_the_table_holds_all() -> None:
    named = {"least_squares": LeastSquares, "non_saturating": NonSaturating, "hinge": Hinge, "wasserstein": Wasserstein}
    assert named == ADVERSARIAL


def test_least_squares_against_the_slow_formula() -> None:
    reals, fakes = REALS.flatten().tolist(), FAKES.flatten().tolist()
    assert LeastSquares().generator(FAKES).item() == pytest.approx(slow_mean([(f - 1) ** 2 for f in fakes]), rel=1e-6)
    halved = 0.5 * (slow_mean([(r - 1) ** 2 for r in reals]) + slow_mean([f**2 for f in fakes]))
    assert LeastSquares().discriminator(REALS, FAKES).item() == pytest.approx(halved, rel=1e-6)


def test_non_saturating_against_the_slow_formula() -> None:
    reals, fakes = REALS.flatten().tolist(), FAKES.flatten().tolist()
    generator = slow_mean([-math.log(sigmoid(f)) for f in fakes])
    assert NonSaturating().generator(FAKES).item() == pytest.approx(generator, rel=1e-6)
    halved = 0.5 * (
        slow_mean([-math.log(sigmoid(r)) for r in reals]) + slow_mean([-math.log(1 - sigmoid(f)) for f in fakes])
    )
    assert NonSaturating().discriminator(REALS, FAKES).item() == pytest.approx(halved, rel=1e-6)


def test_hinge_against_the_slow_formula() -> None:
    reals, fakes = REALS.flatten().tolist(), FAKES.flatten().tolist()
    assert Hinge().generator(FAKES).item() == pytest.approx(-slow_mean(fakes), rel=1e-6)
    halved = 0.5 * (slow_mean([max(0, 1 - r) for r in reals]) + slow_mean([max(0, 1 + f) for f in fakes]))
    assert Hinge().discriminator(REALS, FAKES).item() == pytest.approx(halved, rel=1e-6)


def test_wasserstein_against_the_slow_formula() -> None:
    reals, fakes = REALS.flatten().tolist(), FAKES.flatten().tolist()
    assert Wasserstein().generator(FAKES).item() == pytest.approx(-slow_mean(fakes), rel=1e-6)
    halved = 0.5 * (slow_mean(fakes) - slow_mean(reals))
    assert Wasserstein().discriminator(REALS, FAKES).item() == pytest.approx(halved, rel=1e-6)


def test_non_saturating_is_finite_and_still_pulls_where_the_sigmoid_is_flat() -> None:
    fakes = torch.full((1, 1, 2, 2), -200.0, requires_grad=True)
    loss = NonSaturating().generator(fakes)
    loss.backward()
    assert loss.item() == pytest.approx(200)
    assert fakes.grad is not None
    assert torch.allclose(fakes.grad, torch.full_like(fakes, -0.25))


@pytest.mark.parametrize("loss", [kind() for kind in ADVERSARIAL.values()], ids=list(ADVERSARIAL))
class TestEveryAdversarialLoss:
    def test_is_low_where_its_owner_wins(self, loss: AdversarialLoss) -> None:
        high, low = torch.full((1, 1, 3, 3), 1.0), torch.full((1, 1, 3, 3), 0.0)
        assert loss.generator(high) < loss.generator(low)
        assert loss.discriminator(high, low) < loss.discriminator(low, high)

    def test_is_a_float32_scalar_for_bfloat16_scores(self, loss: AdversarialLoss) -> None:
        reals, fakes = REALS.bfloat16(), FAKES.bfloat16()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            results = loss.generator(fakes), loss.discriminator(reals, fakes)
        expected = loss.generator(fakes.float()), loss.discriminator(reals.float(), fakes.float())
        for result, wide in zip(results, expected, strict=True):
            assert result.shape == ()
            assert result.dtype == torch.float32
            assert torch.equal(result, wide)

    def test_gradients_reach_every_score_that_is_not_good_enough(self, loss: AdversarialLoss) -> None:
        # Within the hinges of both sides.
        reals, fakes = (scores(seed, 2, 1, 4, 4).tanh().mul(0.9).requires_grad_() for seed in (2, 3))
        (loss.discriminator(reals, fakes) + 3 * loss.generator(fakes)).backward()
        assert reals.grad is not None
        assert fakes.grad is not None
        assert (reals.grad != 0).all()
        assert (fakes.grad != 0).all()

    def test_several_maps_count_by_their_weights(self, loss: AdversarialLoss) -> None:
        """However large the maps are: each one's mean, times its weight."""
        others = scores(4, 2, 1, 2, 2), scores(5, 3, 1, 7, 3)
        weighted = loss.generator([(2.0, FAKES), (0.5, others[1])])
        assert weighted.item() == pytest.approx(
            2 * loss.generator(FAKES).item() + 0.5 * loss.generator(others[1]).item(), rel=1e-5
        )
        weighted = loss.discriminator([(2.0, REALS), (0.5, others[0])], [(2.0, FAKES), (0.5, others[1])])
        parts = loss.discriminator(REALS, FAKES).item(), loss.discriminator(others[0], others[1]).item()
        assert weighted.item() == pytest.approx(2 * parts[0] + 0.5 * parts[1], rel=1e-5)

    def test_chance_is_the_least_loss_of_one_score_for_all(self, loss: AdversarialLoss) -> None:
        tried = torch.linspace(-3, 3, 601)
        losses = [loss.discriminator(score.expand(4), score.expand(4)).item() for score in tried]
        assert loss.chance is None or min(losses) == pytest.approx(loss.chance, rel=1e-4)
