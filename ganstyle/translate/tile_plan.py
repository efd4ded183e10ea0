"""Choosing how a picture is translated: whole, by exact tiles or by a thumbnail's statistics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from ganstyle.base.errors import UserError
from ganstyle.base.tables import pick
from ganstyle.translate.exact import exact_memory
from ganstyle.translate.thumbnail import thumbnail_memory
from ganstyle.translate.tiles import DEFAULT_THUMBNAIL_TILE_PX, DEFAULT_TILE_PX, SMALLEST_TILE_PX


@dataclass(frozen=True)
class Needs:
    """Bytes that each way of translating one picture takes; asked for only when the way before does not fit.

    Args:
        whole: on the device, for the whole picture at once.
        stores: in memory or on disk, for the maps that exact keeps.
        tile: on the device, for tiles of a side.
        thumbnail_tile: the same with what a thumbnail's tile carries around itself.
    """

    whole: int
    stores: Callable[[], int]
    tile: Callable[[int], int]
    thumbnail_tile: Callable[[int], int]


def needs_of(generator: nn.Module, *, height: int, width: int, whole: int) -> Needs:
    """What translating a picture of this size takes.

    Args:
        generator: its network; tiles raise a `UserError` for one that they do not know.
        height: of the picture.
        width: of the picture.
        whole: bytes for the whole picture at once.
    """
    return Needs(
        whole=whole,
        stores=lambda: exact_memory(generator, height, width, DEFAULT_TILE_PX).host,
        tile=lambda side_px: exact_memory(generator, 1, 1, side_px).device,
        thumbnail_tile=lambda side_px: thumbnail_memory(generator, side_px),
    )


@dataclass(frozen=True)
class Free:
    """Bytes that can be taken; None where the system does not say, which is taken for enough.

    Args:
        device: memory where it computes.
        host: memory of the machine; the same as `device` when `shared`.
        disk: in the folder for what does not fit the memory; 0 without such a folder.
        shared: computing and keeping take from one memory, as on a CPU.
    """

    device: int | None
    host: int | None
    disk: int | None
    shared: bool


@dataclass(frozen=True)
class Plan:
    """How one picture is translated: "whole", "exact" or "thumbnail", with tiles of a side; on disk or in memory."""

    way: str
    tile_px: int = 0
    on_disk: bool = False


def _fits(needed: int, free: int | None) -> bool:
    return free is None or needed <= free


def _tile_px(tile_px: int, needed: Callable[[int], int], free: int | None) -> int:
    """The side asked for, halved until it fits."""
    while not _fits(needed(tile_px), free) and tile_px // 2 >= SMALLEST_TILE_PX:
        tile_px //= 2
    return tile_px


def _exact_where_it_fits(tile_px: int | None, needs: Needs, free: Free) -> Plan | None:
    """Maps in memory where they fit beside a tile, else on disk; None when they fit neither."""
    side_px = _tile_px(tile_px or DEFAULT_TILE_PX, needs.tile, free.device)
    beside = needs.tile(side_px) if free.shared else 0
    if _fits(needs.stores() + beside, free.host):
        return Plan("exact", side_px)
    return Plan("exact", side_px, on_disk=True) if _fits(needs.stores(), free.disk) else None


def _none(tile_px: int | None, needs: Needs, free: Free) -> Plan:
    if _fits(needs.whole, free.device):
        return Plan("whole")
    raise UserError(
        f"the whole image needs about {_gigabytes(needs.whole)} at once, {_gigabytes(free.device)} are free: "
        "use --tile auto or a machine with more memory"
    )


def _exact(tile_px: int | None, needs: Needs, free: Free) -> Plan:
    plan = _exact_where_it_fits(tile_px, needs, free)
    if plan is not None:
        return plan
    raise UserError(
        f"exact tiles need about {_gigabytes(needs.stores())}, {_gigabytes(free.host)} of memory and "
        f"{_gigabytes(free.disk)} of disk are free: free some space or use --tile thumbnail"
    )


def _thumbnail(tile_px: int | None, needs: Needs, free: Free) -> Plan:
    return Plan("thumbnail", _tile_px(tile_px or DEFAULT_THUMBNAIL_TILE_PX, needs.thumbnail_tile, free.device))


def _auto(tile_px: int | None, needs: Needs, free: Free) -> Plan:
    if _fits(needs.whole, free.device):
        return Plan("whole")
    return plan_without_whole(tile_px, needs, free)


def plan_without_whole(tile_px: int | None, needs: Needs, free: Free) -> Plan:
    """What "auto" does with a picture that does not fit: exact where what it keeps fits, else thumbnail."""
    return _exact_where_it_fits(tile_px, needs, free) or _thumbnail(tile_px, needs, free)


MODES: dict[str, Callable[[int | None, Needs, Free], Plan]] = {
    "none": _none,
    "auto": _auto,
    "exact": _exact,
    "thumbnail": _thumbnail,
}


def plan_tiles(*, mode: str, tile_px: int | None, needs: Needs, free: Free) -> Plan:
    """Choose how a picture is translated.

    - "none": whole, refused when that does not fit.
    - "auto": whole if it fits; exact if what it keeps fits the memory or else the disk; thumbnail otherwise.
    - "exact", "thumbnail": that one.

    Tiles have the side that is given, or the way's default; they are made smaller where that does not fit.

    Raises:
        UserError: another mode, a tile smaller than `SMALLEST_TILE_PX`, or what was asked for does not fit.
    """
    return check_tiles(mode, tile_px)(tile_px, needs, free)


def check_tiles(mode: str, tile_px: int | None) -> Callable[[int | None, Needs, Free], Plan]:
    """How the mode plans; `UserError` for one that is unknown, or for tiles that are too small."""
    if tile_px is not None and tile_px < SMALLEST_TILE_PX:
        raise UserError(f"got tiles of {tile_px} px: give at least {SMALLEST_TILE_PX}")
    return pick(MODES, "tile mode", mode)


def _gigabytes(number: int | None) -> str:
    return "an unknown number" if number is None else f"{number / 1e9:.1f} GB"
