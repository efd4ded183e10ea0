from __future__ import annotations

import copy
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from ganstyle.base.errors import UserError
from ganstyle.networks.blocks import UPSAMPLINGS
from ganstyle.networks.generators import ResNetGenerator
from ganstyle.networks.keyed import keyed_layers, set_keys
from ganstyle.networks.patch_discriminator import PatchDiscriminator
from ganstyle.networks.recompute import recompute


def pair(**changes: object) -> tuple[ResNetGenerator, ResNetGenerator]:
    """The same generator, as it is and recomputing."""
    torch.manual_seed(0)
    plain = ResNetGenerator(width=4, blocks=3, gain=0.3, **changes).train()  # type: ignore[arg-type]
    other = copy.deepcopy(plain)
    recompute(other)
    return plain, other


def images() -> Tensor:
    return torch.rand(2, 3, 32, 28, generator=torch.Generator().manual_seed(1)) * 2 - 1


def trained(generator: nn.Module, *, twice: bool = False) -> list[Tensor]:
    """The result, the gradient of the images and every gradient of the weights."""
    real = images().requires_grad_()
    translated = generator(real)
    if twice:
        translated = generator(translated)
    translated.square().mean().backward()
    assert real.grad is not None
    return [translated, real.grad, *(weight.grad for weight in generator.parameters() if weight.grad is not None)]


def assert_identical(one: list[Tensor], other: list[Tensor]) -> None:
    assert len(one) == len(other) > 10
    assert all(torch.equal(*each) for each in zip(one, other, strict=True))


@pytest.mark.parametrize(("upsample", "twice"), list(product(UPSAMPLINGS, (False, True))))
def test_results_and_gradients_are_the_same_bit_for_bit(upsample: str, twice: bool) -> None:
    plain, other = pair(upsample=upsample)
    assert_identical(trained(plain, twice=twice), trained(other, twice=twice))


def test_under_autocast_too() -> None:
    plain, other = pair()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_identical(trained(plain), trained(other))


@pytest.mark.parametrize("keyed", [True, False])
def test_dropout_draws_the_same_mask_again(keyed: bool) -> None:
    found = []
    for generator in pair(dropout=0.5):
        torch.manual_seed(7)
        if keyed:
            set_keys(keyed_layers([generator]), torch.tensor([3, 4]))
        found.append(trained(generator))
    assert_identical(*found)


def saved_bytes(generator: nn.Module) -> int:
    """What the forward pass keeps for the backward one, each memory counted once."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = generator(images().requires_grad_())
    assert result.requires_grad
    return sum(kept.values())


def test_less_is_kept_for_the_backward_pass() -> None:
    plain, other = (saved_bytes(each) for each in pair())
    assert 0 < other < plain / 2


def test_without_gradients_and_in_eval_mode_nothing_is_recomputed(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> Tensor:
        raise AssertionError

    plain, other = pair()
    monkeypatch.setattr("ganstyle.networks.recompute.checkpoint", never)
    with torch.no_grad():
        assert torch.equal(plain(images()), other(images()))
    assert torch.equal(plain.eval()(images()), other.eval()(images()))
    with pytest.raises(AssertionError):
        other.train()(images())


def test_names_and_copies_stay_as_they_are() -> None:
    plain, other = pair()
    assert list(plain.state_dict()) == list(other.state_dict())
    average = copy.deepcopy(other).eval()
    assert torch.equal(average(images()), plain(images()))


def test_a_network_without_parts_is_refused_in_one_line() -> None:
    with pytest.raises(UserError, match=r"^training\.recompute: PatchDiscriminator cannot") as caught:
        recompute(PatchDiscriminator(width=2, layers=1))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_compiles_without_a_break() -> None:
    plain, other = pair(dropout=0.5)
    for generator in (plain, other):
        set_keys(keyed_layers([generator]), torch.tensor([3, 4]))
    assert torch._dynamo.explain(other)(images()).graph_break_count == 0
    torch._dynamo.reset()
    compiled = copy.deepcopy(other)
    compiled.compile(dynamic=False)
    for one, same in zip(trained(compiled), trained(plain), strict=True):
        assert torch.allclose(one, same, rtol=1e-3, atol=1e-4)
