"""How much memory an optimisation takes, before it starts; and the optimiser and tiles with which it fits."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

from ganstyle.base.errors import UserError
from ganstyle.base.tables import pick
from ganstyle.losses.content import CONTENT_LOSSES
from ganstyle.losses.style import STYLE_LOSSES
from ganstyle.painting.tiling import Tile, tiles_of

if TYPE_CHECKING:
    from ganstyle.networks.vgg import Vgg
    from ganstyle.painting.objective import Weights

IMAGE_BYTES = 3 * 4  # of a pixel
OBJECTIVE_IMAGES = 3  # the picture, its gradient, and a copy on the way
VARIATION_IMAGES = 4
# What is on its way back through the network at its widest place, and what convolutions put their input into: measured
# (0.9 kB a pixel at once with the light VGG-19, 3.4 kB with the full one), in maps of the first layer.
PASSING_MAPS = 4
# Of each value of maps that are sorted: the value, its place, the target's quantile and their differences.
SORTED_BYTES = 28
MATRIX_BYTES = 6 * 8  # of each element of a covariance: float64, and what its eigenvectors take
FIXED_BYTES = 16_000_000
USUAL_TILE_PX = 512
TILES_PX = (1024, 512, 256, 128)


class Choice(NamedTuple):
    """An optimiser's name, and the side of tiles; None for the whole picture at once."""

    optimiser: str
    tile_px: int | None


def optimiser_images(optimiser: str, history: int) -> int:
    """How many images of float32 an optimiser keeps: L-BFGS pairs of steps and gradients, Adam moments and a mean."""
    return {"lbfgs": 2 * history + 5, "adam": 4}[optimiser]


def needed_bytes(
    vgg: Vgg,
    height: int,
    width: int,
    *,
    weights: Weights,
    optimiser: str,
    history: int = 15,
    tile_px: int | None = None,
    regions: int = 0,
) -> int:
    """What one evaluation of an `Objective` and an optimiser's state take, in bytes, within about 30 %.

    Args:
        vgg: the features.
        height: of the picture.
        width: of the picture.
        weights: the losses and their layers.
        optimiser: "lbfgs" or "adam".
        history: of L-BFGS.
        tile_px: the side of tiles; whole by default.
        regions: how many there are.
    """
    layers = [layer for layer, _ in (*weights.style_layers, *weights.content_layers)]
    pixels = height * width
    read = max(
        _length(tile.rows.outer) * _length(tile.columns.outer) for tile in _tiles(vgg, layers, height, width, tile_px)
    )
    images = OBJECTIVE_IMAGES + optimiser_images(optimiser, history) + (VARIATION_IMAGES if weights.tv else 0)
    kept = IMAGE_BYTES * images + 2 * _content_bytes(vgg, weights) + 8 * regions
    matrices = sum(_channels(vgg, layer) ** 2 for layer, _ in weights.style_layers) * MATRIX_BYTES
    return round(read * _bytes_on_the_way(vgg, layers, weights) + pixels * kept + matrices + FIXED_BYTES)


def choose(
    vgg: Vgg,
    height: int,
    width: int,
    *,
    weights: Weights,
    free_bytes: int | None,
    optimiser: str = "lbfgs",
    history: int = 15,
    tile: str = "auto",
    tile_px: int | None = None,
    regions: int = 0,
) -> Choice:
    """The first of these that fits: whole, whole with Adam, tiles from large to small, tiles with Adam.

    Args:
        vgg: the features.
        height: of the picture.
        width: of the picture.
        weights: the losses and their layers; those whose statistics do not add up have no tiles.
        free_bytes: memory that can be taken; None, where the system does not say, is taken for enough.
        optimiser: the one that is wished for.
        history: of L-BFGS.
        tile: "auto", "none" (the whole at once), or "on" (tiles only).
        tile_px: the only side of tiles to try; several by default.
        regions: how many there are.

    Raises:
        UserError: none fits; it tells up to what size one does. Or tiles are asked for with losses that have none.
    """

    def needed(choice: Choice, rows: int, columns: int) -> int:
        return needed_bytes(vgg, rows, columns, weights=weights, history=history, regions=regions, **choice._asdict())

    choices = list(_choices(weights, optimiser=optimiser, tile=tile, tile_px=tile_px))
    fitting = (each for each in choices if free_bytes is None or needed(each, height, width) <= free_bytes)
    choice = next(fitting, None)
    if choice is not None:
        return choice
    assert free_bytes is not None
    least = min(needed(each, height, width) for each in choices)
    shorter = (
        longest
        for longest in range(max(height, width) // 16 * 16, vgg.minimum_px - 1, -16)
        if any(needed(each, *_resized(height, width, longest)) <= free_bytes for each in choices)
    )
    size = next(shorter, None)
    advice = f"use --size {size} or less" if size else "use a machine with more memory"
    advice += ", or --tile auto" if tile == "none" and _additive(weights) else ""
    raise UserError(
        f"{width}x{height} px need about {least / 1e9:.1f} GB, {free_bytes / 1e9:.1f} GB are free: {advice}"
    )


def _choices(weights: Weights, *, optimiser: str, tile: str, tile_px: int | None) -> Iterator[Choice]:
    optimisers = list(dict.fromkeys([optimiser, "adam"]))
    whole: list[int | None] = [None]
    # Tiles for want of memory are as large as it allows; tiles that are asked for are tiles.
    usual = [side for side in TILES_PX if tile != "on" or side <= USUAL_TILE_PX]
    tiles: list[int | None] = [tile_px] if tile_px else list(usual)
    tiles = tiles if _additive(weights) else []
    if tile == "on" and not tiles:
        raise UserError(
            f"tiles are asked for, and '{weights.style_loss}' or '{weights.content_loss}' has none: use --tile none"
        )
    modes = {"none": [whole], "on": [tiles], "auto": [whole, tiles]}
    for sides in pick(modes, "tile mode", tile):
        yield from (Choice(*each) for each in product(optimisers, sides))


def _additive(weights: Weights) -> bool:
    style = pick(STYLE_LOSSES, "style loss", weights.style_loss)
    return style.additive and pick(CONTENT_LOSSES, "content loss", weights.content_loss).additive


def _bytes_on_the_way(vgg: Vgg, layers: list[str], weights: Weights) -> float:
    """Of each pixel that is computed at once."""
    deepest = max(layers, key=vgg.layers.index)
    passing = PASSING_MAPS * 4 * _channels(vgg, vgg.layers[0])
    sorts = not STYLE_LOSSES[weights.style_loss].additive
    values = sum(_channels(vgg, layer) / vgg.stride_px(layer) ** 2 for layer, _ in weights.style_layers)
    return vgg.bytes_per_pixel(deepest) + passing + (SORTED_BYTES * values if sorts else 0)


def _content_bytes(vgg: Vgg, weights: Weights) -> float:
    """Of each pixel, the maps that hold the photo's content."""
    return sum(4 * _channels(vgg, layer) / vgg.stride_px(layer) ** 2 for layer, _ in weights.content_layers)


def _channels(vgg: Vgg, layer: str) -> int:
    return len(vgg.get_parameter(f"convolutions.{layer}.weight"))


def _tiles(vgg: Vgg, layers: list[str], height: int, width: int, tile_px: int | None) -> list[Tile]:
    return tiles_of(
        height,
        width,
        tile_px=tile_px,
        reach_px=max(vgg.reach_px(layer) for layer in layers),
        stride_px=max(vgg.stride_px(layer) for layer in layers),
    )


def _length(span_px: tuple[int, int]) -> int:
    return span_px[1] - span_px[0]


def _resized(height: int, width: int, longest: int) -> tuple[int, int]:
    scale = longest / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))
