"""Maps of features whose values are computed where they are read, so that no whole map is ever needed.

A map stands for what a layer would give for the whole picture. Reading a part reads what that part depends on, and
calls the very layer on it: the part's surroundings are read too, and what the layer makes of them is cut away. So a
layer's own padding counts at the border of the picture and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ganstyle.translate.tiles import Box


class Size(NamedTuple):
    """Of a map."""

    channels: int
    height: int
    width: int

    @property
    def box(self) -> Box:
        """The whole map."""
        return Box(0, self.height, 0, self.width)


class Map(Protocol):
    """Features of a whole picture, read part by part."""

    @property
    def size(self) -> Size:
        """Channels, height and width."""

    @property
    def cost(self) -> float:
        """The most values held at once for each place that is read."""

    @property
    def work(self) -> float:
        """Multiplications for each place that is read, without those for what surrounds it."""

    @property
    def leaves(self) -> frozenset[Stored]:
        """The stored maps that a reading reads."""

    def read(self, box: Box) -> Tensor:
        """The values of a part (1, C, H, W); may be a view of what is stored."""

    def needs(self, box: Box) -> Box:
        """The part of the picture that a part depends on, as far as it is not stored."""


@dataclass(frozen=True)
class Picture:
    """The picture itself, extended at the bottom and the right to a size that the generator takes.

    Args:
        rows: which row of the picture each row of the map shows.
        columns: which column each column shows.
        take: the picture at these rows and columns (1, 3, H, W) in [-1, 1], on the device.
    """

    rows: Tensor
    columns: Tensor
    take: Callable[[Tensor, Tensor], Tensor]
    leaves: frozenset[Stored] = frozenset()
    work: float = 0.0

    @property
    def size(self) -> Size:
        """Three channels."""
        return Size(3, len(self.rows), len(self.columns))

    @property
    def cost(self) -> float:
        """Its channels."""
        return 3.0

    def read(self, box: Box) -> Tensor:
        """A part of the picture."""
        return self.take(self.rows[box.top : box.bottom], self.columns[box.left : box.right])

    def needs(self, box: Box) -> Box:
        """Itself."""
        return box


@dataclass(frozen=True, eq=False)
class Stored:
    """A map whose values were computed and lie in memory or on disk.

    Args:
        values: float32 (H, W, C): a row of a tile is one piece of memory, and convolutions on a CPU want it so.
        device: where it is read to.
    """

    values: Tensor
    device: torch.device
    work: float = 0.0

    @property
    def size(self) -> Size:
        """The stored tensor's."""
        height, width, channels = self.values.shape
        return Size(channels, height, width)

    @property
    def cost(self) -> float:
        """Its channels."""
        return float(self.size.channels)

    @property
    def leaves(self) -> frozenset[Stored]:
        """Itself."""
        return frozenset((self,))

    def read(self, box: Box) -> Tensor:
        """A view, or a copy on another device."""
        part = self.values[box.top : box.bottom, box.left : box.right].to(self.device)
        return part.permute(2, 0, 1)[None]

    def write(self, box: Box, tile: Tensor) -> None:
        """Keep the values of a part (1, C, H, W)."""
        self.values[box.top : box.bottom, box.left : box.right] = tile[0].permute(1, 2, 0)

    def needs(self, box: Box) -> Box:
        """Nothing of the picture."""
        return Box(0, 0, 0, 0)


class Geometry(NamedTuple):
    """Which inputs of a layer an output depends on.

    The layer gives `up` outputs for `down` inputs on either axis; output y sees the inputs from y * down / up - halo
    to (y + 1) * down / up + halo.
    """

    halo: int
    up: int = 1
    down: int = 1

    def output_size(self, size: Size, channels: int) -> Size:
        """The size of the layer's output; the generator takes care that the input can be halved."""
        assert size.height * self.up % self.down == 0, size
        assert size.width * self.up % self.down == 0, size
        return Size(channels, size.height * self.up // self.down, size.width * self.up // self.down)

    def inputs(self, start: int, stop: int, length: int) -> tuple[int, int]:
        """The inputs for the outputs from `start` to `stop` on an axis; a stride meets them as it meets the whole."""
        first = start * self.down // self.up - self.halo
        last = math.ceil(stop * self.down / self.up) + self.halo
        return max(0, first // self.down * self.down), min(length, math.ceil(last / self.down) * self.down)

    def input_box(self, box: Box, size: Size) -> Box:
        """The part of the input, of a whole size, for a part of the output."""
        rows, columns = self.inputs(box.top, box.bottom, size.height), self.inputs(box.left, box.right, size.width)
        return Box(*rows, *columns)

    def output_box(self, box: Box) -> Box:
        """What the layer makes of a part of its input, as a part of the output."""
        return Box(*(edge * self.up // self.down for edge in box))


@dataclass(frozen=True)
class Layered:
    """What a layer makes of a map, where an output depends on its surroundings only."""

    layer: nn.Module
    geometry: Geometry
    source: Map
    channels: int

    @property
    def size(self) -> Size:
        """As the layer changes it."""
        return self.geometry.output_size(self.source.size, self.channels)

    @property
    def cost(self) -> float:
        """The larger one of its own and of what it reads."""
        return max(self.channels, self.source.cost * self._inputs)

    @property
    def work(self) -> float:
        """Every weight is used once for each output, or for each of several in turn."""
        weights = sum(each.numel() for each in self.layer.parameters())
        return self.channels + weights / self.geometry.up**2 + self.source.work * self._inputs

    @property
    def leaves(self) -> frozenset[Stored]:
        """The source's."""
        return self.source.leaves

    @property
    def _inputs(self) -> float:
        return (self.geometry.down / self.geometry.up) ** 2

    def read(self, box: Box) -> Tensor:
        """Call the layer on the part and its surroundings, and cut these away."""
        inputs = self.geometry.input_box(box, self.source.size)
        outputs: Tensor = self.layer(self.source.read(inputs))
        return box.within(self.geometry.output_box(inputs)).of(outputs)

    def needs(self, box: Box) -> Box:
        """What the surroundings need."""
        return self.source.needs(self.geometry.input_box(box, self.source.size))


@dataclass(frozen=True)
class Pointwise:
    """What a function of single values makes of a map."""

    function: Callable[[Tensor], Tensor]
    source: Map

    @property
    def size(self) -> Size:
        """The source's."""
        return self.source.size

    @property
    def cost(self) -> float:
        """The source's."""
        return self.source.cost

    @property
    def work(self) -> float:
        """One for each value."""
        return self.source.work + self.source.size.channels

    @property
    def leaves(self) -> frozenset[Stored]:
        """The source's."""
        return self.source.leaves

    def read(self, box: Box) -> Tensor:
        """Call the function on the part."""
        return self.function(self.source.read(box))

    def needs(self, box: Box) -> Box:
        """The source's."""
        return self.source.needs(box)


@dataclass(frozen=True)
class Sum:
    """A residual block's input and what its convolutions make of it."""

    source: Map
    branch: Map

    @property
    def size(self) -> Size:
        """Of both."""
        return self.branch.size

    @property
    def cost(self) -> float:
        """Both lie there when they are added; before that, no more than either needs."""
        return max(2 * self.size.channels, self.source.cost, self.branch.cost)

    @property
    def work(self) -> float:
        """Of both; a branch that reads the source counts it again."""
        return self.branch.work + self.source.size.channels

    @property
    def leaves(self) -> frozenset[Stored]:
        """Of both."""
        return self.source.leaves | self.branch.leaves

    def read(self, box: Box) -> Tensor:
        """The branch first: it reads more of the source than the block's input (see `Remembered`)."""
        residual = self.branch.read(box)
        return self.source.read(box) + residual

    def needs(self, box: Box) -> Box:
        """The branch's, which holds the source's."""
        needed = self.branch.needs(box)
        return needed if needed.area else self.source.needs(box)


@dataclass
class Remembered:
    """A map that is read twice for every part, by a block's branch and then by its sum, and computed once."""

    source: Map
    _last: tuple[Box, Tensor] | None = field(default=None, repr=False)

    @property
    def size(self) -> Size:
        """The source's."""
        return self.source.size

    @property
    def cost(self) -> float:
        """The source's."""
        return self.source.cost

    @property
    def work(self) -> float:
        """The source's."""
        return self.source.work

    @property
    def leaves(self) -> frozenset[Stored]:
        """The source's."""
        return self.source.leaves

    def read(self, box: Box) -> Tensor:
        """What was read before and holds this part, which is then forgotten; else the source's, remembered."""
        if self._last is not None and self._last[0].holds(box):
            outer, values = self._last
            self._last = None
            return box.within(outer).of(values)
        self._last = None  # before the next one is computed, as both might not fit the memory
        values = self.source.read(box)
        self._last = box, values
        return values

    def needs(self, box: Box) -> Box:
        """The source's."""
        return self.source.needs(box)
