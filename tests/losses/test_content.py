from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ganstyle.losses.content import CONTENT_LOSSES, FeatureContent, SelfSimilarity, total_variation


def maps(seed: int, height: int = 5, width: int = 6) -> Tensor:
    return torch.randn(1, 4, height, width, generator=torch.Generator().manual_seed(seed)).relu() + 0.1


def test_there_are_two() -> None:
    assert {name: loss.additive for name, loss in CONTENT_LOSSES.items()} == {
        "features": True,
        "self-similarity": False,
    }


def test_feature_content_is_the_relative_squared_difference() -> None:
    one, other = maps(1), maps(2)
    pairs = list(zip(one.flatten().tolist(), other.flatten().tolist(), strict=True))
    expected = sum((a - b) ** 2 for a, b in pairs) / sum(b**2 for _, b in pairs)
    assert float(FeatureContent(other)(one)) == pytest.approx(expected, rel=1e-5)
    assert float(FeatureContent(100 * other)(100 * one)) == pytest.approx(expected, rel=1e-5)
    assert float(FeatureContent(torch.zeros_like(one))(torch.zeros_like(one))) == 0


def test_content_of_parts_adds_up() -> None:
    one, loss = maps(1), FeatureContent(maps(2))
    parts = [(slice(0, 2), slice(0, 4)), (slice(0, 2), slice(4, None)), (slice(2, None), slice(0, None))]
    total = sum(loss.part(*each)(one[..., each[0], each[1]]) for each in parts)
    torch.testing.assert_close(total, loss(one))
    with pytest.raises(AssertionError, match="maps"):
        loss(one[..., 1:])


def slow_self_similarity(one: np.ndarray, other: np.ndarray) -> float:
    def normalised(rows: np.ndarray) -> np.ndarray:
        count = len(rows)
        table = np.empty((count, count))
        for i in range(count):
            for j in range(count):
                table[i, j] = 1 - rows[i] @ rows[j] / np.linalg.norm(rows[i]) / np.linalg.norm(rows[j])
        return table / table.sum(axis=0)

    return np.abs(normalised(one) - normalised(other)).sum() / len(one)


def test_self_similarity_is_the_loop_over_pairs_of_places() -> None:
    one, other = maps(1), maps(2)
    flat = [each[0].double().flatten(1).T.numpy() for each in (one, other)]
    assert float(SelfSimilarity(other)(one)) == pytest.approx(slow_self_similarity(*flat), rel=1e-4)
    assert float(SelfSimilarity(other)(other)) == 0
    assert float(SelfSimilarity(other)(3 * other)) == pytest.approx(0, abs=1e-5)  # angles alone count


def test_self_similarity_samples_places_by_its_seed() -> None:
    target = maps(1, 20, 30)
    first, again, other = (SelfSimilarity(target, places=50, seed=seed).places for seed in (0, 0, 1))
    assert len(set(first.tolist())) == 50
    assert int(first.max()) < 600
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    values = maps(2, 20, 30).requires_grad_()
    (gradient,) = torch.autograd.grad(SelfSimilarity(target, places=50)(values), values)
    touched = gradient.abs().sum(dim=(0, 1)).flatten().nonzero()[:, 0]
    assert set(touched.tolist()) <= set(first.tolist())
    assert gradient.isfinite().all()


def test_flat_maps_have_no_self_similarity_and_no_nan() -> None:
    values = torch.ones(1, 4, 5, 6, requires_grad=True)
    for target in (torch.zeros(1, 4, 5, 6), torch.ones(1, 4, 5, 6), maps(1)):
        loss = SelfSimilarity(target)(values)
        (gradient,) = torch.autograd.grad(loss, values)
        assert loss.isfinite()
        assert gradient.isfinite().all()


def test_total_variation_is_the_loop_over_neighbours() -> None:
    images = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    total = 0.0
    for n in range(2):
        for c in range(3):
            for y in range(4):
                for x in range(5):
                    here = float(images[n, c, y, x])
                    total += (float(images[n, c, y + 1, x]) - here) ** 2 if y < 3 else 0
                    total += (float(images[n, c, y, x + 1]) - here) ** 2 if x < 4 else 0
    assert float(total_variation(images)) == pytest.approx(total / images.numel(), rel=1e-5)
    assert float(total_variation(torch.ones(1, 3, 4, 4))) == 0
