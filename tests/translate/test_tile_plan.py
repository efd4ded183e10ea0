from __future__ import annotations

from dataclasses import replace

import pytest
from torch import nn

from ganstyle.base.errors import UserError
from ganstyle.networks.generators import ResNetGenerator
from ganstyle.translate.exact import exact_memory
from ganstyle.translate.thumbnail import thumbnail_memory
from ganstyle.translate.tile_plan import Free, Needs, Plan, needs_of, plan_tiles, plan_without_whole
from ganstyle.translate.tiles import DEFAULT_THUMBNAIL_TILE_PX, DEFAULT_TILE_PX

# A picture of 1000 whole; tiles take 1 for each 64 px of their side, twice that with their surroundings.
NEEDS = Needs(
    whole=1000, stores=lambda: 500, tile=lambda side_px: side_px // 64, thumbnail_tile=lambda side_px: side_px // 32
)
GPU = Free(device=100, host=10_000, disk=10_000, shared=False)
CPU = Free(device=600, host=600, disk=0, shared=True)


def plan(mode: str, free: Free, needs: Needs = NEEDS, tile_px: int | None = 512) -> Plan:
    return plan_tiles(mode=mode, tile_px=tile_px, needs=needs, free=free)


def test_auto_takes_the_whole_where_it_fits() -> None:
    assert plan("auto", replace(GPU, device=1000)) == Plan("whole")
    assert plan("auto", Free(None, None, None, shared=True)) == Plan("whole")


def test_auto_takes_exact_in_memory_then_on_disk_then_the_thumbnail() -> None:
    assert plan("auto", GPU) == Plan("exact", 512)
    assert plan("auto", replace(GPU, host=499)) == Plan("exact", 512, on_disk=True)
    assert plan("auto", replace(GPU, host=499, disk=499)) == Plan("thumbnail", 512)


def test_without_the_whole_auto_goes_on_as_it_would() -> None:
    assert plan_without_whole(512, NEEDS, replace(GPU, device=1000)) == Plan("exact", 512)
    assert plan_without_whole(None, NEEDS, Free(None, None, None, shared=True)) == Plan("exact", DEFAULT_TILE_PX)
    assert plan_without_whole(512, NEEDS, replace(GPU, host=499)) == Plan("exact", 512, on_disk=True)
    assert plan_without_whole(512, NEEDS, replace(GPU, host=499, disk=499)) == Plan("thumbnail", 512)


def test_one_memory_for_both_holds_the_tile_beside_the_maps() -> None:
    assert plan("auto", replace(CPU, device=508, host=508)) == Plan("exact", 512)
    assert plan("auto", replace(CPU, device=507, host=507)) == Plan("thumbnail", 512)
    assert plan("auto", replace(GPU, device=8, host=500)) == Plan("exact", 512)


def test_the_tile_is_made_smaller_until_it_fits() -> None:
    assert plan("exact", replace(GPU, device=3)) == Plan("exact", 128)
    assert plan("thumbnail", replace(GPU, device=3)) == Plan("thumbnail", 64)
    assert plan("thumbnail", replace(GPU, device=0)).tile_px == 32


def test_each_way_has_its_default() -> None:
    assert plan("exact", GPU, tile_px=None) == Plan("exact", DEFAULT_TILE_PX)
    assert plan("thumbnail", GPU, tile_px=None) == Plan("thumbnail", DEFAULT_THUMBNAIL_TILE_PX)
    assert plan("thumbnail", GPU, tile_px=100) == Plan("thumbnail", 100)


def test_none_is_refused_where_the_whole_does_not_fit() -> None:
    assert plan("none", replace(GPU, device=1000)) == Plan("whole")
    with pytest.raises(UserError, match=r"use --tile auto"):
        plan("none", GPU)


def test_exact_is_refused_where_its_maps_fit_nowhere() -> None:
    assert plan("exact", replace(GPU, device=2000)) == Plan("exact", 512)
    with pytest.raises(UserError, match=r"0.0 GB of memory and .* of disk are free: .* use --tile thumbnail"):
        plan("exact", replace(GPU, host=499, disk=499))


def test_wrong_arguments() -> None:
    with pytest.raises(UserError, match=r"unknown tile mode 'exakt': did you mean 'exact'"):
        plan("exakt", GPU)
    with pytest.raises(UserError, match=r"got tiles of 8 px: give at least 32"):
        plan("exact", GPU, tile_px=8)


def test_needs_of_a_network() -> None:
    network = ResNetGenerator(width=2, blocks=1).eval()
    needs = needs_of(network, height=40, width=60, whole=7)
    assert needs.whole == 7
    assert needs.stores() == exact_memory(network, 40, 60, 256).host == 6 * 40 * 60
    assert needs.tile(64) == exact_memory(network, 40, 60, 64).device
    assert needs.thumbnail_tile(64) == thumbnail_memory(network, 64) > needs.tile(64)


def test_a_network_that_tiles_do_not_know_is_translated_whole() -> None:
    needs = needs_of(nn.Identity(), height=40, width=60, whole=7)
    assert plan("auto", GPU, needs) == plan("none", GPU, needs) == Plan("whole")
    with pytest.raises(UserError, match=r"not those of this model \(Identity\): use --tile none"):
        plan("auto", replace(GPU, device=1), needs)
