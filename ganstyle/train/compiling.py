"""Whether a run is long enough to earn back the time that compiling takes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor

from ganstyle.base.draws import Draws
from ganstyle.methods.method import Method

MEASURING_S = 0.2
# Compiling must save so many times its cost: a run may be stopped early, and the estimate may be off.
MARGIN = 2
# For a bound: no machine that trains is slower, and no method runs a network so often in a step, both ways together.
SLOWEST_RATE = 5e9
MOST_PASSES = 30


@dataclass(frozen=True)
class Costs:
    """What compiling costs and saves on one kind of device.

    `utilisation` is the share of the rate of a matrix product that an eager step reaches, `overhead_s` what a step
    takes beside its arithmetic, `saved` the share of the eager step that compiling saves.
    """

    utilisation: float
    overhead_s: float
    compile_s: float
    saved: float


COSTS = {
    # Measured on two cores of a Xeon (torch 2.15, November 2026; matrix product of 250 GFLOP/s), batch 1. Eager steps:
    # 0.066 s (recipe demo, 3 GFLOP), 0.61 s (cyclegan-lite, 62), 1.1 s (ResNet-9, width 64, 64 px, 117). Compiling
    # took 62, 124 and 110 to 170 s and saved 0.15, 0.31 and 0.2 of a step.
    "cpu": Costs(utilisation=0.42, overhead_s=0.04, compile_s=150, saved=0.2),
    # Not measured yet: two thousand kernels of which each takes 15 microseconds to launch, many of them fused away.
    "cuda": Costs(utilisation=0.3, overhead_s=0.03, compile_s=150, saved=0.3),
}


@dataclass(frozen=True)
class Judgement:
    """Whether a run should be compiled, and why, in one line."""

    compile: bool
    reason: str


@dataclass(frozen=True)
class _Blank:
    """A batch without pixels, for counting."""

    a: Tensor
    b: Tensor
    draws: Draws
    first_sample: int = 0
    first_slot: int = 0


class _Backward:
    """An optimiser that takes gradients and moves nothing."""

    def descend(self, losses: Mapping[str, Tensor]) -> None:
        torch.stack([loss.float() for loss in losses.values()]).sum().backward()


def step_arithmetic(method: Method, *, batch_size: int, crop_px: int) -> int:
    """Floating-point operations of one step, forwards and backwards; the method is on the meta device."""
    # Half a second of imports, and only long runs get here.
    from torch.utils.flop_counter import FlopCounterMode  # noqa: PLC0415

    images = torch.empty(batch_size, 3, crop_px, crop_px, device="meta")
    batch, optimizers = _Blank(images, images, Draws(0)), dict.fromkeys(method.optimised, _Backward())
    with FlopCounterMode(display=False) as counter:
        method.training_step(batch, SimpleNamespace(**optimizers))
    return counter.get_total_flops()


def matrix_product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations per second of a square matrix product, the fastest of a fraction of a second."""
    side = 1024 if device.type == "cpu" else 4096
    matrix = torch.ones(side, side, device=device, dtype=dtype)
    synchronize = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    fastest, until = float("inf"), time.perf_counter() + MEASURING_S
    while time.perf_counter() < until:
        start = time.perf_counter()
        matrix @ matrix
        synchronize()
        fastest = min(fastest, time.perf_counter() - start)
    return 2 * side**3 / fastest


def surely_short(method: Method, costs: Costs, *, steps: int, batch_size: int, crop_px: int) -> bool:
    """Whether a run is too short on any machine, known without counting: a weight acts at most once for each pixel."""
    # Buffers too: a frozen VGG is no parameter.
    networks = method.networks.values()
    weights = sum(each.numel() for network in networks for each in (*network.parameters(), *network.buffers()))
    most = 2 * weights * batch_size * crop_px**2 * MOST_PASSES / SLOWEST_RATE + costs.overhead_s
    return steps * most * costs.saved < MARGIN * costs.compile_s


def judge(
    method: Method, device: torch.device, precision: str, *, steps: int, batch_size: int, crop_px: int
) -> Judgement:
    """Whether compiling pays for a run; takes about a second, and less for a short one.

    A step is taken to last its arithmetic by the measured rate of a matrix product times a utilisation, and an
    overhead, all as in `COSTS`. Compiling pays when the time that it saves over the run is twice what it costs. On
    CUDA float32 the rate is that of a product without TF32, so a step is taken for longer than it is.

    Args:
        method: freshly built on the meta device; it is used up.
        device: what the run will compute on; one that is not in `COSTS` (MPS) never compiles.
        precision: `float32` or `bfloat16`.
        steps: of the whole run.
        batch_size: images of each domain in a step on this device.
        crop_px: their side.
    """
    costs = COSTS.get(device.type)
    if costs is None:
        return Judgement(False, f"training.compile: not tried on {device.type}: training runs eager")
    if surely_short(method, costs, steps=steps, batch_size=batch_size, crop_px=crop_px):
        return Judgement(
            False, "training.compile: the run is too short to earn back what it costs: training runs eager"
        )
    arithmetic = step_arithmetic(method, batch_size=batch_size, crop_px=crop_px)
    rate = matrix_product_rate(device, torch.bfloat16 if precision == "bfloat16" else torch.float32)
    return judgement(costs, step_s=arithmetic / (costs.utilisation * rate) + costs.overhead_s, steps=steps)


def judgement(costs: Costs, *, step_s: float, steps: int) -> Judgement:
    """The decision for so many steps of so many seconds."""
    saved_s = costs.saved * step_s * steps
    pays = saved_s > MARGIN * costs.compile_s
    estimate = (
        f"about {step_s:.2g} s a step; compiling takes about {duration(costs.compile_s)} and saves {duration(saved_s)}"
    )
    return Judgement(pays, f"training.compile: {estimate}: training runs {'compiled' if pays else 'eager'}")


def duration(seconds: float) -> str:
    """For people, to two digits or to the hour: `2.5 min`, `41 h`."""
    if seconds < 3600:
        return f"{seconds / 60:.2g} min"
    return f"{seconds / 3600:.2g} h" if seconds < 3600 * 99 else f"{seconds / 3600:.0f} h"
