"""With which optimiser and in which tiles a picture is optimised, so that memory suffices; and what to try if not."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ganstyle.base.errors import UserError
from ganstyle.painting.footprint import USUAL_TILE_PX, choose
from ganstyle.painting.optimisers import HISTORY, Adam, Lbfgs
from ganstyle.painting.pyramid import Size
from ganstyle.painting.vgg_settings import VggSettings

if TYPE_CHECKING:
    from ganstyle.networks.vgg import Vgg
    from ganstyle.painting.objective import Weights

LEAST_TILE_PX = 128  # of a core; smaller ones are mostly overlap


class Plan(NamedTuple):
    """How one scale is optimised: the optimiser's name, and the side of tiles (None for the whole picture at once)."""

    optimiser: str
    tile_px: int | None


def first_plan(
    features: Vgg,
    size: Size,
    *,
    settings: VggSettings,
    weights: Weights,
    free_bytes: int | None,
    regions: int = 0,
) -> Plan:
    """What by estimate fits into memory, and is nearest to what the settings ask for; `UserError` if nothing does."""
    height, width = size
    chosen = choose(
        features,
        height,
        width,
        weights=weights,
        free_bytes=free_bytes,
        optimiser=settings.optimiser,
        history=HISTORY,
        tile=settings.tile,
        tile_px=settings.tile_px,
        regions=regions,
    )
    return Plan(*chosen)


def smaller_plan(plan: Plan, size: Size, settings: VggSettings) -> tuple[Plan, str]:
    """What needs less memory than a plan that did not suffice, and a few words for it.

    First Adam in place of L-BFGS, then tiles, then tiles of half the side.

    Raises:
        UserError: there is nothing smaller.
    """
    if plan.optimiser == Lbfgs.name:
        return plan._replace(optimiser=Adam.name), "Adam goes on in place of L-BFGS"
    tile_px = _smaller_tile(plan, size, settings)
    if (plan.tile_px is None and settings.tile == "none") or tile_px < LEAST_TILE_PX:
        raise UserError(f"out of memory at {size[1]}x{size[0]} px: {_advice(settings)}")
    return plan._replace(tile_px=tile_px), f"it goes on in tiles of {tile_px} px"


def _smaller_tile(plan: Plan, size: Size, settings: VggSettings) -> int:
    if plan.tile_px is not None:
        return plan.tile_px // 2
    tile_px = settings.tile_px or USUAL_TILE_PX
    while tile_px >= max(size):  # one tile would be the whole
        tile_px //= 2
    return tile_px


def _advice(settings: VggSettings) -> str:
    return "choose a smaller --size" + (" or --tile auto" if settings.tile == "none" else "")
