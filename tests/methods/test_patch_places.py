from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from ganstyle.base.draws import Draws
from ganstyle.methods.patch_places import draw_flips, draw_places, mirrored

SIZES = {"image": (10, 12), "block_1": (2, 3)}


@dataclass(frozen=True)
class Batch:
    a: Tensor
    b: Tensor
    draws: Draws
    first_sample: int
    first_slot: int = 0


def batch(first_sample: int = 0, count: int = 4, step: int = 0, seed: int = 1) -> Batch:
    images = torch.zeros(count, 3, 10, 12)
    return Batch(images, images, Draws(seed, step), first_sample)


def drawn(shown: Batch, purpose: str = "patches of a", count: int = 20) -> dict[str, Tensor]:
    features = {layer: torch.zeros(len(shown.a), 2, *size) for layer, size in SIZES.items()}
    return draw_places(features, shown, purpose=purpose, count=count)


def test_no_place_twice_all_within_the_map_and_no_more_than_it_has() -> None:
    found = drawn(batch())
    assert {layer: places.shape for layer, places in found.items()} == {"image": (4, 20), "block_1": (4, 6)}
    for layer, (height, width) in SIZES.items():
        assert found[layer].dtype == torch.int64
        for places in found[layer].tolist():
            assert len(set(places)) == len(places)
            assert 0 <= min(places) <= max(places) < height * width
    assert all(set(places) == set(range(6)) for places in found["block_1"].tolist())


def test_every_place_is_as_likely() -> None:
    counts = np.zeros(120)
    for step in range(300):
        np.add.at(counts, drawn(batch(step=step))["image"].numpy().ravel(), 1)
    expected = 300 * 4 * 20 / 120
    # A count is binomial: a deviation of about 13 around 200.
    assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)


def test_places_differ_by_image_layer_purpose_step_and_seed() -> None:
    places = drawn(batch())["image"]
    assert len({tuple(each) for each in places.tolist()}) == 4
    for other in (drawn(batch(step=1)), drawn(batch(seed=2)), drawn(batch(), "patches of b")):
        assert not torch.equal(places, other["image"])
    same_size = {layer: torch.zeros(4, 2, 10, 12) for layer in ("image", "down_1")}
    both = draw_places(same_size, batch(), purpose="patches of a", count=20)
    assert not torch.equal(both["image"], both["down_1"])


def test_places_are_the_samples_however_they_are_spread() -> None:
    """Over ranks, over parts of a batch, and in another order of layers."""
    whole = drawn(batch(first_sample=8))
    halves = [drawn(batch(first_sample=first, count=2)) for first in (8, 10)]
    for layer, places in whole.items():
        assert torch.equal(places, torch.cat([half[layer] for half in halves]))
    assert torch.equal(drawn(batch(first_sample=8))["image"], whole["image"])


def test_flips_are_the_samples_and_fair() -> None:
    whole = draw_flips(batch(count=400), "flip_equivariance")
    assert whole.dtype == torch.bool
    assert 160 < int(whole.sum()) < 240
    parts = [draw_flips(batch(first_sample=first, count=200), "flip_equivariance") for first in (0, 200)]
    assert torch.equal(whole, torch.cat(parts))
    assert not torch.equal(whole, draw_flips(batch(count=400, step=1), "flip_equivariance"))


@pytest.mark.parametrize(("height", "width"), [(3, 4), (2, 5), (4, 1)])
def test_mirrored_places_take_what_mirroring_the_map_back_would(height: int, width: int) -> None:
    maps = torch.arange(2 * height * width).view(2, height, width)
    places = torch.arange(height * width).expand(2, -1)
    flipped = torch.tensor([True, False])
    expected = torch.stack([maps[0].flip(1).flatten(), maps[1].flatten()])
    assert torch.equal(maps.flatten(1).gather(1, mirrored(places, width, flipped)), expected)
