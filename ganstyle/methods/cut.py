"""CUT and FastCUT: Park, Efros, Zhang, Zhu: Contrastive learning for unpaired image-to-image translation.

ECCV 2020, arXiv:2007.15651.
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
from ganstyle.methods.cyclegan import frozen
from ganstyle.methods.method import Batch, Judge, Memory
from ganstyle.methods.passes import Passes
from ganstyle.methods.patch_places import draw_flips, draw_places, mirrored
from ganstyle.methods.penalty import GradientPenalty
from ganstyle.networks.patch_projection import heads_for

NCE_LAYERS = ("image", "down_1", "down_2", "block_1", "block_5")
Maps = Mapping[str, Tensor]


class CUT:
    """One generator and one discriminator; each patch of the result must be told from others as that of the photo.

    The discriminator is updated first, then the generator and the heads, judged by the updated discriminator, as the
    authors do. Where a batch is taken in parts, that holds for the last part alone: the discriminator is updated with
    it.

    FastCUT is this without `identity` and with `flip_equivariance`, and a larger weight.

    Differs from the paper: with `identity`, lambda_X and lambda_Y of equation 5 are each half of `nce_weight`, as in
    the authors' code.

    Args:
        generator: makes the generator, which offers `translate` and `features` by layer.
        discriminator: makes the discriminator.
        nce_weight: of the mean of the photo's and the identity's loss, or of the photo's alone without `identity`.
        identity: the same loss on the translation of b, which should stay as it is (lambda_Y of equation 5).
        flip_equivariance: half of the images are mirrored before they are translated, and compared with their
            originals (FastCUT).
        nce_layers: whose patches are compared; their losses are averaged.
        patches: of each layer and image, drawn anew at every step, the same for query and key.
        temperature: tau of equation 2.
        head_width: of the two layers that project a patch.
        adversarial: a name of ADVERSARIAL.
        gradient_penalty: weight of `gradient_penalty` for the discriminator; `wasserstein` needs it.
    """

    def __init__(
        self,
        generator: Callable[[], Any],
        discriminator: Callable[[], nn.Module],
        *,
        nce_weight: Annotated[float, Ge(0)] = 1.0,
        identity: bool = True,
        flip_equivariance: bool = False,
        nce_layers: Annotated[list[str], MinLen(1), each_once("layer")] = list(NCE_LAYERS),  # noqa: B006 - never changed
        patches: Annotated[int, Interval(ge=2, le=65536)] = 256,
        temperature: Annotated[float, Gt(0)] = 0.07,
        head_width: Annotated[int, Interval(ge=1, le=4096)] = 256,
        adversarial: Annotated[str, named_in(ADVERSARIAL, "adversarial loss")] = "least_squares",
        gradient_penalty: Annotated[float, Ge(0)] = 0.0,
    ) -> None:
        loss = ADVERSARIAL[adversarial]()
        generator_ab, discriminator_b = generator(), discriminator()
        heads = heads_for(generator_ab, nce_layers, width=head_width)
        self.patches, self.flip_equivariance = patches, flip_equivariance
        self.discriminator_b = discriminator_b
        self.translation = Translation(generator_ab, nce_layers, identity=identity, flip_equivariance=flip_equivariance)
        self.penalties = GradientPenalty({"b": discriminator_b}, gradient_penalty)
        self.discriminator_half = DiscriminatorHalf(discriminator_b, adversarial=loss)
        self.generator_half = GeneratorHalf(
            generator_ab,
            discriminator_b,
            heads,
            adversarial=loss,
            nce_weight=nce_weight,
            layers=nce_layers,
            temperature=temperature,
        )

        self.networks = {"generator_ab": generator_ab, "discriminator_b": discriminator_b, "heads": heads}
        # Adam treats each weight on its own: one group for both is what the authors' two optimisers do.
        self.optimised = {"discriminator": [discriminator_b], "generator": [generator_ab, heads]}
        self.translators = {"ab": generator_ab}
        self.judges = {"b": Judge(discriminator_b, loss)}
        self.memories: dict[str, Memory] = {}
        self.halves = [self.translation, self.discriminator_half, self.generator_half]

    def training_step(self, batch: Batch, optimizers: Any) -> dict[str, Tensor]:
        """Update the discriminator, then the generator and the heads."""
        flips = draw_flips(batch, "flip_equivariance") if self.flip_equivariance else None
        fakes, keys = self.translation(batch.a, batch.b, flips)
        fake_b = fakes[0].detach()
        discriminator = self.discriminator_half(batch.b, fake_b)
        discriminator |= self.penalties({"b": batch.b}, {"b": fake_b}, batch)
        optimizers.discriminator.descend(discriminator)
        places = [
            draw_places(maps, batch, purpose=f"patches of {side}", count=self.patches)
            for side, maps in zip("ab", keys, strict=False)
        ]
        with frozen(self.discriminator_b):
            generator = self.generator_half(fakes, keys, places, flips)
        optimizers.generator.descend(generator)
        return generator | discriminator


class Translation(nn.Module):
    """The translations of the photos, and of b where there is an identity loss, with the keys of their patches."""

    def __init__(self, generator_ab: Any, layers: Sequence[str], *, identity: bool, flip_equivariance: bool) -> None:
        super().__init__()
        self.generator_ab: Any = generator_ab
        self.layers = layers
        self.identity, self.flip_equivariance = identity, flip_equivariance
        self.passes = Passes(generator_ab)

    def forward(self, real_a: Tensor, real_b: Tensor, flips: Tensor | None) -> tuple[list[Tensor], list[Maps]]:
        """(fake_b, and identity_b where it is wanted; the maps of their originals by layer, without a graph)."""
        reals = [real_a, real_b] if self.identity else [real_a]
        if flips is None:
            made = self.passes(lambda images: self.generator_ab.translate(images, self.layers), *reals)
            return [fake for fake, _ in made], [_detached(maps) for _, maps in made]
        shown = [torch.where(flips[:, None, None, None], real.flip(3), real) for real in reals]
        fakes = self.passes(self.generator_ab, *shown)
        with torch.no_grad():
            keys = self.passes(lambda images: self.generator_ab.features(images, self.layers), *reals)
        return fakes, keys


class DiscriminatorHalf(nn.Module):
    """The loss of the discriminator, which judges images that claim to be b."""

    def __init__(self, discriminator_b: nn.Module, *, adversarial: AdversarialLoss) -> None:
        super().__init__()
        self.discriminator_b, self.adversarial = discriminator_b, adversarial
        self.passes = Passes(discriminator_b)

    def forward(self, real_b: Tensor, fake_b: Tensor) -> dict[str, Tensor]:
        """Real images and fakes to its loss."""
        return {"discriminator/b": self.adversarial.discriminator(*self.passes(self.discriminator_b, real_b, fake_b))}


class GeneratorHalf(nn.Module):
    """The generator's losses, with the discriminator as a fixed judge."""

    def __init__(
        self,
        generator_ab: Any,
        discriminator_b: nn.Module,
        heads: nn.Module,
        *,
        adversarial: AdversarialLoss,
        nce_weight: float,
        layers: Sequence[str],
        temperature: float,
    ) -> None:
        super().__init__()
        self.generator_ab: Any = generator_ab
        self.discriminator_b, self.heads = discriminator_b, heads
        self.adversarial, self.nce_weight = adversarial, nce_weight
        self.layers, self.temperature = layers, temperature
        self.passes = Passes(generator_ab)

    def forward(
        self, fakes: Sequence[Tensor], keys: Sequence[Maps], places: Sequence[Maps], flips: Tensor | None
    ) -> dict[str, Tensor]:
        """What `Translation` gave, and places of the keys' maps by layer, to the weighted losses by name."""
        losses = {"generator/adversarial_ab": self.adversarial.generator(self.discriminator_b(fakes[0]))}
        if self.nce_weight == 0:
            return losses
        queries = self.passes(lambda images: self.generator_ab.features(images, self.layers), *fakes)
        weight = self.nce_weight / len(fakes)
        for side, query, key, where in zip("ab", queries, keys, places, strict=False):
            losses[f"generator/nce_{side}"] = weight * self._nce(query, key, where, flips)
        return losses

    def _nce(self, query: Maps, key: Maps, places: Maps, flips: Tensor | None) -> Tensor:
        """The mean over the layers of how well a patch of the result is told as that of the original."""
        with torch.no_grad():
            keys = self.heads(key, places)
        if flips is not None:
            places = {layer: mirrored(where, query[layer].shape[3], flips) for layer, where in places.items()}
        queries = self.heads(query, places)
        return mean_patch_nce(queries, keys, temperature=self.temperature)


def _detached(maps: Maps) -> Maps:
    return {layer: each.detach() for layer, each in maps.items()}
