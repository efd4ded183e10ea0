"""Times translating large pictures whole, by exact tiles and by a thumbnail's statistics, and what memory each takes.

Each runs once, in a process of its own. Memory is what the process grew by at its peak, beside the picture itself; maps
on disk count as far as the system keeps them in memory.
"""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import ours
from case import Case
from report import Row, arguments, benchmark
from sides import Side, Work, peak_gb, reset_peak, synchronise

from ganstyle.assemble import build_method, full_generator_spec
from ganstyle.base.errors import UserError
from ganstyle.train.hardware import available_device
from ganstyle.translate.facts import ModelFacts
from ganstyle.translate.translator import Tiles, Translator

MEGAPIXELS, QUICK_MEGAPIXELS = (12.0, 24.0, 100.0), (0.02,)
WAYS = {"whole": "none", "exact": "exact", "thumbnail": "thumbnail"}  # way -> mode of `Tiles`
ASPECT = 1.5
NETWORK, QUICK_NETWORK = Case(), Case(width=4, blocks=1)


def row_name(way: str, megapixels: float) -> str:
    return f"tiles, {way}, {megapixels:g} MP"


def picture(megapixels: float) -> np.ndarray:
    """Colours that change slowly, and noise, drawn from a seed: (H, W, 3) uint8, three by two."""
    random, height = np.random.default_rng(0), round((megapixels * 1e6 / ASPECT) ** 0.5)
    coarse = random.integers(0, 256, (8, 12, 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, (round(height * ASPECT), height), interpolation=cv2.INTER_CUBIC)
    for row in smooth:  # of the whole picture at once the noise would be the most memory that is taken
        row[...] = np.clip(row + random.normal(0, 12, row.shape), 0, 255)
    return smooth


@dataclass(frozen=True)
class Translating:
    """Builds the side that translates one picture in one way; a turn gives its seconds."""

    way: str
    megapixels: float
    network: Case
    scratch: Path | None = None

    def __call__(self) -> Work:
        config = ours.config_of(self.network)
        generator = build_method(config).translators["ab"]
        tiles = Tiles(WAYS[self.way], scratch=self.scratch)
        device = available_device(self.network.device)
        spec = full_generator_spec(config.generator)
        translator = Translator(generator, spec, ModelFacts("ab", 0, averaged=False), device, tiles)
        pixels = picture(self.megapixels)
        translator.pixels(pixels[:64, :64].copy())  # what is allocated once, however large the picture
        reset_peak(self.network.device)
        before = peak_gb(self.network.device)

        def turn() -> tuple[float, float]:
            start = time.perf_counter()
            translator.pixels(pixels)
            synchronise(self.network.device)
            return time.perf_counter() - start, peak_gb(self.network.device) - before

        return turn


def translated(building: Translating) -> tuple[float, float]:
    """(seconds, gigabytes) of one picture in a fresh process."""
    side = Side(f"{building.way}, {building.megapixels:g} MP", building)
    try:
        found: tuple[float, float] = side.turn()
        return found
    finally:
        side.close()


def measure(parsed: Namespace) -> Iterator[Row]:
    network = QUICK_NETWORK if parsed.quick else NETWORK
    network = Case(width=network.width, blocks=network.blocks, device=parsed.device)
    for megapixels in parsed.megapixels or (QUICK_MEGAPIXELS if parsed.quick else MEGAPIXELS):
        whole_s: float | None = None
        for way in (way for way in WAYS if way in parsed.ways):
            try:
                with TemporaryDirectory(dir=parsed.scratch) as folder:
                    seconds, gigabytes = translated(Translating(way, megapixels, network, Path(folder)))
            except UserError as error:  # what does not fit says so, and the next one may
                print(f"{row_name(way, megapixels)}: {error}", file=sys.stderr, flush=True)
                continue
            whole_s = seconds if way == "whole" else whole_s
            yield row(way, megapixels, seconds, gigabytes, whole_s)


def row(way: str, megapixels: float, seconds: float, gigabytes: float, whole_s: float | None) -> Row:
    """`ratio` is the whole's time by this one's, where the whole was translated, too."""
    per_megapixel = seconds / megapixels
    found = {
        "name": row_name(way, megapixels),
        "seconds": seconds,
        "seconds_per_megapixel": per_megapixel,
        "peak_gb": gigabytes,
        "said": f"{per_megapixel:.2f} s a megapixel, {gigabytes:.2f} GB",
    }
    if whole_s is None:
        return found
    times = seconds / whole_s
    return found | {"ratio": whole_s / seconds, "said": f"{found['said']}, {times:.2f} times the whole's time"}


def known_arguments() -> ArgumentParser:
    parser = arguments(__doc__)
    sizes = " ".join(f"{each:g}" for each in MEGAPIXELS)
    parser.add_argument("--megapixels", type=float, nargs="+", help=f"sizes of the pictures ({sizes})")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="which ways (all)")
    parser.add_argument("--scratch", type=Path, help="a folder for maps that do not fit the memory")
    return parser


if __name__ == "__main__":
    benchmark(known_arguments(), measure)
