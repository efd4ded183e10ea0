from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ganstyle.networks.blocks import ResidualBlock
from ganstyle.networks.dropout import SampleDropout
from ganstyle.networks.generators import ResNetGenerator
from ganstyle.networks.keyed import FIRST_FACTOR, SECOND_FACTOR, keyed_layers, mix, random_bits, set_keys
from ganstyle.networks.patch_discriminator import PatchDiscriminator

KEYS = torch.tensor([5_000_000_000_000_000_001, 17, 2**63 - 2, 17 * 2**32])


def slow_mix(value: int) -> int:
    """In Python's own integers, cut to 32 bits."""
    for shift, factor in ((16, FIRST_FACTOR), (15, SECOND_FACTOR)):
        value = (value ^ value >> shift) * factor % 2**32
    return value ^ value >> 15


def slow_bits(key: int, run: int, place: int, element: int) -> int:
    low, high, layer = key % 2**32, key >> 32, slow_mix(place + 1)
    first = slow_mix((slow_mix(slow_mix(low ^ layer) ^ high) + run) % 2**32)
    second = slow_mix((slow_mix(slow_mix(high ^ layer) ^ low) + run) % 2**32)
    value = element ^ first
    value = (value ^ value >> 16) * FIRST_FACTOR % 2**32 ^ second
    return (value ^ value >> 15) * SECOND_FACTOR % 2**32


def masks(shape: tuple[int, ...], *, p: float = 0.5, keys: Tensor = KEYS, place: int = 0) -> Tensor:
    """1 where an element is kept."""
    layer = SampleDropout(p).train()
    layer.keys, layer.place = keys, place
    return (layer(torch.ones(shape)) != 0).double()


def test_bits_against_integers_of_python() -> None:
    shape, place = (8, 2, 3, 5), 3
    bits = random_bits(KEYS, shape, place)
    for row, channel, y, x in np.ndindex(shape):
        sample, run, element = row % 4, row // 4, channel * 15 + y * 5 + x
        assert bits[row, channel, y, x] == slow_bits(int(KEYS[sample]), run, place, element)


def test_mixing_loses_nothing() -> None:
    values = torch.arange(2**20) * 4093 % 2**32
    mixed = mix(values)
    assert len(mixed.unique()) == len(values.unique()) == 2**20
    assert mixed.min() >= 0 and mixed.max() < 2**32  # noqa: PT018


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_every_row_keeps_its_share_and_the_rest_makes_up_for_it(p: float) -> None:
    layer = SampleDropout(p).train()
    set_keys([layer], KEYS)
    images = torch.rand(4, 16, 32, 32) + 1
    dropped = layer(images)
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], images[kept] / (1 - p))
    # Five deviations of a share of 16,384 independent draws.
    assert (kept.double().mean(dim=(1, 2, 3)) - (1 - p)).abs().max() < 5 * (p * (1 - p) / 16384) ** 0.5


def correlation(one: Tensor, other: Tensor) -> float:
    return float(((2 * one - 1) * (2 * other - 1)).mean())


def test_masks_of_rows_layers_channels_and_neighbours_are_independent() -> None:
    """Of 65,536 pairs of fair coins the correlation deviates by 1/256."""
    near = torch.arange(4) + 1000  # keys that differ in a bit or two
    far = near + 2**32
    rows = [*masks((8, 16, 64, 64), keys=near), *masks((4, 16, 64, 64), keys=far)]
    rows += [*masks((4, 16, 64, 64), keys=near, place=1)]
    found = [correlation(one, other) for one, other in combinations(rows, 2)]
    row = rows[0]
    found += [correlation(row[:, dy:, dx:], row[:, : 64 - dy, : 64 - dx]) for dy in range(4) for dx in range(1, 5)]
    found += [correlation(row[gap:], row[: 16 - gap]) for gap in (1, 2, 4, 8)]
    assert len(found) > 100
    assert max(map(abs, found)) < 6 / 256


def test_every_place_is_dropped_alike_over_the_samples() -> None:
    kept = masks((1024, 2, 4, 4), keys=torch.arange(1024) * 2**20).mean(dim=0)
    assert (kept - 0.5).abs().max() < 5 / 64
    # As many different shares as chance gives, not the same one everywhere.
    assert kept.std() == pytest.approx(0.5 / 32, rel=0.5)


def test_bits_are_unbiased() -> None:
    bits = random_bits(torch.arange(8), (8, 8, 32, 32), 0)
    ones = torch.stack([(bits >> bit & 1).double().mean() for bit in range(16, 32)])
    assert (ones - 0.5).abs().max() < 5 * 0.5 / 256


def test_merged_passes_keep_each_samples_mask() -> None:
    alone = masks((4, 3, 8, 8))
    together = masks((8, 3, 8, 8))
    assert torch.equal(together[:4], alone)
    assert not torch.equal(together[4:], alone)


def test_samples_spread_over_ranks_and_parts_keep_their_masks() -> None:
    whole = masks((8, 3, 8, 8))
    for start in range(4):
        part = masks((2, 3, 8, 8), keys=KEYS[start : start + 1])
        assert torch.equal(part[0], whole[start])
        assert torch.equal(part[1], whole[start + 4])


def test_rows_that_are_no_multiple_of_the_samples_are_ours_to_find() -> None:
    with pytest.raises(AssertionError, match="3 rows of 4 samples"):
        masks((3, 1, 2, 2))


def test_channels_last_has_the_same_mask() -> None:
    layer = SampleDropout(0.5).train()
    set_keys([layer], KEYS)
    images = torch.rand(4, 3, 8, 8)
    result = layer(images.contiguous(memory_format=torch.channels_last))
    assert torch.equal(result, layer(images))
    assert result.is_contiguous(memory_format=torch.channels_last)


def test_keeps_dtype_and_lets_gradients_through() -> None:
    layer = SampleDropout(0.25).train()
    set_keys([layer], KEYS[:1])
    images = torch.rand(1, 2, 8, 8, dtype=torch.bfloat16, requires_grad=True)
    result = layer(images)
    result.float().sum().backward()
    assert result.dtype == torch.bfloat16
    assert images.grad is not None
    assert torch.equal(images.grad != 0, result != 0)


def test_without_keys_it_is_torchs_own() -> None:
    images = torch.rand(2, 3, 8, 8)
    torch.manual_seed(3)
    result = SampleDropout(0.3).train()(images)
    torch.manual_seed(3)
    assert torch.equal(result, nn.functional.dropout(images, 0.3))


def test_eval_mode_and_no_dropout_change_nothing() -> None:
    images = torch.rand(1, 3, 8, 8)
    for layer in (SampleDropout(0.5).eval(), SampleDropout(0.0).train()):
        layer.keys = KEYS[:1]
        assert torch.equal(layer(images), images)


def test_layers_that_drop_are_found_in_every_network() -> None:
    networks: list[nn.Module] = [
        ResNetGenerator(width=2, blocks=3, halvings=0, dropout=0.5),
        PatchDiscriminator(width=2, layers=1),
        ResNetGenerator(width=2, blocks=1, halvings=0, dropout=0.5),
        ResNetGenerator(width=2, blocks=2, halvings=0),
    ]
    layers = keyed_layers(networks)
    assert len(layers) == 4
    set_keys(layers, KEYS)
    images = torch.ones(4, 2, 4, 4)
    assert len({tuple(layer(images).flatten().tolist()) for layer in layers}) == 4


def test_keys_stay_at_one_address_and_out_of_the_state() -> None:
    block = ResidualBlock(2, "instance", 0.5)
    layers = keyed_layers([block])
    given = KEYS.clone()
    set_keys(layers, given)
    held = layers[0].keys
    assert held is not None
    address = held.data_ptr()
    given.zero_()
    assert torch.equal(held, KEYS)
    set_keys(layers, KEYS.flip(0))
    assert held.data_ptr() == address
    assert torch.equal(held, KEYS.flip(0))
    set_keys(layers, KEYS[:2])  # a smaller last batch
    assert layers[0].keys is not None
    assert torch.equal(layers[0].keys, KEYS[:2])
    assert not [name for name in block.state_dict() if "dropout" in name]
    assert not list(block.buffers())


def test_no_layers_take_no_keys() -> None:
    set_keys([], KEYS)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_compiled_masks_are_the_same_bit_for_bit() -> None:
    layer = SampleDropout(0.3).train()
    set_keys([layer], KEYS)
    images = torch.rand(8, 5, 17, 19) + 1
    compiled = torch.compile(layer, dynamic=False, fullgraph=True)
    assert torch.equal(compiled(images) != 0, layer(images) != 0)
    with torch.compiler.set_stance("fail_on_recompile"):
        set_keys([layer], KEYS.flip(0))
        assert torch.equal(compiled(images) != 0, layer(images) != 0)
