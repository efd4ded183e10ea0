"""Several batches through the same weights at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class Passes:
    """Takes several batches through a network in one pass, which costs less than one pass each.

    With a norm whose statistics are the batch's (batch norm) that would be another result: there each batch has its
    own pass.

    Args:
        networks: those that will be used.
    """

    def __init__(self, *networks: nn.Module) -> None:
        parts = (part for network in networks for part in network.modules())
        self.merged = not any(isinstance(part, _BatchNorm) for part in parts)

    def __call__(self, network: nn.Module, *batches: Tensor) -> list[Tensor]:
        """The network's result for each batch (N, 3, H, W); all of one size."""
        if not self.merged:
            return [network(batch) for batch in batches]
        together: Tensor = network(torch.cat(batches))
        return list(together.chunk(len(batches)))
