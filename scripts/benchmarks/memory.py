"""Measures the most memory that our training step takes against the plain one.

On CUDA the most that tensors took; on the CPU what the process grew by, at its peak, after everything was imported.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from statistics import median

import ours
import plain
from case import Case
from measure import paired_ratio
from report import Row, alternations_of, arguments, benchmark
from sides import Builder, Side, peak_gb, reset_peak

MOST_PROCESSES = 3  # of each side; memory hardly varies
WARM_UP, TURNS = 2, 3
CPU_CASES = [Case(128), Case(128, recompute=True), Case(128, compile=True)]
_CUDA = Case(256, device="cuda", precision="bfloat16", compile=True)
CUDA_CASES = [_CUDA, replace(_CUDA, recompute=True), replace(_CUDA, batch=16), replace(_CUDA, batch=16, recompute=True)]
QUICK_CASES = [Case(32, width=4, blocks=1)]


def growth_gb(name: str, build: Builder, device: str) -> float:
    """What a fresh process takes for a few steps; what it took only to compile is left out where the system can."""
    side = Side(name, build)
    try:
        before = side.ask(partial(peak_gb, device))
        for _ in range(WARM_UP):
            side.turn()
        side.ask(partial(reset_peak, device))
        for _ in range(TURNS):
            side.turn()
        grown: float = side.ask(partial(peak_gb, device)) - before
        return grown
    finally:
        side.close()


def measure(parsed: Namespace) -> Iterator[Row]:
    cases = CUDA_CASES if parsed.device.startswith("cuda") else CPU_CASES
    for each in QUICK_CASES if parsed.quick else cases:
        case = replace(each, device=parsed.device)
        pairs = [
            (growth_gb("ours", ours.Step(case), case.device), growth_gb("baseline", plain.Step(case), case.device))
            for _ in range(min(MOST_PROCESSES, alternations_of(parsed)))
        ]
        own, baseline = zip(*pairs, strict=True)
        ratio, interval = paired_ratio(own, baseline)
        yield {
            "name": f"memory, {case.name}",
            "ratio": ratio,
            "interval": interval,
            "median_gb": median(own),
            "baseline_gb": median(baseline),
            "alternations": len(pairs),
        }


if __name__ == "__main__":
    benchmark(arguments(__doc__), measure)
