from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch

from ganstyle.base.draws import Draws
from ganstyle.base.errors import UserError
from ganstyle.data.blend import oklab
from ganstyle.evaluate.pair import (
    HELD_OUT_LAYERS,
    MEANINGS,
    ColourDistance,
    HeldOutDistance,
    PairJudge,
    TextureDistance,
    at_one_size,
    baselines,
)
from ganstyle.networks.features import RandomFeatures
from ganstyle.networks.vgg import LIGHT, STYLE_LAYERS, Vgg
from tests.networks.foreign_weights import light_weights

CPU = torch.device("cpu")


def painted(height: int = 64, width: int = 80, purpose: str = "picture", *, soft_px: float = 1.5) -> np.ndarray:
    noise = Draws(seed=7).stream(purpose).standard_normal((height, width, 3))
    soft = cv2.GaussianBlur(noise, (0, 0), soft_px)
    return np.clip(127 + 60 * soft / soft.std(), 0, 255).astype(np.uint8)


def style() -> np.ndarray:
    """Finer strokes than the photos', and warmer."""
    return np.clip(painted(72, 64, "style", soft_px=0.8) * [1, 0.7, 0.4], 0, 255).astype(np.uint8)


def tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1


def slow_relative(rows: np.ndarray, reference: np.ndarray) -> float:
    one, other = np.cov(rows, rowvar=False), np.cov(reference, rowvar=False)
    values, vectors = np.linalg.eigh(other)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    inner = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ one @ root), 0)).sum()
    shift = rows.mean(axis=0) - reference.mean(axis=0)
    squared = shift @ shift + np.trace(one) + np.trace(other) - 2 * inner
    return math.sqrt(squared / np.mean((reference**2).sum(axis=1)))


def test_held_out_layers_are_none_of_those_that_style_transfer_compares() -> None:
    assert not set(HELD_OUT_LAYERS) & {*STYLE_LAYERS, "relu4_2"}


def test_the_style_distance_is_the_mean_over_held_out_layers_and_scales() -> None:
    vgg, answer, picture = Vgg(LIGHT, light_weights()), painted(140, 130), style()
    expected = []
    for scale in (1, 2):  # four times smaller, the picture of 72 x 64 px has less than 32 px a side
        images = [tensor(each) for each in (answer, picture)]
        if scale == 2:
            images = [
                each[..., ::2, ::2] / 4
                + each[..., 1::2, ::2] / 4
                + each[..., ::2, 1::2] / 4
                + each[..., 1::2, 1::2] / 4
                for each in images
            ]
        for layer in HELD_OUT_LAYERS:
            rows = [vgg(each, [layer])[layer][0].flatten(1).T.double().numpy() for each in images]
            expected.append(slow_relative(*rows))
    found = HeldOutDistance(picture, vgg=vgg, device=CPU)(answer)
    assert found["style_distance"] == pytest.approx(np.mean(expected), rel=1e-3)
    assert 0 < found["style_sliced"] < 2 * found["style_distance"]


def test_the_texture_distance_equals_its_formula() -> None:
    answer, picture = painted(), style()
    ours, theirs = (RandomFeatures()(tensor(each))[0].double().numpy().reshape(4, 2, 32) for each in (answer, picture))
    expected = []
    for scale in range(4):
        squared = sum((ours[scale, i, c] - theirs[scale, i, c]) ** 2 for i in range(2) for c in range(32))
        expected.append(math.sqrt(squared / sum(theirs[scale, i, c] ** 2 for i in range(2) for c in range(32))))
    assert TextureDistance(picture, device=CPU)(answer)["texture_distance"] == pytest.approx(np.mean(expected))


def test_colour_distances_of_a_lightness_that_is_shifted() -> None:
    grey = np.repeat(Draws(seed=7).stream("grey").integers(60, 190, (48, 48, 1), dtype=np.uint8), 3, axis=2)
    darker = grey - 30
    found = ColourDistance(grey)(darker)
    colours, others = (oklab(each)[..., 0].ravel().astype(np.float64) for each in (grey, darker))
    moved = colours.mean() - others.mean()
    normal = math.hypot(moved, colours.std(ddof=1) - others.std(ddof=1))
    assert found["colour_distance"] == pytest.approx(normal, rel=1e-3)
    sliced = math.sqrt(np.mean((np.sort(colours) - np.sort(others)) ** 2))
    # The mean of the squared cosine over 32 directions is about a third, which the factor 3 takes away.
    assert found["colour_sliced"] == pytest.approx(sliced, rel=0.25)
    assert ColourDistance(grey)(grey)["colour_distance"] == pytest.approx(0, abs=1e-5)


def test_what_is_the_same_is_at_no_distance_and_what_is_between_is_between() -> None:
    content, picture = painted(72, 64), style()
    judge = PairJudge(CPU, vgg=Vgg(LIGHT, light_weights()), lpips=lambda x, y: 0.5, sifid=lambda x, y: math.nan)
    half = content.copy()
    half[:, 32:] = picture[:, 32:]
    scores = judge(content, picture, {"content": content, "half": half, "style": picture})
    assert list(scores) == ["content", "half", "style"]
    names = [name for name in MEANINGS if name != "sifid"]  # not a number here, so left out
    assert all(list(each) == names for each in scores.values())
    assert scores["content"]["structure"] == pytest.approx(1)
    assert scores["content"]["structure_coarse"] == pytest.approx(1)
    assert scores["content"]["copied_share"] == 0
    assert scores["style"]["copied_share"] == 1
    assert scores["half"]["copied_share"] == pytest.approx(0.5, abs=0.13)
    to_style = [name for name in names if "distance" in name or "sliced" in name]
    assert len(to_style) == 5
    for name in to_style:
        # Normal distributions that are nearly the same differ by the rounding of their roots.
        assert scores["style"][name] == pytest.approx(0, abs=1e-4), name
        assert scores["style"][name] < scores["half"][name] < scores["content"][name], name
    for name in ("structure", "structure_coarse"):
        assert scores["style"][name] < scores["half"][name] < scores["content"][name], name


def test_measures_without_their_networks_are_left_out() -> None:
    scores = PairJudge(CPU)(painted(), style(), {"photo": painted()})["photo"]
    assert list(scores) == [
        *("structure", "structure_coarse", "texture_distance", "colour_distance", "colour_sliced", "copied_share"),
    ]


def test_baselines_are_the_photo_and_the_photo_in_the_pictures_colours() -> None:
    content, picture = painted(), style()
    found = baselines(content, picture)
    np.testing.assert_array_equal(found["photo"], content)
    means = [each.reshape(-1, 3).mean(axis=0) for each in (found["photo, its colours"], picture)]
    np.testing.assert_allclose(*means, atol=3)


def test_pictures_are_compared_in_the_outputs_size() -> None:
    content, picture, output = painted(50, 70), painted(200, 800, "style"), painted(128, 256, "output")
    sizes = [each.shape[:2] for each in at_one_size(content, picture, output)]
    assert sizes == [(128, 256), (91, 362), (128, 256)]
    sizes = [each.shape[:2] for each in at_one_size(content, picture, output, longest_px=200, style_scale=0.5)]
    assert sizes == [(100, 200), (35, 141), (100, 200)]
    small = painted(40, 60, "style")
    assert at_one_size(content, small, output)[1].shape[:2] == (40, 60)
    assert at_one_size(content, small, output, longest_px=224)[1].shape[:2] == (35, 52)
    np.testing.assert_array_equal(at_one_size(content, picture, output)[2], output)


@pytest.mark.parametrize(
    ("picture", "output", "message"),
    [
        ((64, 64), (31, 200), "the output is compared at 200 x 31 px"),
        ((20, 200), (64, 64), "the style picture is compared at 200 x 20 px"),
    ],
)
def test_what_is_too_small_is_told(picture: tuple[int, int], output: tuple[int, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        at_one_size(painted(), painted(*picture), painted(*output))


def test_the_smallest_pictures_can_be_measured() -> None:
    judge = PairJudge(CPU, vgg=Vgg(LIGHT, light_weights()))
    answer, picture = painted(32, 32), painted(32, 32, "style")
    scores = judge(answer, picture, {"photo": answer})["photo"]
    assert all(math.isfinite(value) for value in scores.values())


@pytest.mark.gpu
def test_a_gpu_measures_the_same() -> None:
    content, picture = painted(96, 80), style()
    scores = []
    for device in ("cpu", "cuda"):
        judge = PairJudge(torch.device(device), vgg=Vgg(LIGHT, light_weights()))
        scores.append(judge(content, picture, {"photo": content})["photo"])
    # TF32 convolutions round to ten bits.
    assert scores[1] == pytest.approx(scores[0], rel=1e-2, abs=1e-4)
