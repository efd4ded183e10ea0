"""The one place that makes an update: precision, gradients, the finite check and the optimiser's step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from ganstyle.base.errors import RunFailed


class FiniteWatch:
    """Remembers on the device the first step at which a loss was not finite, and which; read when something is logged.

    Reading waits for the device; recording never does.
    """

    def __init__(self, device: torch.device) -> None:
        self.step = 0
        self._seen: dict[tuple[str, ...], Tensor] = {}
        self._device = device

    def record(self, losses: Mapping[str, Tensor]) -> None:
        """Note which of these losses are not finite at the current step."""
        names = tuple(losses)
        if names not in self._seen:
            self._seen[names] = torch.full((len(names),), -1, dtype=torch.int64, device=self._device)
        seen = self._seen[names]
        bad = ~torch.isfinite(torch.stack([loss.detach().float() for loss in losses.values()]))
        seen.copy_(torch.where(bad & (seen < 0), self.step, seen))

    def check(self) -> None:
        """Raise `RunFailed` with the first bad step and its losses, if there was one."""
        bad = [
            (step, name)
            for names, seen in self._seen.items()
            for name, step in zip(names, seen.tolist(), strict=True)
            if step >= 0
        ]
        if bad:
            first = min(step for step, _ in bad)
            names = ", ".join(name for step, name in bad if step == first)
            raise RunFailed(f"step {first + 1}: {names} became non-finite (NaN or infinite), so training stops here")


class Descent:
    """One group's optimiser, as a method sees it."""

    def __init__(self, fabric: Fabric, optimizer: torch.optim.Optimizer, watch: FiniteWatch) -> None:
        self.fabric, self.optimizer, self.watch = fabric, optimizer, watch

    def descend(self, losses: Mapping[str, Tensor]) -> None:
        """One update of the group's networks down the sum of these losses."""
        self.watch.record(losses)
        self.optimizer.zero_grad(set_to_none=True)
        # The loop runs a method under autocast; backward repeats each operation's own precision and must not be.
        with torch.autocast(self.fabric.device.type, enabled=False):
            self.fabric.backward(torch.stack([loss.float() for loss in losses.values()]).sum())
        self.optimizer.step()
        # Autocast keeps the casts of the weights for a whole step; a method may use these networks again in it.
        torch.clear_autocast_cache()


class Optimizers(SimpleNamespace):
    """The groups of a method by name: `optimizers.generator.descend(losses)`."""

    def __init__(self, groups: Mapping[str, Descent]) -> None:
        super().__init__(**groups)
        self._groups = groups

    def set_learning_rate(self, learning_rate: float) -> None:
        """The same rate for every group."""
        for group in self._groups.values():
            for parameters in group.optimizer.param_groups:
                parameters["lr"] = learning_rate

    def state_dict(self) -> dict[str, Any]:
        """Every group's optimiser state."""
        return {name: group.optimizer.state_dict() for name, group in self._groups.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        for name, group in self._groups.items():
            group.optimizer.load_state_dict(state[name])


def adam(
    optimised: Mapping[str, Sequence[nn.Module]], fabric: Fabric, watch: FiniteWatch, *, learning_rate: float
) -> Optimizers:
    """Adam with betas 0.5 and 0.999 for every group, as the authors of CycleGAN and CUT use it."""
    groups = {}
    for name, modules in optimised.items():
        parameters = [parameter for module in modules for parameter in module.parameters()]
        groups[name] = Descent(fabric, torch.optim.Adam(parameters, lr=learning_rate, betas=(0.5, 0.999)), watch)
    return Optimizers(groups)
