from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ganstyle.base.draws import Draws
from ganstyle.methods.cyclegan import CycleGAN
from ganstyle.networks.generators import ResNetGenerator
from ganstyle.networks.patch_discriminator import PatchDiscriminator
from ganstyle.train.descend import Descent, adam
from ganstyle.train.ema import MovingAverage
from ganstyle.train.guard import Guard
from ganstyle.train.hardware import Hardware

CPU = torch.device("cpu")


def fabric() -> Fabric:
    return Fabric(accelerator="cpu", devices=1)


class Weight(nn.Module):
    """One parameter and nothing else."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(values.clone())


def plain_adam(module: nn.Module, rate: float) -> torch.optim.Adam:
    return torch.optim.Adam(module.parameters(), lr=rate, betas=(0.5, 0.999), foreach=False)


def test_descends_the_sum_of_the_losses() -> None:
    ours, plain = Weight(torch.tensor([1.0, 2.0])), Weight(torch.tensor([1.0, 2.0]))
    descent, optimizer = Descent(fabric(), [ours], Guard(CPU), name="only", learning_rate=0.1), plain_adam(plain, 0.1)
    ours.values.grad = torch.tensor([100.0, 100.0])  # of another group's backward; it must not count
    for factor in (3.0, -1.0, 0.5):
        descent.descend({"x": factor * ours.values.sum(), "y": (ours.values**2).sum()})
        optimizer.zero_grad()
        (factor * plain.values.sum() + (plain.values**2).sum()).backward()
        optimizer.step()
    torch.testing.assert_close(ours.values, plain.values)


def network(*, channels_last: bool) -> nn.Sequential:
    torch.manual_seed(3)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 1), nn.Flatten(), nn.Linear(5 * 4 * 4, 2))
    return layers.to(memory_format=torch.channels_last) if channels_last else layers


def images(number: int, count: int = 4) -> Tensor:
    pixels = torch.rand(count, 3, 6, 6, generator=torch.Generator().manual_seed(number))
    return pixels.to(memory_format=torch.channels_last)


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_channels_last_weights_and_parts_of_a_batch_change_nothing(parts: int) -> None:
    ours, plain = network(channels_last=True), network(channels_last=False)
    assert not ours[0].weight.is_contiguous()
    optimizers = adam({"only": [ours]}, fabric(), Guard(CPU), learning_rate=0.01)
    optimizer = plain_adam(plain, 0.01)
    for number in range(4):
        batch = images(number)
        for part, piece in enumerate(batch.chunk(parts)):
            optimizers.begin_part(part, parts)
            optimizers.only.descend({"x": (ours(piece) ** 2).mean(), "y": ours(piece).abs().mean()})
        optimizer.zero_grad()
        ((plain(batch) ** 2).mean() + plain(batch).abs().mean()).backward()
        optimizer.step()
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(ours.get_parameter(name), parameter, rtol=1e-4, atol=1e-5)


def test_a_state_does_not_tell_how_weights_lie_in_memory() -> None:
    """A run saved where weights are channels-last goes on where they are not."""

    def trained(steps: int, *, channels_last: bool) -> tuple[nn.Sequential, Any]:
        layers = network(channels_last=channels_last)
        optimizers = adam({"only": [layers]}, fabric(), Guard(CPU), learning_rate=0.01)
        for number in range(steps):
            optimizers.only.descend({"x": (layers(images(number)) ** 2).mean()})
        return layers, optimizers

    layers, optimizers = trained(3, channels_last=True)
    state = optimizers.state_dict()
    for number, parameter in enumerate(layers.parameters()):
        assert state["only"]["state"][number]["exp_avg"].shape == parameter.shape
    other, restored = trained(0, channels_last=False)
    other.load_state_dict(layers.state_dict())
    restored.load_state_dict(copy.deepcopy(state))
    for each, groups in ((layers, optimizers), (other, restored)):
        groups.only.descend({"x": (each(images(9)) ** 2).mean()})
    for name, parameter in other.named_parameters():
        torch.testing.assert_close(layers.get_parameter(name), parameter, rtol=1e-4, atol=1e-6)


def test_losses_of_lower_precision_are_summed_in_float32() -> None:
    """In bfloat16 256 + 1 is 256 again, and a gradient scaled by it would be too."""
    seen: list[Tensor] = []
    recorder = SimpleNamespace(device=CPU, backward=seen.append)
    weight = Weight(torch.ones(()))
    descent = Descent(recorder, [weight], Guard(CPU), name="only", learning_rate=0.1)  # type: ignore[arg-type]
    large, small = (torch.tensor(value, dtype=torch.bfloat16) * weight.values.bfloat16() for value in (256.0, 1.0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        descent.descend({"large": large, "small": small})
    assert seen[0].dtype == torch.float32
    assert seen[0].item() == 257.0


class HostReads(TorchDispatchMode):
    """Every operation whose result the host would have to wait for, with the tensor that it read."""

    WAITING = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "_unique2", "masked_select", "item")

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0
        self.reads: list[tuple[str, Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations += 1
        name = func.__name__.split(".")[0]
        if name in self.WAITING:
            self.reads.append((name, args[0]))
        return func(*args, **(kwargs or {}))


def test_a_whole_step_never_waits_for_the_device() -> None:
    torch.manual_seed(0)
    method = CycleGAN(
        lambda: ResNetGenerator(width=2, blocks=1, halvings=1),
        lambda: PatchDiscriminator(width=2, layers=1),
        pool_size=1,
    )
    guard = Guard(CPU)
    optimizers = adam(method.optimised, fabric(), guard, learning_rate=1e-3)
    average = MovingAverage(method.translators, 0.9)

    def step(number: int) -> None:
        images = torch.rand(2, 3, 16, 16)
        batch = SimpleNamespace(a=images, b=-images, draws=Draws(0, number), first_sample=2 * number, first_slot=0)
        guard.step = number
        method.training_step(batch, optimizers)
        average.update(number)

    step(0)
    with HostReads() as seen:
        step(1)
    # Adam's own counters of steps live on the host on every device.
    counters = {
        state["step"].data_ptr()
        for group in optimizers._groups.values()
        for state in group.optimizer.state_dict()["state"].values()
    }
    waited = [name for name, tensor in seen.reads if tensor.data_ptr() not in counters]
    assert seen.operations > 500
    assert waited == []


def test_the_counting_of_waits_works() -> None:
    with HostReads() as seen:
        torch.ones(2).sum().item()
        torch.ones(2).nonzero()
    assert [name for name, _ in seen.reads] == ["_local_scalar_dense", "nonzero"]


def test_adam_as_the_authors_use_it() -> None:
    modules = {"generator": [nn.Linear(1, 1), nn.Linear(2, 2)], "discriminator": [nn.Linear(3, 3)]}
    optimizers = adam(modules, fabric(), Guard(CPU), learning_rate=2e-4)
    groups = optimizers.generator.optimizer.param_groups
    assert [group["betas"] for group in groups] == [(0.5, 0.999)]
    assert groups[0]["weight_decay"] == 0
    assert len(groups[0]["params"]) == 4
    optimizers.set_learning_rate(0.125)
    for group in (optimizers.generator, optimizers.discriminator):
        assert group.optimizer.param_groups[0]["lr"] == 0.125


def test_optimisers_are_restored_exactly() -> None:
    def trained(steps: int) -> tuple[nn.Linear, Any]:
        torch.manual_seed(1)
        layer = nn.Linear(2, 2)
        optimizers = adam({"only": [layer]}, fabric(), Guard(CPU), learning_rate=0.1)
        for number in range(steps):
            optimizers.only.descend({"x": (layer(torch.ones(1, 2) * (number + 1)) ** 2).sum()})
        return layer, optimizers

    layer, optimizers = trained(3)
    again, other = trained(0)
    again.load_state_dict(layer.state_dict())
    other.load_state_dict(copy.deepcopy(optimizers.state_dict()))
    for each, groups in ((layer, optimizers), (again, other)):
        groups.only.descend({"x": each(torch.ones(1, 2)).sum()})
    assert torch.equal(layer.weight, again.weight)


def test_a_network_used_again_in_the_same_step_has_its_new_weights() -> None:
    """Autocast keeps the casts of weights; after an update they must not be used any more."""
    fabric = Hardware("cpu", "bfloat16", compile=False, threads=torch.get_num_threads()).fabric()
    network = nn.Linear(4, 1)
    optimizers = adam({"group": [network]}, fabric, Guard(fabric.device), learning_rate=0.5)
    images = torch.ones(1, 4)
    with fabric.autocast():
        before = network(images)
        optimizers.group.descend({"loss": before.float().mean()})
        after = network(images)
    expected = network(images)
    assert abs((after - expected).item()) < 0.02 < abs((before - expected).item())
