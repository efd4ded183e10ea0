"""The one place that makes an update: precision, gradients, the finite check and the optimiser's step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from ganstyle.base.errors import RunFailed
from ganstyle.train.ranks import Ranks

FUSED = ("cpu", "cuda")
NEVER = 2**62


class FiniteWatch:
    """Remembers on the device the first step at which a loss was not finite, and which; read when something is logged.

    Reading waits for the device, and for the other ranks, which all read at the same step; recording never does.
    """

    def __init__(self, device: torch.device, ranks: Ranks | None = None) -> None:
        self.step = 0
        self._seen: dict[tuple[str, ...], Tensor] = {}
        self._device, self._ranks = device, ranks or Ranks()

    def record(self, losses: Mapping[str, Tensor]) -> None:
        """Note which of these losses are not finite at the current step."""
        names = tuple(losses)
        if names not in self._seen:
            self._seen[names] = torch.full((len(names),), NEVER, device=self._device)
        seen = self._seen[names]
        bad = ~torch.isfinite(torch.stack([loss.detach().float() for loss in losses.values()]))
        seen.copy_(torch.where(bad & (seen == NEVER), self.step, seen))

    def check(self) -> None:
        """Raise `RunFailed` with the first bad step and its losses, if there was one."""
        bad = [
            (step, name)
            for names, seen in self._seen.items()
            for name, step in zip(names, self._ranks.earliest(seen).tolist(), strict=True)
            if step < NEVER
        ]
        if bad:
            first = min(step for step, _ in bad)
            names = ", ".join(name for step, name in bad if step == first)
            raise RunFailed(f"step {first + 1}: {names} became non-finite (NaN or infinite), so training stops here")


class Descent:
    """One group's optimiser, as a method sees it: Adam with betas 0.5 and 0.999, as the authors of CycleGAN use it.

    Args:
        fabric: knows how to go backward.
        modules: whose parameters it updates.
        watch: told of every loss.
        learning_rate: of the first step.
        ranks: who averages gradients with this process.
    """

    def __init__(
        self,
        fabric: Fabric,
        modules: Sequence[nn.Module],
        watch: FiniteWatch,
        *,
        learning_rate: float,
        ranks: Ranks | None = None,
    ) -> None:
        self.fabric, self.watch, self.ranks = fabric, watch, ranks or Ranks()
        self.parameters = [parameter for module in modules for parameter in module.parameters()]
        # They share the parameters' memory. Adam's fused kernel for the CPU reads memory in order: it is twice as fast
        # on contiguous tensors, and wrong where a weight and its gradient are laid out differently (torch 2.15).
        self.packed = [nn.Parameter(_packed(parameter.detach(), parameter)) for parameter in self.parameters]
        fused = fabric.device.type in FUSED
        self.optimizer = torch.optim.Adam(self.packed, lr=learning_rate, betas=(0.5, 0.999), fused=fused)
        self.part, self.parts = 0, 1

    def descend(self, losses: Mapping[str, Tensor]) -> None:
        """One update of the group's networks down the sum of these losses.

        Of a batch in several parts, only the last part's call updates, by the mean of all parts' gradients.
        """
        self.watch.record(losses)
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
        self.ranks.average([packed.grad for packed in self.packed if packed.grad is not None])
        self.optimizer.step()
        # Autocast keeps the casts of the weights for a whole step; a method may use these networks again in it.
        torch.clear_autocast_cache()

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
        self.optimizer.load_state_dict({**state, "state": moments})


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

    def set_learning_rate(self, learning_rate: float) -> None:
        """The same rate for every group."""
        for group in self._groups.values():
            for parameters in group.optimizer.param_groups:
                parameters["lr"] = learning_rate

    def state_dict(self) -> dict[str, Any]:
        """Every group's optimiser state."""
        return {name: group.state_dict() for name, group in self._groups.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        for name, group in self._groups.items():
            group.load_state_dict(state[name])


def adam(
    optimised: Mapping[str, Sequence[nn.Module]],
    fabric: Fabric,
    watch: FiniteWatch,
    *,
    learning_rate: float,
    ranks: Ranks | None = None,
) -> Optimizers:
    """An optimiser for every group of a method; the networks must be on their device already."""
    return Optimizers(
        {
            name: Descent(fabric, modules, watch, learning_rate=learning_rate, ranks=ranks)
            for name, modules in optimised.items()
        }
    )
