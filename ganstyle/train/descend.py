"""The one place that makes an update, or leaves it out: precision, gradients, finite check, the optimiser's step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby, islice
from types import SimpleNamespace
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ganstyle.methods.method import Learner
from ganstyle.train.guard import Guard
from ganstyle.train.ranks import Ranks

# Where Adam's fused kernel can leave an update out by a flag that it reads on the device.
FUSED = ("cpu", "cuda")


class Descent:
    """One group's optimiser, as a method sees it: Adam, usually with CycleGAN's betas 0.5 and 0.999.

    An update with a loss or a gradient that is not finite is left out: weights and moments stay as they are.

    Args:
        fabric: knows how to go backward.
        modules: whose parameters it updates; a `Learner` has a rate and betas of its own.
        guard: told of every loss and of every update that is left out.
        name: of the group.
        learning_rate: of the first step.
        ranks: who averages gradients with this process.
    """

    def __init__(
        self,
        fabric: Fabric,
        modules: Sequence[nn.Module | Learner],
        guard: Guard,
        *,
        name: str,
        learning_rate: float,
        ranks: Ranks | None = None,
    ) -> None:
        self.fabric, self.guard, self.name, self.ranks = fabric, guard, name, ranks or Ranks()
        learners = [each if isinstance(each, Learner) else Learner(each) for each in modules]
        self.parameters = [parameter for each in learners for parameter in each.module.parameters()]
        # They share the parameters' memory. Adam's fused kernel for the CPU reads memory in order: it is twice as fast
        # on contiguous tensors, and wrong where a weight and its gradient are laid out differently (torch 2.15).
        self.packed = [nn.Parameter(_packed(parameter.detach(), parameter)) for parameter in self.parameters]
        self.fused = fabric.device.type in FUSED
        self.rates, groups = _groups(learners, self.packed)
        self.optimizer = torch.optim.Adam(groups, fused=self.fused)
        self.set_learning_rate(learning_rate)
        self.part, self.parts = 0, 1
        self.gradient_norm = torch.zeros((), device=fabric.device)  # of the newest update, over all parameters
        self._bad_losses = torch.zeros((), device=fabric.device)
        self._statistics = _running_statistics([each.module for each in learners])
        self._good_statistics = [each.clone() for each in self._statistics]

    def set_learning_rate(self, learning_rate: float) -> None:
        """The run's rate; a learner with one of its own keeps the same multiple of it."""
        for rate, group in zip(self.rates, self.optimizer.param_groups, strict=True):
            group["lr"] = rate * learning_rate

    def descend(self, losses: Mapping[str, Tensor]) -> None:
        """One update of the group's networks down the sum of these losses.

        Of a batch in several parts, only the last part's call updates, by the mean of all parts' gradients.
        """
        bad = self.guard.record(losses)
        self._bad_losses = bad if self.part == 0 else torch.maximum(bad, self._bad_losses)
        if self.part == 0:
            for parameter in self.parameters:
                parameter.grad = None
        # The loop runs a method under autocast; backward repeats each operation's own precision and must not be.
        with torch.autocast(self.fabric.device.type, enabled=False):
            self.fabric.backward(torch.stack([loss.float() for loss in losses.values()]).sum() / self.parts)
        if self.part == self.parts - 1:
            self._update()

    @torch.no_grad()
    def _update(self) -> None:
        for packed, parameter in zip(self.packed, self.parameters, strict=True):
            packed.grad = None if parameter.grad is None else _packed(parameter.grad, parameter).contiguous()
        gradients = [packed.grad for packed in self.packed if packed.grad is not None]
        if not gradients:
            return
        self.ranks.average([*gradients, self._bad_losses])
        # The norm is not finite where one element is not: it is told, and it is the check.
        self.gradient_norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)).float())
        bad_gradients = (~torch.isfinite(self.gradient_norm)).float()
        found = torch.maximum(bad_gradients, (self._bad_losses > 0).float())
        self.guard.skip(self.name, found, bad_gradients)
        self._step_unless(found)
        self._keep_statistics_finite()
        # Autocast keeps the casts of the weights for a whole step; a method may use these networks again in it.
        torch.clear_autocast_cache()

    def _keep_statistics_finite(self) -> None:
        """Put back what one bad batch would spoil for good in a batch norm, though its update is skipped."""
        for running, good in zip(self._statistics, self._good_statistics, strict=True):
            running.copy_(torch.where(torch.isfinite(running), running, good))
            good.copy_(running)

    def _step_unless(self, found: Tensor) -> None:
        if self.fused:
            self.optimizer.found_inf = found  # type: ignore[attr-defined] # where GradScaler puts its flag
            self.optimizer.step()
        elif not found.item():  # waits for the device, where no kernel reads the flag (MPS)
            self.optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Adam's state, its moments in the shapes of the parameters, however these are laid out in memory."""
        state = self.optimizer.state_dict()
        return state | {
            "state": {
                number: {key: _unpacked(value, self.parameters[number]) for key, value in each.items()}
                for number, each in state["state"].items()
            }
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        moments = {
            number: {
                key: _packed(value, self.parameters[number]).contiguous() if value.dim() else value
                for key, value in each.items()
            }
            for number, each in state["state"].items()
        }
        # A run may go on where Adam's kernel is another one.
        self._good_statistics = [each.clone() for each in self._statistics]  # the networks are restored before
        groups = [{**group, "fused": self.fused} for group in state["param_groups"]]
        self.optimizer.load_state_dict({**state, "state": moments, "param_groups": groups})


def _running_statistics(modules: Sequence[nn.Module]) -> list[Tensor]:
    norms = [part for module in modules for part in module.modules() if isinstance(part, _BatchNorm)]
    found = [each for norm in norms for each in (norm.running_mean, norm.running_var)]
    return [each for each in found if each is not None]


def _groups(learners: Sequence[Learner], parameters: Sequence[nn.Parameter]) -> tuple[list[float], list[dict]]:
    """The rates and what Adam calls groups: learners of the same kind that follow each other make one."""
    left, rates, groups = iter(parameters), [], []
    for (rate, betas), alike in groupby(learners, key=lambda each: (each.rate, each.betas)):
        count = sum(1 for each in alike for _ in each.module.parameters())
        rates.append(rate)
        groups.append({"params": list(islice(left, count)), "betas": betas})
    return rates, groups


def _packed(tensor: Tensor, parameter: Tensor) -> Tensor:
    """A view whose memory is in order where the parameter is channels-last: (O, H, W, I) of (O, I, H, W)."""
    return tensor.permute(0, 2, 3, 1) if _is_channels_last(parameter) else tensor


def _unpacked(tensor: Tensor, parameter: Tensor) -> Tensor:
    return tensor.permute(0, 3, 1, 2) if tensor.dim() and _is_channels_last(parameter) else tensor


def _is_channels_last(parameter: Tensor) -> bool:
    return parameter.dim() == 4 and not parameter.is_contiguous()


class Optimizers(SimpleNamespace):
    """The groups of a method by name: `optimizers.generator.descend(losses)`."""

    def __init__(self, groups: Mapping[str, Descent]) -> None:
        super().__init__(**groups)
        self._groups = groups

    def begin_part(self, part: int, parts: int) -> None:
        """What follows belongs to this part of the batch; every part has the same number of images."""
        for group in self._groups.values():
            group.part, group.parts = part, parts

    def gradient_norms(self) -> dict[str, Tensor]:
        """The norm of every group's newest gradient, on the device."""
        return {f"gradient_norm/{name}": group.gradient_norm for name, group in self._groups.items()}

    def forget(self) -> None:
        """Drop what all groups have gathered, as if no update had been made."""
        for group in self._groups.values():
            group.optimizer.state.clear()

    def set_learning_rate(self, learning_rate: float) -> None:
        """The same rate for every group."""
        for group in self._groups.values():
            group.set_learning_rate(learning_rate)

    def state_dict(self) -> dict[str, Any]:
        """Every group's optimiser state."""
        return {name: group.state_dict() for name, group in self._groups.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        for name, group in self._groups.items():
            group.load_state_dict(state[name])


def adam(
    optimised: Mapping[str, Sequence[nn.Module | Learner]],
    fabric: Fabric,
    guard: Guard,
    *,
    learning_rate: float,
    ranks: Ranks | None = None,
) -> Optimizers:
    """An optimiser for every group of a method; the networks must be on their device already."""
    return Optimizers(
        {
            name: Descent(fabric, modules, guard, name=name, learning_rate=learning_rate, ranks=ranks)
            for name, modules in optimised.items()
        }
    )
