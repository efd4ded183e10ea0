"""Train: from a config to a run's folder, or on from where a run stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganstyle.assemble import check_config
from ganstyle.base.config import Config, flatten, load_config, merge, parse_words
from ganstyle.base.errors import RunFailed, ToldElsewhere, UserError, one_line
from ganstyle.data.domains import Domain
from ganstyle.data.tensors import is_out_of_memory
from ganstyle.evaluate.describers import Describer, describer
from ganstyle.tracking.console import say as say_plainly
from ganstyle.train.checkpoint import load_checkpoint, step_files
from ganstyle.train.hardware import available_device
from ganstyle.train.launcher import launch
from ganstyle.train.ranks import LOST, LostRank, Ranks, joined, started_together, was_launched
from ganstyle.train.run_folder import (
    Record,
    RunFolder,
    fresh_folder,
    library_versions,
    refuse_other_config,
    refuse_unchangeable,
    why_not_exact,
)
from ganstyle.train.stop import StopRequest
from ganstyle.verbs.initial import Sources, began_from, keep_initial, read_initial, refuse_other_initial, words_of
from ganstyle.verbs.plan import Plan, Say, check_devices, check_start, check_watching, open_domains, plan_run
from ganstyle.verbs.training import Outcome, Training, build_training, run_training
from ganstyle.verbs.watching import silent

if TYPE_CHECKING:
    from lightning_fabric.plugins.environments import ClusterEnvironment


def train_recipe(
    recipe: str,
    words: Sequence[str] = (),
    *,
    run: Path | None = None,
    new: bool = False,
    init_from: Sources = (),
    say: Say = say_plainly,
) -> Outcome:
    """Train a recipe with `key=value` words; the same call again goes on where the run stopped.

    With `devices: N` this process starts N others and waits for them; under torchrun or srun it is one of them.

    Args:
        recipe: a name (`cyclegan-lite`) or the path of a YAML file.
        words: what to change in it.
        run: the run's folder, else runs/NAME.
        new: never go on with a run that is there; take a fresh folder.
        init_from: models whose generators a new run starts from, see `read_initial`; `{"ab": path}` for one direction.
        say: told of everything that a person should know, a line at a time.

    Raises:
        UserError: a mistake in the config, the data, the models or the folder.
        RunFailed: training went wrong; the last good checkpoint is kept.
    """
    values = load_config(recipe, words)
    config = check_config(values)
    path = run if run is not None else Path("runs", config.name)
    folder = RunFolder(fresh_folder(path) if new else path)
    sources = words_of(init_from)
    initial = cache(lambda: read_initial(sources, config))

    def check() -> None:
        if folder.exists():
            refuse_other_config(folder, folder.config(), values)
            refuse_other_initial(folder, initial)
        else:
            check_start(config)
            initial()

    def settle(domains: Mapping[str, Domain], ranks: Ranks) -> Plan:
        if folder.exists():
            refuse_other_config(folder, folder.config(), values)
        else:
            keep_initial(folder, initial(), say)
            folder.write_config(values)
        return plan_run(config, domains, folder.record(), ranks=ranks.count, say=say)

    environment = started_together()
    if environment is None and config.devices > 1:
        check()
        options = ["--run", str(folder.path), *(f"--init-from={source}" for source in sources)]
        return _launched(folder, config, ["train", recipe, *words, *options], say)
    if environment is not None and new:
        raise UserError("--new: a restart would begin anew each time; name the run with name= instead")
    with _ranks(environment, config) as ranks:
        # Each rank looked for a fresh folder, and the first one may have made it meanwhile.
        folder = RunFolder(ranks.share(folder.path))
        return _train_together(ranks, folder, config, check=check, settle=settle, changed={}, say=say)


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

    def check() -> None:
        if "training.steps" in changed and changed["training.steps"] < folder.last_step():
            got, step = changed["training.steps"], folder.last_step()
            raise UserError(f"training.steps: got {got}, but {run} is at step {step} already")
        check_watching(config)

    def settle(domains: Mapping[str, Domain], ranks: Ranks) -> Plan:
        plan = plan_run(config, domains, folder.record(), ranks=ranks.count, asked=asked, say=say)
        if changed:
            folder.write_config(values)
        return plan

    environment = started_together()
    if environment is None and config.devices > 1:
        check()
        return _launched(folder, config, ["train", "--resume", str(run), *words], say)
    with _ranks(environment, config) as ranks:
        return _train_together(ranks, folder, config, check=check, settle=settle, changed=changed, say=say)


@contextmanager
def _ranks(environment: ClusterEnvironment | None, config: Config) -> Iterator[Ranks]:
    """The ranks of this run; of those that lose another one, at most the first speaks."""
    if environment is not None and config.devices not in (1, environment.world_size()):
        count = environment.world_size()
        raise UserError(f"devices: got {config.devices}, but {count} processes were started: use devices={count}")
    first, met = environment is None or environment.global_rank() == 0, False
    try:
        with joined(environment, available_device(config.device).type) as ranks:
            met = True
            yield ranks
    except LostRank as error:
        if not first or (met and was_launched()):
            raise ToldElsewhere(LOST) from error
        raise
    except RunFailed as error:
        if not first:  # all have agreed on it
            raise ToldElsewhere(1) from error
        raise


def _launched(folder: RunFolder, config: Config, arguments: Sequence[str], say: Say) -> Outcome:
    """Train in one process for each device of this machine; what each of them does is `_train_together`."""
    check_devices(config, config.devices)
    try:
        with StopRequest(say) as stop:
            launch(config.devices, arguments, stop=stop)
    except ToldElsewhere:
        raise
    except RunFailed as error:
        raise RunFailed(f"{error}; {_last_good(folder)}; the same command goes on from there") from error
    record = folder.record()  # none when it was stopped before anything was decided
    steps = record.data["steps"] if record is not None else config.training.steps or 1
    # Its processes end well before the last step only where there was no gain any more.
    return Outcome(folder.path, folder.last_step(), steps, stop.signal, early=stop.signal is None)


def _train_together(
    ranks: Ranks,
    folder: RunFolder,
    config: Config,
    *,
    check: Callable[[], None],
    settle: Callable[[Mapping[str, Domain], Ranks], Plan],
    changed: Mapping[str, object],
    say: Say,
) -> Outcome:
    """Train as one of the ranks; the first one alone looks at the folder, decides and speaks.

    Args:
        ranks: who trains.
        folder: the run's.
        config: what is asked for.
        check: refuses what cannot be, before the images are opened.
        settle: writes the config and decides what it leaves open; the folder is locked.
        changed: keys that were given another value since the run began.
        say: told of everything that a person should know.
    """
    say = say if ranks.first else silent
    finished = None
    if ranks.first:
        check_devices(config, ranks.count)
        check()
        if folder.exists():
            with folder.locked():
                finished = _finished(folder, config, say)
    if finished := ranks.share(finished):
        return finished
    with _failures_in_one_line(folder, config):
        # What is wrong with the images is found before there is a folder that holds them to this config.
        domains, mistake = _opened(config, ranks, say)
        with folder.locked() if ranks.first else nullcontext():
            plan = settle(domains, ranks) if ranks.first else None
            decided = ranks.share((plan.settled(), plan.hardware, plan.steps, plan.decay_from) if plan else None)
            if mistake is not None:
                raise mistake
            assert decided is not None
            plan = plan or Plan(config.model_copy(update=decided[0]), domains, *decided[1:])
            ranks.refuse_difference(plan.data_facts(), "the training images")
            return _train(folder, plan, ranks, changed=changed, say=say)


def _opened(config: Config, ranks: Ranks, say: Say) -> tuple[dict[str, Domain], UserError | None]:
    """The images of both sides; a mistake that the first rank will find too is its to tell."""
    try:
        return open_domains(config, say), None
    except UserError as mistake:
        if ranks.first:
            raise
        return {}, mistake


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
    except LostRank as error:
        raise LostRank(f"{error}; {_last_good(folder)}; the same command goes on from there") from error
    except RunFailed as error:
        raise RunFailed(
            f"{error}; {_last_good(folder)}; a lower training.learning_rate may help, in a run of its own (--new)"
        ) from error
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        record = folder.record()
        device = record.hardware.device if record is not None else config.device
        raise UserError(
            f"out of memory on {device} ({one_line(error)[:120]}): set training.recompute=true, or lower data.crop_px, "
            "training.batch_size, generator.width or generator.blocks"
        ) from error


def _last_good(folder: RunFolder) -> str:
    step = folder.last_step()
    return (
        f"the last good checkpoint is step {step} in {folder.checkpoints}" if step else "no checkpoint was written yet"
    )


def _train(folder: RunFolder, plan: Plan, ranks: Ranks, *, changed: Mapping[str, object], say: Say) -> Outcome:
    """Restore what there is and train to the end of the plan; the first rank has locked the folder."""
    describe = _describer(plan, say) if ranks.first else None
    evaluation = ranks.share(_facts(describe) if describe is not None else {})
    if ranks.first:
        _record(folder, plan, changed, evaluation, say)
    training = build_training(plan, folder, ranks, features=evaluation.get("fingerprint", ""))
    start = training.restore(say)
    if start >= plan.steps:
        return _finished(folder, plan.config, say) or Outcome(folder.path, start, plan.steps)
    early = training.selection.exhausted
    if start and not early:
        say(f"going on from step {start}")
    if training.selection.restarted:
        say(training.selection.restarted)
    outcome = (
        Outcome(folder.path, start, plan.steps, early=True)
        if early
        else run_training(training, plan, folder, start=start, describe=describe)
    )
    say(_how_it_ended(outcome, training))
    return outcome


def _describer(plan: Plan, say: Say) -> Describer | None:
    """The features that scores are made on, where there are to be scores."""
    if plan.config.evaluate.every == 0:
        return None
    describe = describer(plan.config.evaluate.weights, available_device(plan.hardware.device))
    say(describe.statement)
    return describe


def _facts(describe: Describer) -> dict[str, str]:
    return {"name": describe.name, "statement": describe.statement, "fingerprint": describe.fingerprint}


def _how_it_ended(outcome: Outcome, training: Training) -> str:
    folder, step, steps = outcome.folder, outcome.step, outcome.steps
    chosen = training.selection
    best = f"; the best is step {chosen.step} ({chosen.rule})" if chosen.step is not None else ""
    use = f"to translate: ganstyle translate PHOTOS OUT --model {folder}"
    if step >= steps:
        return f"finished {steps} steps{best}; {use}"
    resume = f"to go on: ganstyle train --resume {folder}"
    if outcome.early:
        return (
            f"stopped early at step {step} of {steps}: {chosen.patience} evaluations in a row brought no gain{best}; "
            f"{use}; {resume} evaluate.patience=0"
        )
    return f"stopped at step {step} of {steps}, saved; {resume}"


def _record(
    folder: RunFolder, plan: Plan, changed: Mapping[str, object], evaluation: Mapping[str, str], say: Say
) -> None:
    """Keep what was decided; say what keeps a resumed run from going on exactly."""
    record = folder.record()
    if record is not None and folder.last_step():
        reasons = why_not_exact(changed, record, hardware=plan.hardware, data=plan.data_facts())
        if reasons:
            say(f"not bit for bit the run that it would have been: {'; '.join(reasons)}")
    folder.write_record(
        Record(
            plan.hardware, plan.data_facts(), library_versions(), evaluation, plan.settled(), initial=began_from(folder)
        )
    )
