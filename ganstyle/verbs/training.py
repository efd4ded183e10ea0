"""A training in this process: its networks, what changes with them, and the loop around them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch

from ganstyle.assemble import build_method, model_facts
from ganstyle.base.config import Config
from ganstyle.base.draws import Draws
from ganstyle.base.errors import RunFailed
from ganstyle.base.files import write_text
from ganstyle.data.augment import build_augment
from ganstyle.data.batches import BatchStream, Cropping, StepDataset
from ganstyle.data.domains import Domain
from ganstyle.data.on_device import batch_stream
from ganstyle.methods.method import Method
from ganstyle.networks.recompute import recompute
from ganstyle.tracking.console import ConsoleTracker
from ganstyle.tracking.jsonl import FolderTracker
from ganstyle.tracking.tracker import SilentTracker, Tracker, Trackers
from ganstyle.train.checkpoint import Checkpoints, Stateful
from ganstyle.train.descend import FiniteWatch, Optimizers, adam
from ganstyle.train.ema import MovingAverage
from ganstyle.train.hardware import Fabric, begin_step, compile_halves, memory_used
from ganstyle.train.loop import Due, Meter, train
from ganstyle.train.preview import Previews
from ganstyle.train.ranks import LostRank, Ranks, SpreadMemories
from ganstyle.train.run_folder import RunFolder
from ganstyle.train.schedule import LinearDecay
from ganstyle.train.stop import StopRequest
from ganstyle.verbs.plan import Plan, Say


@dataclass(frozen=True)
class Outcome:
    """How a training command ended."""

    folder: Path
    step: int
    steps: int
    signal: int | None = None

    @property
    def finished(self) -> bool:
        """Whether the last step is done."""
        return self.step >= self.steps


@dataclass(frozen=True)
class Training:
    """What is trained, and everything that changes with it."""

    method: Method
    optimizers: Optimizers
    average: MovingAverage
    watch: FiniteWatch
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


def build_training(plan: Plan, folder: RunFolder, ranks: Ranks | None = None) -> Training:
    """The networks, freshly initialised on the plan's device, their optimisers and their average."""
    config, ranks = plan.config.training, ranks or Ranks()
    fabric = plan.hardware.fabric(ranks.local_rank if ranks.count > 1 else None)
    method = build_method(plan.config)
    for network in method.networks.values():
        network.to(fabric.device).to(memory_format=torch.channels_last).train()
    if config.recompute:
        for generator in method.translators.values():
            recompute(generator)
    watch = FiniteWatch(fabric.device, ranks)
    optimizers = adam(method.optimised, fabric, watch, learning_rate=config.learning_rate, ranks=ranks)
    average = MovingAverage(method.translators, config.ema_decay)
    memories = {name: SpreadMemories(each, ranks, config.batch_size) for name, each in method.memories.items()}
    parts: dict[str, Mapping[str, Stateful] | Stateful] = {
        "networks": method.networks,
        "optimizers": optimizers,
        "ema": average,
        "memories": memories,
    }
    checkpoints = Checkpoints(
        folder.checkpoints,
        parts,
        facts=model_facts(plan.config, method),
        keep=config.keep_checkpoints,
        writes=ranks.first,
    )
    return Training(method, optimizers, average, watch, memories, checkpoints, fabric, ranks)


def run_training(training: Training, plan: Plan, folder: RunFolder, *, start: int) -> Outcome:
    """Train from step `start`, watched by the trackers, until the end or a signal."""
    config, device = plan.config.training, training.fabric.device
    if plan.hardware.compile:
        compile_halves(training.method.halves, cuda_graphs=plan.hardware.cuda_graphs)
    ranks, stream = training.ranks, _batches(plan, training)
    say, advance, tracker = _trackers(plan, folder, ranks, start=start)
    # Of several ranks each gets its signal, also when another one has died: only what they agree on is told.
    with StopRequest(say if ranks.count == 1 else silent) as stop:
        try:
            done = train(
                training.method,
                stream,
                training.optimizers,
                start=start,
                due=Due(plan.steps, config.log_every, config.preview_every, config.checkpoint_every),
                schedule=LinearDecay(config.learning_rate, plan.steps, plan.decay_from),
                average=training.average,
                watch=training.watch,
                checkpoints=training.checkpoints,
                tracker=tracker,
                preview=_previews(training.average, plan, device),
                around_step=_around_step(training.fabric, plan),
                advance=advance,
                meter=Meter(config.batch_size, start, lambda: memory_used(device), lambda: stream.waited_s),
                stop=stop,
                ranks=ranks,
                parts=config.accumulate,
            )
        except LostRank:
            raise  # the rank that ended has told why
        except RunFailed as error:
            tracker.alert("training stopped", str(error))
            raise
        finally:
            tracker.close()
    return Outcome(folder.path, done, plan.steps, stop.signal)


def _trackers(plan: Plan, folder: RunFolder, ranks: Ranks, *, start: int) -> tuple[Say, Callable[[int], None], Tracker]:
    """How to say a line, how to show progress, and who is told of the run: nobody but on the first rank."""
    if not ranks.first:
        return silent, silent, SilentTracker()
    console = ConsoleTracker(start=start, steps=plan.steps)
    watching = [
        FolderTracker(folder.path, start=start, warn=console.say),
        console,
        *_wandb(folder, plan.config, console.say),
    ]
    return console.say, console.advance, Trackers(watching)


def silent(_: object) -> None:
    """Say nothing."""


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
        draws=Draws(plan.config.seed),
        batch_size=batch_size,
        slots=training.ranks.slots(batch_size),
    )
    return batch_stream(dataset, workers=data.workers, device=training.fabric.device, crop_on=data.crop_on)


def _previews(average: MovingAverage, plan: Plan, device: torch.device) -> Previews:
    domains: Mapping[str, Domain] = plan.domains
    return Previews(average.best_models, domains["a"], domains["b"], crop_px=plan.config.data.crop_px, device=device)


def _wandb(folder: RunFolder, config: Config, say: Say) -> list[Tracker]:
    settings = config.tracking.wandb
    if settings.mode == "disabled":
        return []
    from ganstyle.tracking.wandb import WandbTracker  # noqa: PLC0415 - a second, and only when it is asked for

    values = config.model_dump(include={"seed", "method", "generator", "discriminator", "training"})
    options = settings.model_dump() | {"name": settings.name or config.name}
    return [WandbTracker(folder.path, settings=options, config=values, run_id=_wandb_id(folder), warn=say)]


def _wandb_id(folder: RunFolder) -> str:
    """The run's id in W&B, the same whenever it goes on."""
    file = folder.path / "wandb-id.json"
    if not file.is_file():
        write_text(file, json.dumps(secrets.token_hex(4)))
    return json.loads(file.read_text(encoding="utf-8"))
