"""What a run will do: its images, its hardware and its length, settled before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from ganstyle.assemble import build_method, settle
from ganstyle.base.config import Config, raise_mistakes
from ganstyle.base.errors import UserError
from ganstyle.data.cache import Preparation
from ganstyle.data.domains import Domain, DomainFiles, domain_files, open_domain
from ganstyle.evaluate.describers import describer
from ganstyle.evaluate.held_out import check_crop
from ganstyle.networks.discriminators import all_specs, discriminator_mistakes
from ganstyle.tracking.tensorboard import check_tensorboard
from ganstyle.train.compiling import Judgement
from ganstyle.train.compiling import judge as judge_compilation
from ganstyle.train.hardware import Hardware, Judge, available_device, check_cuda_graphs, decide
from ganstyle.train.ranks import Ranks
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

    def settled(self) -> dict[str, Mapping[str, Any]]:
        """What is recorded of what the machine decided, by section of the config."""
        return {"discriminator": self.config.discriminator}


def check_start(config: Config) -> None:
    """`UserError` for what keeps a new run from beginning here: devices, folders and weights that are not there."""
    check_cuda_graphs(available_device(config.device), config.training.cuda_graphs)
    check_watching(config)
    _sides(config)
    settle(config, lambda _: None)  # images are not prepared, nor is a folder taken, for a run that lacks its weights


def check_watching(config: Config) -> None:
    """`UserError` where a tracker or the network of the scores is not there, or does not go with the crops."""
    if config.tracking.tensorboard:
        check_tensorboard()
    if config.evaluate.every > 0:
        check_crop(describer(config.evaluate.weights, torch.device("cpu")), config.data.crop_px)


def check_devices(config: Config, count: int) -> None:
    """`UserError` for what does not go with so many processes, or with parts of a batch."""
    training = config.training
    Ranks(count=count).slots(training.batch_size, training.accumulate)
    norms = [config.generator.get("norm"), *(spec.get("norm") for spec in all_specs(config.discriminator))]
    if "batch" in norms and (count > 1 or training.accumulate > 1 or training.recompute):
        raise UserError(
            "norm: batch takes its statistics over the whole batch, once a step, which does not go with several "
            "devices, training.accumulate or training.recompute; use norm: instance"
        )
    if config.devices == 1:
        return
    device = available_device(config.device)
    if device.type == "mps" or device.index is not None:
        raise UserError(f"devices: got {config.devices} of device={config.device}, expected device=cuda or device=cpu")
    if device.type == "cuda" and config.devices > torch.cuda.device_count():
        raise UserError(f"devices: got {config.devices}, this machine has {torch.cuda.device_count()} CUDA devices")


def open_domains(config: Config, say: Say) -> dict[str, Domain]:
    """The images of both sides, prepared."""
    data = config.data
    preparation = Preparation(data.load_px, data.resize, tuple(data.background))  # type: ignore[arg-type]
    return {
        files.key: open_domain(
            files,
            preparation,
            holdout=data.holdout,
            scored=config.evaluate.every > 0,
            cache=data.cache,
            strict=data.strict,
            say=say,
        )
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
    ranks: int = 1,
) -> Plan:
    """Settle what the config leaves open, and say it.

    Args:
        config: what is asked for.
        domains: the images.
        record: what was decided when the run began, which is kept; None for a new run.
        say: told of it, a line at a time.
        asked: keys that a resumed run was given anew; of these the hardware is decided again.
        ranks: how many processes train together.
    """
    config = settled_config(config, record, say)
    steps, decay_from = _length(config, domains, record)
    hardware = replace(_hardware(config, record, asked, say, steps=steps, ranks=ranks), ranks=ranks)
    if record is not None and record.hardware.ranks != ranks:
        hardware = replace(hardware, threads=torch.get_num_threads())  # other processes now share the same cores
    plan = Plan(config, domains, hardware, steps, decay_from)
    _say_plan(plan, say)
    return plan


def settled_config(config: Config, record: Record | None, say: Say) -> Config:
    """The config as it was settled when the run began, else as the machine settles it now."""
    spec = record.settled.get("discriminator") if record is not None else None
    if spec is None:
        return settle(config, say)
    raise_mistakes(discriminator_mistakes(spec))
    return settle(config.model_copy(update={"discriminator": spec}), say)  # its weights may be gone since


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


# What the hardware is decided by.
DECIDING = {"device", "training.precision", "training.compile", "training.cuda_graphs"}


def _judge(config: Config, *, steps: int, ranks: int) -> Judge:
    """Whether compiling pays for so many steps, each spread over so many devices."""
    sizes = {"batch_size": max(config.training.batch_size // ranks, 1), "crop_px": config.data.crop_px}

    def judge(device: torch.device, precision: str) -> Judgement:
        with torch.device("meta"):
            method = build_method(config)
        return judge_compilation(method, device, precision, steps=steps, **sizes)

    return judge


def _hardware(
    config: Config, record: Record | None, asked: Collection[str], say: Say, *, steps: int, ranks: int
) -> Hardware:
    training, judge = config.training, _judge(config, steps=steps, ranks=ranks)
    graphs = training.cuda_graphs
    if record is None:
        return decide(config.device, training.precision, training.compile, say, cuda_graphs=graphs, judge=judge)
    known = record.hardware
    if not DECIDING & set(asked):
        return known
    device = config.device if "device" in asked else known.device
    precision = training.precision if "training.precision" in asked else known.precision
    # Graphs need compilation: a run that has none may get it for them, one that has it keeps it.
    anew = "training.compile" in asked or (graphs and not known.compile)
    compiles: Any = training.compile if anew else known.compile
    return replace(decide(device, precision, compiles, say, cuda_graphs=graphs, judge=judge), threads=known.threads)


def _say_plan(plan: Plan, say: Say) -> None:
    images = "; ".join(
        f"{side}: {len(each.train)} to train on, {len(each.held_out)} held out"
        + (f", {len(each.test)} to test" if each.test is not None else "")
        for side, each in plan.domains.items()
    )
    say(f"images {images}")
    training, hardware = plan.config.training, plan.hardware
    falls = f"constant to {plan.decay_from}, then falling to zero" if plan.decay_from < plan.steps else "constant"
    say(f"{plan.steps} steps of {training.batch_size}; learning rate {training.learning_rate:g} {falls}")
    compiled = ("compiled, CUDA graphs" if hardware.cuda_graphs else "compiled") if hardware.compile else "eager"
    several = f"{hardware.ranks} processes, each " if hardware.ranks > 1 else ""
    threads = "1 thread" if hardware.threads == 1 else f"{hardware.threads} threads"
    say(f"{several}on {hardware.device}, {hardware.precision}, {compiled}, {threads}")
