"""Feature maps of pictures of one size, whole or tile by tile, and the statistics of regions in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from ganstyle.painting.tiling import Sums, Tile, tiles_of

if TYPE_CHECKING:
    from ganstyle.losses.style import StyleLoss
    from ganstyle.networks.vgg import Vgg

# Of a picture: a region with less of it is left out.
LEAST_SHARE = 1e-4


@dataclass(frozen=True)
class Place:
    """A region at a layer.

    Args:
        region: its number.
        layer: of the maps.
        mask: where it is, (1, 1, h, w) at the layer's size; everywhere by default.
    """

    region: int
    layer: str
    mask: Tensor | None = None


class FeatureMaps:
    """The maps that are wanted of pictures of one size.

    Args:
        vgg: the network.
        layers: of which maps are wanted.
        height: of the pictures.
        width: of the pictures.
        tile_px: the side of tiles; whole by default.
    """

    def __init__(self, vgg: Vgg, layers: Sequence[str], height: int, width: int, tile_px: int | None = None) -> None:
        self.vgg, self.layers = vgg, list(dict.fromkeys(layers))
        self.strides_px = {layer: vgg.stride_px(layer) for layer in self.layers}
        self.tiles = tiles_of(
            height,
            width,
            tile_px=tile_px,
            reach_px=max(vgg.reach_px(layer) for layer in self.layers),
            stride_px=max(self.strides_px.values()),
        )

    def of(self, part: Tensor, tile: Tile, layers: Sequence[str] | None = None) -> dict[str, Tensor]:
        """The maps of a tile's core, from what is read of the picture for it; of all layers by default."""
        maps = self.vgg(part, layers or self.layers)
        return {layer: tile.kept(each, self.strides_px[layer]) for layer, each in maps.items()}

    def whole_maps(self, picture: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """The maps of a whole picture, put together from tiles."""
        parts = [(tile, self.of(tile.read(picture), tile, layers)) for tile in self.tiles]
        return {layer: _joined([(tile, maps[layer]) for tile, maps in parts]) for layer in layers}

    def places(self, layers: Sequence[str], masks: Sequence[Tensor | None]) -> list[Place]:
        """Each region at each layer, from masks of pictures (1, 1, H, W); without those that hardly have a pixel."""
        found = []
        for region, mask in enumerate(masks):
            for layer in layers:
                scaled = None if mask is None else mask_at(mask, self.strides_px[layer])
                if scaled is None or float(scaled.mean()) > LEAST_SHARE:
                    found.append(Place(region, layer, scaled))
        return found

    def gather(self, kind: type[StyleLoss], places: Sequence[Place], maps: Mapping[str, Tensor], tile: Tile) -> Sums:
        """The statistics of each place in the maps of a tile's core."""
        return [kind.gather(maps[each.layer], self._mask(each, maps[each.layer], tile)) for each in places]

    def _mask(self, place: Place, maps: Tensor, tile: Tile) -> Tensor | None:
        if place.mask is None:
            return None
        rows, columns = tile.place(self.strides_px[place.layer])
        return place.mask[..., rows, columns][..., : maps.shape[2], : maps.shape[3]]


def mask_at(mask: Tensor, stride_px: int) -> Tensor:
    """A soft mask of a picture (1, 1, H, W) at the size of maps: the mean over the pixels of each of their values.

    Sizes are rounded up; of networks that round them down, the last row and column have no counterpart.
    """
    return F.avg_pool2d(mask, stride_px, ceil_mode=True, count_include_pad=False)


def _joined(parts: Sequence[tuple[Tile, Tensor]]) -> Tensor:
    """Maps of cores, row by row of tiles."""
    rows: dict[tuple[int, int], list[Tensor]] = {}
    for tile, maps in parts:
        rows.setdefault(tile.rows.core, []).append(maps)
    return torch.cat([torch.cat(row, dim=3) for row in rows.values()], dim=2)
