"""CycleGAN: Zhu, Park, Isola, Efros: Unpaired image-to-image translation using cycle-consistent adversarial networks.

ICCV 2017, arXiv:1703.10593.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from annotated_types import Ge, Interval
from torch import Tensor, nn

from ganstyle.base.tables import named_in
from ganstyle.losses.adversarial import ADVERSARIAL, AdversarialLoss
from ganstyle.losses.reconstruction import l1
from ganstyle.methods.image_pool import ImagePool
from ganstyle.methods.method import Batch, Judge
from ganstyle.methods.passes import Passes
from ganstyle.methods.penalty import GradientPenalty


class CycleGAN:
    """Two generators and two discriminators, trained so that a -> b -> a comes back (equation 3 of the paper).

    Args:
        generator: makes one generator, images in, images out.
        discriminator: makes one discriminator, images in, a map of scores out.
        cycle_weight: lambda of equation 3; absolute, for both cycles.
        identity_weight: weight of generator_ab(b) = b and generator_ba(a) = a (section 5.2); 0 leaves the passes out.
        adversarial: `least_squares` as in the paper (section 4), or another name of ADVERSARIAL.
        gradient_penalty: weight of the discriminators' `gradient_penalty`; `wasserstein` needs it, with 10 usually.
        pool_size: how many earlier fakes the discriminators are shown again (section 4); 0 for none.
    """

    def __init__(
        self,
        generator: Callable[[], nn.Module],
        discriminator: Callable[[], nn.Module],
        *,
        cycle_weight: Annotated[float, Ge(0)] = 10.0,
        identity_weight: Annotated[float, Ge(0)] = 5.0,
        adversarial: Annotated[str, named_in(ADVERSARIAL, "adversarial loss")] = "least_squares",
        gradient_penalty: Annotated[float, Ge(0)] = 0.0,
        pool_size: Annotated[int, Interval(ge=0, le=10_000)] = 50,
    ) -> None:
        loss = ADVERSARIAL[adversarial]()
        generator_ab, generator_ba = generator(), generator()
        discriminator_a, discriminator_b = discriminator(), discriminator()
        self.generator_half = GeneratorHalf(
            generator_ab,
            generator_ba,
            discriminator_a,
            discriminator_b,
            adversarial=loss,
            cycle_weight=cycle_weight,
            identity_weight=identity_weight,
        )
        self.discriminator_half = DiscriminatorHalf(discriminator_a, discriminator_b, adversarial=loss)
        self.penalties = GradientPenalty({"a": discriminator_a, "b": discriminator_b}, gradient_penalty)
        self.pool_a, self.pool_b = ImagePool(pool_size), ImagePool(pool_size)

        self.networks = {
            "generator_ab": generator_ab,
            "generator_ba": generator_ba,
            "discriminator_a": discriminator_a,
            "discriminator_b": discriminator_b,
        }
        self.optimised = {
            "generator": [generator_ab, generator_ba],
            "discriminator": [discriminator_a, discriminator_b],
        }
        self.translators = {"ab": generator_ab, "ba": generator_ba}
        self.judges = {"a": Judge(discriminator_a, loss), "b": Judge(discriminator_b, loss)}
        self.memories = {"pool_a": self.pool_a, "pool_b": self.pool_b}
        self.halves = [self.generator_half, self.discriminator_half]

    def training_step(self, batch: Batch, optimizers: Any) -> dict[str, Tensor]:
        """Update both generators, then both discriminators."""
        with frozen(self.discriminator_half):
            generator, fake_a, fake_b = self.generator_half(batch.a, batch.b)
        optimizers.generator.descend(generator)
        # Old fakes keep the discriminators from chasing the newest generator.
        old_a, old_b = self.pool_a.replay(fake_a, "pool_a", batch), self.pool_b.replay(fake_b, "pool_b", batch)
        discriminator = self.discriminator_half(batch.a, batch.b, old_a, old_b)
        discriminator |= self.penalties({"a": batch.a, "b": batch.b}, {"a": old_a, "b": old_b}, batch)
        optimizers.discriminator.descend(discriminator)
        return generator | discriminator


class GeneratorHalf(nn.Module):
    """The generators' losses, with the discriminators as fixed judges."""

    def __init__(
        self,
        generator_ab: nn.Module,
        generator_ba: nn.Module,
        discriminator_a: nn.Module,
        discriminator_b: nn.Module,
        *,
        adversarial: AdversarialLoss,
        cycle_weight: float,
        identity_weight: float,
    ) -> None:
        super().__init__()
        self.generator_ab, self.generator_ba = generator_ab, generator_ba
        self.discriminator_a, self.discriminator_b = discriminator_a, discriminator_b
        self.adversarial = adversarial
        self.cycle_weight, self.identity_weight = cycle_weight, identity_weight
        self.passes = Passes(generator_ab, generator_ba)

    def forward(self, real_a: Tensor, real_b: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Real images of both domains to the weighted losses by name, and the fakes without their graph."""
        if self.identity_weight > 0:
            fake_b, identity_b = self.passes(self.generator_ab, real_a, real_b)
            fake_a, identity_a = self.passes(self.generator_ba, real_b, real_a)
        else:
            fake_b, fake_a = self.generator_ab(real_a), self.generator_ba(real_b)
        cycled_a, cycled_b = self.generator_ba(fake_b), self.generator_ab(fake_a)
        losses = {
            "generator/adversarial_ab": self.adversarial.generator(self.discriminator_b(fake_b)),
            "generator/adversarial_ba": self.adversarial.generator(self.discriminator_a(fake_a)),
            "generator/cycle_a": self.cycle_weight * l1(cycled_a, real_a),
            "generator/cycle_b": self.cycle_weight * l1(cycled_b, real_b),
        }
        if self.identity_weight > 0:
            losses["generator/identity_a"] = self.identity_weight * l1(identity_a, real_a)
            losses["generator/identity_b"] = self.identity_weight * l1(identity_b, real_b)
        return losses, fake_a.detach(), fake_b.detach()


class DiscriminatorHalf(nn.Module):
    """The discriminators' losses: `discriminator_a` judges images that claim to be a."""

    def __init__(self, discriminator_a: nn.Module, discriminator_b: nn.Module, *, adversarial: AdversarialLoss) -> None:
        super().__init__()
        self.discriminator_a, self.discriminator_b = discriminator_a, discriminator_b
        self.adversarial = adversarial
        self.passes = Passes(discriminator_a, discriminator_b)

    def forward(self, real_a: Tensor, real_b: Tensor, fake_a: Tensor, fake_b: Tensor) -> dict[str, Tensor]:
        """Real images and fakes of both domains to one loss for each discriminator."""
        judge = self.adversarial.discriminator
        return {
            "discriminator/a": judge(*self.passes(self.discriminator_a, real_a, fake_a)),
            "discriminator/b": judge(*self.passes(self.discriminator_b, real_b, fake_b)),
        }


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """No gradients for a module's parameters for a while; gradients still flow through it to its input."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
