"""The gradient penalty against differences and against a formula written out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from ganstyle.base.draws import Draws
from ganstyle.methods.cyclegan import CycleGAN
from ganstyle.methods.penalty import GradientPenalty, gradient_penalty
from ganstyle.networks.generators import ResNetGenerator
from ganstyle.networks.multiscale import MultiscaleDiscriminator
from ganstyle.networks.patch_discriminator import PatchDiscriminator


@dataclass(frozen=True)
class Batch:
    a: Tensor
    b: Tensor
    draws: Draws = field(default_factory=lambda: Draws(3, step=5))
    first_sample: int = 7
    first_slot: int = 0


def images(count: int = 2, side: int = 16, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


class Linear(nn.Module):
    """A score map whose mean is (weight . image) of each image."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, given: Tensor) -> Tensor:
        return (given * self.weight).flatten(1).sum(1).view(-1, 1, 1, 1).expand(-1, 1, 3, 5)


def test_a_linear_score_has_the_penalty_of_its_weights() -> None:
    for length in (0.25, 1.0, 3.0):
        weight = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(1))
        weight = weight / weight.norm() * length
        assert gradient_penalty(Linear(weight), images()).item() == pytest.approx((length - 1) ** 2, abs=1e-5)


@pytest.mark.parametrize("kind", [PatchDiscriminator, partial(MultiscaleDiscriminator, scales=2)])
@pytest.mark.parametrize("spectral", [False, True])
def test_it_is_what_differences_of_the_score_say(kind: Callable[..., nn.Module], spectral: bool) -> None:
    torch.manual_seed(0)
    judge = kind(width=2, layers=1, gain=0.5, spectral=spectral).double().eval()
    given = images().double()

    def score(image: Tensor) -> float:
        scores = judge(image)
        maps = [(1.0, scores)] if isinstance(scores, Tensor) else scores
        return sum(weight * each.mean().item() for weight, each in maps)

    steps = torch.eye(given[0].numel(), dtype=torch.float64).view(-1, *given[0].shape) * 1e-5
    norms = []
    for image in given:
        slopes = [(score((image + step)[None]) - score((image - step)[None])) / 2e-5 for step in steps]
        norms.append(sum(slope**2 for slope in slopes) ** 0.5)
    expected = sum((norm - 1) ** 2 for norm in norms) / len(norms)
    # The penalty itself is float32.
    assert gradient_penalty(judge.float(), given).item() == pytest.approx(expected, rel=1e-3)


def test_its_own_gradient_is_what_differences_of_it_say() -> None:
    torch.manual_seed(0)
    judge = PatchDiscriminator(width=2, layers=1, norm="none", gain=0.5)
    gradient_penalty(judge, images()).backward()
    weight = judge.last.weight
    assert weight.grad is not None
    place, slope = (0, 1, 2, 2), 0.0
    with torch.no_grad():
        for sign in (1, -1):
            weight[place] += sign * 1e-2
            slope += sign * gradient_penalty(judge, images()).item() / 2e-2
            weight[place] -= sign * 1e-2
    assert weight.grad[place].item() == pytest.approx(slope, rel=1e-2)


def test_it_is_float32_under_autocast_and_finite_for_a_flat_score() -> None:
    judge = PatchDiscriminator(width=2, layers=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = gradient_penalty(judge, images().bfloat16())
    assert found.dtype == torch.float32
    assert torch.equal(found, gradient_penalty(judge, images().bfloat16()))
    for weight in judge.parameters():
        nn.init.zeros_(weight)
    flat = gradient_penalty(judge, images())
    flat.backward()
    assert flat.item() == pytest.approx(1, abs=1e-4)
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in judge.parameters())


def test_shares_belong_to_samples_however_they_are_spread() -> None:
    judge = PatchDiscriminator(width=2, layers=1)
    reals, fakes = images(4, seed=1), images(4, seed=2)
    penalty = GradientPenalty({"b": judge}, 10.0)
    together = penalty({"b": reals}, {"b": fakes}, Batch(reals, reals))["discriminator/penalty_b"]
    parts = [
        penalty({"b": reals[part]}, {"b": fakes[part]}, Batch(reals[part], reals[part], first_sample=7 + part.start))
        for part in (slice(0, 2), slice(2, 4))
    ]
    mean = sum(each["discriminator/penalty_b"].item() for each in parts) / 2
    assert together.item() == pytest.approx(mean, rel=1e-5)
    elsewhere = penalty({"b": reals}, {"b": fakes}, Batch(reals, reals, first_sample=8))["discriminator/penalty_b"]
    assert not torch.equal(elsewhere, together)
    assert GradientPenalty({"b": judge}, 0.0)({"b": reals}, {"b": fakes}, Batch(reals, reals)) == {}


def test_a_wasserstein_cyclegan_bounds_its_discriminators() -> None:
    torch.manual_seed(0)
    method = CycleGAN(
        lambda: ResNetGenerator(width=2, blocks=1, halvings=1),
        lambda: PatchDiscriminator(width=4, layers=1, norm="none", gain=2.0),
        adversarial="wasserstein",
        gradient_penalty=10.0,
        pool_size=0,
    )
    told: list[float] = []

    class Plain:
        def __init__(self, group: str) -> None:
            modules = method.optimised[group]
            self.adam = torch.optim.Adam([each for module in modules for each in module.parameters()], lr=2e-2)

        def descend(self, losses: dict[str, Tensor]) -> None:
            self.adam.zero_grad()
            torch.stack(list(losses.values())).sum().backward()
            self.adam.step()

    class Groups:
        generator, discriminator = Plain("generator"), Plain("discriminator")

    for step in range(60):
        batch = Batch(images(seed=1), images(seed=2), draws=Draws(0, step=step))
        losses = method.training_step(batch, Groups)
        told.append(losses["discriminator/penalty_a"].item() + losses["discriminator/penalty_b"].item())
    assert sum(told[-10:]) < 0.2 * sum(told[:10])
