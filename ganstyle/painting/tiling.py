"""Tiles of a picture, and the exact gradient of a loss of statistics that add up over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil

import torch
from torch import Tensor

Sums = list[tuple[Tensor, ...]]


@dataclass(frozen=True)
class Span:
    """A tile along one side, in pixels: its core, the core with what is read around it, and the picture's length."""

    core: tuple[int, int]
    outer: tuple[int, int]
    length: int

    def read(self) -> slice:
        """What is read of the picture."""
        return slice(*self.outer)

    def kept(self, stride_px: int) -> slice:
        """The core within maps of what was read, which have one value every so many pixels."""
        start, end = ((place - self.outer[0]) // stride_px for place in self.core)
        # The last core keeps whatever the network makes of the picture's end, as its poolings round up or down.
        return slice(start, None if self.core[1] == self.length else end)

    def place(self, stride_px: int) -> slice:
        """The core within maps of the whole picture."""
        start, end = (place // stride_px for place in self.core)
        return slice(start, None if self.core[1] == self.length else end)


@dataclass(frozen=True)
class Tile:
    """A part of a picture: the cores of all tiles cover it once; what is read around a core makes its maps exact."""

    rows: Span
    columns: Span

    def read(self, picture: Tensor) -> Tensor:
        """The tile's part of a picture (1, 3, H, W), a view."""
        return picture[..., self.rows.read(), self.columns.read()]

    def kept(self, maps: Tensor, stride_px: int) -> Tensor:
        """The core of maps that were made of what was read."""
        return maps[..., self.rows.kept(stride_px), self.columns.kept(stride_px)]

    def place(self, stride_px: int) -> tuple[slice, slice]:
        """Rows and columns of the core in maps of the whole picture."""
        return self.rows.place(stride_px), self.columns.place(stride_px)


def tiles_of(height: int, width: int, *, tile_px: int | None, reach_px: int, stride_px: int) -> list[Tile]:
    """Tiles that cover a picture.

    Args:
        height: of the picture.
        width: of the picture.
        tile_px: the longest side of a core; one tile for the whole by default.
        reach_px: how far a map's value sees.
        stride_px: cores begin at multiples of it: the deepest map's pixels per value.
    """
    rows, columns = (
        _spans(length, tile_px or length, reach_px=reach_px, stride_px=stride_px) for length in (height, width)
    )
    return [Tile(*each) for each in product(rows, columns)]


def _spans(length: int, tile_px: int, *, reach_px: int, stride_px: int) -> list[Span]:
    longest_px = tile_px if tile_px >= length else max(tile_px // stride_px * stride_px, stride_px)
    count = ceil(length / longest_px)
    # Alike in length, so that none is a sliver.
    core_px = _up(ceil(length / count), stride_px)
    halo_px = _up(reach_px, stride_px)
    spans = []
    for start in range(0, length, core_px):
        end = min(start + core_px, length)
        spans.append(Span((start, end), (max(0, start - halo_px), min(length, end + halo_px)), length))
    return spans


def _up(length: int, stride_px: int) -> int:
    return ceil(length / stride_px) * stride_px


def sums_over(picture: Tensor, tiles: Sequence[Tile], gather: Callable[[Tensor, Tile], Sums]) -> Sums:
    """The statistics of a picture as the sums of those of its tiles, without gradient."""
    total: Sums = []
    with torch.no_grad():
        for tile in tiles:
            part = gather(tile.read(picture), tile)
            total = [_added(*pair) for pair in zip(total, part, strict=True)] if total else part
    return total


def _added(one: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(a + b for a, b in zip(one, other, strict=True))


def two_pass_gradient(
    picture: Tensor,
    tiles: Sequence[Tile],
    *,
    gather: Callable[[Tensor, Tile], Sums],
    loss_of: Callable[[Sums], Tensor],
    terms: Callable[[Tensor, Tile], tuple[Sums, Tensor]],
) -> tuple[Tensor, Tensor]:
    """The loss of a picture's statistics, plus a loss that adds up over tiles; and their exact gradient.

    With S the sum of S_tile, d loss / d picture is the sum over tiles of (d loss / d S) (d S_tile / d picture). The
    first pass gathers S, the second goes backward tile by tile; the memory is that of one tile.

    Args:
        picture: (1, 3, H, W).
        tiles: whose cores cover it.
        gather: a tile's part of the picture to its statistics.
        loss_of: all statistics to a scalar.
        terms: a tile's part of the picture to its statistics and to its part of the other loss.
    """
    sums = [tuple(each.requires_grad_() for each in part) for part in sums_over(picture, tiles, gather)]
    with torch.enable_grad():
        loss = loss_of(sums)
    slopes = torch.autograd.grad(loss, [each for part in sums for each in part], allow_unused=True)
    total, gradient = loss.detach(), torch.zeros_like(picture)
    for tile in tiles:
        part = tile.read(picture).detach().requires_grad_()
        with torch.enable_grad():
            statistics, other = terms(part, tile)
            flat = [each for group in statistics for each in group]
            pairs = zip(slopes, flat, strict=True)
            linear = [(slope * each).sum() for slope, each in pairs if slope is not None and each.requires_grad]
            (own,) = torch.autograd.grad(torch.stack([other, *linear]).sum(), part)
        tile.read(gradient).add_(own)
        total = total + other.detach()
    return total, gradient
