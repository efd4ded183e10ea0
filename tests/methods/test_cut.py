from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganstyle.base.draws import Draws
from ganstyle.methods.cut import CUT
from ganstyle.networks.generators import ResNetGenerator
from ganstyle.networks.patch_discriminator import PatchDiscriminator
from ganstyle.networks.patch_projection import PatchProjection
from ganstyle.networks.recompute import recompute
from ganstyle.train.compiling import step_arithmetic
from tests.methods import plain_patches
from tests.methods.plain_patches import LAYERS, PATCHES, TEMPERATURE, discriminator, generator
from tests.methods.test_cyclegan import RATE, Batch, assert_same, batches

COMMON = {"nce_layers": LAYERS, "patches": PATCHES, "temperature": TEMPERATURE, "head_width": 24}
CUT_ITSELF = {"nce_weight": 1.0, "identity": True, "flip_equivariance": False}
FAST_CUT = {"nce_weight": 10.0, "identity": False, "flip_equivariance": True}
BOTH = {"nce_weight": 3.0, "identity": True, "flip_equivariance": True}
NEITHER = {"nce_weight": 2.0, "identity": False, "flip_equivariance": False}


def cut(**options: Any) -> CUT:
    torch.manual_seed(0)
    return CUT(generator, discriminator, **{**COMMON, **options})


class PlainCUT:
    """The authors' step written out, with an optimiser for each of generator, discriminator and heads."""

    def __init__(self, *, nce_weight: float, identity: bool, flip_equivariance: bool) -> None:
        torch.manual_seed(0)
        self.g, self.d = generator(), discriminator()
        self.heads = PatchProjection({"image": 3, "down_1": 6, "block_1": 6, "block_2": 6}, width=24)
        self.networks = {"generator_ab": self.g, "discriminator_b": self.d, "heads": self.heads}
        self.adams = {
            key: torch.optim.Adam(network.parameters(), lr=RATE, betas=(0.5, 0.999))
            for key, network in self.networks.items()
        }
        self.nce_weight, self.identity, self.flips = nce_weight, identity, flip_equivariance
        self.gradients: dict[str, Tensor] = {}

    def step(self, batch: Batch) -> dict[str, float]:
        samples = range(batch.first_sample, batch.first_sample + len(batch.a))
        flips = [self.flips and batch.draws.stream("flip_equivariance", each).random() < 0.5 for each in samples]
        shown = {"a": self._shown(batch.a, flips), "b": self._shown(batch.b, flips)}
        fake, same = self.g(shown["a"]), self.g(shown["b"])

        judged = {"discriminator/b": ((self.d(batch.b) - 1) ** 2).mean() / 2 + (self.d(fake.detach()) ** 2).mean() / 2}
        plain_patches.descend({"d": self.adams["discriminator_b"]}, judged)
        self.gradients = plain_patches.gradients_of({"discriminator_b": self.d})

        losses = {"generator/adversarial_ab": ((self.d(fake) - 1) ** 2).mean()}
        losses["generator/nce_a"] = self._nce("a", batch, fake, flips)
        if self.identity:
            losses = {**losses, "generator/nce_b": self._nce("b", batch, same, flips) / 2}
            losses["generator/nce_a"] = losses["generator/nce_a"] / 2
        plain_patches.descend({key: self.adams[key] for key in ("generator_ab", "heads")}, losses)
        self.gradients |= plain_patches.gradients_of({"generator_ab": self.g, "heads": self.heads})
        return {name: loss.item() for name, loss in (losses | judged).items()}

    def _shown(self, images: Tensor, flips: list[bool]) -> Tensor:
        return torch.stack([image.flip(2) if flip else image for image, flip in zip(images, flips, strict=True)])

    def _nce(self, side: str, batch: Batch, made: Tensor, flips: list[bool]) -> Tensor:
        queries = plain_patches.features(self.g, made)
        keys = plain_patches.features(self.g, {"a": batch.a, "b": batch.b}[side])
        both = (self.heads, self.heads)
        loss = plain_patches.side_loss(queries=queries, keys=keys, heads=both, batch=batch, side=side, flips=flips)
        return self.nce_weight * loss


@pytest.mark.parametrize("options", [CUT_ITSELF, FAST_CUT, BOTH, NEITHER])
def test_three_steps_equal_the_plain_algorithm(options: Any) -> None:
    method, plain = cut(**options), PlainCUT(**options)
    optimizers = plain_patches.optimizers(method)
    assert set(method.networks) == set(plain.networks)
    for batch in batches(3):
        losses = method.training_step(batch, optimizers)
        want = plain.step(batch)
        assert list(losses) == list(want)
        for name, value in want.items():
            assert_same(losses[name].detach(), torch.tensor(value), name)
        compared = plain_patches.compare(method.networks, plain.networks, plain.gradients)
        assert compared == 10 + 5 + 16, "the weights, and the biases that act"


def test_flips_do_act_and_differ_within_a_batch() -> None:
    batch = next(batches(1, size=8))
    method = cut(**FAST_CUT)
    seen: list[Tensor] = []
    method.networks["generator_ab"].register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    method.training_step(batch, plain_patches.nothing(method))
    flipped = [torch.equal(one, other.flip(2)) for one, other in zip(seen[0], batch.a, strict=True)]
    plain = [torch.equal(one, other) for one, other in zip(seen[0], batch.a, strict=True)]
    assert 0 < sum(flipped) < 8
    assert flipped == [not each for each in plain]


def test_the_discriminator_learns_first_and_judges_as_it_is_then() -> None:
    method, batch = cut(), next(batches(1))
    with torch.no_grad():
        fake = method.networks["generator_ab"](batch.a)
        before = method.networks["discriminator_b"](fake)
    found = method.training_step(batch, plain_patches.optimizers(method))
    with torch.no_grad():
        after = method.networks["discriminator_b"](fake)
    assert_same(found["generator/adversarial_ab"].detach(), (after - 1).square().mean(), "updated")
    assert not torch.isclose(found["generator/adversarial_ab"], (before - 1).square().mean(), rtol=1e-3)


class Spy:
    """Optimisers that move nothing, and note which networks have gradients after each half."""

    def __init__(self, method: CUT) -> None:
        self.method = method
        self.calls: list[tuple[str, set[str]]] = []
        self.discriminator = Noting(self, "discriminator")
        self.generator = Noting(self, "generator")


class Noting:
    def __init__(self, spy: Spy, group: str) -> None:
        self.spy, self.group = spy, group

    def descend(self, losses: dict[str, Tensor]) -> None:
        for network in self.spy.method.networks.values():
            network.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        touched = {
            key
            for key, network in self.spy.method.networks.items()
            if any(each.grad is not None and each.grad.abs().sum() > 0 for each in network.parameters())
        }
        self.spy.calls.append((self.group, touched))


@pytest.mark.parametrize("options", [CUT_ITSELF, FAST_CUT])
def test_each_half_gives_gradients_to_its_own_networks_only(options: Any) -> None:
    method = cut(**options)
    spy = Spy(method)
    method.training_step(next(batches(1)), spy)
    assert spy.calls == [("discriminator", {"discriminator_b"}), ("generator", {"generator_ab", "heads"})]
    assert all(parameter.requires_grad for network in method.networks.values() for parameter in network.parameters())


def test_heads_learn_from_queries_alone() -> None:
    """Their gradient is that of the loss with the projected keys as constants; none flows into the keys."""
    method = cut(nce_layers=["image"], nce_weight=1.0)
    heads = method.networks["heads"]
    keys = {"image": torch.randn(2, 3, 22, 22, requires_grad=True)}
    places = {"image": torch.arange(PATCHES).expand(2, -1)}
    fakes = next(batches(1)).b
    method.generator_half([fakes], [keys], [places], None)["generator/nce_a"].backward()
    found = [each.grad for each in heads.parameters()]
    assert keys["image"].grad is None

    heads.zero_grad()
    constant = {layer: each.detach() for layer, each in heads(keys, places).items()}
    queries = heads({"image": F.pad(fakes, (3, 3, 3, 3), mode="reflect")}, places)
    torch.stack(
        [plain_patches.nce(query, key) for query, key in zip(queries["image"], constant["image"], strict=True)]
    ).mean().backward()
    for one, other in zip(found, heads.parameters(), strict=True):
        assert one is not None
        assert one.abs().sum() > 0
        assert_same(one, other.grad, "a gradient")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_both_precisions_move_every_network(precision: str) -> None:
    """Weights that autocast keeps from the keys' pass, without a graph, would stop the heads from learning."""
    method = cut()
    before = copy.deepcopy({key: network.state_dict() for key, network in method.networks.items()})
    optimizers = plain_patches.optimizers(method, precision)
    for batch in batches(2):
        with optimizers.generator.fabric.autocast():
            losses = method.training_step(batch, optimizers)
        assert all(loss.isfinite() and loss.dtype == torch.float32 for loss in losses.values())
    for key, network in method.networks.items():
        for name, value in network.state_dict().items():
            assert not torch.equal(value, before[key][name]), f"{key}.{name}"


@pytest.mark.parametrize("options", [CUT_ITSELF, FAST_CUT])
def test_a_batch_is_the_mean_of_its_images_apart(options: Any) -> None:
    """Negatives, places and flips are each image's own."""
    method = cut(**options)
    whole = next(batches(1, size=3))
    together = method.training_step(whole, plain_patches.nothing(method))
    apart = [
        method.training_step(
            Batch(whole.a[one : one + 1], whole.b[one : one + 1], whole.draws, one), plain_patches.nothing(method)
        )
        for one in range(3)
    ]
    for name, loss in together.items():
        assert_same(loss.detach(), torch.stack([each[name].detach() for each in apart]).mean(), name)


class Flat(nn.Module):
    """A generator whose maps are the same everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(()))

    def feature_channels(self, layers: list[str]) -> dict[str, int]:
        return dict.fromkeys(layers, 2)

    def features(self, images: Tensor, layers: list[str]) -> dict[str, Tensor]:
        return {layer: torch.ones(len(images), 2, 4, 4) + 0 * self.shift for layer in layers}

    def translate(self, images: Tensor, layers: list[str]) -> tuple[Tensor, dict[str, Tensor]]:
        return images + self.shift, self.features(images, layers)


def test_features_that_are_all_the_same_have_the_logarithm_of_the_patches() -> None:
    torch.manual_seed(0)
    method = CUT(Flat, discriminator, nce_weight=3.0, nce_layers=["x", "y"], patches=9)
    losses = method.training_step(next(batches(1)), plain_patches.nothing(method))
    assert losses["generator/nce_a"].item() == pytest.approx(1.5 * math.log(9), rel=1e-5)
    assert losses["generator/nce_b"].item() == pytest.approx(1.5 * math.log(9), rel=1e-5)


def passes(method: CUT) -> dict[str, list[tuple[str, int]]]:
    """What each network is asked for in one step of batch 2: stages of the generator, and how many images."""
    seen: dict[str, list[tuple[str, int]]] = {"generator_ab": [], "discriminator_b": []}

    def noting(network: str, what: str) -> Any:
        return lambda _, arguments: seen[network].append((what, len(arguments[0])))

    made = method.networks["generator_ab"]
    made.get_submodule("stem").register_forward_pre_hook(noting("generator_ab", "encoder"))
    made.get_submodule("head").register_forward_pre_hook(noting("generator_ab", "decoder"))
    method.networks["discriminator_b"].register_forward_pre_hook(noting("discriminator_b", "scores"))
    method.training_step(next(batches(1)), plain_patches.nothing(method))
    return seen


def test_cut_takes_one_pass_for_all_translations_and_keys_and_one_for_all_queries() -> None:
    seen = passes(cut(**CUT_ITSELF))
    assert seen["generator_ab"] == [("encoder", 4), ("decoder", 4), ("encoder", 4)]
    assert seen["discriminator_b"] == [("scores", 4), ("scores", 2)]


def test_fast_cut_takes_keys_of_their_own() -> None:
    assert passes(cut(**FAST_CUT))["generator_ab"] == [("encoder", 2), ("decoder", 2), ("encoder", 2), ("encoder", 2)]


def test_without_weight_no_patches_are_compared() -> None:
    method = cut(nce_weight=0.0, identity=False)
    assert passes(method)["generator_ab"] == [("encoder", 2), ("decoder", 2)]
    losses = method.training_step(next(batches(1)), plain_patches.optimizers(method))
    assert list(losses) == ["generator/adversarial_ab", "discriminator/b"]


def test_a_norm_over_the_batch_keeps_its_passes_apart() -> None:
    torch.manual_seed(0)
    method = CUT(
        lambda: ResNetGenerator(width=3, blocks=2, halvings=1, norm="batch"),
        lambda: PatchDiscriminator(width=3, layers=2, norm="batch"),
        **COMMON,  # type: ignore[arg-type]
    )
    seen = passes(method)
    assert seen["generator_ab"] == [("encoder", 2), ("decoder", 2)] * 2 + [("encoder", 2)] * 2
    assert seen["discriminator_b"] == [("scores", 2), ("scores", 2), ("scores", 2)]


@pytest.mark.parametrize("options", [CUT_ITSELF, FAST_CUT])
def test_recomputing_changes_nothing(options: Any) -> None:
    found = []
    for recomputes in (False, True):
        method = cut(**options)
        if recomputes:
            recompute(method.networks["generator_ab"])
        optimizers = plain_patches.optimizers(method)
        losses = [method.training_step(batch, optimizers) for batch in batches(2)]
        found.append((losses, [each for network in method.networks.values() for each in network.parameters()]))
    for one, other in zip(found[0][0], found[1][0], strict=True):
        assert {name: loss.item() for name, loss in one.items()} == {name: loss.item() for name, loss in other.items()}
    assert all(torch.equal(one, other) for one, other in zip(found[0][1], found[1][1], strict=True))


def test_the_step_of_the_next_number_takes_other_places() -> None:
    method, batch = cut(), next(batches(1))
    later = Batch(batch.a, batch.b, Draws(7, 1), batch.first_sample)
    one, other = (method.training_step(each, plain_patches.nothing(method)) for each in (batch, later))
    again = method.training_step(batch, plain_patches.nothing(method))
    assert one["generator/nce_a"] != other["generator/nce_a"]
    assert one["generator/nce_a"] == again["generator/nce_a"]
    assert one["generator/adversarial_ab"] == other["generator/adversarial_ab"]


def test_names_for_the_loop() -> None:
    method = cut()
    assert method.translators == {"ab": method.networks["generator_ab"]}
    assert set(method.judges) == {"b"}
    assert method.judges["b"].discriminator is method.networks["discriminator_b"]
    assert method.memories == {}
    held = {id(parameter) for half in method.halves for parameter in half.parameters()}
    assert held == {id(parameter) for network in method.networks.values() for parameter in network.parameters()}


@pytest.mark.parametrize("options", [CUT_ITSELF, FAST_CUT])
def test_arithmetic_is_counted_without_pixels(options: Any) -> None:
    with torch.device("meta"):
        method = cut(**options)
    one, two = (step_arithmetic(method, batch_size=size, crop_px=16) for size in (1, 2))
    assert two == 2 * one > 0
