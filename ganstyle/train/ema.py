"""An exponential moving average of the translators' weights; its pictures are calmer than the newest weights' are."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


class MovingAverage:
    """Averaged copies of the translators, by direction; none at all when the decay is 0.

    At step t the decay is min(decay, (1 + t) / (10 + t)), so that a short run does not show the initial network.
    Buffers are copied, not averaged.
    """

    def __init__(self, translators: Mapping[str, nn.Module], decay: float) -> None:
        self.sources, self.decay = translators, decay
        self.models: dict[str, nn.Module] = {}
        if decay > 0:
            self.models = {way: copy.deepcopy(each).eval().requires_grad_(False) for way, each in translators.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the averages towards the translators after step number `step`, counted from 0."""
        keep = min(self.decay, (1 + step) / (10 + step))
        for direction, average in self.models.items():
            source = self.sources[direction]
            torch._foreach_lerp_(list(average.parameters()), list(source.parameters()), 1 - keep)
            for kept, new in zip(average.buffers(), source.buffers(), strict=True):
                kept.copy_(new)

    def best_models(self) -> Mapping[str, nn.Module]:
        """What pictures are made with: the averages where there are any, else the translators themselves."""
        return self.models or self.sources

    def state_dict(self) -> dict[str, Any]:
        """The averaged weights by direction."""
        return {direction: model.state_dict() for direction, model in self.models.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave; a run that had no averages starts them from its translators."""
        for direction, model in self.models.items():
            model.load_state_dict(state.get(direction) or self.sources[direction].state_dict())


@contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Modules in evaluation mode without gradients for a while; each part's own mode is put back after."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    for module in modules:
        module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, mode in modes:
            part.training = mode
