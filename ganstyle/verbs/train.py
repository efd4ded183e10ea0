"""Train: from a config to a run's folder, or on from where a run stopped."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ganstyle.assemble import build_method, check_config, model_facts
from ganstyle.base.config import Config, flatten, load_config, merge, parse_words
from ganstyle.base.draws import Draws
from ganstyle.base.errors import RunFailed, UserError, one_line
from ganstyle.base.files import write_text
from ganstyle.data.augment import build_augment
from ganstyle.data.batches import BatchStream, Cropping, StepDataset
from ganstyle.data.domains import Domain
from ganstyle.data.tensors import is_out_of_memory
from ganstyle.methods.method import Method
from ganstyle.tracking.console import ConsoleTracker
from ganstyle.tracking.console import say as say_plainly
from ganstyle.tracking.jsonl import FolderTracker
from ganstyle.tracking.tracker import Tracker, Trackers
from ganstyle.train.checkpoint import Checkpoints, load_checkpoint, step_files
from ganstyle.train.descend import FiniteWatch, Optimizers, adam
from ganstyle.train.ema import MovingAverage
from ganstyle.train.hardware import Fabric, compile_halves, memory_used
from ganstyle.train.loop import Due, Meter, train
from ganstyle.train.preview import Previews
from ganstyle.train.run_folder import (
    Record,
    RunFolder,
    fresh_folder,
    library_versions,
    refuse_other_config,
    refuse_unchangeable,
    why_not_exact,
)
from ganstyle.train.schedule import LinearDecay
from ganstyle.train.stop import StopRequest
from ganstyle.verbs.plan import Plan, Say, check_start, open_domains, plan_run


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


def train_recipe(
    recipe: str, words: Sequence[str] = (), *, run: Path | None = None, new: bool = False, say: Say = say_plainly
) -> Outcome:
    """Train a recipe with `key=value` words; the same call again goes on where the run stopped.

    Args:
        recipe: a name (`cyclegan-lite`) or the path of a YAML file.
        words: what to change in it.
        run: the run's folder, else runs/NAME.
        new: never go on with a run that is there; take a fresh folder.
        say: told of everything that a person should know, a line at a time.

    Raises:
        UserError: a mistake in the config, the data or the folder.
        RunFailed: training went wrong; the last good checkpoint is kept.
    """
    values = load_config(recipe, words)
    config = check_config(values)
    path = run if run is not None else Path("runs", config.name)
    folder = RunFolder(fresh_folder(path) if new else path)
    if folder.exists():
        refuse_other_config(folder, folder.config(), values)
        with folder.locked():
            if finished := _finished(folder, config, say):
                return finished
    else:
        check_start(config)
    with _failures_in_one_line(folder, config):
        # What is wrong with the images is found before there is a folder that holds them to this config.
        domains = open_domains(config, say)
        with folder.locked():
            if folder.exists():
                refuse_other_config(folder, folder.config(), values)
            else:
                folder.write_config(values)
            return _train(folder, plan_run(config, domains, folder.record(), say=say), changed={}, say=say)


def resume_run(run: Path, words: Sequence[str] = (), *, say: Say = say_plainly) -> Outcome:
    """Go on with a run, perhaps with some of what may change changed (`training.steps=N` extends it)."""
    folder = RunFolder(run)
    before, changes = folder.config(), parse_words(words)
    asked, flat_before = flatten(changes), flatten(before)
    changed = {key: value for key, value in asked.items() if flat_before.get(key) != value}
    refuse_unchangeable(changed)
    values = merge(before, changes)
    decay_from = _decay_from(folder, flat_before)
    if "training.steps" in asked and decay_from is not None:
        # A longer run keeps the step at which its learning rate began to fall.
        values["training"]["decay_from"] = decay_from
    config = check_config(values)
    if "training.steps" in changed and changed["training.steps"] < folder.last_step():
        got, step = changed["training.steps"], folder.last_step()
        raise UserError(f"training.steps: got {got}, but {run} is at step {step} already")
    with folder.locked():
        if finished := _finished(folder, config, say):
            return finished
    with _failures_in_one_line(folder, config):
        domains = open_domains(config, say)
        with folder.locked():
            plan = plan_run(config, domains, folder.record(), asked=asked, say=say)
            if changed:
                folder.write_config(values)
            return _train(folder, plan, changed=changed, say=say)


def _finished(folder: RunFolder, config: Config, say: Say) -> Outcome | None:
    """The outcome of a run whose last step is done and saved; its images are not needed to know."""
    record, step = folder.record(), folder.last_step()
    steps = config.training.steps or (record.data["steps"] if record is not None else step + 1)
    if step < steps:
        return None
    try:
        load_checkpoint(step_files(folder.checkpoints)[-1])
    except UserError:
        return None
    how = f"ganstyle train --resume {folder.path} training.steps=N"
    say(f"{folder.path} is finished: {step} of {steps} steps; to extend it: {how}")
    return Outcome(folder.path, step, steps)


def _decay_from(folder: RunFolder, before: Mapping[str, Any]) -> int | None:
    record = folder.record()
    return record.data["decay_from"] if record is not None else before.get("training.decay_from")


@contextmanager
def _failures_in_one_line(folder: RunFolder, config: Config) -> Iterator[None]:
    """Say of a failure what can be done, and how to go on."""
    try:
        yield
    except RunFailed as error:
        raise RunFailed(f"{error}; {_where_to_go_on(folder)}") from error
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        record = folder.record()
        device = record.hardware.device if record is not None else config.device
        raise UserError(
            f"out of memory on {device} ({one_line(error)[:120]}): lower data.crop_px, training.batch_size, "
            "generator.width or generator.blocks"
        ) from error


def _where_to_go_on(folder: RunFolder) -> str:
    step = folder.last_step()
    if not step:
        return "no checkpoint was written yet; a lower training.learning_rate may help"
    return f"the last good checkpoint is step {step} in {folder.checkpoints}; a lower training.learning_rate may help"


def _train(folder: RunFolder, plan: Plan, *, changed: Mapping[str, object], say: Say) -> Outcome:
    """Restore what there is and train to the end of the plan; the folder is locked."""
    record = folder.record()
    if record is not None and folder.last_step():
        reasons = why_not_exact(changed, record, hardware=plan.hardware, data=plan.data_facts())
        if reasons:
            say(f"not bit for bit the run that it would have been: {'; '.join(reasons)}")
    folder.write_record(Record(plan.hardware, plan.data_facts(), library_versions()))
    training = build_training(plan, folder)
    start = training.checkpoints.restore_latest(say)
    if start >= plan.steps:
        return _finished(folder, plan.config, say) or Outcome(folder.path, start, plan.steps)
    if start:
        say(f"going on from step {start}")
    outcome = _run(training, plan, folder, start=start)
    if outcome.finished:
        say(f"finished {plan.steps} steps; to translate: ganstyle translate PHOTOS OUT --model {folder.path}")
    else:
        how = f"ganstyle train --resume {folder.path}"
        say(f"stopped at step {outcome.step} of {plan.steps}, saved; to go on: {how}")
    return outcome


@dataclass(frozen=True)
class Training:
    """What is trained, and everything that changes with it."""

    method: Method
    optimizers: Optimizers
    average: MovingAverage
    watch: FiniteWatch
    checkpoints: Checkpoints
    fabric: Fabric


def build_training(plan: Plan, folder: RunFolder) -> Training:
    """The networks, freshly initialised on the plan's device, their optimisers and their average."""
    config, fabric = plan.config, plan.hardware.fabric()
    method = build_method(config)
    for network in method.networks.values():
        network.to(fabric.device).train()
    watch = FiniteWatch(fabric.device)
    optimizers = adam(method.optimised, fabric, watch, learning_rate=config.training.learning_rate)
    average = MovingAverage(method.translators, config.training.ema_decay)
    checkpoints = Checkpoints(
        folder.checkpoints,
        {"networks": method.networks, "optimizers": optimizers, "ema": average, "memories": method.memories},
        facts=model_facts(config, method),
        keep=config.training.keep_checkpoints,
    )
    return Training(method, optimizers, average, watch, checkpoints, fabric)


def _run(training: Training, plan: Plan, folder: RunFolder, *, start: int) -> Outcome:
    """Train from step `start`, watched by the trackers, until the end or a signal."""
    config, device = plan.config.training, training.fabric.device
    if plan.hardware.compile:
        compile_halves(training.method.halves)
    console = ConsoleTracker(start=start, steps=plan.steps)
    tracker = Trackers(
        [FolderTracker(folder.path, start=start, warn=console.say), console, *_wandb(folder, plan.config, console.say)]
    )
    try:
        with StopRequest(console.say) as stop:
            done = train(
                training.method,
                _batches(plan, device),
                training.optimizers,
                start=start,
                due=Due(plan.steps, config.log_every, config.preview_every, config.checkpoint_every),
                schedule=LinearDecay(config.learning_rate, plan.steps, plan.decay_from),
                average=training.average,
                watch=training.watch,
                checkpoints=training.checkpoints,
                tracker=tracker,
                preview=_previews(training.average, plan, device),
                autocast=training.fabric.autocast,
                advance=console.advance,
                meter=Meter(config.batch_size, start, lambda: memory_used(device)),
                stop=stop,
            )
    except RunFailed as error:
        tracker.alert("training stopped", str(error))
        raise
    finally:
        tracker.close()
    return Outcome(folder.path, done, plan.steps, stop.signal)


def _batches(plan: Plan, device: torch.device) -> BatchStream:
    data, domains = plan.config.data, plan.domains
    dataset = StepDataset(
        domains["a"].train,
        domains["b"].train,
        Cropping(data.crop_px, data.flip, build_augment(data.augment)),
        draws=Draws(plan.config.seed),
        batch_size=plan.config.training.batch_size,
    )
    return BatchStream(dataset, workers=data.workers, device=device)


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
