"""What a run computes on and how: decided once at its start, recorded, and kept when it is resumed."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from torch import nn

from ganstyle.base.errors import UserError, one_line
from ganstyle.base.keys import DEVICE_PATTERN


@dataclass(frozen=True)
class Hardware:
    """Device, precision, compilation and CPU threads."""

    device: str
    precision: str
    compile: bool
    threads: int

    def fabric(self) -> Fabric:
        """The engine for one process on this device; sets the number of CPU threads."""
        device = available_device(self.device)
        torch.set_num_threads(self.threads)
        if device.type == "cuda":
            torch.backends.cudnn.benchmark = True
        devices: Any = [device.index or 0] if device.type == "cuda" else 1
        precision: Any = {"float32": "32-true", "bfloat16": "bf16-mixed"}[self.precision]
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # what it would say is said by the plan
        fabric = Fabric(accelerator=device.type, devices=devices, precision=precision)
        fabric.launch()
        return fabric


def decide(
    device: str, precision: str, compile_choice: Literal["auto", True, False], say: Callable[[str], None]
) -> Hardware:
    """Turn what the config asks for into what there is.

    `auto` is bfloat16 on CUDA that has it, float32 elsewhere, and never compiles yet.
    """
    chosen = available_device(device)
    if precision == "auto":
        good = chosen.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        precision = "bfloat16" if good else "float32"
    compiles = compile_choice is True and _compiler_works(chosen, say)
    return Hardware(str(chosen), precision, compiles, torch.get_num_threads())


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


def compile_halves(halves: Sequence[nn.Module]) -> None:
    """Compile a method's halves in place; their weights and names stay as they are."""
    for half in halves:
        half.compile(dynamic=False)


@contextlib.contextmanager
def _quiet_compiler() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def memory_used(device: torch.device) -> float | None:
    """Gigabytes: the most that tensors took on CUDA, else the process's resident peak; None where it is not told."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    if os.name == "nt":
        return None
    import resource  # noqa: PLC0415 - not on Windows
    import sys  # noqa: PLC0415

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e9 if sys.platform == "darwin" else peak / 1e6
