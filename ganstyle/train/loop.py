"""The training loop: one function that reads from top to bottom. `step` is its only clock."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ganstyle.data.tensors import send
from ganstyle.methods.method import Batch, Method
from ganstyle.networks.keyed import keyed_layers, set_keys
from ganstyle.train.checkpoint import Checkpoints
from ganstyle.train.descend import Optimizers
from ganstyle.train.ema import MovingAverage
from ganstyle.train.guard import Guard
from ganstyle.train.ranks import Ranks, launcher_is_gone
from ganstyle.train.schedule import LinearDecay
from ganstyle.train.stop import StopRequest


class Tracker(Protocol):
    """Who is told of the run; never raises."""

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Numbers by name after that many steps."""

    def distributions(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        """Many values of one kind by name, (N,), to be shown as histograms."""

    def images(self, step: int, name: str, encoded: bytes) -> None:
        """One picture, encoded as JPEG or PNG."""


class Measured(Protocol):
    """Numbers by name, and many values of one kind by name."""

    @property
    def scalars(self) -> Mapping[str, float]:
        """Of the whole."""

    @property
    def distributions(self) -> Mapping[str, np.ndarray]:
        """(N,) each."""


class Observer(Protocol):
    """Looks at what the networks make of fixed images; asked on the first rank alone."""

    def preview(self) -> bytes:
        """One picture of what the translators make."""

    def probe(self) -> Measured:
        """How the networks do on the preview images."""

    def scores(self) -> Mapping[str, float]:
        """How well the translators do on images that are held out."""


class Selection(Protocol):
    """Which step's weights are the best so far."""

    @property
    def exhausted(self) -> bool:
        """Whether there has been no gain for so long that training should end."""

    def consider(self, step: int, scores: Mapping[str, float]) -> bool:
        """Whether these scores are the best so far."""

    def numbers(self) -> Mapping[str, float]:
        """The best step and its score, for logging."""


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
    evaluate_every: int = 0

    def log(self, done: int) -> bool:
        """Whether numbers are read and told after this many steps."""
        return done % self.log_every == 0 or done == self.steps

    def preview(self, done: int) -> bool:
        """Whether the previews are drawn after this many steps."""
        return done % self.preview_every == 0 or done == self.steps

    def checkpoint(self, done: int) -> bool:
        """Whether a checkpoint is written after this many steps."""
        return done % self.checkpoint_every == 0 or done == self.steps

    def any(self, done: int) -> bool:
        """Whether anything is done after this many steps."""
        return self.log(done) or self.preview(done) or self.checkpoint(done) or self.evaluate(done)

    def evaluate(self, done: int) -> bool:
        """Whether the translators are scored after this many steps; never where that is not asked for."""
        return self.evaluate_every > 0 and (done % self.evaluate_every == 0 or done == self.steps)


def train(
    method: Method,
    batches: Batches,
    optimizers: Optimizers,
    *,
    start: int,
    due: Due,
    schedule: LinearDecay,
    average: MovingAverage,
    guard: Guard,
    checkpoints: Checkpoints,
    selection: Selection,
    tracker: Tracker,
    observer: Observer,
    around_step: Callable[[], AbstractContextManager],
    advance: Callable[[int], None],
    meter: Meter,
    stop: StopRequest,
    ranks: Ranks,
    parts: int = 1,
) -> int:
    """Train from step `start` to the last, or until asked to stop; returns how many steps are done and saved.

    Every rank runs this with the same arguments, and does the same things at the same steps.

    Raises:
        Diverged: too many updates in a row were not finite; checkpoints are of steps before that.
    """
    done = start
    for step, batch in batches.between(start, due.steps):
        guard.step = step
        optimizers.set_learning_rate(schedule.at(step))
        with around_step():
            losses = step_in_parts(method, batch, optimizers, parts)
        average.update(step)
        done = step + 1
        if due.any(done):
            guard.check()  # only where something is told, shown or saved is the device waited for
        with meter.aside():
            if due.log(done):
                scalars = finite_floats(losses | optimizers.gradient_norms(), ranks)
                known = {"learning_rate": schedule.at(step), **guard.numbers(), **meter(done)}
                _tell(done, scalars | known, tracker, observer if ranks.first else None)
            if due.preview(done) and ranks.first:
                tracker.images(done, "preview", observer.preview())
            if due.evaluate(done):
                scores = ranks.share(observer.scores() if ranks.first else {})
                if selection.consider(done, scores):
                    checkpoints.save_best(done, scores)
                tracker.log(done, {**scores, **selection.numbers()})
            # Asked once: a later signal waits for the next step.
            stopping = ranks.any(stop.signal is not None or launcher_is_gone()) or selection.exhausted
            # In the middle of a row of bad updates nothing is kept to go back to.
            if (due.checkpoint(done) and not guard.in_a_row()) or stopping or done == due.steps:
                guard.check()
                checkpoints.save(done)
        advance(done)
        if stopping:
            break
    return done


def _tell(done: int, scalars: Mapping[str, float], tracker: Tracker, observer: Observer | None) -> None:
    if observer is None:
        tracker.log(done, scalars)
        return
    measured = observer.probe()
    tracker.log(done, {**scalars, **measured.scalars})
    tracker.distributions(done, measured.distributions)


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
    layers = keyed_layers(method.networks.values())
    if layers:
        set_keys(layers, _keys(batch))
    return method.training_step(batch, optimizers)


def _keys(batch: Batch) -> Tensor:
    samples = range(batch.first_sample, batch.first_sample + len(batch.a))
    keys = torch.tensor([batch.draws.key("dropout", sample) for sample in samples])
    return send(keys, batch.a.device)


def finite_floats(values: Mapping[str, Tensor], ranks: Ranks | None = None) -> dict[str, float]:
    """Tensors as Python floats, read from the device at once: their means over the ranks; only those that are finite.

    What is not finite is counted by the guard, and has no place in a curve.
    """
    mean = (ranks or Ranks()).mean(torch.stack([value.detach().float() for value in values.values()]))
    floats = zip(values, mean.tolist(), strict=True)
    return {name: value for name, value in floats if math.isfinite(value)}


class Meter:
    """Images a second since it was last read, what that time went into, and memory.

    Args:
        images: how many images of each domain a step takes.
        memory: gigabytes in use, if the system tells.
        waited: seconds that the run has waited for data so far.
    """

    def __init__(
        self, images: int, start: int, memory: Callable[[], float | None], waited: Callable[[], float] = lambda: 0.0
    ) -> None:
        self.images, self.memory, self.waited = images, memory, waited
        self._step, self._time, self._waited, self._aside = start, time.perf_counter(), 0.0, 0.0

    @contextmanager
    def aside(self) -> Iterator[None]:
        """What is done here is neither a step nor waiting for data: logging, previews, scores, checkpoints."""
        began = time.perf_counter()
        yield
        self._aside += time.perf_counter() - began

    def __call__(self, done: int) -> dict[str, float]:
        """The speed since the last call, for logging; what is done aside counts from the end of its block."""
        now = time.perf_counter()
        steps, seconds = done - self._step, max(now - self._time, 1e-9)
        waiting, self._waited = self.waited() - self._waited, self.waited()
        waiting, aside = min(waiting / seconds, 1.0), min(self._aside / seconds, 1.0)
        self._step, self._time, self._aside = done, now, 0.0
        speed = {
            "speed/images_per_second": self.images * steps / seconds,
            "speed/seconds_per_step": seconds / max(steps, 1),
            "speed/waiting_for_data": waiting,
            "speed/rest": aside,
            "speed/step": max(1 - waiting - aside, 0.0),
        }
        gigabytes = self.memory()
        return speed if gigabytes is None else speed | {"memory/gigabytes": gigabytes}
