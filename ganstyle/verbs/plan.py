"""What a run will do: its images, its hardware and its length, settled before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ganstyle.base.config import Config
from ganstyle.base.errors import UserError
from ganstyle.data.cache import Preparation
from ganstyle.data.domains import Domain, DomainFiles, domain_files, open_domain
from ganstyle.train.hardware import Hardware, available_device, decide
from ganstyle.train.run_folder import Record
from ganstyle.train.schedule import steps_of

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """The config with everything decided that it leaves open."""

    config: Config
    domains: Mapping[str, Domain]
    hardware: Hardware
    steps: int
    decay_from: int

    def data_facts(self) -> dict[str, Any]:
        """What is recorded of the images and of the length."""
        sides = {f"images_{side}": len(domain.train) for side, domain in self.domains.items()}
        prints = {f"fingerprint_{side}": domain.fingerprint() for side, domain in self.domains.items()}
        return {**sides, **prints, "steps": self.steps, "decay_from": self.decay_from}


def check_start(config: Config) -> None:
    """`UserError` for what keeps a new run from beginning here: devices and folders that are not there."""
    if config.devices != 1:
        raise UserError(f"devices: got {config.devices}, expected 1: training on several devices is not supported yet")
    available_device(config.device)
    _sides(config)


def open_domains(config: Config, say: Say) -> dict[str, Domain]:
    """The images of both sides, prepared."""
    data = config.data
    preparation = Preparation(data.load_px, data.resize, tuple(data.background))  # type: ignore[arg-type]
    return {
        files.key: open_domain(files, preparation, holdout=data.holdout, cache=data.cache, strict=data.strict, say=say)
        for files in _sides(config)
    }


def _sides(config: Config) -> list[DomainFiles]:
    data = config.data
    return domain_files(root=data.root, a=data.a, b=data.b, test_a=data.test_a, test_b=data.test_b)


def plan_run(
    config: Config,
    domains: Mapping[str, Domain],
    record: Record | None,
    *,
    say: Say,
    asked: Collection[str] = (),
) -> Plan:
    """Settle what the config leaves open, and say it.

    Args:
        config: what is asked for.
        domains: the images.
        record: what was decided when the run began, which is kept; None for a new run.
        say: told of it, a line at a time.
        asked: keys that a resumed run was given anew; of these the hardware is decided again.
    """
    steps, decay_from = _length(config, domains, record)
    plan = Plan(config, domains, _hardware(config, record, asked, say), steps, decay_from)
    _say_plan(plan, say)
    return plan


def _length(config: Config, domains: Mapping[str, Domain], record: Record | None) -> tuple[int, int]:
    """(steps, decay_from); epochs are turned into steps here, when the run begins, and nowhere else."""
    training = config.training
    images_a, images_b = len(domains["a"].train), len(domains["b"].train)
    steps, decay_from = training.steps, training.decay_from
    if steps is None:
        assert training.epochs is not None
        counted = steps_of(training.epochs, images_a, images_b, training.batch_size)
        steps = record.data["steps"] if record is not None else counted
    if decay_from is None and training.decay_from_epoch is not None:
        epochs = training.decay_from_epoch
        counted = steps_of(epochs, images_a, images_b, training.batch_size) if epochs > 0 else 0
        decay_from = record.data["decay_from"] if record is not None else counted
    return steps, decay_from if decay_from is not None else steps // 2


def _hardware(config: Config, record: Record | None, asked: Collection[str], say: Say) -> Hardware:
    training = config.training
    if record is None:
        return decide(config.device, training.precision, training.compile, say)
    known = record.hardware
    if not {"device", "training.precision", "training.compile"} & set(asked):
        return known
    device = config.device if "device" in asked else known.device
    precision = training.precision if "training.precision" in asked else known.precision
    compiles: Any = training.compile if "training.compile" in asked else known.compile
    return replace(decide(device, precision, compiles, say), threads=known.threads)


def _say_plan(plan: Plan, say: Say) -> None:
    images = "; ".join(
        f"{side}: {len(each.train)} to train on, {len(each.held_out)} held out" for side, each in plan.domains.items()
    )
    say(f"images {images}")
    training, hardware = plan.config.training, plan.hardware
    falls = f"constant to {plan.decay_from}, then falling to zero" if plan.decay_from < plan.steps else "constant"
    say(f"{plan.steps} steps of {training.batch_size}; learning rate {training.learning_rate:g} {falls}")
    compiled = "compiled" if hardware.compile else "eager"
    say(f"on {hardware.device}, {hardware.precision}, {compiled}, {hardware.threads} threads")
