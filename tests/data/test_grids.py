from __future__ import annotations

import io

import numpy as np
from PIL import Image

from ganstyle.data.grids import GAP_PX, encode_grid


def flat(colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((24, 32, 3), colour, dtype=np.uint8)


def decoded(encoded: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(encoded)) as image:
        assert image.format == "JPEG"
        return np.asarray(image.convert("RGB")).astype(int)


def test_every_image_stands_in_its_place() -> None:
    colours = [[(200, 30, 30), (30, 200, 30), (30, 30, 200)], [(10, 10, 10), (120, 120, 120)]]
    grid = decoded(encode_grid([[flat(colour) for colour in row] for row in colours]))
    assert grid.shape == (2 * 24 + 3 * GAP_PX, 3 * 32 + 4 * GAP_PX, 3)
    for row, line in enumerate(colours):
        for column, colour in enumerate(line):
            top, left = GAP_PX + row * (24 + GAP_PX), GAP_PX + column * (32 + GAP_PX)
            inside = grid[top + 6 : top + 18, left + 6 : left + 26]
            assert np.abs(inside - colour).max() <= 6, (row, column)
    assert grid[-12:, -16:].min() > 245  # the place of the image that is not there
    assert grid[:2].min() > 230


def test_one_image() -> None:
    assert decoded(encode_grid([[flat((0, 0, 0))]])).shape == (24 + 2 * GAP_PX, 32 + 2 * GAP_PX, 3)


def test_a_higher_quality_is_larger() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert len(encode_grid([[noise]], quality=95)) > 1.5 * len(encode_grid([[noise]], quality=50))
