"""A generator followed layer by layer, for a picture that is never computed as a whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from ganstyle.base.errors import UserError
from ganstyle.networks.blocks import BatchNorm, BlurDown, BlurUp, InstanceNorm, NoNorm, ResidualBlock
from ganstyle.networks.dropout import SampleDropout
from ganstyle.networks.generators import ResNetGenerator
from ganstyle.networks.sizes import extend
from ganstyle.translate.maps import Geometry, Layered, Map, Picture, Pointwise


class Hands(Protocol):
    """What is done where a layer needs more than the surroundings: statistics of a whole map, or a map twice."""

    def normalise(self, norm: InstanceNorm, values: Map) -> Map:
        """The map normalised by its statistics."""

    def residual(self, block: ResidualBlock, values: Map) -> Map:
        """What a residual block makes of the map."""


def follow(module: nn.Module, values: Map, hands: Hands) -> Map:
    """What a network in eval mode makes of a map; layers are looked up by their type, and called themselves.

    Raises:
        UserError: a layer whose dependence on its surroundings is not known.
    """
    rule = RULES.get(type(module))
    if rule is None:
        raise UserError(f"cannot translate by tiles: unknown layer {type(module).__name__}; use --tile none")
    return rule(module, values, hands)


def in_turn(modules: list[nn.Module], values: Map, hands: Hands) -> Map:
    """Follow one module after the other."""
    for module in modules:
        values = follow(module, values, hands)
    return values


def branch(block: ResidualBlock, values: Map, hands: Hands) -> Map:
    """What is added to a residual block's input."""
    return in_turn([block.first, block.relu, block.dropout, block.second], values, hands)


def extended(height: int, width: int, generator: ResNetGenerator, take: Callable[[Tensor, Tensor], Tensor]) -> Picture:
    """A picture as the generator's first layer sees it.

    Args:
        height: of the picture.
        width: of the picture.
        generator: says which sizes it takes.
        take: the picture's values (1, 3, H, W) at rows and columns.
    """
    return Picture(_places(height, generator), _places(width, generator), take)


def _places(side_px: int, generator: ResNetGenerator) -> Tensor:
    """Which row each row of an extended picture shows: what the extension itself does to a column of numbers."""
    fitting_px = max(generator.minimum_px, math.ceil(side_px / generator.multiple_px) * generator.multiple_px)
    numbers = torch.arange(side_px, dtype=torch.float64).view(1, 1, -1, 1)
    return extend(numbers, bottom=fitting_px - side_px, right=0).flatten().long()


def _generator(module: ResNetGenerator, values: Map, hands: Hands) -> Map:
    return in_turn([module.stem, *module.downs, *module.blocks, *module.ups, module.head], values, hands)


def _sequential(module: nn.Sequential, values: Map, hands: Hands) -> Map:
    return in_turn(list(module), values, hands)


def _pointwise(module: nn.Module, values: Map, hands: Hands) -> Map:
    return Pointwise(module, values)


def _norm(module: InstanceNorm, values: Map, hands: Hands) -> Map:
    return hands.normalise(module, values)


def _residual(module: ResidualBlock, values: Map, hands: Hands) -> Map:
    return hands.residual(module, values)


def _convolution(module: nn.Conv2d, values: Map, hands: Hands) -> Map:
    span = module.dilation[0] * (module.kernel_size[0] - 1)
    keeps_size = module.padding == (span // 2, span // 2) and span % 2 == 0
    _require(module, keeps_size and _is_square(module.kernel_size, module.stride, module.dilation))
    return Layered(module, Geometry(halo=span // 2, down=module.stride[0]), values, module.out_channels)


def _transposed(module: nn.ConvTranspose2d, values: Map, hands: Hands) -> Map:
    span, stride = module.dilation[0] * (module.kernel_size[0] - 1), module.stride[0]
    added = span + 1 + module.output_padding[0] - 2 * int(module.padding[0])
    square = _is_square(module.kernel_size, module.stride, module.dilation, module.padding, module.output_padding)
    _require(module, added == stride and square)
    return Layered(module, Geometry(halo=math.ceil(span / stride), up=stride), values, module.out_channels)


def _enlarged(module: nn.Upsample, values: Map, hands: Hands) -> Map:
    factor = module.scale_factor
    _require(module, isinstance(factor, float) and factor == int(factor) and module.mode == "nearest")
    return Layered(module, Geometry(halo=0, up=int(cast(float, factor))), values, values.size.channels)


def _blurred_down(module: BlurDown, values: Map, hands: Hands) -> Map:
    return Layered(module, Geometry(halo=1, down=2), values, values.size.channels)


def _blurred_up(module: BlurUp, values: Map, hands: Hands) -> Map:
    return Layered(module, Geometry(halo=1, up=2), values, values.size.channels)


def _is_square(*pairs: Sequence[Any] | str) -> bool:
    return all(len(set(pair)) == 1 for pair in pairs)


def _require(module: nn.Module, known: bool) -> None:
    if not known:
        raise UserError(f"cannot translate by tiles: {module} changes sizes in another way; use --tile none")


RULES: dict[type[nn.Module], Callable[[Any, Map, Hands], Map]] = {
    ResNetGenerator: _generator,
    ResidualBlock: _residual,
    InstanceNorm: _norm,
    nn.Sequential: _sequential,
    nn.Conv2d: _convolution,
    nn.ConvTranspose2d: _transposed,
    nn.Upsample: _enlarged,
    BlurDown: _blurred_down,
    BlurUp: _blurred_up,
    BatchNorm: _pointwise,  # in eval mode
    NoNorm: _pointwise,
    SampleDropout: _pointwise,  # in eval mode
    nn.ReLU: _pointwise,
    nn.Tanh: _pointwise,
}
