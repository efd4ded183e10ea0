"""Times our loader with its cache against one that decodes every time, and what part of training waits for data.

Both have the same pictures, sizes and workers; times are seconds a picture.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ours
import plain
from case import Case
from measure import alternate, row
from PIL import Image
from report import Row, alternations_of, arguments, benchmark
from sides import Side, Work, sides, synchronise

LOAD_PX, CROP_PX = 286, 256
QUALITY = 90
CUDA_STEPS, CPU_STEPS = 400, 4  # of training, for the share that waits


@dataclass(frozen=True)
class Kind:
    """One kind of picture, and how many batches a turn takes: enough to outweigh what was loaded before it began."""

    name: str
    height: int
    width: int
    count: int
    ours_steps: int
    plain_steps: int


KINDS = [Kind("12 MP photos", 3000, 4000, 4, 400, 24), Kind("256 px files", 256, 256, 64, 400, 100)]
QUICK_KINDS = [Kind("small files", 48, 64, 4, 8, 8)]


@dataclass(frozen=True)
class Ours:
    """Builds our loader; a turn gives the seconds a picture."""

    pictures: ours.Pictures
    steps: int

    def __call__(self) -> Work:
        return lambda: seconds_a_picture(ours.batches(self.pictures, self.steps), self.steps, self.pictures)


@dataclass(frozen=True)
class Plain:
    """Builds the plain loader; a turn gives the seconds a picture."""

    pictures: ours.Pictures
    steps: int

    def __call__(self) -> Work:
        pictures, length = self.pictures, self.steps * self.pictures.batch
        dataset = plain.UnpairedFiles(
            pictures.a, pictures.b, load_px=pictures.load_px, crop_px=pictures.crop_px, length=length
        )
        options: dict[str, Any] = {"batch": pictures.batch, "workers": pictures.workers, "device": pictures.device}
        return lambda: seconds_a_picture(plain.batches(dataset, **options), self.steps, pictures)


def seconds_a_picture(batches: Iterator[object], steps: int, pictures: ours.Pictures) -> float:
    """Of all batches but each worker's first, with which it starts; their end is not timed."""
    starting = max(1, pictures.workers)
    for _ in range(starting):
        next(batches)
    start = time.perf_counter()
    for _ in range(steps - starting):
        next(batches)
    synchronise(pictures.device)
    seconds = time.perf_counter() - start
    assert next(batches, None) is None, f"more than {steps} batches"
    return seconds / ((steps - starting) * 2 * pictures.batch)


def draw_pictures(folder: Path, kind: Kind, seed: int) -> Path:
    """JPEGs of one texture, each shifted otherwise."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    pixels = texture(kind.height, kind.width, random)
    for number in range(kind.count):
        shift = (int(random.integers(kind.height)), int(random.integers(kind.width)))
        Image.fromarray(np.roll(pixels, shift, (0, 1))).save(folder / f"{number}.jpg", quality=QUALITY)
    return folder


def texture(height: int, width: int, random: np.random.Generator) -> np.ndarray:
    """Detail at all scales, the larger the stronger, as photos have it; uint8 (height, width, 3)."""
    pixels = np.full((height, width, 3), 128, np.float32)
    for grain_px in itertools.takewhile(lambda size: size <= height, (2**power for power in range(20))):
        shape = (-(-height // grain_px), -(-width // grain_px), 3)
        grains = Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8))
        grown = np.asarray(grains.resize((width, height), Image.Resampling.BICUBIC), np.float32)
        pixels += (grown - 128) * 0.6 * (grain_px / height) ** 0.3
    return pixels.clip(0, 255).astype(np.uint8)


def measure(parsed: Namespace) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["GANSTYLE_CACHE"] = str(Path(temporary, "cache"))  # of the sides, too: no user's cache is touched
        for kind in QUICK_KINDS if parsed.quick else KINDS:
            folder = Path(temporary, kind.name)
            a, b = (draw_pictures(folder / side, kind, seed) for seed, side in enumerate("ab"))
            load_px, crop_px = (36, 32) if parsed.quick else (LOAD_PX, CROP_PX)
            pictures = ours.Pictures(a, b, load_px, crop_px, batch=1, workers=parsed.workers, device=parsed.device)
            yield _speed(kind, pictures, alternations_of(parsed))
            yield _waiting(kind, pictures, quick=parsed.quick)


def speed_name(kind: Kind) -> str:
    return f"loader, {kind.name}"


def waiting_name(kind: Kind) -> str:
    return f"waiting, {kind.name}"


def _speed(kind: Kind, pictures: ours.Pictures, alternations: int) -> Row:
    with sides(ours=Ours(pictures, kind.ours_steps), baseline=Plain(pictures, kind.plain_steps)) as opened:
        timings = alternate(*opened, device=pictures.device, warm_up=0, alternations=alternations)
    found = row(speed_name(kind), timings)
    speeds = {"images_per_second": 1 / found["median_s"], "baseline_images_per_second": 1 / found["baseline_s"]}
    return found | speeds | {"workers": pictures.workers}


def _waiting(kind: Kind, pictures: ours.Pictures, *, quick: bool) -> Row:
    """The part of a training step that waits for data; on CUDA at most that, as the device may be busy meanwhile."""
    cuda = pictures.device.startswith("cuda")
    case = Case(pictures.crop_px, device=pictures.device, precision="bfloat16" if cuda else "float32", compile=cuda)
    if quick:
        case = Case(pictures.crop_px, width=4, blocks=1, device=pictures.device)
    steps = CUDA_STEPS if cuda else CPU_STEPS
    side = Side("ours", ours.Waiting(case, pictures, steps))
    try:
        side.turn()
        waited, seconds = side.turn()
    finally:
        side.close()
    found = {"name": waiting_name(kind), "share": waited / seconds, "median_s": seconds / steps, "step": case.name}
    return found | {"workers": pictures.workers}


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--workers", type=int, default=2, help="loader workers of both sides (2)")
    benchmark(parser, measure)
