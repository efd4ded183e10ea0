"""The first weights of a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn

InitialisationName = Literal["normal", "xavier"]


def _normal(weight: Tensor, gain: float) -> None:
    nn.init.normal_(weight, mean=0.0, std=gain)


def _xavier(weight: Tensor, gain: float) -> None:
    nn.init.xavier_normal_(weight, gain=gain)


INITIALISATIONS: dict[str, Callable[[Tensor, float], None]] = {"normal": _normal, "xavier": _xavier}


def initialise(module: nn.Module, initialisation: InitialisationName, gain: float) -> None:
    """Draw the weights of every layer anew, in place, in the order of `module.modules()`.

    Convolutions, transposed ones and linear layers: "normal" draws from N(0, gain^2), "xavier" from
    N(0, gain^2 * 2 / (fan in + fan out)) (Glorot and Bengio 2010, equation 12). Scales of batch norms:
    N(1, gain^2). Every bias and shift is zero.

    Draws come from torch's global generator: whoever builds a network seeds it just before (`torch.manual_seed`),
    so that the same seed gives the same network.
    """
    draw = INITIALISATIONS[initialisation]
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            draw(layer.weight, gain)
        elif isinstance(layer, nn.BatchNorm2d) and layer.affine:
            nn.init.normal_(layer.weight, mean=1.0, std=gain)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
