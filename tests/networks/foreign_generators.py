"""Generators laid out as the CycleGAN and CUT code lays them out, and computed plainly from their state dicts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]
WIDTH = 2


@dataclass(frozen=True)
class Plain:
    """A state dict and what the code that it came from would compute with it."""

    state: State
    run: Callable[[Tensor], Tensor]


class Weights:
    """Draws a state dict, a layer at a time."""

    def __init__(self, norm: str) -> None:
        self.norm, self.state = norm, State()
        self.stream = torch.Generator().manual_seed(0)

    def draw(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.stream, dtype=torch.float64) * 0.5

    def convolution(self, name: str, *shape: int, outputs: int, bias: bool | None = None) -> None:
        self.state[f"{name}.weight"] = self.draw(*shape)
        if self.norm == "instance" if bias is None else bias:
            self.state[f"{name}.bias"] = self.draw(outputs)

    def normalisation(self, name: str, channels: int) -> None:
        if self.norm == "batch":
            self.state |= {f"{name}.weight": 1 + self.draw(channels), f"{name}.bias": self.draw(channels)}
        if self.norm in ("batch", "tracked"):
            self.state[f"{name}.running_mean"] = self.draw(channels)
            self.state[f"{name}.running_var"] = 1 + self.draw(channels) ** 2
            self.state[f"{name}.num_batches_tracked"] = torch.tensor(7)


def normalised(state: State, name: str, images: Tensor, norm: str) -> Tensor:
    if norm == "none":
        return images
    if norm == "batch":
        mean, variance, scale, shift = (
            state[f"{name}.{each}"][None, :, None, None] for each in ("running_mean", "running_var", "weight", "bias")
        )
        return (images - mean) / (variance + 1e-5).sqrt() * scale + shift
    mean = images.mean(dim=(2, 3), keepdim=True)
    return (images - mean) / (((images - mean) ** 2).mean(dim=(2, 3), keepdim=True) + 1e-5).sqrt()


def blur(row: list[float], channels: int, total: float) -> Tensor:
    square = torch.tensor(row, dtype=torch.float64).outer(torch.tensor(row, dtype=torch.float64))
    return (square / square.sum() * total).repeat(channels, 1, 1, 1)


def resnet(
    *, blocks: int = 2, blurs: tuple[bool, bool] = (False, False), norm: str = "instance", dropout: bool = False
) -> Plain:
    """Every layer of the sequence by its kind, so that its place is its number; (kind, channels in, channels out)."""
    layers: list[tuple[str, int, int]] = [("pad3", 3, 3), ("conv7", 3, WIDTH), ("norm", WIDTH, WIDTH), ("relu", 0, 0)]
    for wide in (2 * WIDTH, 4 * WIDTH):
        layers += [("conv3" if blurs[0] else "down", wide // 2, wide), ("norm", wide, wide), ("relu", 0, 0)]
        layers += [("blur down", wide, wide)] if blurs[0] else []
    layers += [("block", 4 * WIDTH, 4 * WIDTH)] * blocks
    for wide in (4 * WIDTH, 2 * WIDTH):
        layers += [("blur up", wide, wide)] if blurs[1] else []
        layers += [("conv3" if blurs[1] else "up", wide, wide // 2), ("norm", wide // 2, wide // 2), ("relu", 0, 0)]
    layers += [("pad3", 0, 0), ("head", WIDTH, 3), ("tanh", 0, 0)]
    weights = Weights(norm)
    for place, (kind, inputs, outputs) in enumerate(layers):
        name = f"model.{place}"
        if kind in ("conv7", "conv3", "down", "head"):
            side = 7 if kind in ("conv7", "head") else 3
            weights.convolution(
                name, outputs, inputs, side, side, outputs=outputs, bias=True if kind == "head" else None
            )
        elif kind == "up":
            weights.convolution(name, inputs, outputs, 3, 3, outputs=outputs)
        elif kind == "norm":
            weights.normalisation(name, outputs)
        elif kind == "block":
            for half in (1, 6 if dropout else 5):
                weights.convolution(f"{name}.conv_block.{half}", outputs, outputs, 3, 3, outputs=outputs)
                weights.normalisation(f"{name}.conv_block.{half + 1}", outputs)
        elif kind.startswith("blur"):
            row, total = ([1.0, 2.0, 1.0], 1.0) if kind == "blur down" else ([1.0, 3.0, 3.0, 1.0], 4.0)
            weights.state[f"{name}.filt"] = blur(row, outputs, total)
    state = weights.state

    def convolved(name: str, images: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
        return F.conv2d(images, state[f"{name}.weight"], state.get(f"{name}.bias"), stride=stride, padding=padding)

    def block(name: str, images: Tensor) -> Tensor:
        inner = images
        for half in (1, 6 if dropout else 5):
            inner = convolved(f"{name}.conv_block.{half}", F.pad(inner, (1, 1, 1, 1), mode="reflect"))
            inner = normalised(state, f"{name}.conv_block.{half + 1}", inner, norm)
            inner = F.relu(inner) if half == 1 else inner
        return images + inner

    def blurred_up(name: str, images: Tensor) -> Tensor:
        padded, channels = F.pad(images, (1, 1, 1, 1), mode="replicate"), images.shape[1]
        return F.conv_transpose2d(padded, state[f"{name}.filt"], stride=2, padding=2, groups=channels)[..., 1:-1, 1:-1]

    def blurred_down(name: str, images: Tensor) -> Tensor:
        padded = F.pad(images, (1, 1, 1, 1), mode="reflect")
        return F.conv2d(padded, state[f"{name}.filt"], stride=2, groups=images.shape[1])

    def up(name: str, images: Tensor) -> Tensor:
        weight, bias = state[f"{name}.weight"], state.get(f"{name}.bias")
        return F.conv_transpose2d(images, weight, bias, stride=2, padding=1, output_padding=1)

    kinds: dict[str, Callable[[str, Tensor], Tensor]] = {
        "pad3": lambda _, images: F.pad(images, (3, 3, 3, 3), mode="reflect"),
        "conv7": convolved,
        "head": convolved,
        "conv3": lambda name, images: convolved(name, images, padding=1),
        "down": lambda name, images: convolved(name, images, stride=2, padding=1),
        "up": up,
        "norm": lambda name, images: normalised(state, name, images, norm),
        "relu": lambda _, images: F.relu(images),
        "tanh": lambda _, images: torch.tanh(images),
        "block": block,
        "blur down": blurred_down,
        "blur up": blurred_up,
    }

    def run(images: Tensor) -> Tensor:
        for place, (kind, _, _) in enumerate(layers):
            images = kinds[kind](f"model.{place}", images)
        return images

    return Plain(state, run)


def unet(*, halvings: int = 5, norm: str = "batch") -> Plain:
    """Level within level: what one gives back is laid beside its input, which its LeakyReLU has changed in place."""
    widths = [WIDTH * min(2**depth, 8) for depth in range(halvings)]
    weights = Weights(norm)

    def prefix(depth: int) -> str:
        return "model.model" + ".1.model" * min(depth, 1) + ".3.model" * max(depth - 1, 0)

    for depth, inner in enumerate(widths):
        outer = 3 if depth == 0 else widths[depth - 1]
        is_last, name = depth == halvings - 1, prefix(depth)
        weights.convolution(f"{name}.{min(depth, 1)}", inner, outer, 4, 4, outputs=inner)
        if depth > 0 and not is_last:
            weights.normalisation(f"{name}.2", inner)
        back = f"{name}.{3 if is_last or depth == 0 else 5}"
        inputs = inner if is_last else 2 * inner
        weights.convolution(back, inputs, outer, 4, 4, outputs=outer, bias=True if depth == 0 else None)
        if depth > 0:
            weights.normalisation(f"{name}.{4 if is_last else 6}", outer)
    state = weights.state

    def level(depth: int, images: Tensor) -> Tensor:
        is_last, name = depth == halvings - 1, prefix(depth)
        beside = images if depth == 0 else F.leaky_relu(images, 0.2)
        down = f"{name}.{min(depth, 1)}"
        inner = F.conv2d(beside, state[f"{down}.weight"], state.get(f"{down}.bias"), stride=2, padding=1)
        if depth > 0 and not is_last:
            inner = normalised(state, f"{name}.2", inner, norm)
        inner = inner if is_last else level(depth + 1, inner)
        back = f"{name}.{3 if is_last or depth == 0 else 5}"
        inner = F.conv_transpose2d(
            F.relu(inner), state[f"{back}.weight"], state.get(f"{back}.bias"), stride=2, padding=1
        )
        if depth == 0:
            return torch.tanh(inner)
        inner = normalised(state, f"{name}.{4 if is_last else 6}", inner, norm)
        return torch.cat([beside, inner], dim=1)

    return Plain(state, lambda images: level(0, images))
