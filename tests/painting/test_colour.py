from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from ganstyle.data.blend import oklab
from ganstyle.data.tensors import to_pixels
from ganstyle.painting.colour import (
    COLOURS,
    KNEE,
    MOST_GAIN,
    match_colours,
    match_histogram,
    match_luminance,
    with_luminance,
    within_gamut,
)


def pastel(height: int = 30, width: int = 41, *, seed: int, mean: float = 0.0, spread: float = 0.05) -> Tensor:
    """Correlated colours that stay far from the ends of the gamut."""
    stream = torch.Generator().manual_seed(seed)
    mixing = torch.randn(3, 3, generator=stream) + 2 * torch.eye(3)
    colours = mixing @ torch.randn(3, height * width, generator=stream).clamp(-2, 2) * spread
    return (colours + mean * torch.tensor([[1.0], [-0.5], [0.3]])).view(1, 3, height, width)


def moments(picture: Tensor, weight: Tensor | None = None) -> tuple[np.ndarray, np.ndarray]:
    colours = picture.double().flatten(2)[0].numpy()
    shares = None if weight is None else weight.flatten().double().numpy()
    return np.average(colours, axis=1, weights=shares), np.cov(colours, ddof=0, aweights=shares)


def test_matched_colours_have_the_mean_and_covariance_of_the_reference() -> None:
    picture, reference = pastel(seed=0), pastel(20, 33, seed=1, mean=0.2)
    assert not np.allclose(moments(picture)[1], moments(reference)[1], rtol=0.1)
    found = match_colours(picture, reference)
    for one, other in zip(moments(found), moments(reference), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_the_map_is_the_symmetric_one_that_moves_colours_least() -> None:
    picture, reference = pastel(seed=0), pastel(seed=1, mean=0.2)
    found = match_colours(picture, reference)
    before, after = (each.double().flatten(2)[0].numpy() for each in (picture, found))
    centred = [each - each.mean(axis=1, keepdims=True) for each in (before, after)]
    gain = np.linalg.lstsq(centred[0].T, centred[1].T, rcond=None)[0].T
    np.testing.assert_allclose(gain, gain.T, atol=1e-4)
    assert np.linalg.eigvalsh(gain).min() > 0
    # Cholesky's map has the same covariance, and moves colours further.
    other = np.linalg.cholesky(moments(reference)[1]) @ np.linalg.inv(np.linalg.cholesky(moments(picture)[1]))
    assert ((gain @ centred[0] - centred[0]) ** 2).sum() < ((other @ centred[0] - centred[0]) ** 2).sum()


def test_weights_choose_the_colours_that_are_matched() -> None:
    picture, reference = pastel(seed=0), pastel(seed=1, mean=0.2)
    weight = torch.zeros(1, 1, 30, 41)
    weight[..., :20] = 1
    other = torch.rand(1, 1, 30, 41, generator=torch.Generator().manual_seed(2))
    found = match_colours(picture, reference, weight=weight, reference_weight=other)
    for one, two in zip(moments(found, weight), moments(reference, other), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)
    whole = match_colours(picture, reference)
    assert (found - whole).abs().max() > 0.005


def test_matching_a_picture_with_itself_changes_nothing() -> None:
    picture = pastel(seed=0)
    torch.testing.assert_close(match_colours(picture, picture), picture, atol=1e-5, rtol=0)
    torch.testing.assert_close(match_histogram(picture, picture), picture, atol=1e-3, rtol=0)


def test_a_faint_picture_is_not_stretched_without_limit() -> None:
    faint, strong = pastel(seed=0, spread=0.004), pastel(seed=1)
    gain = np.linalg.eigvalsh(moments(match_colours(faint, strong))[1])[-1] / np.linalg.eigvalsh(moments(faint)[1])[-1]
    assert gain <= MOST_GAIN**2 * 1.001


def test_the_histogram_has_the_quantiles_of_the_reference_along_its_axes() -> None:
    picture = pastel(60, 61, seed=0)
    reference = pastel(50, 59, seed=1, mean=0.2).sign() * pastel(50, 59, seed=1, mean=0.2).square() * 2 + 0.1
    axes = np.linalg.eigh(moments(reference)[1])[1].T
    found, wanted = (
        axes @ each.double().flatten(2)[0].numpy() for each in (match_histogram(picture, reference), reference)
    )
    places = np.linspace(0.01, 0.99, 41)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(np.quantile(one, places), np.quantile(other, places), atol=0.02 * np.ptp(other))
    linear = axes @ match_colours(picture, reference).double().flatten(2)[0].numpy()
    off = [np.abs(np.quantile(a[-1], places) - np.quantile(wanted[-1], places)).max() for a in (found, linear)]
    assert off[0] < off[1] / 3


def test_equal_colours_stay_equal() -> None:
    picture = pastel(20, 20, seed=0)
    picture[..., 5:] = picture[..., 5:6, 5:6]
    found = match_histogram(picture, pastel(seed=1))
    assert (found[..., 5:] == found[..., 5:6, 5:6]).all()


@pytest.mark.parametrize("match", [match_colours, match_histogram, match_luminance])
@pytest.mark.parametrize("flat", ["picture", "reference", "both", "grey", "single"])
def test_flat_and_grey_pictures_give_numbers(match: Callable[[Tensor, Tensor], Tensor], flat: str) -> None:
    pictures = {"picture": pastel(seed=0), "reference": pastel(seed=1, mean=0.2)}
    for name in pictures:
        if flat in (name, "both"):
            pictures[name] = torch.full((1, 3, 9, 8), 0.25)
    if flat == "grey":
        pictures = {name: each.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1) for name, each in pictures.items()}
    if flat == "single":
        pictures["picture"] = pictures["picture"][..., :1, :1]
    found = match(pictures["picture"], pictures["reference"])
    assert found.isfinite().all()
    assert found.shape == pictures["picture"].shape
    assert found.abs().max() <= 1
    if flat == "grey":
        assert (found.amax(dim=1) - found.amin(dim=1)).max() < 0.02


def test_the_gamut_is_kept_in_order_and_within_bounds() -> None:
    values = torch.linspace(-3, 1.6, 500).expand(1, 3, 20, -1).clone()
    values[:, 1] = values[:, 1].clamp(-0.9, 1)  # lies inside: nothing changes
    found = within_gamut(values)
    assert torch.equal(found[:, 1], values[:, 1])
    assert found.abs().max() <= 1
    assert (found[0, 0, 0].diff() > 0).all()
    assert found[0, 0, 0, 0] == -1
    assert found[0, 0, 0, -1] == pytest.approx(1, abs=1e-6)
    inner = values[0, 0].abs() <= 1 - KNEE
    assert torch.equal(found[0, 0][inner], values[0, 0][inner])
    assert ((found - values).abs() <= (values.abs() - 1).clamp(min=0) + KNEE).all()


def test_extreme_matches_stay_in_the_gamut() -> None:
    picture = torch.rand(1, 3, 20, 20, generator=torch.Generator().manual_seed(0)) * 2 - 1
    bright = 1 - torch.rand(1, 3, 20, 20, generator=torch.Generator().manual_seed(1)) ** 3
    for match in (match_colours, match_histogram):
        found = match(picture, bright)
        assert found.abs().max() <= 1
        assert (found.mean(dim=(2, 3)) - bright.mean(dim=(2, 3))).abs().max() < 0.1


def lab(picture: Tensor) -> np.ndarray:
    return oklab(to_pixels(picture, np.uint16)[0])


def test_luminance_of_one_and_hue_of_the_other() -> None:
    photo, result = pastel(seed=0, mean=0.3), pastel(seed=1, mean=-0.2)
    found = lab(with_luminance(photo, result))
    np.testing.assert_allclose(found[..., 0], lab(result)[..., 0], atol=2e-3)
    coloured = np.hypot(lab(photo)[..., 1], lab(photo)[..., 2]) > 0.01
    hue, wanted = (np.arctan2(each[..., 2], each[..., 1])[coloured] for each in (found, lab(photo)))
    assert coloured.mean() > 0.5
    assert np.abs((hue - wanted + np.pi) % (2 * np.pi) - np.pi).max() < 0.03


def test_matched_luminance_is_grey_with_the_photos_mean_and_deviation() -> None:
    photo, style = pastel(seed=0, mean=0.3), pastel(seed=1, mean=-0.2)
    found = match_luminance(style, photo)
    assert torch.equal(found[:, 0], found[:, 1])
    assert torch.equal(found[:, 0], found[:, 2])
    lightness, wanted = lab(found)[..., 0], lab(photo)[..., 0]
    assert lightness.mean() == pytest.approx(wanted.mean(), abs=1e-3)
    assert lightness.std() == pytest.approx(wanted.std(), rel=1e-2)


def test_each_treatment_takes_pictures_of_two_sizes_and_gives_the_result_its_colours() -> None:
    photo, style, result = pastel(seed=0, mean=0.3), pastel(20, 25, seed=1), pastel(seed=2)
    assert set(COLOURS) == {"style", "luminance", "match", "histogram"}
    for before, after in COLOURS.values():
        assert before(style, photo).shape == style.shape
        assert after(photo, result).shape == result.shape
    assert COLOURS["style"].before(style, photo) is style
    assert COLOURS["match"].after(photo, result) is result
    assert torch.equal(COLOURS["luminance"].after(photo, result), with_luminance(photo, result))
