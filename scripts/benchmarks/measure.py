"""Two sides in alternation, and what their times say: medians, the paired ratio and its interval."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any

import numpy as np
from sides import Side, peak_gb, reset_peak

# Threads of the side that was just timed spin for a moment before they sleep.
PAUSE_S = 0.05
CEILING_EVERY = 4
RESAMPLES = 10_000


@dataclass
class Timings:
    """Seconds of every turn of both sides, pairwise; the machine's rates meanwhile; the peaks of memory."""

    ours: list[float] = field(default_factory=list)
    baseline: list[float] = field(default_factory=list)
    ceilings: list[dict[str, float]] = field(default_factory=list)
    first_turn_s: float = 0.0
    peak_gb: float = 0.0
    baseline_peak_gb: float = 0.0


def alternate(
    ours: Side, baseline: Side, ceiling: Side | None = None, *, device: str, warm_up: int, alternations: int
) -> Timings:
    """Warm both sides up, one after the other, then time them in turn; every other round begins with the other one."""
    timings = Timings()
    for side in (baseline, ours):
        began = time.perf_counter()
        side.turn()
        timings.first_turn_s = time.perf_counter() - began  # of ours, which comes last
        for _ in range(warm_up):
            side.turn()
        side.ask(partial(reset_peak, device))
    for number in range(alternations):
        pair = ((ours, timings.ours), (baseline, timings.baseline))
        for side, seconds in pair if number % 2 == 0 else reversed(pair):
            time.sleep(PAUSE_S)
            seconds.append(side.turn())
        if ceiling is not None and number % CEILING_EVERY == 0:
            timings.ceilings.append(ceiling.turn())
    timings.peak_gb, timings.baseline_peak_gb = (side.ask(partial(peak_gb, device)) for side in (ours, baseline))
    return timings


def paired_ratio(ours: Sequence[float], baseline: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """How many times ours is faster: the median of the pairs' ratios, and its 95 % bootstrap interval."""
    ratios = np.asarray(baseline) / np.asarray(ours)
    drawn = np.random.default_rng(0).integers(len(ratios), size=(RESAMPLES, len(ratios)))
    low, high = np.percentile(np.median(ratios[drawn], axis=1), [2.5, 97.5])
    return float(np.median(ratios)), (float(low), float(high))


def row(name: str, timings: Timings, *, gflop: float | None = None, ceiling: str | None = None) -> dict[str, Any]:
    """One row of a result.

    `ratio` says how many times ours is faster, `gflop` is the plain side's arithmetic, and `share_of_ceiling` is what
    part of the machine's rate for `ceiling` our side reaches with it. Rates are medians over the run, as times are:
    a clock that was higher for a moment is no ceiling of the rest.
    """
    ratio, interval = paired_ratio(timings.ours, timings.baseline)
    seconds = median(timings.ours)
    ceilings = {rate: median(each[rate] for each in timings.ceilings) for rate in (timings.ceilings or [{}])[0]}
    found: dict[str, Any] = {
        "name": name,
        "ratio": ratio,
        "interval": interval,
        "median_s": seconds,
        "baseline_s": median(timings.baseline),
        "alternations": len(timings.ours),
        "first_turn_s": timings.first_turn_s,
        "peak_gb": timings.peak_gb,
        "baseline_peak_gb": timings.baseline_peak_gb,
        "ceilings": ceilings,
    }
    if gflop is not None and ceiling is not None:
        share = gflop / seconds / ceilings[ceiling]
        found |= {"gflop": gflop, "ceiling": ceiling, "share_of_ceiling": share}
    return found
