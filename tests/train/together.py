"""A small training in float64 as any of several ranks; a module of its own, because the ranks import it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from ganstyle.assemble import build_method, check_config
from ganstyle.base.draws import Draws
from ganstyle.data.batches import ImageBatch
from ganstyle.train.checkpoint import Checkpoints, named_tensors
from ganstyle.train.descend import adam
from ganstyle.train.ema import MovingAverage
from ganstyle.train.guard import Guard
from ganstyle.train.hardware import Hardware
from ganstyle.train.loop import finite_floats, step_in_parts
from ganstyle.train.ranks import Ranks, SpreadMemories, joined, started_together

CONFIG = {
    "method": {"name": "cyclegan", "pool_size": 3},
    "generator": {"name": "resnet", "width": 3, "blocks": 1, "halvings": 1, "dropout": 0.3},
    "discriminator": {"name": "patch", "width": 3, "layers": 2},
    "training": {"steps": 1},
    "data": {"crop_px": 16, "load_px": 16},
}
BATCH = 4


def images(step: int, slots: range) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    a, b = (torch.rand(BATCH, 3, 16, 16, generator=generator, dtype=torch.float64) * 2 - 1 for _ in range(2))
    return a[slots.start : slots.stop], b[slots.start : slots.stop]


class SmallRun:
    """Everything that changes in a training; in float64, where rounding has no time to grow in 200 steps."""

    def __init__(self, folder: Path, ranks: Ranks, parts: int = 1) -> None:
        self.ranks, self.parts, self.losses = ranks, parts, dict[int, dict[str, float]]()
        self.slots = ranks.slots(BATCH, parts)
        self.method = build_method(check_config(CONFIG))
        for network in self.method.networks.values():
            network.double().to(memory_format=torch.channels_last)
        fabric = Hardware("cpu", "float32", compile=False, threads=1).fabric()
        guard = Guard(fabric.device, ranks)
        self.optimizers = adam(self.method.optimised, fabric, guard, learning_rate=2e-4, ranks=ranks)
        self.average = MovingAverage(self.method.translators, 0.9)
        memories = {name: SpreadMemories(each, ranks, BATCH) for name, each in self.method.memories.items()}
        state: Any = {
            "networks": self.method.networks,
            "optimizers": self.optimizers,
            "ema": self.average,
            "memories": memories,
        }
        self.checkpoints = Checkpoints(folder, state, facts={}, keep=9, writes=ranks.first)

    def train(self, start: int, stop: int) -> None:
        for step in range(start, stop):
            a, b = images(step, self.slots)
            batch = ImageBatch(a, b, Draws(5, step), step * BATCH + self.slots.start, self.slots.start)
            losses = step_in_parts(self.method, batch, self.optimizers, self.parts)
            self.average.update(step)
            self.losses[step] = finite_floats(losses, self.ranks)
        self.checkpoints.save(stop)


def as_rank(folder: str, start: int, stop: int) -> dict[int, dict[str, float]]:
    """What every process of `together` runs; gives the losses by step."""
    torch.set_num_threads(1)
    with joined(started_together(), "cpu") as ranks:
        run = SmallRun(Path(folder), ranks)
        run.checkpoints.restore(start)
        run.train(start, stop)
        return run.losses


def together(count: int, folder: Path, start: int, stop: int) -> dict[int, Any]:
    """Train from one step to another in `count` processes; gives each rank's losses."""
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id="test",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    return elastic_launch(config, as_rank)(str(folder), start, stop)


def saved(folder: Path, step: int) -> dict[str, Tensor]:
    """Every tensor of a checkpoint but the dead biases' and their moments.

    A bias in front of a norm cannot act; its gradient is rounding, which Adam turns into steps of the learning rate.
    """
    state = torch.load(folder / f"step-{step:08d}.pt", weights_only=True)
    method = build_method(check_config(CONFIG))
    dead = {
        f"networks.{key}.{name}": None
        for key, network in method.networks.items()
        for name, _ in network.named_parameters()
        if is_dead(network, name)
    }
    numbers = {
        group: {
            number
            for number, (network, name) in enumerate(
                (network, name) for network in networks for name, _ in network.named_parameters()
            )
            if is_dead(network, name)
        }
        for group, networks in method.optimised.items()
    }
    assert len(dead) == sum(map(len, numbers.values())) > 0
    dead |= {
        f"optimizers.{group}.state.{number}.{each}": None
        for group, found in numbers.items()
        for number in found
        for each in ("exp_avg", "exp_avg_sq")
    }
    dead |= {
        f"ema.{way}.{name}": None
        for way, network in method.translators.items()
        for name, _ in network.named_parameters()
        if is_dead(network, name)
    }
    return {name: tensor for name, tensor in named_tensors(state) if name not in dead}


def is_dead(network: torch.nn.Module, name: str) -> bool:
    """Whether this is the bias of a convolution in front of a norm."""
    norm = name.replace("conv.bias", "norm")
    return norm != name and any(part == norm for part, _ in network.named_modules())
