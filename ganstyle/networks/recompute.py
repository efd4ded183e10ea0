"""Gradient checkpointing: less memory for a longer backward pass."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ganstyle.base.errors import UserError


@runtime_checkable
class Recomputable(Protocol):
    """A network that runs its parts by `run_parts`."""

    recomputes: bool


def recompute(network: nn.Module) -> None:
    """Keep only what goes into each part of a network, and compute the rest again in the backward pass.

    The same results and gradients for about a third more arithmetic of a step, and the activations of one part in
    memory at a time; in train mode only. Source: Chen et al. 2016, section 4.

    Raises:
        UserError: the network has no parts that it could recompute.
    """
    if not isinstance(network, Recomputable):
        raise UserError(
            f"training.recompute: {type(network).__name__} cannot compute its parts again; use training.recompute=false"
        )
    network.recomputes = True


def run_parts(parts: Iterable[nn.Module], images: Tensor, *, recomputes: bool) -> Tensor:
    """Run parts one after the other; with `recomputes` their activations are not kept for the backward pass."""
    for part in parts:
        if recomputes and torch.is_grad_enabled():
            images = checkpoint(part, images, use_reentrant=False)
        else:
            images = part(images)
    return images
