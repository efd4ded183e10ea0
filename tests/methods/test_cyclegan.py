from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganstyle.base.draws import Draws
from ganstyle.methods.cyclegan import CycleGAN, frozen
from ganstyle.networks.generators import ResNetGenerator
from ganstyle.networks.patch_discriminator import PatchDiscriminator

RATE = 1e-3


@dataclass(frozen=True)
class Batch:
    a: Tensor
    b: Tensor
    draws: Draws
    first_sample: int
    first_slot: int = 0


def batches(count: int, size: int = 2) -> Iterator[Batch]:
    random = torch.Generator().manual_seed(5)
    for step in range(count):
        a, b = (torch.rand(size, 3, 16, 16, generator=random) * 2 - 1 for _ in range(2))
        yield Batch(a, b, Draws(7, step), step * size)


def generator() -> nn.Module:
    return ResNetGenerator(width=3, blocks=1, halvings=1, gain=0.2)


def discriminator() -> nn.Module:
    return PatchDiscriminator(width=3, layers=1, gain=0.2)


def cyclegan(**options: object) -> CycleGAN:
    torch.manual_seed(0)
    return CycleGAN(generator, discriminator, **options)  # type: ignore[arg-type]


class PlainDescent:
    """Adam as torch has it."""

    def __init__(self, *modules: nn.Module) -> None:
        parameters = [parameter for module in modules for parameter in module.parameters()]
        self.adam = torch.optim.Adam(parameters, lr=RATE, betas=(0.5, 0.999))

    def descend(self, losses: dict[str, Tensor]) -> None:
        self.adam.zero_grad()
        sum(losses.values()).backward()  # type: ignore[union-attr]
        self.adam.step()


def plain_optimizers(method: CycleGAN) -> SimpleNamespace:
    return SimpleNamespace(**{name: PlainDescent(*modules) for name, modules in method.optimised.items()})


class PlainPool:
    """The paper's pool by its words, for each slot.

    Keep until full, then give back the new one or, half of the time, an old one.
    """

    def __init__(self, size: int) -> None:
        self.size, self.slots = size, defaultdict(list)

    def __call__(self, images: Tensor, batch: Batch, purpose: str) -> Tensor:
        given = []
        for number in range(len(images)):
            image, random = images[number].detach().clone(), batch.draws.stream(purpose, batch.first_sample + number)
            kept = self.slots[number]
            if self.size == 0:
                given.append(image)
            elif len(kept) < self.size:
                kept.append(image)
                given.append(image)
            elif random.random() < 0.5:
                given.append(image)
            else:
                place = int(random.integers(self.size))
                given.append(kept[place])
                kept[place] = image
        return torch.stack(given)


def least_squares(scores: Tensor, target: float) -> Tensor:
    return ((scores - target) ** 2).mean()


def cross_entropy(scores: Tensor, target: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(scores, torch.full_like(scores, target))


CRITERIA: dict[str, Callable[[Tensor, float], Tensor]] = {
    "least_squares": least_squares,
    "non_saturating": cross_entropy,
}


class PlainCycleGAN:
    """The paper's step written out, with an optimiser for the generators and one for the discriminators."""

    def __init__(self, *, adversarial: str, pool_size: int, cycle_weight: float, identity_weight: float) -> None:
        torch.manual_seed(0)
        self.g_ab, self.g_ba, self.d_a, self.d_b = generator(), generator(), discriminator(), discriminator()
        self.networks = {
            "generator_ab": self.g_ab,
            "generator_ba": self.g_ba,
            "discriminator_a": self.d_a,
            "discriminator_b": self.d_b,
        }
        self.gradients: dict[str, Tensor] = {}
        self.criterion = CRITERIA[adversarial]
        self.pool_a, self.pool_b = PlainPool(pool_size), PlainPool(pool_size)
        self.cycle_weight, self.identity_weight = cycle_weight, identity_weight
        self.adam_g = torch.optim.Adam([*self.g_ab.parameters(), *self.g_ba.parameters()], lr=RATE, betas=(0.5, 0.999))
        self.adam_d = torch.optim.Adam([*self.d_a.parameters(), *self.d_b.parameters()], lr=RATE, betas=(0.5, 0.999))

    def step(self, batch: Batch) -> tuple[dict[str, float], Tensor, Tensor]:
        a, b = batch.a, batch.b
        fake_b, fake_a = self.g_ab(a), self.g_ba(b)
        losses = {
            "generator/adversarial_ab": self.criterion(self.d_b(fake_b), 1.0),
            "generator/adversarial_ba": self.criterion(self.d_a(fake_a), 1.0),
            "generator/cycle_a": self.cycle_weight * (self.g_ba(fake_b) - a).abs().mean(),
            "generator/cycle_b": self.cycle_weight * (self.g_ab(fake_a) - b).abs().mean(),
        }
        if self.identity_weight:
            losses["generator/identity_a"] = self.identity_weight * (self.g_ba(a) - a).abs().mean()
            losses["generator/identity_b"] = self.identity_weight * (self.g_ab(b) - b).abs().mean()
        self._descend(self.adam_g, losses, "generator")

        old_a, old_b = self.pool_a(fake_a, batch, "pool_a"), self.pool_b(fake_b, batch, "pool_b")
        judged = {
            "discriminator/a": (self.criterion(self.d_a(a), 1.0) + self.criterion(self.d_a(old_a), 0.0)) / 2,
            "discriminator/b": (self.criterion(self.d_b(b), 1.0) + self.criterion(self.d_b(old_b), 0.0)) / 2,
        }
        self._descend(self.adam_d, judged, "discriminator")
        return {name: loss.item() for name, loss in (losses | judged).items()}, fake_a.detach(), fake_b.detach()

    def _descend(self, adam: torch.optim.Adam, losses: dict[str, Tensor], group: str) -> None:
        for each in (self.adam_g, self.adam_d):
            each.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        for key, network in self.networks.items():
            if key.startswith(group):
                self.gradients |= {f"{key}.{name}": each.grad.clone() for name, each in network.named_parameters()}
        adam.step()


def names_without_dead_biases(module: nn.Module) -> list[str]:
    """All parameters but biases in front of an instance norm, whose gradient is rounding noise alone."""
    norms = [name.removesuffix("norm") for name, _ in module.named_modules() if name.endswith("norm")]
    dead = {f"{prefix}conv.bias" for prefix in norms}
    return [name for name, _ in module.named_parameters() if name not in dead]


def assert_same(got: Tensor, want: Tensor, what: str) -> None:
    torch.testing.assert_close(got, want, rtol=2e-4, atol=1e-5, msg=lambda text: f"{what}: {text}")


@pytest.mark.parametrize("adversarial", list(CRITERIA))
@pytest.mark.parametrize("pool_size", [0, 3])
@pytest.mark.parametrize("identity_weight", [0.0, 5.0])
def test_three_steps_equal_the_plain_algorithm(adversarial: str, pool_size: int, identity_weight: float) -> None:
    options = {
        "adversarial": adversarial,
        "pool_size": pool_size,
        "cycle_weight": 9.0,
        "identity_weight": identity_weight,
    }
    method, plain = cyclegan(**options), PlainCycleGAN(**options)  # type: ignore[arg-type]
    optimizers = plain_optimizers(method)
    assert set(method.networks) == set(plain.networks)

    for batch in batches(3):
        with torch.no_grad():
            _, fake_a, fake_b = method.generator_half(batch.a, batch.b)
        losses = method.training_step(batch, optimizers)
        want, want_a, want_b = plain.step(batch)
        assert list(losses) == list(want)
        for name, value in want.items():
            assert_same(losses[name].detach(), torch.tensor(value), name)
        assert_same(fake_a, want_a, "fake_a")
        assert_same(fake_b, want_b, "fake_b")
        compare_gradients(method, plain)

    compared = 0
    for key, network in method.networks.items():
        want_parameters = dict(plain.networks[key].named_parameters())
        for name in names_without_dead_biases(network):
            assert_same(network.get_parameter(name).detach(), want_parameters[name].detach(), f"{key}.{name}")
            compared += 1
    assert compared == 2 * 7 + 2 * 5, "the weights, and the biases that act"


def compare_gradients(method: CycleGAN, plain: PlainCycleGAN) -> None:
    for key, network in method.networks.items():
        for name in names_without_dead_biases(network):
            gradient = network.get_parameter(name).grad
            assert gradient is not None
            assert_same(gradient, plain.gradients[f"{key}.{name}"], f"gradient of {key}.{name}")


class Spy:
    """Optimisers that only note which parameters have gradients after each half."""

    def __init__(self, method: CycleGAN) -> None:
        self.method = method
        self.calls: list[str] = []
        self.with_gradient: dict[str, set[str]] = {}
        self.generator = SimpleNamespace(descend=lambda losses: self._note("generator", losses))
        self.discriminator = SimpleNamespace(descend=lambda losses: self._note("discriminator", losses))

    def _note(self, group: str, losses: dict[str, Tensor]) -> None:
        for network in self.method.networks.values():
            network.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        self.calls.append(group)
        self.with_gradient[group] = {
            key
            for key, network in self.method.networks.items()
            if any(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in network.parameters())
        }


def test_each_half_gives_gradients_to_its_own_networks_only() -> None:
    method = cyclegan()
    spy = Spy(method)
    method.training_step(next(batches(1)), spy)
    assert spy.calls == ["generator", "discriminator"], "generators first"
    assert spy.with_gradient["generator"] == {"generator_ab", "generator_ba"}
    assert spy.with_gradient["discriminator"] == {"discriminator_a", "discriminator_b"}
    assert all(parameter.requires_grad for network in method.networks.values() for parameter in network.parameters())


def count_passes(method: CycleGAN) -> tuple[dict[str, int], dict[str, int]]:
    """Passes and images by network in one step of batch 2."""
    passes, images = dict.fromkeys(method.networks, 0), dict.fromkeys(method.networks, 0)
    for key, network in method.networks.items():

        def counting(_: object, arguments: tuple[Tensor], __: object, key: str = key) -> None:
            passes[key] += 1
            images[key] += len(arguments[0])

        network.register_forward_hook(counting)
    method.training_step(next(batches(1)), plain_optimizers(method))
    return passes, images


def test_what_shares_weights_shares_a_pass() -> None:
    judged = {"discriminator_a": 2, "discriminator_b": 2}
    for weight, rows in ((0.0, 4), (5.0, 6)):
        passes, images = count_passes(cyclegan(identity_weight=weight))
        assert passes == {"generator_ab": 2, "generator_ba": 2, **judged}
        assert images == {"generator_ab": rows, "generator_ba": rows, "discriminator_a": 6, "discriminator_b": 6}


def test_a_norm_over_the_batch_keeps_its_passes_apart() -> None:
    def batch_norm() -> nn.Module:
        return PatchDiscriminator(width=3, layers=2, norm="batch")

    torch.manual_seed(0)
    passes, _ = count_passes(CycleGAN(generator, batch_norm))
    assert passes == {"generator_ab": 2, "generator_ba": 2, "discriminator_a": 3, "discriminator_b": 3}


def test_discriminators_see_old_fakes() -> None:
    method = cyclegan(pool_size=1)
    method.discriminator_half = Seen()  # type: ignore[assignment]
    spies = SimpleNamespace(
        generator=SimpleNamespace(descend=lambda losses: None),
        discriminator=SimpleNamespace(descend=lambda losses: None),
    )
    old = 0
    first: Tensor | None = None
    for batch in batches(8, size=1):
        method.training_step(batch, spies)
        shown = method.discriminator_half.fake_a  # type: ignore[attr-defined]
        with torch.no_grad():
            newest = method.networks["generator_ba"](batch.b)
        old += not torch.allclose(shown, newest, atol=1e-4)
        first = newest if first is None else first
    assert 0 < old < 8


class Seen(nn.Module):
    fake_a: Tensor

    def forward(self, real_a: Tensor, real_b: Tensor, fake_a: Tensor, fake_b: Tensor) -> dict[str, Tensor]:
        self.fake_a = fake_a
        return {}


def test_frozen_restores_on_error_and_leaves_frozen_ones_alone() -> None:
    module = discriminator()
    already = next(module.parameters()).requires_grad_(False)
    before = [parameter.requires_grad for parameter in module.parameters()]
    assert True in before

    def fails() -> None:
        with frozen(module):
            assert not any(parameter.requires_grad for parameter in module.parameters())
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fails()
    assert [parameter.requires_grad for parameter in module.parameters()] == before
    assert already.requires_grad is False


def test_gradients_flow_through_a_frozen_module_to_its_input() -> None:
    module, images = discriminator(), torch.rand(1, 3, 16, 16, requires_grad=True)
    with frozen(module):
        module(images).sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in module.parameters())


def test_fakes_come_without_their_graph() -> None:
    method, batch = cyclegan(), next(batches(1))
    losses, fake_a, fake_b = method.generator_half(batch.a, batch.b)
    assert not fake_a.requires_grad
    assert not fake_b.requires_grad
    assert all(loss.requires_grad and loss.ndim == 0 for loss in losses.values())


def test_names_for_the_loop() -> None:
    method = cyclegan()
    assert method.translators == {
        "ab": method.networks["generator_ab"],
        "ba": method.networks["generator_ba"],
    }
    assert set(method.memories) == {"pool_a", "pool_b"}
    held = {id(parameter) for half in method.halves for parameter in half.parameters()}
    assert held == {id(parameter) for network in method.networks.values() for parameter in network.parameters()}
