"""DCL: Han, Shoeiby, Petersson, Armin: Dual contrastive learning for unsupervised image-to-image translation.

CVPR workshops 2021, arXiv:2104.07689.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Interval, MinLen
from torch import Tensor, nn

from ganstyle.base.tables import each_once, named_in
from ganstyle.losses.adversarial import ADVERSARIAL, AdversarialLoss
from ganstyle.losses.patch_nce import mean_patch_nce
from ganstyle.losses.reconstruction import l1
from ganstyle.methods.cyclegan import DiscriminatorHalf, frozen
from ganstyle.methods.method import Batch, Judge, Learner, Memory
from ganstyle.methods.passes import Passes
from ganstyle.methods.patch_places import draw_places
from ganstyle.methods.penalty import GradientPenalty
from ganstyle.networks.patch_projection import heads_for

NCE_LAYERS = ("down_1", "down_2", "block_1", "block_5")
HEAD_BETAS = (0.9, 0.999)
Maps = Mapping[str, Tensor]


class DCL:
    """Two generators and two discriminators; patches are compared across the two generators' encoders.

    A photo's patches are seen by generator_ab's encoder and the first heads, its translation's by generator_ba's
    encoder and the second heads, and the other way round (equations 3 and 4 of the paper): each encoder learns one
    domain. The discriminators are updated first, as the authors do; see `CUT` for what that means for a batch that is
    taken in parts.

    Differs from the paper: adversarial, contrastive and identity losses are averaged over the two directions, as in
    the authors' code; the weights are of these averages.

    Args:
        generator: makes one generator, which offers `translate` and `features` by layer.
        discriminator: makes one discriminator.
        nce_weight: of the contrastive losses, the mean of both directions; 0 leaves their passes out.
        identity_weight: of generator_ab(b) = b and generator_ba(a) = a, the mean of both; 0 leaves the passes out.
        nce_layers: whose patches are compared; their losses are averaged.
        patches: of each layer and image, drawn anew at every step, the same for query and key.
        temperature: tau.
        head_width: of the two layers that project a patch.
        head_rate: the heads' learning rate, as a multiple of the run's; their Adam has betas 0.9 and 0.999. In the
            authors' code they have PyTorch's defaults: 1e-3, five times that of the generators.
        adversarial: a name of ADVERSARIAL.
        gradient_penalty: weight of `gradient_penalty` for the discriminator; `wasserstein` needs it.
    """

    def __init__(
        self,
        generator: Callable[[], Any],
        discriminator: Callable[[], nn.Module],
        *,
        nce_weight: Annotated[float, Ge(0)] = 2.0,
        identity_weight: Annotated[float, Ge(0)] = 1.0,
        nce_layers: Annotated[list[str], MinLen(1), each_once("layer")] = list(NCE_LAYERS),  # noqa: B006 - never changed
        patches: Annotated[int, Interval(ge=2, le=65536)] = 256,
        temperature: Annotated[float, Gt(0)] = 0.07,
        head_width: Annotated[int, Interval(ge=1, le=4096)] = 256,
        head_rate: Annotated[float, Gt(0)] = 5.0,
        adversarial: Annotated[str, named_in(ADVERSARIAL, "adversarial loss")] = "least_squares",
        gradient_penalty: Annotated[float, Ge(0)] = 0.0,
    ) -> None:
        loss = ADVERSARIAL[adversarial]()
        generator_ab, generator_ba = generator(), generator()
        discriminator_a, discriminator_b = discriminator(), discriminator()
        heads_a, heads_b = (heads_for(generator_ab, nce_layers, width=head_width) for _ in "ab")
        self.patches = patches
        self.translation = Translation(generator_ab, generator_ba, nce_layers, identity=identity_weight > 0)
        self.penalties = GradientPenalty({"a": discriminator_a, "b": discriminator_b}, gradient_penalty)
        self.discriminator_half = DiscriminatorHalf(discriminator_a, discriminator_b, adversarial=loss)
        self.generator_half = GeneratorHalf(
            self.translation,
            [discriminator_a, discriminator_b],
            [heads_a, heads_b],
            adversarial=loss,
            nce_weight=nce_weight,
            identity_weight=identity_weight,
            temperature=temperature,
        )

        self.networks = {
            "generator_ab": generator_ab,
            "generator_ba": generator_ba,
            "discriminator_a": discriminator_a,
            "discriminator_b": discriminator_b,
            "heads_a": heads_a,
            "heads_b": heads_b,
        }
        self.optimised = {
            "discriminator": [discriminator_a, discriminator_b],
            "generator": [
                generator_ab,
                generator_ba,
                Learner(heads_a, head_rate, HEAD_BETAS),
                Learner(heads_b, head_rate, HEAD_BETAS),
            ],
        }
        self.translators = {"ab": generator_ab, "ba": generator_ba}
        self.judges = {"a": Judge(discriminator_a, loss), "b": Judge(discriminator_b, loss)}
        self.memories: dict[str, Memory] = {}
        self.halves = [self.translation, self.discriminator_half, self.generator_half]

    def training_step(self, batch: Batch, optimizers: Any) -> dict[str, Tensor]:
        """Update both discriminators, then both generators and the heads."""
        fakes, identities, keys = self.translation(batch.a, batch.b)
        fake_b, fake_a = (fake.detach() for fake in fakes)
        discriminator = self.discriminator_half(batch.a, batch.b, fake_a, fake_b)
        discriminator |= self.penalties({"a": batch.a, "b": batch.b}, {"a": fake_a, "b": fake_b}, batch)
        optimizers.discriminator.descend(discriminator)
        places = [
            draw_places(maps, batch, purpose=f"patches of {side}", count=self.patches)
            for side, maps in zip("ab", keys, strict=True)
        ]
        with frozen(self.discriminator_half):
            generator = self.generator_half([batch.a, batch.b], fakes, identities, keys, places)
        optimizers.generator.descend(generator)
        return generator | discriminator


class Translation(nn.Module):
    """What both generators make of real images, and what their encoders see in those."""

    def __init__(self, generator_ab: Any, generator_ba: Any, layers: Sequence[str], *, identity: bool) -> None:
        super().__init__()
        self.generator_ab: Any = generator_ab
        self.generator_ba: Any = generator_ba
        self.layers, self.identity = layers, identity
        self.passes = Passes(generator_ab, generator_ba)

    def forward(self, real_a: Tensor, real_b: Tensor) -> tuple[list[Tensor], list[Tensor], list[Maps]]:
        """([fake_b, fake_a], [identity_a, identity_b] where wanted, the maps of [real_a, real_b] without a graph)."""
        fakes: list[Tensor] = []
        identities: list[Tensor] = []
        keys: list[Maps] = []
        for generator, real, other in ((self.generator_ab, real_a, real_b), (self.generator_ba, real_b, real_a)):
            shown = [real, other] if self.identity else [real]
            (fake, maps), *same = self._translated(generator, shown)
            fakes.append(fake)
            keys.append({layer: each.detach() for layer, each in maps.items()})
            identities += [image for image, _ in same]
        return fakes, identities[::-1], keys

    def _translated(self, generator: Any, shown: Sequence[Tensor]) -> list[tuple[Tensor, Maps]]:
        return self.passes(lambda images: generator.translate(images, self.layers), *shown)


class GeneratorHalf(nn.Module):
    """The generators' losses, with the discriminators as fixed judges."""

    def __init__(
        self,
        translation: Translation,
        discriminators: Sequence[nn.Module],
        heads: Sequence[nn.Module],
        *,
        adversarial: AdversarialLoss,
        nce_weight: float,
        identity_weight: float,
        temperature: float,
    ) -> None:
        super().__init__()
        self.generator_ab: Any = translation.generator_ab
        self.generator_ba: Any = translation.generator_ba
        self.discriminator_a, self.discriminator_b = discriminators
        self.heads_a, self.heads_b = heads
        self.adversarial, self.layers, self.temperature = adversarial, translation.layers, temperature
        self.nce_weight, self.identity_weight = nce_weight, identity_weight

    def forward(
        self,
        reals: Sequence[Tensor],
        fakes: Sequence[Tensor],
        identities: Sequence[Tensor],
        keys: Sequence[Maps],
        places: Sequence[Maps],
    ) -> dict[str, Tensor]:
        """Real images, what `Translation` made of them, and places of the keys to the weighted losses by name."""
        fake_b, fake_a = fakes
        losses = {
            "generator/adversarial_ab": 0.5 * self.adversarial.generator(self.discriminator_b(fake_b)),
            "generator/adversarial_ba": 0.5 * self.adversarial.generator(self.discriminator_a(fake_a)),
        }
        if self.nce_weight > 0:
            # What is of b, real or not, is for generator_ba's encoder and the second heads.
            nce_a = self._nce(self.generator_ba, fake_b, keys[0], places[0], heads=(self.heads_a, self.heads_b))
            nce_b = self._nce(self.generator_ab, fake_a, keys[1], places[1], heads=(self.heads_b, self.heads_a))
            losses["generator/nce_a"] = 0.5 * self.nce_weight * nce_a
            losses["generator/nce_b"] = 0.5 * self.nce_weight * nce_b
        for side, identity, real in zip("ab", identities, reals, strict=False):
            losses[f"generator/identity_{side}"] = 0.5 * self.identity_weight * l1(identity, real)
        return losses

    def _nce(
        self, encoder: Any, fake: Tensor, key: Maps, places: Maps, *, heads: tuple[nn.Module, nn.Module]
    ) -> Tensor:
        """The mean over the layers; the first heads are the originals', the second the translations'."""
        with torch.no_grad():
            keys = heads[0](key, places)
        queries = heads[1](encoder.features(fake, self.layers), places)
        return mean_patch_nce(queries, keys, temperature=self.temperature)
