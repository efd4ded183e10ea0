"""The training loop: one function that reads from top to bottom. `step` is its only clock."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ganstyle.base.errors import RunFailed
from ganstyle.methods.method import Batch, Method
from ganstyle.train.checkpoint import Checkpoints
from ganstyle.train.descend import FiniteWatch, Optimizers
from ganstyle.train.ema import MovingAverage
from ganstyle.train.schedule import LinearDecay
from ganstyle.train.stop import StopRequest


class Tracker(Protocol):
    """Who is told of the run; never raises."""

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Numbers by name after that many steps."""

    def images(self, step: int, name: str, encoded: bytes) -> None:
        """One picture, encoded as JPEG or PNG."""


class Batches(Protocol):
    """Where batches come from."""

    def between(self, start: int, stop: int) -> Iterator[tuple[int, Batch]]:
        """(step, batch) for start <= step < stop."""


@dataclass(frozen=True)
class Due:
    """What is done every so many steps; the last step is always due."""

    steps: int
    log_every: int
    preview_every: int
    checkpoint_every: int

    def log(self, done: int) -> bool:
        """Whether numbers are read and told after this many steps."""
        return done % self.log_every == 0 or done == self.steps

    def preview(self, done: int) -> bool:
        """Whether the previews are drawn after this many steps."""
        return done % self.preview_every == 0 or done == self.steps

    def checkpoint(self, done: int) -> bool:
        """Whether a checkpoint is written after this many steps."""
        return done % self.checkpoint_every == 0 or done == self.steps


def train(
    method: Method,
    batches: Batches,
    optimizers: Optimizers,
    *,
    start: int,
    due: Due,
    schedule: LinearDecay,
    average: MovingAverage,
    watch: FiniteWatch,
    checkpoints: Checkpoints,
    tracker: Tracker,
    preview: Callable[[], bytes],
    autocast: Callable[[], AbstractContextManager],
    advance: Callable[[int], None],
    meter: Callable[[int], Mapping[str, float]],
    stop: StopRequest,
) -> int:
    """Train from step `start` to the last, or until asked to stop; returns how many steps are done and saved."""
    done = start
    for step, batch in batches.between(start, due.steps):
        watch.step = step
        torch.manual_seed(batch.draws.key("torch", batch.first_sample))  # dropout, and whatever else a network draws
        optimizers.set_learning_rate(schedule.at(step))
        with autocast():
            losses = method.training_step(batch, optimizers)
        average.update(step)
        done = step + 1
        if due.log(done):
            watch.check()  # only here, and where something is saved or shown, is the device waited for
            scalars = finite_floats(losses, done) | {"learning_rate": schedule.at(step)}
            tracker.log(done, {**scalars, **meter(done)})
        if due.preview(done):
            tracker.images(done, "preview", preview())
        stopping = stop.signal is not None  # asked once, so that a signal after the saving waits for the next step
        if due.checkpoint(done) or stopping:
            watch.check()
            checkpoints.save(done)
        advance(done)
        if stopping:
            break
    return done


def finite_floats(losses: Mapping[str, Tensor], done: int) -> dict[str, float]:
    """Losses as Python floats, read from the device at once; `RunFailed` names those that are not finite."""
    values = torch.stack([loss.detach().float() for loss in losses.values()]).tolist()
    floats = dict(zip(losses, values, strict=True))
    bad = [name for name, value in floats.items() if not math.isfinite(value)]
    if bad:
        raise RunFailed(f"step {done}: {', '.join(bad)} became non-finite (NaN or infinite), so training stops here")
    return floats


class Meter:
    """Images a second since it was last read, and memory.

    Args:
        images: how many images of each domain a step takes.
        memory: gigabytes in use, if the system tells.
    """

    def __init__(self, images: int, start: int, memory: Callable[[], float | None]) -> None:
        self.images, self.memory = images, memory
        self._step, self._time = start, time.perf_counter()

    def __call__(self, done: int) -> dict[str, float]:
        """The speed since the last call, for logging."""
        now = time.perf_counter()
        steps, seconds = done - self._step, max(now - self._time, 1e-9)
        self._step, self._time = done, now
        speed = {
            "speed/images_per_second": self.images * steps / seconds,
            "speed/seconds_per_step": seconds / max(steps, 1),
        }
        gigabytes = self.memory()
        return speed if gigabytes is None else speed | {"memory/gigabytes": gigabytes}
