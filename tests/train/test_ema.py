from __future__ import annotations

import pytest
import torch
from torch import nn

from ganstyle.train.ema import MovingAverage, evaluating


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -2.0]))
        self.register_buffer("seen", torch.tensor(0))
        self.register_buffer("mean", torch.tensor([0.5]))
        self.seen: torch.Tensor
        self.mean: torch.Tensor


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.999])
def test_average_equals_the_formula(decay: float) -> None:
    source = Scaled()
    average = MovingAverage({"ab": source}, decay)
    expected = source.weight.detach().clone().double()
    decays = []
    for step in range(30):
        with torch.no_grad():
            source.weight.add_(0.1 * (step + 1))
            source.seen.add_(1)
            source.mean.mul_(3)
        average.update(step)
        kept = min(decay, (1 + step) / (10 + step))
        decays.append(kept)
        expected = kept * expected + (1 - kept) * source.weight.detach().double()
        model = average.models["ab"]
        torch.testing.assert_close(model.weight.detach().double(), expected, rtol=1e-5, atol=1e-6)
        assert torch.equal(model.seen, source.seen), "buffers are copied, whole numbers too"
        assert torch.equal(model.mean, source.mean), "buffers are copied, not averaged"
    assert decays[0] == 0.1
    assert (decays[-1] == decay) == (decay < 30 / 39)


def test_averages_are_copies_without_gradients_in_evaluation_mode() -> None:
    source = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
    model = MovingAverage({"ab": source}, 0.9).models["ab"]
    assert not any(part.training for part in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert source.training
    assert all(parameter.requires_grad for parameter in source.parameters())
    assert {id(each) for each in model.parameters()}.isdisjoint({id(each) for each in source.parameters()})


def test_no_decay_keeps_no_averages() -> None:
    source = Scaled()
    average = MovingAverage({"ab": source}, 0)
    average.update(0)
    assert average.models == {}
    assert average.state_dict() == {}
    assert average.best_models()["ab"] is source


def test_state_is_restored_exactly() -> None:
    source = Scaled()
    average = MovingAverage({"ab": source}, 0.9)
    with torch.no_grad():
        source.weight.mul_(7)
    average.update(3)
    other = MovingAverage({"ab": Scaled()}, 0.9)
    assert not torch.equal(other.models["ab"].weight, average.models["ab"].weight)
    other.load_state_dict(average.state_dict())
    assert torch.equal(other.models["ab"].weight, average.models["ab"].weight)


def test_a_run_without_averages_starts_them_from_its_translators() -> None:
    source = Scaled()
    average = MovingAverage({"ab": source}, 0.9)
    with torch.no_grad():
        source.weight.fill_(9)
    average.load_state_dict({})
    assert torch.equal(average.models["ab"].weight, source.weight)


def test_evaluating_puts_every_part_back_also_on_error() -> None:
    model = nn.Sequential(nn.Linear(1, 1), nn.Dropout(0.5), nn.BatchNorm1d(1))
    model[1].eval()
    before = [part.training for part in model.modules()]
    assert before == [True, True, False, True]

    def fails() -> None:
        with evaluating(model):
            assert not any(part.training for part in model.modules())
            assert not model(torch.ones(2, 1)).requires_grad
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fails()
    assert [part.training for part in model.modules()] == before
    assert torch.is_grad_enabled()
