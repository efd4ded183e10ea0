"""A whole training step never waits for the device, and its halves compile in one piece."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ganstyle.assemble import build_method, check_config
from ganstyle.base.config import load_config
from ganstyle.base.draws import Draws
from ganstyle.data.batches import ImageBatch
from ganstyle.methods.method import Method
from ganstyle.networks.dropout import dropout_layers, set_dropout_keys
from ganstyle.networks.recompute import recompute
from ganstyle.train.descend import adam
from ganstyle.train.ema import MovingAverage
from ganstyle.train.guard import Guard
from ganstyle.train.hardware import Hardware

# Each reads a value of the device, or a number of elements that only the device knows.
WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2")
INDEXING = ("index", "index_put", "index_put_", "_unsafe_index")
POOL = 4
WORDS = [
    "data.a=x",
    "data.b=y",
    f"method.pool_size={POOL}",
    "generator.width=2",
    "generator.blocks=1",
    "generator.halvings=1",
    "generator.dropout=0.3",
    "discriminator.width=2",
    "discriminator.layers=1",
    "data.load_px=16",
    "data.crop_px=16",
]


class Waits(TorchDispatchMode):
    """Counts the operations, and of them those whose result the host would have to wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations += 1
        name = func.__name__.split(".")[0]
        # A mask as an index is looked through by `nonzero`, below what is dispatched.
        if name in INDEXING and any(each is not None and each.dtype == torch.bool for each in args[1]):
            name = "nonzero"
        if name in WAITING:
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


def tiny(*words: str) -> Method:
    method = build_method(check_config(load_config("cyclegan", [*WORDS, *words])))
    for network in method.networks.values():
        network.to(memory_format=torch.channels_last).train()
    return method


def images(seed: int) -> Tensor:
    drawn = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return drawn.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("recomputes", [False, True])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_no_step_waits_while_the_pools_fill_and_when_they_are_full(precision: str, recomputes: bool) -> None:
    fabric = Hardware("cpu", precision, compile=False, threads=torch.get_num_threads()).fabric()
    method, guard = tiny(), Guard(fabric.device)
    if recomputes:
        for generator in method.translators.values():
            recompute(generator)
    optimizers = adam(method.optimised, fabric, guard, learning_rate=1e-3)
    average = MovingAverage(method.translators, 0.9)
    layers = dropout_layers(method.networks.values())
    assert layers

    def step(number: int) -> None:
        guard.step = number
        optimizers.set_learning_rate(1e-3 / (number + 1))
        set_dropout_keys(layers, torch.tensor([number, -number]))
        with fabric.autocast():
            method.training_step(
                ImageBatch(images(number), images(-1 - number), Draws(0, number), 2 * number), optimizers
            )
        average.update(number)

    counted = []
    for number in range(2 * POOL):
        with Waits() as waits:
            step(number)
        counted.append(waits)
    guard.check()
    assert all(waits.operations > 500 for waits in counted)
    assert [dict(waits.found) for waits in counted] == [{}] * (2 * POOL)


def test_waits_are_counted() -> None:
    values = torch.ones(3)
    with Waits() as waits:
        values.sum().item()
        float(values[0])
        values[values > 0]
        values[torch.tensor([0, 2])]
        torch.nonzero(values)
    assert waits.found == {"_local_scalar_dense": 2, "nonzero": 2}


def test_a_wait_inside_a_half_is_counted() -> None:
    """Also where it hides in the backward pass."""

    class Clipped(torch.autograd.Function):
        @staticmethod
        def forward(_: Any, values: Tensor) -> Tensor:
            return values.clone()

        @staticmethod
        def backward(_: Any, *gradients: Tensor) -> Tensor:
            return gradients[0] if gradients[0].norm() < 1 else gradients[0] / 2

    with Waits() as waits:
        Clipped.apply(torch.ones(3, requires_grad=True)).sum().backward()
    assert waits.found == {"_local_scalar_dense": 1}


def breaks(half: nn.Module, *batches: Tensor) -> list[str]:
    """Why the compiler would cut a half into several graphs."""
    torch._dynamo.reset()
    found = torch._dynamo.explain(half)(*batches)
    assert found.graph_count == 1 + found.graph_break_count
    return [reason.reason for reason in found.break_reasons]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("recomputes", [False, True])
def test_both_halves_compile_in_one_piece(recomputes: bool) -> None:
    method = tiny()
    set_dropout_keys(dropout_layers(method.networks.values()), torch.tensor([1, 2]))
    if recomputes:
        for generator in method.translators.values():
            recompute(generator)
    generators, discriminators = method.halves
    assert breaks(generators, images(0), images(1)) == []
    assert breaks(discriminators, images(0), images(1), images(2), images(3)) == []


@pytest.mark.slow
def test_a_break_is_found() -> None:
    class Broken(nn.Module):
        def forward(self, values: Tensor) -> Tensor:
            values = values * 2
            torch._dynamo.graph_break()
            return values + 1

    assert len(breaks(Broken(), images(0))) == 1
