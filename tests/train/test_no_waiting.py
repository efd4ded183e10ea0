"""A whole training step never waits for the device, and its halves compile in one piece."""

from __future__ import annotations

import warnings
from collections import Counter
from types import SimpleNamespace
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
from ganstyle.networks.keyed import keyed_layers, set_keys
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
    "generator.width=2",
    "generator.blocks=1",
    "generator.halvings=1",
    "generator.dropout=0.3",
    "discriminator.width=2",
    "discriminator.layers=1",
    "data.load_px=16",
    "data.crop_px=16",
]
PATCHES = ["method.nce_layers=[image, down_1, block_1]", "method.patches=9", "method.head_width=4"]
# What a tiny one of each method needs.
OWN = {
    "cyclegan": [f"method.pool_size={POOL}"],
    "cut": PATCHES,
    "fastcut": PATCHES,
    "dcl": PATCHES,
}


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


def tiny(recipe: str) -> Method:
    method = build_method(check_config(load_config(recipe, [*WORDS, *OWN[recipe]])))
    for network in method.networks.values():
        network.to(memory_format=torch.channels_last).train()
    return method


def images(seed: int) -> Tensor:
    drawn = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return drawn.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("recomputes", [False, True])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("recipe", list(OWN))
def test_no_step_waits_while_pools_fill_and_when_they_are_full(recipe: str, precision: str, recomputes: bool) -> None:
    fabric = Hardware("cpu", precision, compile=False, threads=torch.get_num_threads()).fabric()
    method, guard = tiny(recipe), Guard(fabric.device)
    if recomputes:
        for generator in method.translators.values():
            recompute(generator)
    optimizers = adam(method.optimised, fabric, guard, learning_rate=1e-3)
    average = MovingAverage(method.translators, 0.9)
    layers = keyed_layers(method.networks.values())
    assert layers

    def step(number: int) -> None:
        guard.step = number
        optimizers.set_learning_rate(1e-3 / (number + 1))
        set_keys(layers, torch.tensor([number, -number]))
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


def breaks(half: nn.Module, *shown: Any) -> list[str]:
    """Why the compiler would cut a half into several graphs."""
    torch._dynamo.reset()
    with warnings.catch_warnings():
        # The compiler looks at `.grad` of what another half made, and hides that it does from all but an error.
        warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor")
        found = torch._dynamo.explain(half.forward)(*shown)
    assert found.graph_count == 1 + found.graph_break_count
    return [reason.reason for reason in found.break_reasons]


def shown_in_a_step(method: Method) -> list[tuple[nn.Module, tuple[Any, ...]]]:
    """What each half is given in a step, as it is asked for it."""
    shown: list[tuple[nn.Module, tuple[Any, ...]]] = []

    def note(half: nn.Module, arguments: tuple[Any, ...]) -> None:
        shown.append((half, arguments))

    handles = [half.register_forward_pre_hook(note) for half in method.halves]
    nothing = SimpleNamespace(descend=lambda losses: None)
    batch = ImageBatch(images(0), images(1), Draws(0, 0), 0)
    method.training_step(batch, SimpleNamespace(**dict.fromkeys(method.optimised, nothing)))
    for handle in handles:
        handle.remove()
    return shown


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("recomputes", [False, True])
@pytest.mark.parametrize("recipe", list(OWN))
def test_all_halves_compile_in_one_piece(recipe: str, recomputes: bool) -> None:
    method = tiny(recipe)
    set_keys(keyed_layers(method.networks.values()), torch.tensor([1, 2]))
    if recomputes:
        for generator in method.translators.values():
            recompute(generator)
    shown = shown_in_a_step(method)
    assert [id(half) for half in method.halves] == [id(half) for half, _ in shown]
    assert [breaks(half, *arguments) for half, arguments in shown] == [[]] * len(shown)


@pytest.mark.slow
def test_a_break_is_found() -> None:
    class Broken(nn.Module):
        def forward(self, values: Tensor) -> Tensor:
            values = values * 2
            torch._dynamo.graph_break()
            return values + 1

    assert len(breaks(Broken(), images(0))) == 1
