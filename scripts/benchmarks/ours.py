"""Our sides, built through the package as a run builds them; the one file that knows its interfaces."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from case import Case
from sides import Work, synchronise, timed
from torch import Tensor, nn

from ganstyle.assemble import build_method, check_config
from ganstyle.base.config import Config
from ganstyle.base.draws import Draws
from ganstyle.data.batches import Cropping, ImageBatch, StepDataset
from ganstyle.data.on_device import batch_stream
from ganstyle.train.hardware import Hardware, available_device, begin_step, check_cuda_graphs, compile_halves
from ganstyle.train.loop import step_in_parts
from ganstyle.train.run_folder import RunFolder
from ganstyle.verbs.plan import Plan, open_domains
from ganstyle.verbs.training import build_training

LEARNING_RATE, EMA_DECAY = 2e-4, 0.999


def config_of(case: Case, **data: Any) -> Config:
    """The config of a run of these sizes; `data` is what it says of the images."""
    return check_config(
        {
            "device": case.device,
            "generator": {"name": "resnet", "width": case.width, "blocks": case.blocks},
            "data": {"load_px": case.px, "crop_px": case.px, **data},
            "training": {
                "steps": 1,
                "batch_size": case.batch,
                "recompute": case.recompute,
                "ema_decay": EMA_DECAY if case.average else 0.0,
            },
        }
    )


def hardware_of(case: Case) -> Hardware:
    """What a run would compute on; one line where that cannot be."""
    check_cuda_graphs(available_device(case.device), case.cuda_graphs)
    return Hardware(case.device, case.precision, case.compile, torch.get_num_threads(), case.cuda_graphs)


class Trained:
    """What a run trains, built as a run builds it; a call makes one step as the loop does.

    Args:
        config: of the run.
        hardware: what it computes on, how precisely, compiled or not.
    """

    def __init__(self, config: Config, hardware: Hardware) -> None:
        plan = Plan(config, {}, hardware, steps=1, decay_from=1)
        self.training = build_training(plan, RunFolder(Path("nothing-is-written")))
        self.cuda_graphs = hardware.cuda_graphs
        if hardware.compile:
            compile_halves(self.training.method.halves, cuda_graphs=hardware.cuda_graphs)

    @classmethod
    def of(cls, case: Case) -> Trained:
        """Of a case's sizes, precision and compilation."""
        return cls(config_of(case), hardware_of(case))

    def __call__(self, batch: ImageBatch) -> dict[str, Tensor]:
        """The losses of one step, still on the device."""
        training = self.training
        training.guard.step = batch.draws.step
        training.optimizers.set_learning_rate(LEARNING_RATE)
        if self.cuda_graphs:
            begin_step()
        with training.fabric.autocast():
            losses = step_in_parts(training.method, batch, training.optimizers, parts=1)
        training.average.update(batch.draws.step)
        return losses


@dataclass(frozen=True)
class Step:
    """Builds our side of a training step."""

    case: Case

    def __call__(self) -> Work:
        trained, pairs = Trained.of(self.case), self.case.inputs(torch.channels_last)
        draws = iter(Draws(0, step) for step in range(10**9))

        def step() -> None:
            now = next(draws)
            trained(ImageBatch(*pairs(), draws=now, first_sample=now.step * self.case.batch))

        return timed(step, self.case.device)


@dataclass(frozen=True)
class Inference:
    """Builds our side of a translation."""

    case: Case

    def __call__(self) -> Work:
        fabric, pairs = hardware_of(self.case).fabric(), self.case.inputs(torch.channels_last)
        generator = build_method(config_of(self.case)).translators["ab"]
        generator = generator.to(fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        translate = fast(generator.eval().requires_grad_(False)) if self.case.compile else generator.eval()

        @torch.no_grad()
        def step() -> None:
            with fabric.autocast():
                translate(pairs()[0])

        return timed(step, self.case.device)


def fast(generator: nn.Module) -> Callable[[Tensor], Tensor]:
    """A generator compiled for inference; constant weights (inductor's freezing) were tried and gain nothing."""
    return torch.compile(generator, dynamic=False)


@dataclass(frozen=True)
class Pictures:
    """Two folders of pictures, and how they are loaded."""

    a: Path
    b: Path
    load_px: int
    crop_px: int
    batch: int
    workers: int
    device: str


def batches(pictures: Pictures, steps: int) -> Iterator[ImageBatch]:
    """Batches out of the packed cache, which is built when it is not there yet."""
    case = Case(pictures.crop_px, pictures.batch, device=pictures.device)
    folders = {"a": [str(pictures.a)], "b": [str(pictures.b)], "load_px": pictures.load_px, "resize": "square"}
    config = config_of(case, **folders, holdout=0.0, workers=pictures.workers)
    domains = open_domains(config, lambda line: None)
    data = config.data
    dataset = StepDataset(
        domains["a"].train,
        domains["b"].train,
        Cropping(data.crop_px, data.flip),
        draws=Draws(0),
        batch_size=pictures.batch,
    )
    stream = batch_stream(dataset, workers=data.workers, device=torch.device(pictures.device), crop_on=data.crop_on)
    return (batch for _, batch in stream.between(0, steps))


@dataclass(frozen=True)
class Waiting:
    """Builds a side whose turns train on pictures and give (seconds of waiting for data, seconds in all)."""

    case: Case
    pictures: Pictures
    steps: int

    def __call__(self) -> Callable[[], tuple[float, float]]:
        trained = Trained.of(self.case)
        return lambda: _waits(trained, self.pictures, self.steps)


def _waits(trained: Trained, pictures: Pictures, steps: int) -> tuple[float, float]:
    """Of so many batches after each worker's first, with which it starts; their end is not timed."""
    starting, device = max(1, pictures.workers), pictures.device
    stream = batches(pictures, starting + steps)
    for _ in range(starting):
        trained(next(stream))
    synchronise(device)
    began, waited = time.perf_counter(), 0.0
    for _ in range(steps):
        asked = time.perf_counter()
        batch = next(stream)
        waited += time.perf_counter() - asked
        trained(batch)
    synchronise(device)
    seconds = time.perf_counter() - began
    assert next(stream, None) is None, f"more than {steps} batches"
    return waited, seconds
