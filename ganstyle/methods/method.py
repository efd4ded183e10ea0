"""What the training loop needs of a method; no base class, a method is any object of this shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from ganstyle.base.draws import Draws
from ganstyle.losses.adversarial import AdversarialLoss


class Batch(Protocol):
    """One step's images of both domains, (N, 3, H, W) in [-1, 1], and the random streams of the step."""

    @property
    def a(self) -> Tensor:
        """Images of domain a."""

    @property
    def b(self) -> Tensor:
        """Images of domain b."""

    @property
    def draws(self) -> Draws:
        """The random streams of the step."""

    @property
    def first_sample(self) -> int:
        """The number in the run of the batch's first sample."""

    @property
    def first_slot(self) -> int:
        """The place in the run's whole batch of the batch's first sample: several ranks, or parts, share one batch."""


@dataclass(frozen=True)
class Judge:
    """Who tells real from fake in one domain, and by which loss it learned to."""

    discriminator: nn.Module
    loss: AdversarialLoss


@dataclass(frozen=True)
class Learner:
    """A module that learns otherwise than the rest of its group.

    Args:
        module: whose parameters these are.
        rate: its learning rate, as a multiple of the run's.
        betas: of its Adam.
    """

    module: nn.Module
    rate: float = 1.0
    betas: tuple[float, float] = (0.5, 0.999)


class Memory(Protocol):
    """What a method remembers beside weights, such as an image pool, apart for every slot of the whole batch."""

    def state_dict(self) -> Mapping[int, Any]:
        """Slot of the whole batch -> a tensor: what is remembered of it."""

    def load_state_dict(self, state: Mapping[int, Any]) -> None:
        """Restore what `state_dict` gave, of all slots or of some."""


class Method(Protocol):
    """One paper: its networks, and the order of its updates."""

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Every network by name; what is saved."""

    @property
    def optimised(self) -> Mapping[str, Sequence[nn.Module | Learner]]:
        """Group of the optimiser -> the modules that it updates."""

    @property
    def translators(self) -> Mapping[str, nn.Module]:
        """Direction (`ab`, `ba`) -> generator; what is averaged, previewed and used to translate."""

    @property
    def judges(self) -> Mapping[str, Judge]:
        """Domain (`a`, `b`) -> who judges images that claim to be of it; what health is told by. May be empty."""

    @property
    def memories(self) -> Mapping[str, Memory]:
        """Other state that changes during training, by name."""

    @property
    def halves(self) -> Sequence[nn.Module]:
        """The modules that hold the arithmetic of a step; what `torch.compile` takes."""

    def training_step(self, batch: Batch, optimizers: Any) -> dict[str, Tensor]:
        """Make every update of one step through `optimizers.GROUP.descend(losses)`; returns all losses by name."""
