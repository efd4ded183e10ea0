"""Patches of feature maps, projected to where they are compared."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganstyle.base.errors import UserError
from ganstyle.networks.initialise import initialise


class Encoder(Protocol):
    """A network that knows its layers by name."""

    def feature_channels(self, layers: Collection[str]) -> dict[str, int]:
        """The channels of each layer's map; `UserError` for a layer that there is not."""


class PatchProjection(nn.Module):
    """One head for each layer: two linear layers with a ReLU between, then unit length (Park et al. 2020, appendix B).

    The heads have their sizes when they are made, not when they are first used. The first weights come from torch's
    global generator, see `initialise`.

    Args:
        channels: of each layer's map.
        width: of both linear layers, and of what comes out.
        gain: of the first weights (Xavier).
    """

    def __init__(self, channels: Mapping[str, int], *, width: int = 256, gain: float = 0.02) -> None:
        super().__init__()
        self.heads = nn.ModuleDict(
            {
                layer: nn.Sequential(nn.Linear(count, width), nn.ReLU(), nn.Linear(width, width))
                for layer, count in channels.items()
            }
        )
        initialise(self, "xavier", gain)

    def forward(self, features: Mapping[str, Tensor], places: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Maps (N, C, H, W) and places (N, P) by layer to projected patches (N, P, width) of unit length.

        A place counts the pixels of a map row by row; each image has places of its own.
        """
        return {layer: self._project(head, features[layer], places[layer]) for layer, head in self.heads.items()}

    @staticmethod
    def _project(head: nn.Module, maps: Tensor, places: Tensor) -> Tensor:
        flat = maps.flatten(2)
        taken = torch.gather(flat, 2, places[:, None].expand(-1, flat.shape[1], -1)).transpose(1, 2)
        projected = head(taken)
        # Under mixed precision a length of bfloat16 would be a hundredth off.
        return F.normalize(projected.float(), dim=-1, eps=1e-7)


def heads_for(encoder: Encoder, layers: Collection[str], *, width: int) -> PatchProjection:
    """Heads for these layers of an encoder; `UserError` for a layer that it does not have."""
    try:
        return PatchProjection(encoder.feature_channels(layers), width=width)
    except UserError as error:
        raise UserError(
            f"method.nce_layers: {error}; choose others, or a generator with more blocks or halvings"
        ) from error
