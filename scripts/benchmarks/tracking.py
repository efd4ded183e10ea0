"""Times steps with everything told at the default interval (W&B offline too) against the same steps told to nobody.

A turn is one log and the steps up to the next; the log comes first, so that what others then do in the background
falls into the same turn. Of the seconds a log takes, and of the CPU time of the processes that are told, the share in
the time of the steps is shown too. Not timed: making the previews and measuring health, which are no telling.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import numpy as np
import ours
import torch
from case import Case
from measure import alternate, row
from report import Row, alternations_of, arguments, benchmark
from sides import Side, Work, sides, synchronise

from ganstyle.base.draws import Draws
from ganstyle.base.keys import TrainingConfig, WandbConfig
from ganstyle.data.batches import ImageBatch
from ganstyle.data.grids import encode_grid
from ganstyle.evaluate.health import diagnose
from ganstyle.tracking.background import InBackground
from ganstyle.tracking.health import HealthTracker
from ganstyle.tracking.jsonl import FolderTracker
from ganstyle.tracking.page_tracker import PageTracker
from ganstyle.tracking.tracker import SilentTracker, Tracker, Trackers
from ganstyle.tracking.wandb import WandbTracker
from ganstyle.train.loop import finite_floats
from ganstyle.train.run_folder import RunFolder
from ganstyle.verbs.report import write_report

WARM_UP, QUICK_WARM_UP = 1, 1
LOG_EVERY, QUICK_LOG_EVERY = TrainingConfig().log_every, 4
LOGS_A_PREVIEW = TrainingConfig().preview_every // LOG_EVERY
ROWS_BEFORE, QUICK_ROWS_BEFORE = 1000, 20  # a run that has gone on for long, as the page and health read all of it
CPU_CASES = [Case(64, width=24, blocks=6)]
CUDA_CASES = [Case(256, device="cuda", precision="bfloat16", compile=True)]
QUICK_CASES = [Case(32, width=4, blocks=1)]
DIRECTIONS = ("ab", "ba")
OTHERS = [
    *(f"judged/{domain}_{kind}" for domain in "ab" for kind in ("real", "fake")),
    *(f"health/{name}_{way}" for name in ("change", "luminance", "diversity", "edges", "checks") for way in DIRECTIONS),
    *(f"speed/{name}" for name in ("images_per_second", "seconds_per_step", "waiting_for_data", "step", "rest")),
    *("learning_rate", "memory/gigabytes", "guard/skipped", "guard/rollbacks"),
]

_told_s: list[float] = []


@dataclass(frozen=True)
class Steps:
    """Builds a side that trains and tells; a turn gives the seconds of a step, all that is told counted.

    Args:
        case: sizes and precision.
        log_every: steps of a turn.
        folder: the run's folder; without one nobody is told.
        rows_before: how many logs the run already has.
    """

    case: Case
    log_every: int
    folder: Path | None = None
    rows_before: int = 0

    def __call__(self) -> Work:
        trained, pairs = ours.Trained.of(self.case), self.case.inputs(torch.channels_last)
        start = self.rows_before * self.log_every
        tracker = SilentTracker() if self.folder is None else told(self.folder, self.case, start, self.log_every)
        draws = iter(Draws(0, step) for step in itertools.count(start))
        telling = Telling(tracker, self.case)
        losses: dict[str, torch.Tensor] = {}

        def turn() -> float:
            nonlocal losses
            synchronise(self.case.device)
            began = time.perf_counter()
            for number in range(self.log_every):
                now = next(draws)
                if number == 0 and losses:
                    telling(now.step, finite_floats(losses))
                losses = trained(ImageBatch(*pairs(), draws=now, first_sample=now.step * self.case.batch))
            synchronise(self.case.device)
            return (time.perf_counter() - began) / self.log_every

        return turn


class Telling:
    """Tells a tracker what the loop tells at a log, and notes the seconds that it takes."""

    def __init__(self, tracker: Tracker, case: Case) -> None:
        self.tracker, self.logs = tracker, 0
        random = np.random.default_rng(0)
        patches = max(case.px // 8, 1) ** 2
        self.values = {name: random.normal(size=4 * patches) for name in OTHERS[:4]}
        cell = random.integers(0, 256, (case.px, case.px, 3), dtype=np.uint8)
        self.preview = encode_grid([[cell] * 4] * 8)

    def __call__(self, step: int, losses: Mapping[str, float]) -> None:
        began = time.perf_counter()
        self.tracker.log(step, {**losses, **dict.fromkeys(OTHERS, 0.5)})
        self.tracker.distributions(step, self.values)
        if self.logs % LOGS_A_PREVIEW == 0:
            self.tracker.images(step, "preview", self.preview)
        self.logs += 1
        _told_s.append(time.perf_counter() - began)


def told(path: Path, case: Case, start: int, log_every: int) -> Tracker:
    """Those that a run tells, but for the terminal."""
    folder = RunFolder(path)
    folder.write_config(ours.config_of(case).model_dump())
    before = [{"step": step, **dict.fromkeys(OTHERS, 0.5)} for step in range(log_every, start + 1, log_every)]
    kept = FolderTracker(path, start=start, warn=fail)
    for each in before:
        kept.log(each["step"], each)
    settings = WandbConfig(mode="offline").model_dump()
    wandb = InBackground(
        lambda: WandbTracker(path, settings=settings, config={}, run_id="benchmark", warn=fail, say=lambda _: None),
        fail,
    )
    health = HealthTracker(before, diagnose, SilentTracker())
    page = InBackground(lambda: PageTracker(lambda: write_report(path), warn=fail), fail)
    return Trackers([kept, wandb, health, page])


def fail(text: str) -> None:
    """A tracker that does not work costs nothing, and measures nothing."""
    print(f"warning: {text}", flush=True)


def told_seconds() -> list[float]:
    """What every log took so far, in the side that is asked."""
    return list(_told_s)


def children_cpu_s() -> float | None:
    """CPU seconds so far of all processes below the one that is asked; None where the system does not tell."""
    parents: dict[int, int] = {}
    seconds: dict[int, float] = {}
    ticks = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 1
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            parents[int(folder.name)] = int(fields[1])
            seconds[int(folder.name)] = (int(fields[11]) + int(fields[12])) / ticks
    if not parents:
        return None
    return sum(seconds[process] for process in parents if os.getpid() in _ancestors(process, parents))


def _ancestors(process: int, parents: Mapping[int, int]) -> Iterator[int]:
    while (process := parents.get(process, 0)) > 0:
        yield process


def telling_name(case: Case) -> str:
    return f"steps that are told of, {case.name}"


def thread_name(case: Case) -> str:
    return f"telling, on the training thread, {case.name}"


def processes_name(case: Case) -> str:
    return f"telling, CPU time of other processes, {case.name}"


def measure(parsed: Namespace) -> Iterator[Row]:
    cases = CUDA_CASES if parsed.device.startswith("cuda") else CPU_CASES
    for each in QUICK_CASES if parsed.quick else cases:
        case = replace(each, device=parsed.device)
        folder = Path(tempfile.mkdtemp())
        try:
            yield from _rows(case, folder, alternations_of(parsed), quick=parsed.quick)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _rows(case: Case, folder: Path, alternations: int, *, quick: bool) -> Iterator[Row]:
    log_every = QUICK_LOG_EVERY if quick else LOG_EVERY
    rows_before = QUICK_ROWS_BEFORE if quick else ROWS_BEFORE
    watched, alone = Steps(case, log_every, folder, rows_before), Steps(case, log_every)
    with sides(ours=watched, baseline=alone) as opened:
        first, *_ = opened
        cpu_before, cpu_s = _after_warm_up(first, quick=quick)
        timings = alternate(*opened, device=case.device, warm_up=0, alternations=alternations)
        seconds = first.ask(told_seconds)[-alternations:]
        used_s = cpu_s(first)
    found = row(telling_name(case), timings)
    between = found["baseline_s"] * log_every
    facts = {"log_every": log_every, "rows_before": rows_before}
    yield found | facts
    each = fmean(seconds)  # not the median: what is rare, as the page is, costs too
    yield {"name": thread_name(case), "share": each / between, "mean_s": each, **facts}
    if cpu_before is not None and used_s is not None:
        each = (used_s - cpu_before) / (alternations + 1)
        yield {"name": processes_name(case), "share": each / between, "mean_s": each, **facts}


def _after_warm_up(side: Side, *, quick: bool) -> tuple[float | None, Callable[[Side], float | None]]:
    """CPU seconds of the others once they have started, which happens once a run; and how to ask again."""
    for _ in range(1 + (QUICK_WARM_UP if quick else WARM_UP)):
        side.turn()
    time.sleep(3)  # a library is still being imported while quick steps go on

    def ask(asked: Side) -> float | None:
        used: float | None = asked.ask(children_cpu_s)
        return used

    return ask(side), ask


if __name__ == "__main__":
    benchmark(arguments(__doc__), measure)
