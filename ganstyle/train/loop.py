"""The training loop: one function that reads from top to bottom. `step` is its only clock."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ganstyle.base.errors import RunFailed
from ganstyle.methods.method import Batch, Method
from ganstyle.networks.dropout import dropout_layers, set_dropout_keys
from ganstyle.train.checkpoint import Checkpoints
from ganstyle.train.descend import FiniteWatch, Optimizers
from ganstyle.train.ema import MovingAverage
from ganstyle.train.ranks import Ranks, launcher_is_gone
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
    around_step: Callable[[], AbstractContextManager],
    advance: Callable[[int], None],
    meter: Callable[[int], Mapping[str, float]],
    stop: StopRequest,
    ranks: Ranks,
    parts: int = 1,
) -> int:
    """Train from step `start` to the last, or until asked to stop; returns how many steps are done and saved.

    Every rank runs this with the same arguments, and does the same things at the same steps.
    """
    done = start
    for step, batch in batches.between(start, due.steps):
        watch.step = step
        optimizers.set_learning_rate(schedule.at(step))
        with around_step():
            losses = step_in_parts(method, batch, optimizers, parts)
        average.update(step)
        done = step + 1
        if due.log(done):
            watch.check()  # only here, and where something is saved or shown, is the device waited for
            scalars = finite_floats(losses, done, ranks) | {"learning_rate": schedule.at(step)}
            tracker.log(done, {**scalars, **meter(done)})
        if due.preview(done) and ranks.first:
            tracker.images(done, "preview", preview())
        # Asked once: a later signal waits for the next step.
        stopping = ranks.any(stop.signal is not None or launcher_is_gone())
        if due.checkpoint(done) or stopping:
            watch.check()
            checkpoints.save(done)
        advance(done)
        if stopping:
            break
    return done


def step_in_parts(method: Method, batch: Any, optimizers: Optimizers, parts: int) -> dict[str, Tensor]:
    """One step on a batch, all at once or in parts that need less memory; the losses are the means over the parts.

    Every group is updated with the last part, so that its gradient is that of the whole batch. That is the same step
    as long as no part of it depends on an update that the step itself makes, as in CycleGAN.
    """
    if parts == 1:
        return _step(method, batch, optimizers)
    told: list[dict[str, Tensor]] = []
    for part, images in enumerate(batch.split(parts)):
        optimizers.begin_part(part, parts)
        losses = _step(method, images, optimizers)
        # Copies: a CUDA graph writes the next part's losses into the same memory.
        told.append({name: loss.detach().clone() for name, loss in losses.items()})
    return {name: torch.stack([losses[name] for losses in told]).mean(dim=0) for name in told[0]}


def _step(method: Method, batch: Batch, optimizers: Optimizers) -> dict[str, Tensor]:
    """One training step, with every draw of the networks keyed by the step and the batch's samples."""
    torch.manual_seed(batch.draws.key("torch", batch.first_sample))  # whatever a network draws from torch itself
    layers = dropout_layers(method.networks.values())
    if layers:
        set_dropout_keys(layers, _dropout_keys(batch))
    return method.training_step(batch, optimizers)


def _dropout_keys(batch: Batch) -> Tensor:
    samples = range(batch.first_sample, batch.first_sample + len(batch.a))
    keys = torch.tensor([batch.draws.key("dropout", sample) for sample in samples])
    # From pinned memory the copy is only enqueued; from ordinary memory the device would be waited for.
    return keys.pin_memory().to(batch.a.device, non_blocking=True) if batch.a.is_cuda else keys.to(batch.a.device)


def finite_floats(losses: Mapping[str, Tensor], done: int, ranks: Ranks | None = None) -> dict[str, float]:
    """Losses as Python floats, read from the device at once: their means over the ranks.

    Raises:
        RunFailed: names those that are not finite.
    """
    mean = (ranks or Ranks()).mean(torch.stack([loss.detach().float() for loss in losses.values()]))
    values = mean.tolist()
    floats = dict(zip(losses, values, strict=True))
    bad = [name for name, value in floats.items() if not math.isfinite(value)]
    if bad:
        raise RunFailed(f"step {done}: {', '.join(bad)} became non-finite (NaN or infinite), so training stops here")
    return floats


class Meter:
    """Images a second since it was last read, the share of that time spent waiting for data, and memory.

    Args:
        images: how many images of each domain a step takes.
        memory: gigabytes in use, if the system tells.
        waited: seconds that the run has waited for data so far.
    """

    def __init__(
        self, images: int, start: int, memory: Callable[[], float | None], waited: Callable[[], float] = lambda: 0.0
    ) -> None:
        self.images, self.memory, self.waited = images, memory, waited
        self._step, self._time, self._waited = start, time.perf_counter(), 0.0

    def __call__(self, done: int) -> dict[str, float]:
        """The speed since the last call, for logging."""
        now = time.perf_counter()
        steps, seconds = done - self._step, max(now - self._time, 1e-9)
        waiting, self._waited = self.waited() - self._waited, self.waited()
        self._step, self._time = done, now
        speed = {
            "speed/images_per_second": self.images * steps / seconds,
            "speed/seconds_per_step": seconds / max(steps, 1),
            "speed/waiting_for_data": min(waiting / seconds, 1.0),
        }
        gigabytes = self.memory()
        return speed if gigabytes is None else speed | {"memory/gigabytes": gigabytes}
