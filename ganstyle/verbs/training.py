"""A training in this process: its networks, what changes with them, and the loop around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ganstyle.assemble import model_facts
from ganstyle.base.draws import Draws
from ganstyle.base.errors import RunFailed, one_line
from ganstyle.data.augment import build_augment
from ganstyle.data.batches import BatchStream, Cropping, StepDataset
from ganstyle.data.on_device import batch_stream
from ganstyle.evaluate.describers import Describer
from ganstyle.evaluate.selection import Selection
from ganstyle.methods.method import Method
from ganstyle.networks.recompute import recompute
from ganstyle.train.checkpoint import Checkpoints, Stateful
from ganstyle.train.descend import Optimizers, adam
from ganstyle.train.ema import MovingAverage
from ganstyle.train.guard import Diverged, Guard
from ganstyle.train.hardware import Fabric, begin_step, compile_halves, memory_used
from ganstyle.train.loop import Due, Meter, train
from ganstyle.train.ranks import Ranks, SpreadMemories
from ganstyle.train.run_folder import RunFolder
from ganstyle.train.schedule import LinearDecay
from ganstyle.train.stop import StopRequest
from ganstyle.verbs.initial import fresh_method
from ganstyle.verbs.plan import Plan, Say
from ganstyle.verbs.watching import Watching, silent, watch


@dataclass(frozen=True)
class Outcome:
    """How a training command ended; `early` where there was no gain any more."""

    folder: Path
    step: int
    steps: int
    signal: int | None = None
    early: bool = False

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do."""
        return self.step >= self.steps or self.early


@dataclass(frozen=True)
class Training:
    """What is trained, and everything that changes with it."""

    method: Method
    optimizers: Optimizers
    average: MovingAverage
    guard: Guard
    selection: Selection
    memories: Mapping[str, SpreadMemories]
    checkpoints: Checkpoints
    fabric: Fabric
    ranks: Ranks

    def restore(self, say: Say) -> int:
        """Load the newest whole checkpoint, the same one on every rank, and return its step; 0 where there is none."""
        step = self.ranks.share(self.checkpoints.restore_latest(say) if self.ranks.first else 0)
        if not self.ranks.first:
            self.checkpoints.restore(step)
        if any(memory.refilled for memory in self.memories.values()):
            say("the image pools start empty: the size of the batch has changed")
        return step

    def roll_back(self, initial: Mapping[str, nn.Module], say: Say) -> int:
        """Go back to the newest checkpoint, or to the initial networks; returns its step.

        The count of roll-backs is kept there at once: another process that goes on from it draws the same batches.
        """
        rollbacks, chosen = self.guard.rollbacks + 1, self.selection.state_dict()
        step = self.restore(say)
        if step == 0:
            for name, network in self.method.networks.items():
                network.load_state_dict(initial[name].state_dict())
            self.optimizers.forget()
            self.average.load_state_dict({})
            for memory in self.memories.values():
                memory.load_state_dict({})
        self.guard.begin_again(rollbacks)
        self.selection.load_state_dict(chosen)  # the best weights so far are still the best
        if step:
            self.checkpoints.save(step)
        return step


def build_training(plan: Plan, folder: RunFolder, ranks: Ranks | None = None, *, features: str = "") -> Training:
    """The networks, freshly initialised on the plan's device, their optimisers and their average.

    Args:
        plan: what is trained.
        folder: where its checkpoints go.
        ranks: who trains together.
        features: the fingerprint of those that scores are made on.
    """
    config, chosen, ranks = plan.config.training, plan.config.evaluate, ranks or Ranks()
    fabric = plan.hardware.fabric(ranks.local_rank if ranks.count > 1 else None)
    method = fresh_method(plan.config, folder)
    for network in method.networks.values():
        network.to(fabric.device).to(memory_format=torch.channels_last).train()
    if config.recompute:
        for generator in method.translators.values():
            recompute(generator)
    guard = Guard(fabric.device, ranks, most_in_a_row=config.most_skips)
    optimizers = adam(method.optimised, fabric, guard, learning_rate=config.learning_rate, ranks=ranks)
    average = MovingAverage(method.translators, config.ema_decay)
    selection = Selection(chosen.best, least_content=chosen.least_content, patience=chosen.patience, features=features)
    memories = {name: SpreadMemories(each, ranks, config.batch_size) for name, each in method.memories.items()}
    parts: dict[str, Mapping[str, Stateful] | Stateful] = {
        "networks": method.networks,
        "optimizers": optimizers,
        "ema": average,
        "memories": memories,
        "guard": guard,
        "selection": selection,
    }
    checkpoints = Checkpoints(
        folder.checkpoints,
        parts,
        facts=model_facts(plan.config, method),
        keep=config.keep_checkpoints,
        writes=ranks.first,
    )
    return Training(method, optimizers, average, guard, selection, memories, checkpoints, fabric, ranks)


def run_training(
    training: Training, plan: Plan, folder: RunFolder, *, start: int, describe: Describer | None = None
) -> Outcome:
    """Train from step `start`, watched by the trackers, until the end or a signal."""
    if plan.hardware.compile:
        compile_halves(training.method.halves, cuda_graphs=plan.hardware.cuda_graphs)
    ranks = training.ranks
    watching = watch(
        plan,
        folder,
        training.method,
        training.average,
        device=training.fabric.device,
        autocast=training.fabric.autocast,
        ranks=ranks,
        start=start,
        describe=describe,
    )
    # Of several ranks each gets its signal, also when another one has died: only what they agree on is told.
    with StopRequest(watching.say if ranks.count == 1 else silent) as stop:
        try:
            done = _train_on(training, plan, watching, stop, start=start, folder=folder)
            outcome = Outcome(folder.path, done, plan.steps, stop.signal, training.selection.exhausted)
            if ranks.first:
                watching.end(outcome.finished, done, plan.steps)
        except BaseException as error:
            watching.elsewhere.alert("training stopped", one_line(error)[:1000], level="error")
            watching.tracker.close(failed=True)
            raise
        watching.tracker.close()
    return outcome


def _train_on(
    training: Training, plan: Plan, watching: Watching, stop: StopRequest, *, start: int, folder: RunFolder
) -> int:
    """Train, and where the numbers go wrong go back and train on otherwise; returns the last step."""
    most = plan.config.training.most_rollbacks
    while True:
        try:
            return _attempt(training, plan, watching, stop, start=start)
        except Diverged as error:
            blame = training.guard.blame()
            reason = f"{blame}; {error}" if blame and not str(error).startswith(blame) else str(error)
            if training.guard.rollbacks >= most:
                after = f" after {most} roll-backs" if most else ""
                raise RunFailed(f"{reason}{after}, so training stops here") from error
            start = training.roll_back(fresh_method(plan.config, folder).networks, watching.say)
            rate = _learning_rate(training, plan)
            watching.tracker.rewind(start)
            watching.tracker.alert(
                "rolled back",
                f"{reason}: back to step {start} with a learning rate of {rate:g} and other draws "
                f"(roll-back {training.guard.rollbacks} of at most {most})",
                level="error",
            )


def _learning_rate(training: Training, plan: Plan) -> float:
    config = plan.config.training
    return config.learning_rate * config.rollback_rate**training.guard.rollbacks


def _attempt(training: Training, plan: Plan, watching: Watching, stop: StopRequest, *, start: int) -> int:
    config, device, stream = plan.config.training, training.fabric.device, _batches(plan, training)
    return train(
        training.method,
        stream,
        training.optimizers,
        start=start,
        due=Due(
            plan.steps, config.log_every, config.preview_every, config.checkpoint_every, plan.config.evaluate.every
        ),
        schedule=LinearDecay(_learning_rate(training, plan), plan.steps, plan.decay_from),
        average=training.average,
        guard=training.guard,
        checkpoints=training.checkpoints,
        selection=training.selection,
        tracker=watching.tracker,
        observer=watching,
        around_step=_around_step(training.fabric, plan),
        advance=watching.advance,
        meter=Meter(config.batch_size, start, lambda: memory_used(device), lambda: stream.waited_s),
        stop=stop,
        ranks=training.ranks,
        parts=config.accumulate,
    )


def _around_step(fabric: Fabric, plan: Plan) -> Callable[[], AbstractContextManager]:
    """What every step is made in: the precision, and where there are CUDA graphs leave to overwrite the last step's."""

    def enter() -> AbstractContextManager:
        if plan.hardware.cuda_graphs:
            begin_step()
        return fabric.autocast()

    return enter


def _batches(plan: Plan, training: Training) -> BatchStream:
    data, domains, batch_size = plan.config.data, plan.domains, plan.config.training.batch_size
    dataset = StepDataset(
        domains["a"].train,
        domains["b"].train,
        Cropping(data.crop_px, data.flip, build_augment(data.augment)),
        draws=Draws(plan.config.seed, rollbacks=training.guard.rollbacks),
        batch_size=batch_size,
        slots=training.ranks.slots(batch_size),
    )
    return batch_stream(dataset, workers=data.workers, device=training.fabric.device, crop_on=data.crop_on)
