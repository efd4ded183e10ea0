from __future__ import annotations

import pytest

from ganstyle.train.schedule import LinearDecay, steps_of


@pytest.mark.parametrize(("steps", "decay_from"), [(8, 4), (8, 0), (1, 0), (7, 6), (200, 100)])
def test_rate_equals_a_slow_loop(steps: int, decay_from: int) -> None:
    """Constant, then one equal part less at every step, so that it would be zero at the end."""
    rate, falls = 2e-4, steps - decay_from
    for step in range(steps):
        assert LinearDecay(2e-4, steps, decay_from).at(step) == pytest.approx(rate, rel=1e-9)
        if step >= decay_from:
            rate -= 2e-4 / falls


def test_rate_never_rises_and_never_ends_at_zero() -> None:
    schedule = LinearDecay(1.0, 10, 4)
    rates = [schedule.at(step) for step in range(10)]
    assert rates == sorted(rates, reverse=True)
    assert rates[:5] == [1.0] * 5
    assert rates[-1] == pytest.approx(1 / 6)


@pytest.mark.parametrize("decay_from", [8, 9, 1000])
def test_decay_at_or_after_the_end_is_constant(decay_from: int) -> None:
    assert {LinearDecay(0.5, 8, decay_from).at(step) for step in range(8)} == {0.5}


@pytest.mark.parametrize(
    ("epochs", "a", "b", "batch", "steps"),
    [(200, 1067, 1334, 1, 266_800), (1, 10, 3, 1, 10), (1, 3, 10, 4, 2), (0.5, 10, 10, 1, 5), (1, 1, 1, 64, 1)],
)
def test_an_epoch_is_the_larger_domain(epochs: float, a: int, b: int, batch: int, steps: int) -> None:
    assert steps_of(epochs, a, b, batch) == steps
