from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ganstyle.assemble import build_method, check_config
from ganstyle.base.config import load_config
from ganstyle.methods.method import Method
from ganstyle.train import compiling
from ganstyle.train.compiling import (
    COSTS,
    Costs,
    duration,
    judge,
    judgement,
    matrix_product_rate,
    step_arithmetic,
    surely_short,
)

CPU = torch.device("cpu")


def recipe(name: str, *words: str) -> Method:
    """A recipe's method without memory."""
    config = check_config(load_config(name, ["data.a=x", "data.b=y", *words]))
    with torch.device("meta"):
        return build_method(config)


class OneConvolution:
    """A method whose arithmetic can be counted by hand."""

    def __init__(self) -> None:
        with torch.device("meta"):
            self.net = nn.Conv2d(3, 5, 3, padding=1)
        self.networks, self.optimised, self.translators = {"net": self.net}, {"all": [self.net]}, {"ab": self.net}
        self.memories: dict[str, Any] = {}
        self.halves = [self.net]

    def training_step(self, batch: Any, optimizers: Any) -> Mapping[str, Tensor]:
        losses = {"x": self.net(batch.a).mean(), "y": self.net(batch.b).mean()}
        optimizers.all.descend(losses)
        return losses


@pytest.fixture
def rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device as fast as the one that the constants were measured on."""
    monkeypatch.setattr(compiling, "matrix_product_rate", lambda *_: 250e9)


def test_arithmetic_forwards_and_for_the_weights() -> None:
    """Each pass is done twice, forwards and for the weights; the images need no gradient."""
    passes, ways, macs = 2, 2, 4 * 8 * 8 * 3 * 5 * 9
    assert step_arithmetic(OneConvolution(), batch_size=4, crop_px=8) == passes * ways * 2 * macs  # type: ignore[arg-type]


def test_arithmetic_grows_with_the_images() -> None:
    words = ("generator.width=4", "discriminator.width=4", "generator.blocks=1")
    small = step_arithmetic(recipe("cyclegan-lite", *words), batch_size=1, crop_px=64)
    large = step_arithmetic(recipe("cyclegan-lite", *words), batch_size=2, crop_px=64)
    assert large == 2 * small > 0


@pytest.mark.parametrize("name", ["cyclegan-lite", "cut-lite", "dcl-lite"])
def test_a_step_with_a_gradient_penalty_is_counted_without_it(name: str) -> None:
    words = ("generator.width=4", "discriminator.width=4", "generator.blocks=5")
    without = step_arithmetic(recipe(name, *words), batch_size=1, crop_px=64)
    counted = step_arithmetic(recipe(name, *words, "method.gradient_penalty=10"), batch_size=1, crop_px=64)
    assert counted == without > 0


@pytest.mark.parametrize(
    ("name", "crop_px", "steps", "pays"),
    [
        ("demo", 64, 2500, False),
        ("cyclegan-lite", 128, 20000, True),
        ("cut-lite", 128, 20000, True),
        ("fastcut-lite", 128, 20000, True),
        ("dcl-lite", 128, 20000, True),
        ("ganstyle-lite", 128, 20000, True),
        ("cyclegan", 256, 266_800, True),
        ("cut", 256, 533_600, True),
    ],
)
def test_the_recipes(rate: None, name: str, crop_px: int, steps: int, pays: bool) -> None:
    found = judge(recipe(name), CPU, "float32", steps=steps, batch_size=1, crop_px=crop_px)
    assert found.compile is pays
    assert "\n" not in found.reason
    assert found.reason.endswith("compiled" if pays else "eager")


def test_the_estimate_is_near_what_was_measured(rate: None) -> None:
    """0.066 s and about 0.6 s a step, on the two cores that the constants speak of."""
    for name, crop_px, low, high in (("demo", 64, 0.04, 0.1), ("cyclegan-lite", 128, 0.4, 0.8)):
        arithmetic = step_arithmetic(recipe(name), batch_size=1, crop_px=crop_px)
        assert low < arithmetic / (COSTS["cpu"].utilisation * 250e9) + COSTS["cpu"].overhead_s < high


def test_the_decision_takes_no_time(rate: None) -> None:
    start = time.perf_counter()
    judge(recipe("cyclegan-lite"), CPU, "float32", steps=20000, batch_size=1, crop_px=128)
    assert time.perf_counter() - start < 10  # one second; a busy machine has more


def test_a_short_run_is_not_even_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "step_arithmetic", None)
    monkeypatch.setattr(compiling, "matrix_product_rate", None)
    words = ("generator.width=2", "generator.blocks=1", "discriminator.width=2", "discriminator.layers=1")
    found = judge(recipe("cyclegan-lite", *words), CPU, "float32", steps=20, batch_size=1, crop_px=16)
    assert not found.compile
    assert "too short" in found.reason


def test_a_long_run_is_not_surely_short() -> None:
    sizes = {"batch_size": 1, "crop_px": 128}
    assert not surely_short(recipe("cyclegan-lite"), COSTS["cpu"], steps=20000, **sizes)
    assert surely_short(recipe("cyclegan-lite"), COSTS["cpu"], steps=1, **sizes)


@pytest.mark.parametrize(
    ("name", "crop_px"),
    [("demo", 64), *((f"{name}-lite", 128) for name in ("cyclegan", "cut", "fastcut", "dcl", "ganstyle"))],
)
def test_the_bound_is_above_what_is_counted(name: str, crop_px: int) -> None:
    method = recipe(name)
    networks = method.networks.values()
    weights = sum(each.numel() for network in networks for each in (*network.parameters(), *network.buffers()))
    counted = step_arithmetic(method, batch_size=1, crop_px=crop_px)
    assert counted < 2 * weights * crop_px**2 * compiling.MOST_PASSES


def test_compiling_pays_when_it_saves_twice_its_cost() -> None:
    costs = Costs(utilisation=0.5, overhead_s=0, compile_s=100, saved=0.25)
    assert not judgement(costs, step_s=1, steps=800).compile
    assert judgement(costs, step_s=1, steps=801).compile
    assert judgement(costs, step_s=1, steps=14400).reason == (
        "training.compile: about 1 s a step; compiling takes about 1.7 min and saves 1 h: training runs compiled"
    )


def test_an_unknown_device_is_never_compiled_for() -> None:
    found = judge(recipe("demo"), torch.device("mps"), "float32", steps=10**9, batch_size=1, crop_px=64)
    assert not found.compile
    assert "mps" in found.reason


def test_the_rate_of_a_matrix_product() -> None:
    assert 1e8 < matrix_product_rate(CPU, torch.float32) < 1e14


@pytest.mark.parametrize(
    ("seconds", "expected"), [(30, "0.5 min"), (150, "2.5 min"), (5400, "1.5 h"), (3600 * 234, "234 h")]
)
def test_durations(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected
