"""Train: from a config to a run's folder, or on from where a run stopped."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ganstyle.assemble import build_method, check_config, model_facts
from ganstyle.base.config import Config, flatten, load_config, merge, parse_words
from ganstyle.base.draws import Draws
from ganstyle.base.errors import RunFailed, UserError, one_line
from ganstyle.base.files import write_text
from ganstyle.data.augment import build_augment
from ganstyle.data.batches import BatchStream, Cropping, StepDataset
from ganstyle.data.cache import Preparation
from ganstyle.data.domains import Domain, domain_files, open_domain
from ganstyle.tracking.console import ConsoleTracker
from ganstyle.tracking.console import say as say_plainly
from ganstyle.tracking.jsonl import FolderTracker
from ganstyle.tracking.tracker import Tracker, Trackers
from ganstyle.train.checkpoint import Checkpoints
from ganstyle.train.descend import FiniteWatch, adam
from ganstyle.train.ema import MovingAverage
from ganstyle.train.hardware import Hardware, compile_halves, decide, is_out_of_memory, memory_used
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
from ganstyle.train.schedule import LinearDecay, steps_of
from ganstyle.train.stop import StopRequest

Say = Callable[[str], None]


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
    values, _ = load_config(recipe, words)
    config = check_config(values)
    folder = RunFolder(run if run is not None else Path("runs", config.name))
    if new:
        folder = RunFolder(fresh_folder(folder.path))
    if folder.exists():
        refuse_other_config(folder, folder.config(), values)
    else:
        _sides(config)  # before a folder is made for it
        folder.begin(values)
    return _train(folder, config, changed={}, say=say)


def resume_run(run: Path, words: Sequence[str] = (), *, say: Say = say_plainly) -> Outcome:
    """Go on with a run, perhaps with some of what may change changed (`training.steps=N` extends it)."""
    folder = RunFolder(run)
    values = folder.config()
    changes = parse_words(words)
    changed = {key: value for key, value in flatten(changes).items() if flatten(values).get(key) != value}
    refuse_unchangeable(changed)
    record = folder.record()
    if record is not None and "training.steps" in changed:
        # A longer run keeps the step at which its learning rate began to fall.
        changes["training"].setdefault("decay_from", record.data["decay_from"])
    values = merge(values, changes)
    config = check_config(values)
    if (config.training.steps or 0) and "training.steps" in changed and config.training.steps < folder.last_step():  # type: ignore[operator]
        raise UserError(
            f"training.steps: got {config.training.steps}, but {run} is at step {folder.last_step()} already"
        )
    if changed:
        folder.begin(values)
    return _train(folder, config, changed=changed, say=say)


def _train(folder: RunFolder, config: Config, *, changed: Mapping[str, Any], say: Say) -> Outcome:
    with folder.locked():
        try:
            return _train_locked(folder, config, changed, say)
        except RunFailed as error:
            raise RunFailed(f"{error}; {_where_to_go_on(folder)}") from error
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise UserError(
                f"out of memory on {config.device} ({one_line(error)[:120]}): lower data.crop_px, training.batch_size, "
                "generator.width or generator.blocks"
            ) from error


def _where_to_go_on(folder: RunFolder) -> str:
    step = folder.last_step()
    if not step:
        return "no checkpoint was written yet; a lower training.learning_rate may help"
    return f"the last good checkpoint is step {step} in {folder.checkpoints}; a lower training.learning_rate may help"


def _train_locked(folder: RunFolder, config: Config, changed: Mapping[str, Any], say: Say) -> Outcome:
    record = folder.record()
    hardware = _hardware(config, record, changed, say)
    domains = _open_domains(config, say)
    steps, decay_from = _length(config, domains)
    data = _data_facts(domains, steps=steps, decay_from=decay_from)
    _say_plan(config, domains, hardware, steps=steps, decay_from=decay_from, say=say)
    if record is not None:
        data = _say_continuation(record, data, changed, folder, say)
        steps, decay_from = (steps, decay_from) if changed else (record.data["steps"], record.data["decay_from"])
    data |= {"steps": steps, "decay_from": decay_from}
    folder.write_record(Record(hardware, data, library_versions()))

    fabric = hardware.fabric()
    method = build_method(config)
    for network in method.networks.values():
        network.to(fabric.device).train()
    watch = FiniteWatch(fabric.device)
    optimizers = adam(method.optimised, fabric, watch, learning_rate=config.training.learning_rate)
    average = MovingAverage(method.translators, config.training.ema_decay)
    parts = {"networks": method.networks, "optimizers": optimizers, "ema": average, "memories": method.memories}
    keep = config.training.keep_checkpoints
    checkpoints = Checkpoints(folder.checkpoints, parts, facts=model_facts(config, method), keep=keep)
    start = checkpoints.restore_latest(say)
    if start >= steps:
        say(
            f"{folder.path} is finished: {start} of {steps} steps; to extend it: ganstyle train --resume {folder.path} training.steps=N"
        )
        return Outcome(folder.path, start, steps)
    if start:
        say(f"going on from step {start}")
    if hardware.compile:
        compile_halves(method.halves)

    console = ConsoleTracker(start=start, steps=steps)
    tracker = Trackers(
        [FolderTracker(folder.path, start=start, warn=console.say), console, *_wandb(folder, config, console.say)]
    )
    batches = _batches(config, domains, fabric.device)
    training = config.training
    due = Due(steps, training.log_every, training.preview_every, training.checkpoint_every)
    previews = Previews(
        average.best_models, domains["a"], domains["b"], crop_px=config.data.crop_px, device=fabric.device
    )
    try:
        with StopRequest(console.say) as stop:
            done = train(
                method,
                batches,
                optimizers,
                start=start,
                due=due,
                schedule=LinearDecay(training.learning_rate, steps, decay_from),
                average=average,
                watch=watch,
                checkpoints=checkpoints,
                tracker=tracker,
                preview=previews,
                autocast=fabric.autocast,
                advance=console.advance,
                meter=Meter(training.batch_size, start, lambda: memory_used(fabric.device)),
                stop=stop,
            )
    except RunFailed as error:
        tracker.alert("training stopped", str(error))
        raise
    finally:
        tracker.close()
    if done < steps:
        say(f"stopped at step {done} of {steps}, saved; to go on: ganstyle train --resume {folder.path}")
    else:
        say(f"finished {steps} steps; to translate: ganstyle translate PHOTOS OUT --model {folder.path}")
    return Outcome(folder.path, done, steps, stop.signal)


def _hardware(config: Config, record: Record | None, changed: Mapping[str, Any], say: Say) -> Hardware:
    if config.devices != 1:
        raise UserError(f"devices: got {config.devices}, expected 1: training on several devices is not supported yet")
    training = config.training
    if record is None:
        return decide(config.device, training.precision, training.compile, say)
    keys = {"device": config.device, "training.precision": training.precision, "training.compile": training.compile}
    if not set(keys) & set(changed):
        return record.hardware
    device = config.device if "device" in changed else record.hardware.device
    precision = training.precision if "training.precision" in changed else record.hardware.precision
    compiles: Any = training.compile if "training.compile" in changed else record.hardware.compile
    return replace(decide(device, precision, compiles, say), threads=record.hardware.threads)


def _sides(config: Config) -> list[Any]:
    data = config.data
    return domain_files(root=data.root, a=data.a, b=data.b, test_a=data.test_a, test_b=data.test_b)


def _open_domains(config: Config, say: Say) -> dict[str, Domain]:
    data = config.data
    preparation = Preparation(data.load_px, data.resize, tuple(data.background))  # type: ignore[arg-type]
    return {
        files.key: open_domain(files, preparation, holdout=data.holdout, cache=data.cache, strict=data.strict, say=say)
        for files in _sides(config)
    }


def _length(config: Config, domains: Mapping[str, Domain]) -> tuple[int, int]:
    """(steps, decay_from); epochs are turned into steps here, and nowhere else."""
    training = config.training
    sizes = [len(domains[side].train) for side in ("a", "b")]
    steps = training.steps
    if steps is None:
        assert training.epochs is not None
        steps = steps_of(training.epochs, *sizes, training.batch_size)
    decay_from = training.decay_from
    if training.decay_from_epoch is not None:
        decay_from = (
            steps_of(training.decay_from_epoch, *sizes, training.batch_size) if training.decay_from_epoch else 0
        )
    return steps, decay_from if decay_from is not None else steps // 2


def _data_facts(domains: Mapping[str, Domain], *, steps: int, decay_from: int) -> dict[str, Any]:
    sides = {f"images_{side}": len(domain.train) for side, domain in domains.items()}
    prints = {f"fingerprint_{side}": domain.fingerprint() for side, domain in domains.items()}
    return {**sides, **prints, "steps": steps, "decay_from": decay_from}


def _say_plan(
    config: Config, domains: Mapping[str, Domain], hardware: Hardware, *, steps: int, decay_from: int, say: Say
) -> None:
    images = "; ".join(
        f"{side}: {len(each.train)} to train on, {len(each.held_out)} held out" for side, each in domains.items()
    )
    say(f"images {images}")
    falls = f"constant to {decay_from}, then falling to zero" if decay_from < steps else "constant"
    say(f"{steps} steps of {config.training.batch_size}; learning rate {config.training.learning_rate:g} {falls}")
    compiled = "compiled" if hardware.compile else "eager"
    say(f"on {hardware.device}, {hardware.precision}, {compiled}, {hardware.threads} threads")


def _say_continuation(
    record: Record, data: dict[str, Any], changed: Mapping[str, Any], folder: RunFolder, say: Say
) -> dict[str, Any]:
    """Say what keeps this continuation from being bit for bit."""
    images = {key: value for key, value in data.items() if key not in ("steps", "decay_from")}
    before = {key: value for key, value in record.data.items() if key not in ("steps", "decay_from")}
    reasons = why_not_exact(changed, record, same_images=images == before)
    if folder.last_step() and reasons:
        say(f"not bit for bit the run that it would have been: {'; '.join(reasons)}")
    return data


def _batches(config: Config, domains: Mapping[str, Domain], device: Any) -> BatchStream:
    data = config.data
    cropping = Cropping(data.crop_px, data.flip, build_augment(data.augment))
    draws = Draws(config.seed)
    dataset = StepDataset(
        domains["a"].train, domains["b"].train, cropping, draws=draws, batch_size=config.training.batch_size
    )
    return BatchStream(dataset, workers=data.workers, device=device)


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
