"""The machine: what it is, what it can do at best, and whether others use it."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sides import Work, timed

import ganstyle

BUSY_CORES = 0.25  # from here on a machine is not quiet
CPU_SIDE, CUDA_SIDE, QUICK_SIDE = 2048, 8192, 256
COPY_BYTES, QUICK_COPY_BYTES = 2**28, 2**20
TRIES = 3


@dataclass(frozen=True)
class Ceilings:
    """Builds a side whose turns give the best rates of a moment, by name.

    Matrix products in GFLOP/s: `float32`, `bfloat16` and, on CUDA, `tf32`; `copy` in GB/s, reading and writing counted.
    """

    device: str
    quick: bool = False

    def __call__(self) -> Work:
        cuda = self.device.startswith("cuda")
        side = QUICK_SIDE if self.quick else CUDA_SIDE if cuda else CPU_SIDE
        gflop = 2 * side**3 / 1e9
        rates = {
            "float32": self._product(side, torch.float32, "ieee"),
            "bfloat16": self._product(side, torch.bfloat16, "ieee"),
            "copy": self._copy(),
        }
        if cuda:
            rates["tf32"] = self._product(side, torch.float32, "tf32")
        amounts = dict.fromkeys(rates, gflop) | {"copy": 2 * self._copy_bytes / 1e9}
        return lambda: {name: max(amounts[name] / turn() for _ in range(TRIES)) for name, turn in rates.items()}

    @property
    def _copy_bytes(self) -> int:
        return QUICK_COPY_BYTES if self.quick else COPY_BYTES

    def _product(self, side: int, dtype: torch.dtype, precision: str) -> Work:
        a, b = (torch.rand(side, side, device=self.device).to(dtype) for _ in "ab")
        turn = timed(lambda: torch.mm(a, b), self.device)
        return lambda: _with_precision(precision, turn)

    def _copy(self) -> Work:
        source = torch.zeros(self._copy_bytes, dtype=torch.uint8, device=self.device)
        target = torch.ones_like(source)
        return timed(lambda: target.copy_(source), self.device)


def _with_precision(precision: str, turn: Callable[[], float]) -> float:
    torch.backends.cuda.matmul.fp32_precision = precision
    return turn()


def busy_cores(seconds: float = 1.0) -> float | None:
    """How many cores' worth of time others use while this process sleeps; None where the system does not say."""
    try:
        before = _busy_ticks()
        time.sleep(seconds)
        return (_busy_ticks() - before) / os.sysconf("SC_CLK_TCK") / seconds
    except (OSError, ValueError):
        return None


def _busy_ticks() -> int:
    """Ticks of all cores since the start that were neither idle nor waiting for a disk."""
    fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(fields) - fields[3] - fields[4]


def facts(device: str) -> dict[str, Any]:
    """What every row says of where it was measured."""
    found: dict[str, Any] = {
        "hardware": {"device": device, "cpu": _cpu(), "cores": len(_cores()), "memory_gb": _memory_gb()},
        "versions": {
            "ganstyle": ganstyle.__version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
            "system": platform.platform(),
        },
        "threads": torch.get_num_threads(),
    }
    if device.startswith("cuda"):
        gpu = torch.cuda.get_device_properties(device)
        found["hardware"] |= {"gpu": gpu.name, "gpu_memory_gb": round(gpu.total_memory / 1e9, 1)}
        found["versions"]["cuda"] = torch.version.cuda
    return found


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _cores() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (OSError, ValueError, AttributeError):
        return None
