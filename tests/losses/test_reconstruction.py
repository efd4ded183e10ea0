from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ganstyle.losses.reconstruction import l1

STREAM = np.random.default_rng(0)
OUTPUT, TARGET = (torch.from_numpy(STREAM.uniform(-1, 1, (2, 3, 4, 5))).float() for _ in range(2))


def test_l1_against_the_slow_formula() -> None:
    pairs = zip(OUTPUT.flatten().tolist(), TARGET.flatten().tolist(), strict=True)
    expected = math.fsum(abs(output - target) for output, target in pairs) / 120
    assert l1(OUTPUT, TARGET).item() == pytest.approx(expected, rel=1e-6)
    assert l1(TARGET, TARGET).item() == 0


def test_l1_is_a_float32_scalar_for_bfloat16_images() -> None:
    output, target = OUTPUT.bfloat16(), TARGET.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = l1(output, target)
    assert result.dtype == torch.float32
    assert torch.equal(result, l1(output.float(), target.float()))


def test_l1_pulls_every_element_towards_the_target() -> None:
    output = OUTPUT.clone().requires_grad_()
    l1(output, TARGET).backward()
    assert output.grad is not None
    assert torch.allclose(output.grad, (OUTPUT - TARGET).sign() / 120)


def test_l1_does_not_broadcast() -> None:
    with pytest.raises(AssertionError, match=r"\(2, 3, 4, 5\) against \(1, 3, 4, 5\)"):
        l1(OUTPUT, TARGET[:1])
