from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ganstyle.data.tensors import to_tensor
from ganstyle.networks.generators import ResNetGenerator
from ganstyle.translate import compiling
from ganstyle.translate.compiling import CompiledForSizes, sizes_to_compile
from ganstyle.translate.facts import ModelFacts
from ganstyle.translate.translator import Translator

CPU = torch.device("cpu")


def test_the_sizes_that_pay_come_first() -> None:
    """One second a megapixel: so many megapixels of a size that a fifth of it is more than twice the compile time."""
    needed = round(2 * compiling.COMPILE_S["cpu"] / compiling.SAVED)
    one, other, few = (1000, 1000), (1000, 2000), (2000, 1000)
    sizes = [one] * (needed + 1) + [other] * needed + [few] * (needed // 2 - 1) + [None]
    assert sizes_to_compile(sizes, 1.0, CPU) == [other, one]
    assert sizes_to_compile(sizes, 0.4, CPU) == []
    assert sizes_to_compile([], 1.0, CPU) == []


def test_devices_that_were_not_measured_stay_eager() -> None:
    assert sizes_to_compile([(1000, 1000)] * 10**6, 100.0, torch.device("cuda")) == []


def test_a_few_sizes_at_most() -> None:
    sizes = [(1000, side) for side in range(1, 9)] * 100
    assert sizes_to_compile(sizes, 1e6, CPU) == [(1000, 8), (1000, 7), (1000, 6), (1000, 5)]


class Counting(nn.Module):
    """Knows how often it ran as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.calls = 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        return images * self.weight


def test_other_sizes_and_batches_are_eager(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[tuple[int, ...]] = []

    def compile_it(network: nn.Module, **_: object) -> object:
        def call(images: Tensor) -> Tensor:
            compiled.append(tuple(images.shape))
            return images

        return call

    monkeypatch.setattr(torch, "compile", compile_it)
    network, said = Counting(), []
    both = CompiledForSizes(network, [(4, 6)], said.append)
    for shape in ((1, 3, 4, 6), (1, 3, 6, 4), (2, 3, 4, 6)):
        both(torch.zeros(shape))
    assert compiled == [(1, 3, 4, 6)]
    assert network.calls == 2
    assert said == []


def test_without_a_compiler_it_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def compile_it(network: nn.Module, **_: object) -> object:
        def call(images: Tensor) -> Tensor:
            raise RuntimeError("no C++ compiler\nin PATH")

        return call

    monkeypatch.setattr(torch, "compile", compile_it)
    said: list[str] = []
    network = CompiledForSizes(Counting(), [(4, 6)], said.append)
    for _ in range(2):
        assert torch.equal(network(torch.ones(1, 3, 4, 6)), torch.ones(1, 3, 4, 6))
    assert said == ["no compiler that works here (no C++ compiler in PATH): translating runs eager"]


def test_out_of_memory_is_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    def compile_it(network: nn.Module, **_: object) -> object:
        def call(images: Tensor) -> Tensor:
            raise MemoryError("no memory")

        return call

    monkeypatch.setattr(torch, "compile", compile_it)
    with pytest.raises(MemoryError):
        CompiledForSizes(Counting(), [(4, 6)], print)(torch.ones(1, 3, 4, 6))


@pytest.mark.slow
@pytest.mark.parametrize("upsample", ["transposed", "resize"])
def test_compiled_is_eager_within_one_level(upsample: str) -> None:
    torch.manual_seed(0)
    generator = ResNetGenerator(width=4, blocks=1, upsample=upsample)
    said: list[str] = []
    facts = ModelFacts("ab", 0, averaged=False)
    translator = Translator(generator, {"width": 4, "upsample": upsample}, facts, CPU)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 52, 3), dtype=np.uint8)
    want = translator.pixels(pixels).astype(int)
    translator.compile_for([(40, 52)], said.append)
    got = translator.pixels(pixels).astype(int)
    if said:
        pytest.skip(said[0])
    assert np.abs(got - want).max() <= 1
    assert torch.equal(
        to_tensor(translator.pixels(pixels[:20])),
        to_tensor(Translator(generator, {"width": 4, "upsample": upsample}, facts, CPU).pixels(pixels[:20])),
    )
