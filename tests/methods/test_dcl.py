from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ganstyle.methods.dcl import DCL, HEAD_BETAS
from ganstyle.networks.patch_projection import PatchProjection
from ganstyle.networks.recompute import recompute
from ganstyle.train.compiling import step_arithmetic
from tests.methods import plain_patches
from tests.methods.plain_patches import LAYERS, PATCHES, TEMPERATURE, discriminator, generator
from tests.methods.test_cut import Flat
from tests.methods.test_cyclegan import RATE, Batch, assert_same, batches

COMMON = {"nce_layers": LAYERS, "patches": PATCHES, "temperature": TEMPERATURE, "head_width": 24}
HEAD_RATE = 5.0


def dcl(**options: Any) -> DCL:
    torch.manual_seed(0)
    return DCL(generator, discriminator, **{**COMMON, **options})


def hinge(real: Tensor, fake: Tensor) -> Tensor:
    return (torch.clamp(1 - real, min=0).mean() + torch.clamp(1 + fake, min=0).mean()) / 2


def least_squares(real: Tensor, fake: Tensor) -> Tensor:
    return (((real - 1) ** 2).mean() + (fake**2).mean()) / 2


# What a discriminator minimises, and a generator.
CRITERIA = {
    "hinge": (hinge, lambda scores: -scores.mean()),
    "least_squares": (least_squares, lambda scores: ((scores - 1) ** 2).mean()),
}


class PlainDCL:
    """The authors' step written out, with their three optimisers; the heads' has Adam's usual betas."""

    def __init__(self, *, adversarial: str, nce_weight: float, identity_weight: float) -> None:
        torch.manual_seed(0)
        self.g_ab, self.g_ba, self.d_a, self.d_b = generator(), generator(), discriminator(), discriminator()
        channels = {"image": 3, "down_1": 6, "block_1": 6, "block_2": 6}
        self.h_a, self.h_b = PatchProjection(channels, width=24), PatchProjection(channels, width=24)
        self.networks: dict[str, nn.Module] = {
            "generator_ab": self.g_ab,
            "generator_ba": self.g_ba,
            "discriminator_a": self.d_a,
            "discriminator_b": self.d_b,
            "heads_a": self.h_a,
            "heads_b": self.h_b,
        }
        self.d_loss, self.g_loss = CRITERIA[adversarial]
        self.nce_weight, self.identity_weight = nce_weight, identity_weight
        self.adam_g = self._adam(self.g_ab, self.g_ba, lr=RATE, betas=(0.5, 0.999))
        self.adam_d = self._adam(self.d_a, self.d_b, lr=RATE, betas=(0.5, 0.999))
        self.adam_h = self._adam(self.h_a, self.h_b, lr=HEAD_RATE * RATE, betas=(0.9, 0.999))
        self.gradients: dict[str, Tensor] = {}

    def _adam(self, *networks: nn.Module, lr: float, betas: tuple[float, float]) -> torch.optim.Adam:
        return torch.optim.Adam([each for network in networks for each in network.parameters()], lr=lr, betas=betas)

    def step(self, batch: Batch) -> dict[str, float]:
        a, b = batch.a, batch.b
        fake_b, fake_a = self.g_ab(a), self.g_ba(b)
        judged = {
            "discriminator/a": self.d_loss(self.d_a(a), self.d_a(fake_a.detach())),
            "discriminator/b": self.d_loss(self.d_b(b), self.d_b(fake_b.detach())),
        }
        plain_patches.descend({"d": self.adam_d}, judged)
        self.gradients = plain_patches.gradients_of({"discriminator_a": self.d_a, "discriminator_b": self.d_b})

        nce_a = plain_patches.side_loss(
            queries=plain_patches.features(self.g_ba, fake_b),
            keys=plain_patches.features(self.g_ab, a),
            heads=(self.h_a, self.h_b),
            batch=batch,
            side="a",
        )
        nce_b = plain_patches.side_loss(
            queries=plain_patches.features(self.g_ab, fake_a),
            keys=plain_patches.features(self.g_ba, b),
            heads=(self.h_b, self.h_a),
            batch=batch,
            side="b",
        )
        losses = {
            "generator/adversarial_ab": self.g_loss(self.d_b(fake_b)) / 2,
            "generator/adversarial_ba": self.g_loss(self.d_a(fake_a)) / 2,
            "generator/nce_a": self.nce_weight * nce_a / 2,
            "generator/nce_b": self.nce_weight * nce_b / 2,
        }
        if self.identity_weight:
            losses["generator/identity_a"] = self.identity_weight * (self.g_ba(a) - a).abs().mean() / 2
            losses["generator/identity_b"] = self.identity_weight * (self.g_ab(b) - b).abs().mean() / 2
        plain_patches.descend({"g": self.adam_g, "h": self.adam_h}, losses)
        learned = {key: each for key, each in self.networks.items() if not key.startswith("discriminator")}
        self.gradients |= plain_patches.gradients_of(learned)
        return {name: loss.item() for name, loss in (losses | judged).items()}


@pytest.mark.parametrize("adversarial", list(CRITERIA))
@pytest.mark.parametrize("identity_weight", [0.0, 3.0])
def test_three_steps_equal_the_plain_algorithm(adversarial: str, identity_weight: float) -> None:
    options: dict[str, Any] = {"adversarial": adversarial, "nce_weight": 2.0, "identity_weight": identity_weight}
    method, plain = dcl(**options, head_rate=HEAD_RATE), PlainDCL(**options)
    optimizers = plain_patches.optimizers(method)
    assert set(method.networks) == set(plain.networks)
    for batch in batches(3):
        losses = method.training_step(batch, optimizers)
        want = plain.step(batch)
        assert list(losses) == list(want)
        for name, value in want.items():
            assert_same(losses[name].detach(), torch.tensor(value), name)
        compared = plain_patches.compare(method.networks, plain.networks, plain.gradients)
        assert compared == 2 * (10 + 5 + 16), "the weights, and the biases that act"


def test_the_heads_rate_follows_the_runs() -> None:
    optimizers = plain_patches.optimizers(dcl(head_rate=4.0))
    optimizers.set_learning_rate(3e-4)
    groups = optimizers.generator.optimizer.param_groups
    assert [(group["lr"], group["betas"]) for group in groups] == [(3e-4, (0.5, 0.999)), (4 * 3e-4, HEAD_BETAS)]


def test_each_half_gives_gradients_to_its_own_networks_only() -> None:
    method, touched = dcl(), []

    class Noting:
        def descend(self, losses: dict[str, Tensor]) -> None:
            for network in method.networks.values():
                network.zero_grad()
            torch.stack(list(losses.values())).sum().backward()
            with_gradient = {
                key
                for key, network in method.networks.items()
                if any(each.grad is not None and each.grad.abs().sum() > 0 for each in network.parameters())
            }
            touched.append(with_gradient)

    optimizers = plain_patches.nothing(method)
    optimizers.generator = optimizers.discriminator = Noting()
    method.training_step(next(batches(1)), optimizers)
    assert touched == [
        {"discriminator_a", "discriminator_b"},
        {"generator_ab", "generator_ba", "heads_a", "heads_b"},
    ]
    assert all(parameter.requires_grad for network in method.networks.values() for parameter in network.parameters())


def test_each_side_is_seen_across_by_the_other_encoder_and_heads() -> None:
    """The contrastive loss of one side alone moves the query's encoder and heads, and the generator of the fake."""
    method, batch = dcl(), next(batches(1))
    fakes, identities, keys = method.translation(batch.a, batch.b)
    places = [{layer: torch.arange(5).expand(2, -1) for layer in LAYERS} for _ in "ab"]
    losses = method.generator_half([batch.a, batch.b], [each.detach() for each in fakes], identities, keys, places)
    for name, expected in (
        ("generator/nce_a", {"generator_ba", "heads_b"}),
        ("generator/nce_b", {"generator_ab", "heads_a"}),
    ):
        for network in method.networks.values():
            network.zero_grad()
        losses[name].backward(retain_graph=True)
        moved = {
            key
            for key, network in method.networks.items()
            if any(each.grad is not None and each.grad.abs().sum() > 0 for each in network.parameters())
        }
        assert moved == expected


def test_keys_have_no_graph() -> None:
    fakes, identities, keys = dcl().translation(*(torch.rand(1, 3, 16, 16) for _ in "ab"))
    assert all(each.requires_grad for each in (*fakes, *identities))
    assert not any(maps.requires_grad for side in keys for maps in side.values())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_both_precisions_move_every_network(precision: str) -> None:
    """Weights that autocast keeps from the keys' pass, without a graph, would stop the heads from learning."""
    method = dcl(adversarial="hinge")
    before = {
        f"{key}.{name}": value.clone()
        for key, network in method.networks.items()
        for name, value in network.state_dict().items()
    }
    optimizers = plain_patches.optimizers(method, precision)
    for batch in batches(2):
        with optimizers.generator.fabric.autocast():
            losses = method.training_step(batch, optimizers)
        assert all(loss.isfinite() and loss.dtype == torch.float32 for loss in losses.values())
    for key, network in method.networks.items():
        for name, value in network.state_dict().items():
            assert not torch.equal(value, before[f"{key}.{name}"]), f"{key}.{name}"


def test_a_batch_is_the_mean_of_its_images_apart() -> None:
    method, whole = dcl(), next(batches(1, size=3))
    together = method.training_step(whole, plain_patches.nothing(method))
    apart = [
        method.training_step(
            Batch(whole.a[one : one + 1], whole.b[one : one + 1], whole.draws, one), plain_patches.nothing(method)
        )
        for one in range(3)
    ]
    for name, loss in together.items():
        assert_same(loss.detach(), torch.stack([each[name].detach() for each in apart]).mean(), name)


def test_features_that_are_all_the_same_have_the_logarithm_of_the_patches() -> None:
    torch.manual_seed(0)
    method = DCL(Flat, discriminator, nce_weight=3.0, identity_weight=0, nce_layers=["x", "y"], patches=9)
    losses = method.training_step(next(batches(1)), plain_patches.nothing(method))
    for side in "ab":
        assert losses[f"generator/nce_{side}"].item() == pytest.approx(1.5 * math.log(9), rel=1e-5)


def stem_rows(method: DCL) -> dict[str, list[int]]:
    """How many images each generator's encoder is given in one step of batch 2, pass by pass."""
    seen: dict[str, list[int]] = {"generator_ab": [], "generator_ba": []}

    def noting(key: str) -> Any:
        return lambda _, arguments: seen[key].append(len(arguments[0]))

    for key in seen:
        method.networks[key].get_submodule("stem").register_forward_pre_hook(noting(key))
    method.training_step(next(batches(1)), plain_patches.nothing(method))
    return seen


@pytest.mark.parametrize(("identity_weight", "rows"), [(0.0, 2), (1.0, 4)])
def test_a_real_image_and_the_others_identity_share_a_pass(identity_weight: float, rows: int) -> None:
    assert stem_rows(dcl(identity_weight=identity_weight)) == {"generator_ab": [rows, 2], "generator_ba": [rows, 2]}


def test_without_weight_no_patches_are_compared() -> None:
    method = dcl(nce_weight=0.0, identity_weight=0)
    assert stem_rows(method) == {"generator_ab": [2], "generator_ba": [2]}
    losses = method.training_step(next(batches(1)), plain_patches.optimizers(method))
    assert {name.split("_")[0] for name in losses} == {"generator/adversarial", "discriminator/a", "discriminator/b"}


def test_recomputing_changes_nothing() -> None:
    found = []
    for recomputes in (False, True):
        method = dcl()
        if recomputes:
            for each in method.translators.values():
                recompute(each)
        optimizers = plain_patches.optimizers(method)
        for batch in batches(2):
            method.training_step(batch, optimizers)
        found.append([each for network in method.networks.values() for each in network.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_names_for_the_loop() -> None:
    method = dcl()
    assert method.translators == {"ab": method.networks["generator_ab"], "ba": method.networks["generator_ba"]}
    assert {domain: judge.discriminator for domain, judge in method.judges.items()} == {
        "a": method.networks["discriminator_a"],
        "b": method.networks["discriminator_b"],
    }
    assert method.memories == {}
    held = {id(parameter) for half in method.halves for parameter in half.parameters()}
    assert held == {id(parameter) for network in method.networks.values() for parameter in network.parameters()}


def test_arithmetic_is_counted_without_pixels() -> None:
    with torch.device("meta"):
        method = dcl()
    one, two = (step_arithmetic(method, batch_size=size, crop_px=16) for size in (1, 2))
    assert two == 2 * one > 0
