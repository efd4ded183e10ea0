"""What a run computes on and how: decided once at its start, recorded, and kept when it is resumed."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from torch import nn

from ganstyle.base.errors import UserError, one_line
from ganstyle.base.keys import DEVICE_PATTERN
from ganstyle.train.compiling import Judgement


@dataclass(frozen=True)
class Hardware:
    """Device, precision, compilation, CPU threads, and whether the kernels of a step are captured as CUDA graphs."""

    device: str
    precision: str
    compile: bool
    threads: int
    cuda_graphs: bool = False
    ranks: int = 1

    def fabric(self, local_rank: int | None = None) -> Fabric:
        """The engine for one process on this device; sets the number of CPU threads.

        Args:
            local_rank: the number of its device, where several processes of this machine train together.
        """
        device = available_device(self.device)
        if local_rank is not None and device.type == "cuda":
            device = device_of_rank(local_rank)
        torch.set_num_threads(self.threads)
        if device.type == "cuda":
            torch.backends.cudnn.benchmark = True
        devices: Any = [device.index or 0] if device.type == "cuda" else 1
        precision: Any = {"float32": "32-true", "bfloat16": "bf16-mixed"}[self.precision]
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # what it would say is said by the plan
        # Its own launching is not used: ranks are processes of one device each, which meet in `ranks`.
        fabric = Fabric(accelerator=device.type, devices=devices, precision=precision, plugins=[LightningEnvironment()])
        fabric.launch()
        return fabric


def device_of_rank(local_rank: int) -> torch.device:
    """The GPU of one of several processes on a machine: its own number, or the only one that SLURM shows it."""
    shown_one = torch.cuda.device_count() == 1 and "SLURM_LOCALID" in os.environ
    return available_device("cuda:0" if shown_one else f"cuda:{local_rank}")


Judge = Callable[[torch.device, str], Judgement]


def never_compile(device: torch.device, precision: str) -> Judgement:
    """Decides for `auto` where a run's length and arithmetic are not known."""
    return Judgement(False, f"training.compile: nothing to judge {precision} on {device} by: training runs eager")


def decide(
    device: str,
    precision: str,
    compile_choice: Literal["auto", True, False],
    say: Callable[[str], None],
    *,
    cuda_graphs: bool = False,
    judge: Judge = never_compile,
) -> Hardware:
    """Turn what the config asks for into what there is.

    Precision `auto` is bfloat16 on CUDA that has it, float32 elsewhere. `judge` decides on a compilation that is
    `auto`, from the device and the precision. CUDA graphs are taken only with compiled halves.

    Raises:
        UserError: the device is not there, or CUDA graphs are asked for on another device.
    """
    chosen = available_device(device)
    check_cuda_graphs(chosen, cuda_graphs)
    if precision == "auto":
        good = chosen.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        precision = "bfloat16" if good else "float32"
    wanted = compile_choice
    if wanted == "auto":
        judgement = judge(chosen, precision)
        say(judgement.reason)
        wanted = judgement.compile
    compiles = wanted and _compiler_works(chosen, say)
    if cuda_graphs and not compiles:
        say("training.cuda_graphs: graphs are made of compiled halves, and these are not compiled: there are none")
    return Hardware(str(chosen), precision, compiles, torch.get_num_threads(), cuda_graphs and compiles)


def check_cuda_graphs(device: torch.device, cuda_graphs: bool) -> None:
    """`UserError` when CUDA graphs are asked for on another device."""
    if cuda_graphs and device.type != "cuda":
        raise UserError(f"training.cuda_graphs: needs a CUDA device, got {device}; use training.cuda_graphs=false")


def available_device(name: str) -> torch.device:
    """The device of that name, `auto` taking CUDA, then MPS, then the CPU; `UserError` when it is not there."""
    if not DEVICE_PATTERN.fullmatch(name):
        raise UserError(f"device: got {name!r}, expected auto, cpu, cuda, mps or cuda:N")
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if there[kind])
    device = torch.device(name)
    if not there[device.type]:
        have = ", ".join(kind for kind, available in there.items() if available)
        raise UserError(
            f"device: {name} is not available here (available: {have}); "
            f"use device=auto or device={have.split(', ')[-1]}"
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"device: {name} is not there: this machine has {torch.cuda.device_count()} CUDA devices, counted from 0"
        )
    return device


def _compiler_works(device: torch.device, say: Callable[[str], None]) -> bool:
    """Whether torch.compile can build anything here; tried on one small function."""
    try:
        with _quiet_compiler():
            torch.compile(lambda x: (x * 2).relu() + 1)(torch.ones(8, device=device))
    except Exception as error:  # a missing compiler shows in many ways
        say(f"training.compile: no compiler that works here ({one_line(error)[:120]}): training runs eager")
        return False
    return True


def compile_halves(halves: Sequence[nn.Module], *, cuda_graphs: bool = False) -> None:
    """Compile a method's halves in place; their weights and names stay as they are.

    With `cuda_graphs` the kernels of a half are captured once and replayed. What a half gives is then overwritten
    after the next `begin_step`: whatever is to outlive its step must be copied or read before.
    """
    for half in halves:
        half.compile(dynamic=False, mode="reduce-overhead" if cuda_graphs else None)


def begin_step() -> None:
    """Let CUDA graphs overwrite the results of earlier steps; to be called before every step of a run that has them."""
    torch.compiler.cudagraph_mark_step_begin()


@contextlib.contextmanager
def _quiet_compiler() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def memory_used(device: torch.device) -> float | None:
    """Gigabytes: the most that tensors took on CUDA, else the process's resident peak; None where it is not told."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    # Linux's `ru_maxrss` begins with what the process that started this one had.
    with contextlib.suppress(OSError, KeyError):
        lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024 / 1e9
    if os.name == "nt":
        return None
    import resource  # noqa: PLC0415 - not on Windows
    import sys  # noqa: PLC0415

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e9 if sys.platform == "darwin" else peak / 1e6
