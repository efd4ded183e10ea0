"""Translating a picture tile by tile with the result of the whole picture.

An instance norm needs the mean and the variance of whole maps. So the generator is followed layer by layer: all that
lies between two norms is computed tile by tile, reading what surrounds a tile from the map before, and the norm's
statistics are gathered over all tiles; the next layers apply them as they read.

What is kept: the maps smaller than the picture, float32, in memory or on disk; with two halvings and a first width of
64 at most 192 bytes for each pixel at once (three deep maps of 64 in a residual block; or one of 128 after the first
halving and one of 64). The maps of the picture's own size, 256 bytes a pixel, are computed twice instead, once for
their statistics and once for what follows: the first layer again from the picture, the last enlargement again from
half the size, together 4 % of all multiplications (10 % with `upsample: resize`). With `upsample: antialiased` the
convolutions that double the channels before a blur halves the size are computed twice, too, and the first layer a
third time: 25 % in all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, Required, TypedDict, TypeGuard, Unpack, cast

import numpy as np
import torch
from torch import Tensor, nn

from ganstyle.base.errors import UserError
from ganstyle.data.tensors import scale, to_pixels
from ganstyle.networks.blocks import InstanceNorm, ResidualBlock
from ganstyle.networks.generators import ResNetGenerator
from ganstyle.translate.maps import Layered, Map, Picture, Size, Stored, Sum
from ganstyle.translate.moments import Moments, normalised
from ganstyle.translate.stages import branch, extended, follow
from ganstyle.translate.store import FLOAT_BYTES, Store, imagined, in_memory, on_disk
from ganstyle.translate.tiles import DEFAULT_TILE_PX, Box, Passes, Rehearsal, Tiling

# What computing a tile takes: some tiles at once (what is read, padded, convolved and normalised), and what the
# libraries hold on to, however small the tile. Measured on a CPU, rounded up.
TILES_AT_ONCE = 6
FIXED_BYTES = 128 * 2**20

Autocast = Callable[[], AbstractContextManager[object]]
Visit = Callable[[Box, Tensor], None]


@dataclass
class Exact:
    """Computes maps tile by tile, keeps those that are smaller than the picture, and gathers statistics.

    Args:
        picture: the size of the generator's input.
        passes: goes through the tiles.
        store: room for what is kept.
        device: where it computes.
        keeps_all: whether maps are kept that are worth computing twice, too.
    """

    picture: Size
    passes: Passes
    store: Store
    device: torch.device
    keeps_all: bool = False
    moments: list[Moments] = field(default_factory=list)
    _held: list[Stored] = field(default_factory=list)

    def normalise(self, norm: InstanceNorm, values: Map) -> Map:
        """Gather the statistics of a map in one pass, in which it is kept unless it is worth computing twice."""
        moments = Moments()
        self.moments.append(moments)
        is_small = values.size.box.area < self.picture.box.area
        if self.keeps_all or (is_small and not _adds_channels(values)):
            return normalised(self._keep(values, moments), moments, norm.eps)
        if is_small and _adds_channels(values):
            values = replace(values, source=self._keep(values.source))
        self.passes.run(values, values.size.box, lambda _, tile: moments.add(tile))
        return normalised(values, moments, norm.eps)

    def residual(self, block: ResidualBlock, values: Map) -> Map:
        """Keep the block's input until its convolutions' result is added to it."""
        source = values if isinstance(values, Stored) else self._keep(values)
        with self._holding(source):
            residual = branch(block, source, self)
        return self._keep(Sum(source, residual))

    def _keep(self, values: Map, moments: Moments | None = None) -> Stored:
        """Compute a whole map; what it was computed from is kept no longer, unless it is held."""
        channels, height, width = values.size
        kept = Stored(self.store.take(height, width, channels), self.device)

        def visit(box: Box, tile: Tensor) -> None:
            kept.write(box, tile)
            if moments is not None:
                moments.add(tile)

        self.passes.run(values, values.size.box, visit)
        for used in values.leaves.difference(self._held):
            self.store.give_back(used.values)
        return kept

    @contextmanager
    def _holding(self, source: Stored) -> Iterator[None]:
        """Within, a stored map is kept though others are computed from it; so is every map, as a block's are alike."""
        before = self.keeps_all
        self.keeps_all = True
        self._held.append(source)
        try:
            yield
        finally:
            self._held.pop()
            self.keeps_all = before


def _adds_channels(values: Map) -> TypeGuard[Layered]:
    """Whether a map is larger than what it is computed from, place by place: then that is kept instead."""
    if not isinstance(values, Layered) or values.size.box != values.source.size.box:
        return False
    return values.channels > values.source.size.channels


class ExactMemory(NamedTuple):
    """Bytes for exact tiles: of the maps that are kept, and of a tile where it computes."""

    host: int
    device: int


def require_known(generator: nn.Module) -> ResNetGenerator:
    """The generator, ready to translate; `UserError` for one whose layers cannot be followed."""
    if not isinstance(generator, ResNetGenerator):
        raise UserError(
            f"tiles follow the layers of a resnet generator, not those of this model ({type(generator).__name__}): "
            "use --tile none, with a smaller --size where memory is short"
        )
    assert not generator.training
    return generator


def first_width(generator: ResNetGenerator) -> int:
    """Channels of a generator's first layer."""
    return cast(nn.Conv2d, generator.stem[0]).out_channels


def picture_of_pixels(pixels: np.ndarray, generator: ResNetGenerator, device: torch.device) -> Picture:
    """The generator's input of uint8 or uint16 (H, W, 3); only what is read goes to the device."""

    def take(rows: Tensor, columns: Tensor) -> Tensor:
        return scale(torch.from_numpy(pixels[np.ix_(rows.numpy(), columns.numpy())])[None].to(device))

    return extended(pixels.shape[0], pixels.shape[1], generator, take)


def picture_of_images(images: Tensor, generator: ResNetGenerator, device: torch.device) -> Picture:
    """The generator's input of a tensor (1, 3, H, W) in [-1, 1], float32; only what is read goes to the device."""
    assert images.shape[:2] == (1, 3), images.shape

    def take(rows: Tensor, columns: Tensor) -> Tensor:
        return images[:, :, rows.to(images.device)][:, :, :, columns.to(images.device)].to(device)

    return extended(images.shape[2], images.shape[3], generator, take)


def rehearse(generator: ResNetGenerator, picture: Picture, whole: Box) -> tuple[Rehearsal, Store]:
    """All passes of exact tiles without computing: the work and the room they take."""
    passes, store = Rehearsal(), Store(imagined)
    result = follow(generator, picture, Exact(picture.size, passes, store, torch.device("cpu")))
    passes.run(result, whole, lambda *_: None)
    return passes, store


class TileOptions(TypedDict, total=False):
    """How exact tiles are computed.

    Attributes:
        device: where it computes.
        tile_px: the side of a tile; halved when the memory runs out.
        scratch: a folder for the maps; None keeps them in memory.
        autocast: makes the context of every layer's call.
        progress: called after every tile with the share of the work that is done.
    """

    device: Required[torch.device]
    tile_px: int
    scratch: Path | None
    autocast: Autocast
    progress: Callable[[float], None]


@torch.no_grad()
def run_exact(
    generator: nn.Module,
    picture: Picture,
    *,
    whole: Box,
    visit: Visit,
    device: torch.device,
    tile_px: int = DEFAULT_TILE_PX,
    scratch: Path | None = None,
    autocast: Autocast = nullcontext,
    progress: Callable[[float], None] = lambda _: None,
) -> list[Moments]:
    """Compute a part of the generator's output tile by tile; gives the statistics of its norms, in their order.

    Args:
        generator: in eval mode, on the device.
        picture: its input.
        whole: the part, which is the picture before it was extended.
        visit: called with every tile of it and its values.
        device: see `TileOptions`, as for all that follow.
        tile_px: a side.
        scratch: a folder or None.
        autocast: makes a context.
        progress: is told a share.
    """
    network = require_known(generator)
    total = rehearse(network, picture, whole)[0].work
    tiling = Tiling(tile_px=tile_px, channels=first_width(network), device=device, total=total, progress=progress)
    store = Store(in_memory if scratch is None else on_disk(scratch))
    exact = Exact(picture.size, tiling, store, device)
    with autocast():
        tiling.run(follow(network, picture, exact), whole, visit)
    return exact.moments


def translate_exact(generator: nn.Module, pixels: np.ndarray, **options: Unpack[TileOptions]) -> np.ndarray:
    """Translate uint8 or uint16 (H, W, 3) of any size as if whole, into the same dtype; see `TileOptions`.

    Only tiles become floating point, never the whole picture.

    Raises:
        UserError: an unknown network, no memory for the smallest tile, or no room in `scratch`.
    """
    picture = picture_of_pixels(pixels, require_known(generator), options["device"])
    result, whole = np.empty_like(pixels, order="C"), Box(0, pixels.shape[0], 0, pixels.shape[1])
    run_exact(generator, picture, whole=whole, visit=writing(result), **options)
    return result


def writing(result: np.ndarray) -> Visit:
    """Writes tiles in [-1, 1] into an array (H, W, 3), as levels of its dtype."""

    def visit(box: Box, tile: Tensor) -> None:
        result[box.top : box.bottom, box.left : box.right] = to_pixels(tile, result.dtype)[0]

    return visit


def exact_tensor(generator: nn.Module, images: Tensor, **options: Unpack[TileOptions]) -> Tensor:
    """Translate one image (1, 3, H, W) in [-1, 1] as if whole; float32, where the input is. See `translate_exact`."""
    picture = picture_of_images(images, require_known(generator), options["device"])
    result = torch.empty_like(images, dtype=torch.float32, memory_format=torch.contiguous_format)
    whole = Box(0, images.shape[2], 0, images.shape[3])

    def visit(box: Box, tile: Tensor) -> None:
        box.of(result).copy_(tile)

    run_exact(generator, picture, whole=whole, visit=visit, **options)
    return result


def exact_memory(generator: nn.Module, height: int, width: int, tile_px: int) -> ExactMemory:
    """What exact tiles take of the machine's memory (or of a disk) and of the device's, in bytes.

    The first is exact, found by going through the generator without computing; the second a rule measured on a CPU.
    """
    network = require_known(generator)
    picture = extended(height, width, network, lambda *_: torch.empty(0))
    store = rehearse(network, picture, picture.size.box)[1]
    return ExactMemory(host=store.peak_bytes, device=tile_memory(network, tile_px))


def tile_memory(generator: ResNetGenerator, side_px: int) -> int:
    """Bytes for computing one tile of a side where it is computed."""
    return TILES_AT_ONCE * side_px**2 * first_width(generator) * FLOAT_BYTES + FIXED_BYTES
