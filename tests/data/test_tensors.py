from __future__ import annotations

import numpy as np
import pytest
import torch

from ganstyle.data.tensors import scale, to_pixels, to_tensor

LEVELS = np.arange(256 * 3, dtype=np.int64).reshape(16, 16, 3).astype(np.uint8)


def test_every_level_follows_the_formula_and_comes_back() -> None:
    tensor = to_tensor(LEVELS)
    assert tensor.shape == (1, 3, 16, 16)
    assert tensor.dtype == torch.float32
    for row, column, channel in [(0, 0, 0), (3, 7, 1), (15, 15, 2), (8, 2, 0)]:
        level = int(LEVELS[row, column, channel])
        assert tensor[0, channel, row, column].item() == pytest.approx(level / 255 * 2 - 1, abs=1e-6)
    assert np.array_equal(to_pixels(tensor)[0], LEVELS)


def test_black_and_white_are_exact() -> None:
    ends = to_tensor(np.array([[[0, 255, 0]]], dtype=np.uint8))
    assert ends.flatten().tolist() == [-1.0, 1.0, -1.0]


def test_every_16_bit_level_follows_the_formula_and_comes_back() -> None:
    levels = np.arange(65536 * 3, dtype=np.int64).reshape(256, 256, 3).astype(np.uint16)
    tensor = to_tensor(levels)
    assert tensor.shape == (1, 3, 256, 256)
    assert tensor.dtype == torch.float32
    wide = levels.astype(np.float64) / 65535 * 2 - 1
    np.testing.assert_allclose(tensor[0].permute(1, 2, 0).numpy(), wide, rtol=0, atol=1e-6)
    assert tensor.min().item() == -1.0
    assert tensor.max().item() == 1.0
    back = to_pixels(tensor, np.uint16)
    assert back.dtype == np.uint16
    assert np.array_equal(back[0], levels)
    assert torch.equal(scale(torch.from_numpy(levels)[None]), tensor)


def test_8_bits_and_the_same_levels_as_16_meet() -> None:
    assert torch.allclose(to_tensor(LEVELS), to_tensor(LEVELS.astype(np.uint16) * 257), atol=2e-7)


def test_a_batch_keeps_its_order() -> None:
    batch = np.stack([LEVELS, LEVELS[::-1], LEVELS[:, ::-1]])
    tensor = to_tensor(batch)
    assert tensor.shape == (3, 3, 16, 16)
    for number in range(3):
        assert torch.equal(tensor[number], to_tensor(batch[number])[0])
    assert np.array_equal(to_pixels(tensor), batch)
    assert torch.equal(scale(torch.from_numpy(batch)), tensor)
    assert tensor.is_contiguous()
    assert scale(torch.from_numpy(batch)).is_contiguous(memory_format=torch.channels_last)


def test_what_lies_outside_is_clipped_and_the_rest_rounded() -> None:
    values = torch.tensor([-3.0, 3.0, 0.4 / 127.5 - 1, 0.6 / 127.5 - 1]).reshape(1, 1, 1, 4).expand(1, 3, 1, 4)
    assert to_pixels(values)[0, 0, :, 0].tolist() == [0, 255, 0, 1]
    assert to_pixels(values, np.uint16)[0, 0, :, 0].tolist() == [0, 65535, 103, 154]  # 0.4 and 0.6 of 257


def test_half_precision_and_gradients() -> None:
    images = to_tensor(LEVELS).bfloat16().requires_grad_()
    error = np.abs(to_pixels(images)[0].astype(int) - LEVELS)
    assert error.max() <= 1  # bfloat16 keeps 8 bits of each value
    assert to_pixels(images).dtype == np.uint8


def test_what_it_does_not_take() -> None:
    with pytest.raises(AssertionError):
        to_tensor(LEVELS.astype(np.float32))
    with pytest.raises(AssertionError):
        to_tensor(LEVELS.astype(np.int16))
    with pytest.raises(AssertionError):
        to_tensor(np.zeros((4, 4, 1), dtype=np.uint8))


def test_the_input_is_left_alone() -> None:
    frozen = LEVELS.copy()
    frozen.flags.writeable = False
    mirrored = frozen[:, ::-1]
    assert np.array_equal(to_pixels(to_tensor(mirrored))[0], mirrored)
    tensor = to_tensor(LEVELS)
    before = tensor.clone()
    to_pixels(tensor)
    assert torch.equal(tensor, before)
