"""Tables of scores: one row for each answer to the same photos."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypedDict

import numpy as np
from torch import Tensor

from ganstyle.base.draws import stream_seed
from ganstyle.data.tensors import to_tensor
from ganstyle.evaluate.distances import kernel_distance, kernel_distance_deviation, standardise
from ganstyle.evaluate.trivial import TRIVIAL
from ganstyle.evaluate.truth import gradient_correlation, psnr

Features = Callable[[Tensor], Tensor]  # (N, 3, H, W) in [-1, 1] -> (N, D)
BATCH = 32


class Score(TypedDict):
    """One row: `kid` to the style (lower is closer), the rest to the truth; `psnr` in dB."""

    name: str
    kid: float
    kid_deviation: float
    gradient_correlation: float
    psnr: float


def score_against_truth(
    outputs: dict[str, np.ndarray], truth: np.ndarray, style_images: np.ndarray, features: Features
) -> list[Score]:
    """Score answers to photos whose truth is known, beside the trivial answers to the same photos.

    Args:
        outputs: name -> answers, uint8 (N, H, W, 3); "photo" must be among them: the trivial answers are made from it.
        truth: the same scenes in the style, uint8 (N, H, W, 3).
        style_images: real images of the style, uint8 (M, H, W, 3); "kid" is the kernel distance to these, on features
            standardised by them (see `standardise`).
        features: a fixed network, such as `RandomFeatures`.

    Returns:
        A row for each output, in order, then for each trivial answer, in plain floats. The deviation of the kernel
        distance is a bootstrap's, the same each time; the PSNR of the truth to itself is infinite.
    """
    if "photo" not in outputs:
        raise ValueError(f"outputs {sorted(outputs)} lack 'photo', from which the trivial answers are made")
    trivial = {name: answer(outputs["photo"], style_images) for name, answer in TRIVIAL.items()}
    style = _describe(features, style_images)
    scale = standardise(style)
    rows: list[Score] = []
    for name, images in (outputs | trivial).items():
        described = scale(_describe(features, images))
        stream = np.random.Generator(np.random.PCG64(stream_seed("kid deviation", name)))
        row: Score = {
            "name": name,
            "kid": kernel_distance(described, scale(style)),
            "kid_deviation": kernel_distance_deviation(described, scale(style), stream),
            "gradient_correlation": gradient_correlation(images, truth),
            "psnr": psnr(images, truth),
        }
        rows.append(row)
    return rows


def _describe(features: Features, images: np.ndarray) -> np.ndarray:
    """Features of uint8 images, a batch at a time, on the CPU."""
    rows = [features(to_tensor(images[start : start + BATCH])).numpy() for start in range(0, len(images), BATCH)]
    return np.concatenate(rows)
