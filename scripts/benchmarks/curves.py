"""Trains the same networks on the same pictures by our step and by the plain one, and compares losses and time.

Both sides begin with the same weights and see the same crops in the same order; each has its own pools of old fakes.
They train in alternation, each in its own process, a few steps at a time.
"""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median, stdev

import ours
import plain
import torch
from case import Case
from measure import paired_ratio
from report import Row, arguments, benchmark
from sides import sides
from torch import Tensor, nn

from ganstyle.base.errors import UserError

STEPS_A_TURN = 25
LOAD_PX, CROP_PX = 144, 128
WIDTH, BLOCKS = 24, 6
NETWORKS = ("generator_ab", "generator_ba", "discriminator_a", "discriminator_b")


@dataclass(frozen=True)
class Curve:
    """Builds a side; a turn makes a few steps and gives (seconds, mean of each loss)."""

    case: Case
    pictures: ours.Pictures
    steps: int
    ours: bool

    def __call__(self) -> Callable[[], tuple[float, dict[str, float]]]:
        torch.manual_seed(0)
        plain_step = plain.PlainStep(self.case.width, self.case.blocks, self.case.device)
        step: Callable[[ours.ImageBatch], dict[str, Tensor]]
        if self.ours:
            step = trained = ours.Trained.of(self.case)
            for name in NETWORKS:
                copy_weights(getattr(plain_step, name), trained.training.method.networks[name])
        else:

            def step(batch: ours.ImageBatch) -> dict[str, Tensor]:
                return plain_step(batch.a.contiguous(), batch.b.contiguous())

        batches = ours.batches(self.pictures, self.steps)
        return lambda: _turn(step, batches)


def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Parameter by parameter: the layers of both are in the same order."""
    with torch.no_grad():
        for weight, other in zip(source.parameters(), target.parameters(), strict=True):
            other.copy_(weight)


def _turn(
    step: Callable[[ours.ImageBatch], dict[str, Tensor]], batches: Iterator[ours.ImageBatch]
) -> tuple[float, dict[str, float]]:
    began, told = time.perf_counter(), []
    for _ in range(STEPS_A_TURN):
        losses = step(next(batches))
        told.append({name: loss.detach() for name, loss in losses.items()})
    values = {name: torch.stack([each[name].float() for each in told]).mean().item() for name in told[0]}
    return time.perf_counter() - began, values


def measure(parsed: Namespace) -> Iterator[Row]:
    a, b = (parsed.root / side for side in ("trainA", "trainB"))
    if not (a.is_dir() and b.is_dir()):
        raise UserError(f"--root: got {parsed.root}, expected a folder with trainA and trainB")
    width, blocks, turns = (4, 1, 2) if parsed.quick else (WIDTH, BLOCKS, max(2, parsed.steps // STEPS_A_TURN))
    pictures = ours.Pictures(a, b, LOAD_PX, CROP_PX, batch=1, workers=0, device=parsed.device)
    case = Case(CROP_PX, width=width, blocks=blocks, device=parsed.device, compile=not parsed.quick)
    builders = {name: Curve(case, pictures, turns * STEPS_A_TURN, name == "ours") for name in ("ours", "baseline")}
    with sides(**builders) as (own, other):
        yield _compared(case, [(own.turn(), other.turn()) for _ in range(turns)])


Turn = tuple[float, dict[str, float]]


def _compared(case: Case, turns: list[tuple[Turn, Turn]]) -> Row:
    """Times of all turns but the first, which compiles; losses of the second half, with the error of their means."""
    timed = turns[1:]
    seconds = [[side[0] / STEPS_A_TURN for side in pair] for pair in timed]
    own, baseline = (list(each) for each in zip(*seconds, strict=True))
    ratio, interval = paired_ratio(own, baseline)
    late = turns[len(turns) // 2 :]
    losses = {}
    for name in turns[0][0][1]:
        pair = [[turn[side][1][name] for turn in late] for side in (0, 1)]
        errors = [stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0 for values in pair]
        losses[name] = {
            "ours": mean(pair[0]),
            "baseline": mean(pair[1]),
            "standard_errors": errors,
            "curve": [turn[0][1][name] for turn in turns],
            "baseline_curve": [turn[1][1][name] for turn in turns],
        }
    return {
        "name": f"curves, {len(turns) * STEPS_A_TURN} steps, {case.name}",
        "ratio": ratio,
        "interval": interval,
        "median_s": median(own),
        "baseline_s": median(baseline),
        "alternations": len(timed),
        "total_s": sum(turn[0][0] for turn in turns),
        "baseline_total_s": sum(turn[1][0] for turn in turns),
        "losses": losses,
    }


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--root", type=Path, required=True, help="a folder with trainA and trainB")
    parser.add_argument("--steps", type=int, default=1000, help="of each side (1000)")
    benchmark(parser, measure)
