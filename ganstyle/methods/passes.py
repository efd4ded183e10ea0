"""Several batches through the same weights at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ganstyle.networks.augmented import DiffAugment


class Passes:
    """Takes several batches through a network in one pass, which costs less than one pass each.

    With a norm whose statistics are the batch's (batch norm) that would be another result: there each batch has its
    own pass.

    Args:
        networks: those that will be used.
    """

    def __init__(self, *networks: nn.Module) -> None:
        parts = [part for network in networks for part in network.modules()]
        self.augments = [part for part in parts if isinstance(part, DiffAugment)]
        self.merged = not any(isinstance(part, _BatchNorm) for part in parts)

    def __call__(self, network: Callable[[Tensor], Any], *batches: Tensor) -> list[Any]:
        """The network's result for each batch (N, 3, H, W); all of one size.

        A result is a tensor, or tensors in lists, tuples and mappings, each with its images along the first dimension.
        """
        if not self.merged:
            return [self._alone(network, batch, number) for number, batch in enumerate(batches)]
        return _chunks(network(torch.cat(batches)), len(batches))

    def _alone(self, network: Callable[[Tensor], Any], batch: Tensor, number: int) -> Any:
        """One batch's result; its draws are another pass's, as they are where the batches are merged."""
        try:
            for layer in self.augments:
                layer.first_pass = number
            return network(batch)
        finally:
            for layer in self.augments:
                layer.first_pass = 0


def _chunks(value: Any, count: int) -> list[Any]:
    """A result for several batches as one for each; what is no tensor is in all of them."""
    if isinstance(value, Tensor):
        return list(value.chunk(count))
    if isinstance(value, Mapping):
        split = {key: _chunks(each, count) for key, each in value.items()}
        return [{key: parts[number] for key, parts in split.items()} for number in range(count)]
    if isinstance(value, list | tuple):
        members = [_chunks(each, count) for each in value]
        return [type(value)(parts[number] for parts in members) for number in range(count)]
    return [value] * count
