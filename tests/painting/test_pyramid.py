from __future__ import annotations

import pytest
import torch

from ganstyle.painting.pyramid import ITERATIONS, pyramid, resized, resized_mask, style_size


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((384, 512), [(96, 128), (192, 256), (384, 512)]),
        ((700, 500), [(175, 125), (350, 250), (700, 500)]),
        ((100, 80), [(100, 80)]),
        ((150, 10), [(150, 10)]),
    ],
)
def test_sides_are_halved_down_to_about_128_px(size: tuple[int, int], expected: list[tuple[int, int]]) -> None:
    scales = pyramid(size, least_px=16)
    assert [scale.size for scale in scales] == expected
    assert scales[0].iterations == ITERATIONS[0]


def test_the_finest_scales_have_the_fewest_iterations() -> None:
    counts = [scale.iterations for scale in pyramid((2048, 2048), least_px=16)]
    assert len(counts) == 5
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == ITERATIONS[-1]


def test_oblong_pictures_have_no_scale_with_a_side_too_short() -> None:
    scales = pyramid((40, 2000), least_px=32)
    assert [scale.size for scale in scales] == [(40, 2000)]
    assert scales[0].iterations == ITERATIONS[0]  # all begin there
    assert [scale.size for scale in pyramid((100, 2000), least_px=32)] == [(50, 1000), (100, 2000)]


def test_as_many_scales_as_iterations() -> None:
    assert [tuple(scale) for scale in pyramid((64, 80), least_px=8, iterations=(9, 5))] == [
        ((32, 40), 9),
        ((64, 80), 5),
    ]
    assert [tuple(scale) for scale in pyramid((64, 80), least_px=40, iterations=(9, 5))] == [((64, 80), 9)]


def test_a_style_has_as_many_pixels_as_the_photo_and_is_never_enlarged() -> None:
    assert style_size((1000, 1000), (500, 500), style_scale=1, least_px=16) == (500, 500)
    assert style_size((1000, 1000), (500, 500), style_scale=0.5, least_px=16) == (250, 250)
    assert style_size((1000, 1000), (250, 1000), style_scale=1, least_px=16) == (500, 500)
    assert style_size((100, 50), (500, 500), style_scale=1, least_px=16) == (100, 50)
    assert style_size((10, 40), (500, 500), style_scale=1, least_px=16) == (16, 64)
    assert style_size((1000, 1000), (520, 500), style_scale=1, least_px=16) == (500, 500)  # as a photo like it


def test_resizing_averages_and_stays_in_range() -> None:
    stripes = torch.ones(1, 3, 32, 32)
    stripes[..., ::2] = -1
    small = resized(stripes, (8, 8))
    assert small[..., 2:-2, 2:-2].abs().max() < 0.05  # not aliased
    edge = torch.ones(1, 3, 8, 8)
    edge[..., :4] = -1
    large = resized(edge, (32, 32))
    assert large.min() == -1  # bicubic overshoots
    assert large.max() == 1
    assert resized(edge, (8, 8)) is edge
    mask = resized_mask(edge[:, :1].clamp(min=0), (5, 20))
    assert mask.shape == (1, 1, 5, 20)
    assert mask.min() >= 0
    assert mask.max() <= 1
