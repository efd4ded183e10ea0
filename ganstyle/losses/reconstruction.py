"""Losses between an image and what it should have become."""

from __future__ import annotations

from torch import Tensor


def l1(output: Tensor, target: Tensor) -> Tensor:
    """The mean absolute difference over all elements, as a float32 scalar; both tensors have one shape."""
    assert output.shape == target.shape, f"an output of {tuple(output.shape)} against {tuple(target.shape)}"
    return (output.float() - target.float()).abs().mean()
