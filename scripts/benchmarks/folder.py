"""Times translating a folder in three stages at once against one file after the other.

Both read, translate and write the same files by the same functions, each side in a process of its own.
"""

from __future__ import annotations

import os
import shutil
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import ours
from case import Case
from measure import paired_ratio
from report import Row, alternations_of, arguments, benchmark
from sides import Work, sides
from tiles import picture

from ganstyle.assemble import build_method, full_generator_spec
from ganstyle.base.errors import UserError
from ganstyle.data.images import write_image
from ganstyle.data.outputs import Task, plan
from ganstyle.data.photos import Photo, read_photo, write_photo
from ganstyle.train.hardware import available_device
from ganstyle.translate.facts import ModelFacts
from ganstyle.translate.pipeline import Limits, Passed, Stages, run_pipeline
from ganstyle.translate.translator import Translator

MOST_TURNS = 3  # of each side; a turn takes minutes
DRAWN = 4  # different pictures; the others are copies of them
QUALITY = 92


@dataclass(frozen=True)
class Kind:
    """One kind of folder: so many files of so many megapixels, made smaller until no side is longer than `size_px`."""

    name: str
    count: int
    megapixels: float
    size_px: int
    batch: int = 1


KINDS = [Kind("12 MP photos at 256 px", 200, 12, 256), Kind("small photos", 1000, 0.05, 256)]
QUICK_KINDS = [Kind("tiny photos", 6, 0.02, 64, batch=2)]


def row_name(kind: Kind) -> str:
    return f"folder, {kind.name}"


@dataclass(frozen=True)
class Translating:
    """Builds a side that translates a folder; a turn gives its wall and processor seconds, and those of its stages."""

    source: Path
    target: Path
    kind: Kind
    network: Case
    run: Callable[[Sequence[Task], Stages[Task, Photo], Kind], dict[str, float]]

    def __call__(self) -> Work:
        config = ours.config_of(self.network)
        generator = build_method(config).translators["ab"]
        device = available_device(self.network.device)
        spec = full_generator_spec(config.generator)
        translator = Translator(generator, spec, ModelFacts("ab", 0, averaged=False), device)
        stages = Stages(read=self.read, compute=lambda photos: computed(translator, photos), write=written)
        self.target.mkdir(exist_ok=True)
        tasks = plan(self.source, self.target)

        def turn() -> dict[str, float]:
            wall, cpu = time.perf_counter(), time.process_time()
            busy = self.run(tasks, stages, self.kind)
            return busy | {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}

        return turn

    def read(self, task: Task) -> Photo:
        return read_photo(task.source, longest_px=self.kind.size_px)


def computed(translator: Translator, photos: Sequence[tuple[Task, Photo]]) -> list[np.ndarray]:
    return translator.many([photo.pixels for _, photo in photos])


def written(task: Task, photo: Photo, pixels: np.ndarray) -> list[str]:
    return write_photo(task.target, photo, pixels)


def at_once(tasks: Sequence[Task], stages: Stages[Task, Photo], kind: Kind) -> dict[str, float]:
    """By the pipeline; gives the seconds for which each stage was busy."""
    failed: list[Passed[Task]] = []
    times = run_pipeline(
        tasks, stages, Limits(batch=kind.batch), passed=lambda passed: failed.append(passed) if passed.error else None
    )
    if failed:
        raise UserError(f"{failed[0].task.source}: {failed[0].error}")
    return dict(times.busy_s)


def in_turn(tasks: Sequence[Task], stages: Stages[Task, Photo], kind: Kind) -> dict[str, float]:
    """One file after the other."""
    for task in tasks:
        photo = stages.read(task)
        (pixels,) = stages.compute([(task, photo)])
        stages.write(task, photo, pixels)
    return {}


def photos(folder: Path, kind: Kind) -> Path:
    """JPEGs, a few of them drawn."""
    folder.mkdir()
    drawn = picture(kind.megapixels)
    for number in range(kind.count):
        path = folder / f"{number:05}.jpg"
        if number < DRAWN:
            write_image(path, np.roll(drawn, 16 * number, axis=1), quality=QUALITY)
        else:
            shutil.copy(folder / f"{number % DRAWN:05}.jpg", path)
    return folder


def measure(parsed: Namespace) -> Iterator[Row]:
    network = replace(Case(width=4, blocks=1) if parsed.quick else Case(), device=parsed.device)
    for each in QUICK_KINDS if parsed.quick else [kind for kind in KINDS if kind.name in parsed.kinds]:
        kind = replace(each, count=parsed.count or each.count, batch=parsed.batch or each.batch)
        with TemporaryDirectory(dir=parsed.scratch) as folder:
            source = photos(Path(folder, "in"), kind)
            yield compared(source, Path(folder), kind, network, turns=min(MOST_TURNS, alternations_of(parsed)))


def compared(source: Path, folder: Path, kind: Kind, network: Case, *, turns: int) -> Row:
    """Both sides in turn, after a first turn of each that is not counted."""
    ways: dict[str, Any] = {"ours": at_once, "baseline": in_turn}
    builders = {name: Translating(source, folder / name, kind, network, run) for name, run in ways.items()}
    with sides(**builders) as opened:
        told = [[side.turn() for side in opened] for _ in range(turns + 1)][1:]
    own, plain = ([turn[number]["wall_s"] for turn in told] for number in (0, 1))
    ratio, interval = paired_ratio(own, plain)
    fastest = told[int(np.argmin(own))][0]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "name": row_name(kind),
        "ratio": ratio,
        "interval": interval,
        "median_s": float(np.median(own)),
        "baseline_s": float(np.median(plain)),
        "alternations": turns,
        "files": kind.count,
        "batch": kind.batch,
        "stages_s": {name: seconds for name, seconds in fastest.items() if name not in ("wall_s", "cpu_s")},
        "core_seconds": fastest["cpu_s"],
        "share_of_ceiling": fastest["cpu_s"] / cores / fastest["wall_s"],  # of all that the cores could do
    }


def known_arguments() -> ArgumentParser:
    parser = arguments(__doc__)
    names = [kind.name for kind in KINDS]
    parser.add_argument("--kinds", nargs="+", choices=names, default=names, help="which folders (all)")
    parser.add_argument("--count", type=int, help="files in a folder (200 large ones, 1,000 small ones)")
    parser.add_argument("--batch", type=int, help="photos that are translated together (1)")
    parser.add_argument("--scratch", type=Path, help="where the folders are made")
    return parser


if __name__ == "__main__":
    benchmark(known_arguments(), measure)
