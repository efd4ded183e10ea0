"""Cutting a map into tiles, and going through them in the memory there is."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ganstyle.base.errors import UserError
from ganstyle.data.tensors import is_out_of_memory
from ganstyle.translate.memory import MEMORY_ADVICE

# Of 256, 512 and 1024 px the fastest on a CPU, whose caches hold more of it (7.7, 10.9 and 10.6 s for 1500 x 1000 px
# with a width of 32).
DEFAULT_TILE_PX = 256
# Without the surroundings, which a thumbnail's tile computes, too: the larger the tile, the less they count.
DEFAULT_THUMBNAIL_TILE_PX = 512
# A tile this small holds less than what every tile carries around itself, so an even smaller one hardly helps.
SMALLEST_TILE_PX = 32


class Box(NamedTuple):
    """A part of a map: rows from `top` to before `bottom`, columns from `left` to before `right`."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def area(self) -> int:
        """How many places it has."""
        return (self.bottom - self.top) * (self.right - self.left)

    def within(self, outer: Box) -> Box:
        """The same part, counted from the corner of a part that holds it."""
        return Box(self.top - outer.top, self.bottom - outer.top, self.left - outer.left, self.right - outer.left)

    def holds(self, inner: Box) -> bool:
        """Whether another part lies inside this one."""
        rows = self.top <= inner.top and inner.bottom <= self.bottom
        return rows and self.left <= inner.left and inner.right <= self.right

    def of(self, images: Tensor) -> Tensor:
        """This part of images (N, C, H, W), as a view."""
        return images[:, :, self.top : self.bottom, self.left : self.right]

    def tiles(self, side_px: int) -> Iterator[Box]:
        """Cut into tiles of nearly one size, no side longer than `side_px`; row by row, as a map lies in memory."""
        for top, bottom in pairwise(_cuts(self.top, self.bottom, side_px)):
            for left, right in pairwise(_cuts(self.left, self.right, side_px)):
                yield Box(top, bottom, left, right)


def _cuts(start: int, stop: int, side_px: int) -> list[int]:
    count = math.ceil((stop - start) / side_px)
    return [start + (stop - start) * number // count for number in range(count + 1)]


class Readable(Protocol):
    """What is computed where it is read."""

    @property
    def cost(self) -> float:
        """The most values held at once for each place that is read."""

    @property
    def work(self) -> float:
        """Multiplications for each place that is read."""

    def read(self, box: Box) -> Tensor:
        """The values of a part (1, C, H, W)."""


class Passes(Protocol):
    """Goes through all tiles of what is to be computed."""

    def run(self, values: Readable, whole: Box, visit: Callable[[Box, Tensor], None]) -> None:
        """Call `visit` with every tile of `whole` and its values."""


class Rehearsal:
    """Computes nothing: adds up the work, to know beforehand how far a translation is."""

    def __init__(self) -> None:
        self.work = 0.0

    def run(self, values: Readable, whole: Box, visit: Callable[[Box, Tensor], None]) -> None:
        """Count the work of all tiles; `visit` is not called."""
        self.work += values.work * whole.area


class Tiling:
    """Computes tile by tile; a tile that does not fit the memory makes this and all further ones half as large.

    Args:
        tile_px: the side of a tile at the picture's full size. Smaller maps have more channels, so that their tiles
            are cut to hold as many values as one of `tile_px` x `tile_px` with `channels`.
        channels: of the generator's first layer.
        device: where it computes.
        total: the work of all passes, from a rehearsal.
        progress: called after each tile with the share of the work that is done.

    Raises:
        UserError: not even the smallest tile fits.
    """

    def __init__(
        self, *, tile_px: int, channels: int, device: torch.device, total: float, progress: Callable[[float], None]
    ) -> None:
        assert tile_px >= 1, tile_px
        self.tile_px, self.channels, self.device = tile_px, channels, device
        self.total, self.progress = total, progress
        self.done = 0.0

    def run(self, values: Readable, whole: Box, visit: Callable[[Box, Tensor], None]) -> None:
        """Call `visit` once with every tile of `whole` and its values."""
        waiting = deque(whole.tiles(self._side_px(values)))
        while waiting:
            box = waiting.popleft()
            if self._fits(values, box, visit):
                self.done += values.work * box.area
                self.progress(self.done / self.total)
            else:
                self._shrink()
                pieces = [piece for each in (box, *waiting) for piece in each.tiles(self._side_px(values))]
                waiting = deque(pieces)

    def _side_px(self, values: Readable) -> int:
        return max(1, int(self.tile_px * math.sqrt(self.channels / values.cost)))

    def _fits(self, values: Readable, box: Box, visit: Callable[[Box, Tensor], None]) -> bool:
        """Compute one tile; False when memory ran out. What was held for it is free once this has returned."""
        try:
            visit(box, values.read(box))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return False
        return True

    def _shrink(self) -> None:
        if self.tile_px // 2 < SMALLEST_TILE_PX:
            raise UserError(f"out of memory on {self.device} with tiles of {self.tile_px} px: {MEMORY_ADVICE}")
        self.tile_px //= 2
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
