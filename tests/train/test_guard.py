from __future__ import annotations

import copy
from collections.abc import Sequence

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from ganstyle.train import descend
from ganstyle.train.descend import Optimizers, adam
from ganstyle.train.guard import Diverged, Guard
from ganstyle.train.ranks import Ranks

CPU = torch.device("cpu")
NAN, INFINITE = float("nan"), float("inf")


class Weight(nn.Module):
    """Some weights and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.tensor([1.0, 2.0]))


def group(guard: Guard, ranks: Ranks | None = None) -> tuple[Weight, Optimizers]:
    weight = Weight()
    fabric = Fabric(accelerator="cpu", devices=1)
    return weight, adam({"only": [weight]}, fabric, guard, learning_rate=0.1, ranks=ranks)


def good(weight: Weight, factor: float = 1.0) -> dict[str, Tensor]:
    return {"x": factor * (weight.values**2).sum()}


def bad_loss(weight: Weight) -> dict[str, Tensor]:
    return {"x": weight.values.sum(), "y": weight.values.sum() * NAN}


def infinite_loss(weight: Weight) -> dict[str, Tensor]:
    return {"x": weight.values.sum(), "y": torch.tensor(INFINITE)}


def bad_gradient(weight: Weight) -> dict[str, Tensor]:
    """A finite loss whose gradient is not."""
    return {"x": (weight.values * 0).abs().sqrt().sum()}


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("bad", [bad_loss, infinite_loss, bad_gradient])
def test_a_bad_update_leaves_no_trace(bad: object, fused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not fused:
        monkeypatch.setattr(descend, "FUSED", ())
    guard = Guard(CPU)
    (weight, optimizers), (plain, others) = group(guard), group(Guard(CPU))
    for number in range(6):
        if number in (1, 2, 4):
            optimizers.only.descend(bad(weight))  # type: ignore[operator]
        else:
            optimizers.only.descend(good(weight, number + 1))
            others.only.descend(good(plain, number + 1))
    assert torch.equal(weight.values, plain.values)
    state, other = optimizers.state_dict()["only"]["state"][0], others.state_dict()["only"]["state"][0]
    assert float(state["step"]) == 3
    assert all(torch.equal(state[key], other[key]) for key in state)
    assert guard.numbers() == {"guard/skipped": 3, "guard/rollbacks": 0}
    assert guard.numbers()["guard/skipped"] == 0, "since it was last asked"


def test_one_bad_part_of_a_batch_spoils_the_whole() -> None:
    guard = Guard(CPU)
    weight, optimizers = group(guard)
    for parts in ([bad_loss, good], [good, bad_loss]):
        for number, losses in enumerate(parts):
            optimizers.begin_part(number, 2)
            optimizers.only.descend(losses(weight))
    assert weight.values.tolist() == [1.0, 2.0]
    assert guard.numbers()["guard/skipped"] == 2


class AnotherIsBad(Ranks):
    """Two ranks, of which the other one has a loss that is not finite, with fine gradients."""

    def average(self, tensors: Sequence[Tensor]) -> None:
        tensors[-1].copy_((tensors[-1] + 1) / 2)


def test_what_is_bad_on_one_rank_is_skipped_on_all() -> None:
    guard = Guard(CPU)
    weight, optimizers = group(guard, AnotherIsBad())
    optimizers.only.descend(good(weight))
    assert weight.values.tolist() == [1.0, 2.0]
    assert guard.numbers()["guard/skipped"] == 1


def test_the_norm_of_the_gradients_is_told() -> None:
    weight, optimizers = group(Guard(CPU))
    optimizers.only.descend(good(weight))
    assert optimizers.gradient_norms()["gradient_norm/only"].item() == pytest.approx((2**2 + 4**2) ** 0.5)


def steps(guard: Guard, kinds: Sequence[object]) -> None:
    weight, optimizers = group(guard)
    for number, losses in enumerate(kinds):
        guard.step = number
        optimizers.only.descend(losses(weight))  # type: ignore[operator]


def test_the_first_bad_step_is_named_with_all_its_losses() -> None:
    guard = Guard(CPU, most_in_a_row=2)
    steps(guard, [good, infinite_loss, bad_loss])
    with pytest.raises(
        Diverged, match=r"^step 2: y became non-finite \(NaN or infinite\) \(2 updates in a row were skipped\)$"
    ):
        guard.check()


def test_a_gradient_is_named_where_no_loss_is_to_blame() -> None:
    guard = Guard(CPU)
    steps(guard, [good, bad_gradient])
    assert guard.blame() == "step 2: a gradient of only became non-finite (NaN or infinite)"


def test_bad_steps_apart_are_no_divergence() -> None:
    guard = Guard(CPU, most_in_a_row=3)
    steps(guard, [bad_loss, bad_loss, good, bad_loss, bad_loss, good, bad_loss])
    guard.check()
    assert guard.in_a_row() == 1


def test_a_row_that_has_ended_is_still_found() -> None:
    """It is looked for only now and then."""
    guard = Guard(CPU, most_in_a_row=3)
    steps(guard, [bad_loss, bad_loss, bad_loss, good])
    with pytest.raises(Diverged):
        guard.check()


def test_nothing_is_found_in_finite_losses() -> None:
    guard = Guard(CPU)
    guard.check()
    assert guard.record({"x": torch.tensor(1e38), "y": torch.tensor(-1e38)}).item() == 0
    guard.check()
    assert (guard.blame(), guard.in_a_row()) == ("", 0)


def test_a_row_goes_on_after_a_resume() -> None:
    guard = Guard(CPU, most_in_a_row=3)
    steps(guard, [good, bad_loss, bad_loss])
    assert guard.numbers()["guard/skipped"] == 2
    again = Guard(CPU, most_in_a_row=3)
    again.load_state_dict(copy.deepcopy(guard.state_dict()))
    assert again.in_a_row() == 2
    assert again.numbers()["guard/skipped"] == 0, "told before"
    weight, optimizers = group(again)
    optimizers.only.descend(bad_loss(weight))
    with pytest.raises(Diverged, match="3 updates in a row"):
        again.check()


def test_after_a_roll_back_rows_begin_anew() -> None:
    guard = Guard(CPU, most_in_a_row=2)
    steps(guard, [bad_loss, bad_loss])
    guard.begin_again(1)
    guard.check()
    assert (guard.rollbacks, guard.in_a_row(), guard.blame()) == (1, 0, "")


def test_what_was_not_told_before_a_resume_is_told_after_it() -> None:
    guard, again = Guard(CPU), Guard(CPU)
    steps(guard, [bad_loss, good])
    again.load_state_dict(copy.deepcopy(guard.state_dict()))
    assert again.numbers()["guard/skipped"] == 1


def test_rows_that_were_passed_are_not_judged_by_a_new_limit() -> None:
    guard, again = Guard(CPU, most_in_a_row=5), Guard(CPU, most_in_a_row=2)
    steps(guard, [bad_loss, bad_loss, bad_loss, good])
    again.load_state_dict(copy.deepcopy(guard.state_dict()))
    again.check()


def test_a_state_of_another_kernel_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adam's own state says which kernel made it, as on MPS; the kernel of this device is used all the same."""
    weight, optimizers = group(Guard(CPU))
    optimizers.only.descend(good(weight))
    monkeypatch.setattr(descend, "FUSED", ())
    _, unfused = group(Guard(CPU))
    unfused.load_state_dict(copy.deepcopy(optimizers.state_dict()))
    monkeypatch.undo()
    other, fused = group(Guard(CPU))
    fused.load_state_dict(copy.deepcopy(unfused.state_dict()))
    fused.only.descend(good(other))
    assert fused.only.optimizer.param_groups[0]["fused"] is True


def test_one_bad_batch_does_not_spoil_the_statistics_of_batch_norm() -> None:
    guard = Guard(CPU)
    norm = nn.BatchNorm2d(2)
    optimizers = adam({"only": [norm]}, Fabric(accelerator="cpu", devices=1), guard, learning_rate=0.1)
    images = torch.randn(4, 2, 5, 5, generator=torch.Generator().manual_seed(0))

    def step(batch: Tensor) -> None:
        optimizers.only.descend({"x": norm(batch).square().mean()})

    step(images)
    assert norm.running_mean is not None
    mean = norm.running_mean.clone()
    step(torch.where(images > 1, torch.nan, images))
    assert torch.equal(norm.running_mean, mean)
    assert guard.numbers()["guard/skipped"] == 1
    step(images + 1)
    assert not torch.equal(norm.running_mean, mean)
