from __future__ import annotations

import io
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from ganstyle.base.errors import UserError
from ganstyle.painting.optimisers import AVERAGING, LONGEST_MOVE, OPTIMISERS, Adam, Descent, Function, Lbfgs, minimise


def with_gradient(loss_of: Callable[[Tensor], Tensor]) -> Function:
    def function(image: Tensor) -> tuple[Tensor, Tensor]:
        image = image.detach().clone().requires_grad_()
        loss = loss_of(image)
        return loss.detach(), torch.autograd.grad(loss, image)[0]

    return function


GOAL = torch.linspace(-0.9, 0.9, 3 * 4 * 5).view(1, 3, 4, 5)
SCALES = torch.logspace(0, 2, 60).view(1, 3, 4, 5)
quadratic = with_gradient(lambda image: (SCALES * (image - GOAL).square()).mean())
START = torch.zeros(1, 3, 4, 5)


def rosenbrock(image: Tensor) -> Tensor:
    x, y = image[:, 0], image[:, 1]
    return ((1 - x).square() + 100 * (y - x.square()).square()).mean()


@pytest.mark.parametrize("name", OPTIMISERS)
def test_each_optimiser_finds_the_least_of_a_quadratic_with_a_condition_of_100(name: str) -> None:
    found = minimise(quadratic, START, iterations=300, optimiser=name, say=lambda _: None)
    torch.testing.assert_close(found, GOAL, atol=0.01, rtol=0)


def test_lbfgs_goes_through_the_valley_of_rosenbrock() -> None:
    start = torch.tensor([-0.6, 0.6, 0.0]).view(1, 3, 1, 1)
    found = minimise(with_gradient(rosenbrock), start, iterations=400, say=lambda _: None)
    torch.testing.assert_close(found[0, :2, 0, 0], torch.ones(2), atol=0.02, rtol=0)


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_the_unit_of_the_loss_does_not_matter(unit: float) -> None:
    def scaled(image: Tensor) -> tuple[Tensor, Tensor]:
        loss, gradient = quadratic(image)
        return unit * loss, unit * gradient

    found = minimise(scaled, START, iterations=80, say=lambda _: None)
    assert quadratic(found)[0] < 1e-3 * quadratic(START)[0]


def test_a_step_of_lbfgs_is_one_evaluation_and_never_a_leap() -> None:
    calls, moves = [], []

    def counted(image: Tensor) -> tuple[Tensor, Tensor]:
        calls.append(image.clone())
        return quadratic(image)

    minimise(counted, START - 0.9, iterations=20, say=lambda _: None)
    assert len(calls) == 20
    moves = [float((after - before).square().mean().sqrt()) for before, after in pairwise(calls)]
    assert max(moves) <= LONGEST_MOVE * 1.001
    assert max(moves) > 0.9 * LONGEST_MOVE, "the test never came to the bound"


def test_adams_average_is_that_of_its_positions_with_bias_corrected() -> None:
    adam, positions = Adam(START, iterations=12), []
    for _ in range(12):
        loss, gradient = quadratic(adam.position)
        adam.step(float(loss), gradient)
        positions.append(adam.position.clone())
    weights = [AVERAGING ** (11 - number) for number in range(12)]
    expected = sum(weight * each for weight, each in zip(weights, positions, strict=True)) / sum(weights)
    torch.testing.assert_close(adam.average, expected)


@pytest.mark.parametrize("name", OPTIMISERS)
@pytest.mark.parametrize("after", [0, 1, 7, 19])
def test_a_descent_goes_on_from_its_state_bit_for_bit(name: str, after: int) -> None:
    def to_the_end(descent: Descent) -> Tensor:
        while not descent.done:
            descent.step(quadratic)
        return descent.finish(quadratic)

    unbroken = Descent(START, iterations=20, optimiser=name)
    broken = Descent(START, iterations=20, optimiser=name)
    for _ in range(after):
        broken.step(quadratic)
    state: dict[str, Any] = torch.load(_saved(broken.state_dict()), weights_only=True)
    resumed = Descent(torch.ones_like(START), iterations=20, optimiser=name)
    resumed.load_state_dict(state)
    assert torch.equal(resumed.image, broken.image)
    assert torch.equal(to_the_end(resumed), to_the_end(unbroken))
    assert resumed.loss == unbroken.loss


def _saved(state: dict[str, Any]) -> Any:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return buffer


@pytest.mark.parametrize("in_gradient", [True, False])
def test_a_loss_that_becomes_nan_once_is_told_and_adam_goes_on_from_the_best(in_gradient: bool) -> None:
    told: list[str] = []
    calls = 0

    def breaks(image: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal calls
        calls += 1
        loss, gradient = quadratic(image)
        if calls == 6:
            return (loss, gradient * math.nan) if in_gradient else (loss * math.nan, gradient)
        return loss, gradient

    descent = Descent(START, iterations=200, say=told.append)
    for _ in range(5):
        descent.step(breaks)
    best = descent.image
    descent.step(breaks)
    assert told == [
        "lbfgs met a loss that is not finite at iteration 6: Adam goes on from the best image",
    ]
    assert descent.optimiser == "adam"
    assert torch.equal(descent.image, best)
    while not descent.done:
        descent.step(breaks)
    assert calls == 200
    assert quadratic(descent.finish(quadratic))[0] < 0.1 * quadratic(best)[0]


def test_a_function_that_is_not_finite_any_more_leaves_the_best() -> None:
    told: list[str] = []
    calls = 0

    def breaks(image: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal calls
        calls += 1
        loss, gradient = quadratic(image)
        return (loss, gradient) if calls <= 5 else (loss * math.inf, gradient)

    found = minimise(breaks, START, iterations=50, say=told.append)
    assert len(told) == 4
    assert "best image so far is kept" in told[-1]
    assert quadratic(found)[0] < quadratic(START)[0]
    assert calls < 50


def test_a_function_that_was_never_finite_is_refused() -> None:
    with pytest.raises(UserError, match=r"not finite at iteration 1: .*choose other"):
        minimise(lambda image: (image.sum() * math.nan, image), START, iterations=5, say=lambda _: None)


def test_lbfgs_at_a_halt_gives_way_to_adam() -> None:
    told: list[str] = []
    flat = with_gradient(lambda image: 1 + 1e-7 * image.sin().sum())
    minimise(flat, START, iterations=60, say=told.append)
    assert len(told) == 1
    assert told[0].startswith("lbfgs came to a halt at iteration 2")


def test_the_best_image_is_the_result_and_lies_in_range() -> None:
    """A function whose loss grows after each call: the first image is the best; the least of another is outside."""
    calls = 0

    def worse(image: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal calls
        calls += 1
        return torch.tensor(float(calls)), torch.ones_like(image)

    assert torch.equal(minimise(worse, GOAL, iterations=10, say=lambda _: None), GOAL)
    outside = minimise(
        with_gradient(lambda image: (image - 3).square().mean()), START, iterations=60, say=lambda _: None
    )
    assert torch.equal(outside, torch.ones_like(START))


def test_what_a_function_raises_leaves_the_descent_as_it_was() -> None:
    descent = Descent(START, iterations=10)
    descent.step(quadratic)
    before = torch.load(_saved(descent.state_dict()), weights_only=True)

    def raises(_: Tensor) -> tuple[Tensor, Tensor]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        descent.step(raises)
    assert descent.whole
    assert torch.equal(descent.state_dict()["run"]["position"], before["run"]["position"])
    assert descent.iteration == 1


def test_what_breaks_into_a_step_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    descent = Descent(START, iterations=10)
    descent.step(quadratic)

    def raises(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Lbfgs, "_shorten", raises)
    with pytest.raises(KeyboardInterrupt):
        descent.step(quadratic)
    assert not descent.whole
    monkeypatch.undo()
    descent.turn_to_adam()
    assert descent.whole
