from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ganstyle.losses.patch_nce import patch_nce


def unit(*shape: int, seed: int) -> Tensor:
    """Vectors of unit length along the last dimension."""
    drawn = np.random.default_rng(seed).normal(size=shape)
    return F.normalize(torch.from_numpy(drawn).float(), dim=-1)


def plain(query: Tensor, key: Tensor, temperature: float) -> float:
    """Equations 2 and 3 word for word: for each image and each patch, in float64."""
    q, k = query.detach().double().numpy(), key.detach().double().numpy()
    losses = []
    for image in range(len(q)):
        for patch in range(q.shape[1]):
            products = [math.exp(float(q[image, patch] @ other) / temperature) for other in k[image]]
            losses.append(-math.log(products[patch] / sum(products)))
    return sum(losses) / len(losses)


@pytest.mark.parametrize(("images", "patches", "width"), [(1, 7, 5), (3, 4, 8), (2, 1, 3)])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_equals_the_plain_double_loop(images: int, patches: int, width: int, temperature: float) -> None:
    query, key = unit(images, patches, width, seed=1), unit(images, patches, width, seed=2)
    found = patch_nce(query, key, temperature=temperature)
    assert found.item() == pytest.approx(plain(query, key, temperature), rel=1e-5, abs=1e-6)
    assert found.ndim == 0
    assert found.dtype == torch.float32


def test_the_temperature_is_that_of_the_paper() -> None:
    query, key = unit(2, 6, 4, seed=1), unit(2, 6, 4, seed=2)
    assert torch.equal(patch_nce(query, key), patch_nce(query, key, temperature=0.07))


def test_a_batch_is_the_mean_of_its_images_however_many_they_are() -> None:
    """Negatives are of the same image alone: a smaller last batch is no other loss."""
    query, key = unit(5, 6, 4, seed=3), unit(5, 6, 4, seed=4)
    alone = [patch_nce(query[one : one + 1], key[one : one + 1]) for one in range(5)]
    for count in (5, 3, 1):
        torch.testing.assert_close(patch_nce(query[:count], key[:count]), torch.stack(alone[:count]).mean())


def test_another_images_keys_do_not_count() -> None:
    query, key = unit(2, 6, 4, seed=5), unit(2, 6, 4, seed=6)
    changed = key.clone()
    changed[1] = unit(6, 4, seed=7)
    query.requires_grad_(True)
    gradients = [torch.autograd.grad(patch_nce(query, keys), query)[0] for keys in (key, changed)]
    assert torch.equal(gradients[0][0], gradients[1][0])
    assert not torch.equal(gradients[0][1], gradients[1][1])


def test_features_that_are_all_the_same_tell_nothing() -> None:
    """Each of P patches is as likely as any: the logarithm of P."""
    same = torch.full((2, 9, 4), 0.5)
    assert patch_nce(same, same).item() == pytest.approx(math.log(9), rel=1e-6)


def test_features_at_right_angles_have_the_loss_of_the_formula() -> None:
    axes = torch.eye(6)[None]
    expected = math.log(1 + 5 * math.exp(-1 / 0.5))
    assert patch_nce(axes, axes, temperature=0.5).item() == pytest.approx(expected, rel=1e-6)
    assert patch_nce(axes, axes.roll(1, dims=1), temperature=0.5).item() == pytest.approx(expected + 2, rel=1e-6)


def test_the_gradient_is_the_formulas_and_none_flows_into_the_keys() -> None:
    query, key = unit(1, 5, 4, seed=8).requires_grad_(True), unit(1, 5, 4, seed=9).requires_grad_(True)
    patch_nce(query, key, temperature=0.2).backward()
    # Of a softmax cross-entropy: the probabilities less the truth, times the keys.
    probabilities = torch.softmax(query.detach()[0] @ key.detach()[0].T / 0.2, dim=1)
    expected = (probabilities - torch.eye(5)) @ key.detach()[0] / 0.2 / 5
    assert query.grad is not None
    torch.testing.assert_close(query.grad[0], expected)
    assert key.grad is None


def test_halves_are_compared_in_float32() -> None:
    """Also under autocast: over a temperature of 0.07 a rounding to bfloat16 would be a tenth."""
    query, key = unit(2, 30, 8, seed=1), unit(2, 30, 8, seed=2)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(patch_nce(query, key), patch_nce(query, key))
        found = patch_nce(query, key)
    assert torch.equal(found, patch_nce(query, key))
    halves = patch_nce(query.bfloat16(), key.bfloat16())
    assert halves.dtype == torch.float32
    assert halves.item() == pytest.approx(plain(query.bfloat16(), key.bfloat16(), 0.07), rel=1e-5)


def test_queries_and_keys_of_other_shapes_are_ours_to_find() -> None:
    with pytest.raises(AssertionError, match="queries"):
        patch_nce(unit(1, 4, 3, seed=1), unit(1, 5, 3, seed=2))
