from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganstyle.data.pixels import Unreadable, compose, from_pil, resize, to_levels, to_pil, turn

NOISE = np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)


def test_there_and_back() -> None:
    back = from_pil(to_pil(NOISE))
    assert (back == NOISE).all()
    back[:] = 0  # its own memory
    assert to_pil(NOISE[:, ::-1]).getpixel((0, 0)) == tuple(NOISE[0, -1])


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("1", 1, (255, 255, 255)),
        ("L", 7, (7, 7, 7)),
        ("LA", (7, 0), (0, 255, 0)),
        ("La", (7, 0), (0, 255, 0)),
        ("P", 3, (3, 3, 3)),
        ("RGBA", (1, 2, 3, 255), (1, 2, 3)),
        ("RGBa", (1, 2, 3, 0), (0, 255, 0)),
        ("RGBX", (1, 2, 3, 0), (1, 2, 3)),
        ("CMYK", (0, 255, 255, 0), (255, 0, 0)),
        ("YCbCr", (255, 128, 128), (255, 255, 255)),
        ("HSV", (0, 255, 255), (255, 0, 0)),
        ("LAB", (255, 0, 0), (255, 255, 255)),
        ("I;16", 32768, (128, 128, 128)),
        ("I", 65535, (255, 255, 255)),
        ("F", 0.5, (128, 128, 128)),
    ],
)
def test_every_mode(mode: str, value: Any, expected: tuple[int, int, int]) -> None:
    if mode == "LAB":
        image = Image.frombytes("LAB", (3, 2), bytes(value) * 6)
    elif mode == "P":
        image = Image.new("P", (3, 2), value)
        image.putpalette([level for level in range(256) for _ in range(3)])
    else:
        image = Image.new(mode, (3, 2), value)
    pixels = from_pil(image, (0, 255, 0))
    assert pixels.shape == (2, 3, 3)
    assert np.abs(pixels.astype(int) - expected).max() <= 1


def test_orientation_of_an_image_in_memory() -> None:
    image = to_pil(NOISE)
    image.getexif()[0x0112] = 6
    assert (from_pil(image) == np.rot90(NOISE, -1)).all()


def test_turns_undo_what_the_standard_says() -> None:
    # Where row 0 and column 0 of the stored image are to be seen, by the EXIF standard: what upright shows there.
    assert (turn(NOISE, 1) == NOISE).all()
    assert (turn(NOISE, 2) == np.fliplr(NOISE)).all()
    assert (turn(NOISE, 3) == np.rot90(NOISE, 2)).all()
    assert (turn(NOISE, 4) == np.flipud(NOISE)).all()
    assert (turn(NOISE, 5) == NOISE.transpose(1, 0, 2)).all()
    assert (turn(NOISE, 6) == np.rot90(NOISE, -1)).all()
    assert (turn(NOISE, 7) == np.rot90(NOISE, 2).transpose(1, 0, 2)).all()
    assert (turn(NOISE, 8) == np.rot90(NOISE, 1)).all()
    assert (turn(NOISE, 99) == NOISE).all()


def test_compose_by_the_slow_way() -> None:
    random = np.random.default_rng(1)
    alpha = random.integers(0, 256, NOISE.shape[:2], dtype=np.uint8)
    got = compose(NOISE, alpha, (10, 200, 255))
    for row in range(NOISE.shape[0]):
        for column in range(NOISE.shape[1]):
            share = alpha[row, column] / 255
            expected = NOISE[row, column] * share + np.array([10, 200, 255]) * (1 - share)
            assert np.abs(got[row, column] - expected).max() <= 0.5 + 1e-9


def test_levels_are_rounded_at_every_value() -> None:
    values = np.arange(65536)
    assert (to_levels(values, 65535) == np.rint(values / 257)).all()
    assert (to_levels(np.arange(4096), 4095) == np.rint(np.arange(4096) * 255 / 4095)).all()
    with pytest.raises(Unreadable, match="integer values from -1 to 3: only 0 to 255 can be read"):
        to_levels(np.array([-1, 3]), 255)


def cubic(x: float) -> float:
    """Keys' kernel with a = -0.5."""
    x = abs(x)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0


def resized_slowly(line: np.ndarray, length: int) -> np.ndarray:
    scale = len(line) / length
    support = max(scale, 1)
    out = np.zeros(length)
    for index in range(length):
        weights = np.array([cubic((place + 0.5 - (index + 0.5) * scale) / support) for place in range(len(line))])
        out[index] = (weights * line).sum() / weights.sum()
    return np.clip(out, 0, 255)


@pytest.mark.parametrize("length", [5, 13, 31])
def test_resize_is_antialiased_bicubic(length: int) -> None:
    line = NOISE[0, :, 0]
    pixels = np.broadcast_to(line[None, :, None], (4, 13, 3)).astype(np.uint8)
    got = resize(pixels, (4, length))
    assert got.shape == (4, length, 3)
    assert got.dtype == np.uint8
    assert np.abs(got[2, :, 1] - resized_slowly(line, length)).max() <= 1
    turned = resize(np.ascontiguousarray(pixels.swapaxes(0, 1)), (length, 4))
    assert (turned == got.swapaxes(0, 1)).all()


def test_resize_gives_its_own_memory() -> None:
    same = resize(NOISE, (9, 13))
    same[:] = 0
    assert NOISE.any()


def test_unknown_arrays_are_our_own_mistake() -> None:
    for wrong in (NOISE.astype(np.float32), NOISE[..., 0], NOISE[..., :2]):
        with pytest.raises(AssertionError):
            to_pil(wrong)
