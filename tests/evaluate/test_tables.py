from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ganstyle.base.draws import Draws
from ganstyle.evaluate.distances import kernel_distance, standardise
from ganstyle.evaluate.tables import score_against_truth
from ganstyle.evaluate.truth import gradient_correlation, psnr
from ganstyle.networks.features import RandomFeatures


def blobs(count: int, purpose: str, gain: float) -> np.ndarray:
    stream = Draws(seed=3).stream(purpose)
    coarse = stream.normal(128, gain, size=(count, 4, 4, 3))
    return np.clip(np.kron(coarse, np.ones((1, 6, 6, 1))), 0, 255).astype(np.uint8)


TRUTH = blobs(6, "truth", 50)
PHOTO = 255 - TRUTH // 3
STYLE = blobs(40, "style", 50)
NOISY = np.clip(TRUTH + Draws(seed=3).stream("noise").normal(0, 5, TRUTH.shape), 0, 255).astype(np.uint8)


def test_rows_are_the_outputs_then_the_trivial_answers_with_plain_floats() -> None:
    rows = score_against_truth({"translated": NOISY, "photo": PHOTO}, TRUTH, STYLE, RandomFeatures())
    assert [row["name"] for row in rows] == ["translated", "photo", "mean_colour", "mean_image", "colour_match"]
    for row in rows:
        assert list(row) == ["name", "kid", "kid_deviation", "gradient_correlation", "psnr"]
        numbers = [value for key, value in row.items() if key != "name"]
        assert all(type(value) is float and math.isfinite(value) for value in numbers)


def test_scores_are_those_of_the_single_functions() -> None:
    def features(images: Tensor) -> Tensor:
        assert images.dtype == torch.float32
        assert images.shape[1] == 3
        return torch.cat([images.mean(dim=(2, 3)), images.std(dim=(2, 3))], dim=1)

    def describe(images: np.ndarray) -> np.ndarray:
        pixels = images.astype(np.float64) / 127.5 - 1
        return np.concatenate([pixels.mean(axis=(1, 2)), pixels.std(axis=(1, 2), ddof=1)], axis=1)

    row = score_against_truth({"translated": NOISY, "photo": PHOTO}, TRUTH, STYLE, features)[0]
    scale = standardise(describe(STYLE))
    expected = kernel_distance(scale(describe(NOISY)), scale(describe(STYLE)))
    assert row["kid"] == pytest.approx(expected, rel=1e-3)
    assert row["gradient_correlation"] == gradient_correlation(NOISY, TRUTH)
    assert row["psnr"] == psnr(NOISY, TRUTH)


def test_a_good_translation_wins_and_the_same_scores_come_back() -> None:
    outputs = {"translated": NOISY, "photo": PHOTO, "truth": TRUTH}
    rows = score_against_truth(outputs, TRUTH, STYLE, RandomFeatures())
    scores = {row["name"]: row for row in rows}
    for name in ("photo", "mean_colour", "mean_image"):
        assert scores["translated"]["kid"] < scores[name]["kid"]
        assert scores["translated"]["psnr"] > scores[name]["psnr"]
    assert scores["mean_colour"]["gradient_correlation"] == 0
    assert scores["truth"]["psnr"] == math.inf
    assert rows == score_against_truth(outputs, TRUTH, STYLE, RandomFeatures())


def test_the_photo_is_needed() -> None:
    with pytest.raises(ValueError, match="lack 'photo'"):
        score_against_truth({"translated": NOISY}, TRUTH, STYLE, RandomFeatures())
