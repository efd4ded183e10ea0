"""Times giving a photo the look of a picture, and what memory that takes.

- the default by VGG, and how much sooner it comes to its loss than one scale alone optimised by L-BFGS from the same
  start with the same function;
- the sparse representation;
- the memory of a few iterations at one scale, whole and in tiles: what the process grows by at its peak.

Each runs in a process of its own.
"""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from report import Row, arguments, benchmark
from sides import Side, Work, peak_gb, reset_peak, synchronise
from torch import Tensor

from ganstyle.base.errors import UserError
from ganstyle.data.images import read_image
from ganstyle.data.pixels import resize
from ganstyle.data.scenes import synthesize
from ganstyle.data.tensors import to_tensor
from ganstyle.networks.vgg import LIGHT, TORCHVISION, Layout, Vgg
from ganstyle.networks.vgg_files import load_features
from ganstyle.painting.sparse import SparseSettings, SparseStylizer
from ganstyle.painting.vgg import VggSettings, VggStylizer
from ganstyle.train.hardware import available_device

SIZE_PX, QUICK_PX = 512, 64
MEMORY_PX, QUICK_MEMORY_PX = (512, 1024, 2048), (128,)
MEMORY_ITERATIONS = 2
ALONE_ITERATIONS, QUICK_ITERATIONS = 500, 4
LAYOUTS = {"light VGG-19": LIGHT, "VGG-19": TORCHVISION}
TILES = {"whole": "none", "tiles": "on"}
SPEEDS = ("VGG, default", "VGG, against one scale", "sparse, default")


def row_name(what: str, size_px: int) -> str:
    return f"stylize, {what}, {size_px} px"


def memory_name(network: str, way: str) -> str:
    return f"{network}, {way}"


@dataclass(frozen=True)
class Pair:
    """A photo and a picture, and the weights of the features; random ones of a layout without a file."""

    content: Path
    style: Path
    size_px: int
    device: str
    weights: Path | None = None
    layout: str = "light VGG-19"

    def tensors(self) -> tuple[Tensor, Tensor]:
        return self._tensor(self.content), self._tensor(self.style)

    def _tensor(self, path: Path) -> Tensor:
        pixels = read_image(path).pixels
        height, width = pixels.shape[:2]
        scale = self.size_px / max(height, width)
        return to_tensor(resize(pixels, (round(height * scale), round(width * scale))), available_device(self.device))

    def features(self) -> Vgg:
        vgg = random_vgg(LAYOUTS[self.layout]) if self.weights is None else load_features(weights=self.weights)
        return vgg.to(available_device(self.device))


@dataclass(frozen=True)
class ByVgg:
    """Builds a side that stylises by VGG; a turn gives its seconds, memory, and (seconds, loss) at its last scale."""

    pair: Pair
    settings: VggSettings

    def __call__(self) -> Work:
        (content, style), features, device = self.pair.tensors(), self.pair.features(), self.pair.device
        features(content[..., :64, :64], ["relu1_1"])  # what is allocated once, however large the picture
        reset_peak(device)
        before = peak_gb(device)

        def turn() -> tuple[float, float, list[tuple[float, float]]]:
            start, told = time.perf_counter(), []
            # A stylizer of its own for each turn, or the second would find the style's targets made.
            stylizer = VggStylizer(features, [style], self.settings, device=content.device, say=lambda _: None)
            stylizer.stylize(
                content,
                watch=lambda moment: told.append((moment.scale, time.perf_counter() - start, float(moment.loss))),
            )
            synchronise(device)
            last = [(seconds, loss) for scale, seconds, loss in told if scale == told[-1][0]]
            return time.perf_counter() - start, peak_gb(device) - before, last

        return turn


@dataclass(frozen=True)
class BySparse:
    """Builds a side that stylises by patches; a turn gives its seconds and memory."""

    pair: Pair

    def __call__(self) -> Work:
        content, style = self.pair.tensors()
        reset_peak(self.pair.device)
        before = peak_gb(self.pair.device)

        def turn() -> tuple[float, float]:
            start = time.perf_counter()
            SparseStylizer(style, SparseSettings(), device=content.device, say=lambda _: None).stylize(content)
            synchronise(self.pair.device)
            return time.perf_counter() - start, peak_gb(self.pair.device) - before

        return turn


def random_vgg(layout: Layout) -> Vgg:
    """One of a layout with random weights that keep magnitudes: for time and memory, not for pictures."""
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for key, shape in layout.shapes().items():
        fan_in = shape[1] * shape[2] * shape[3]
        weights[f"{key}.weight"] = torch.randn(shape, generator=generator) * (2 / fan_in) ** 0.5
        weights[f"{key}.bias"] = torch.zeros(shape[0])
    if layout is LIGHT:
        weights |= {"conv0.weight": torch.eye(3)[..., None, None], "conv0.bias": torch.zeros(3)}
    return Vgg(layout, weights)


def measure(parsed: Namespace) -> Iterator[Row]:
    with TemporaryDirectory() as folder:
        pair = drawn(Path(folder), parsed)
        alone = VggSettings(iterations=(QUICK_ITERATIONS if parsed.quick else ALONE_ITERATIONS,))
        default = VggSettings(iterations=(2, 2)) if parsed.quick else VggSettings()
        if "default" in parsed.parts and parsed.weights is None and not parsed.quick:
            print("default: left out, as times to a loss mean nothing with random --weights", file=sys.stderr)
        elif "default" in parsed.parts:
            yield from by_vgg(pair, default, alone)
        if "sparse" in parsed.parts:
            seconds, gigabytes = turned(BySparse(pair))
            yield row("sparse, default", pair.size_px, seconds, gigabytes)
        if "memory" in parsed.parts:
            yield from memories(pair, QUICK_MEMORY_PX if parsed.quick else MEMORY_PX)


def by_vgg(pair: Pair, default: VggSettings, alone: VggSettings) -> Iterator[Row]:
    """The default, and the same loss by one scale alone."""
    seconds, gigabytes, course = turned(ByVgg(pair, default))
    yield row("VGG, default", pair.size_px, seconds, gigabytes) | {"loss": course[-1][1]}
    _, _, baseline = turned(ByVgg(pair, alone))
    # The loss that the baseline comes to, where it never comes to ours; the first time at which each is there.
    goal = max(min(loss for _, loss in course), min(loss for _, loss in baseline))
    ours_s, theirs_s = reached(course, goal), reached(baseline, goal)
    evaluations = sum(loss > goal for _, loss in baseline) + 1
    said = f"{ours_s:.1f} s to a loss that one scale reaches in {theirs_s:.1f} s ({evaluations} evaluations)"
    yield {
        "name": row_name("VGG, against one scale", pair.size_px),
        "ratio": theirs_s / ours_s,
        "ours_s": ours_s,
        "baseline_s": theirs_s,
        "baseline_evaluations": evaluations,
        "loss": goal,
        "said": f"{said}: {theirs_s / ours_s:.2f} times",
    }


def reached(course: list[tuple[float, float]], goal: float) -> float:
    """When a loss was first there."""
    return next(seconds for seconds, loss in course if loss <= goal)


def memories(pair: Pair, sizes_px: tuple[int, ...]) -> Iterator[Row]:
    for size_px in sizes_px:
        for network in LAYOUTS:
            for way, tile in TILES.items():
                settings = VggSettings(iterations=(MEMORY_ITERATIONS,), tile=tile)
                one = replace(pair, size_px=size_px, weights=None, layout=network)
                try:
                    _, gigabytes, _ = turned(ByVgg(one, settings))
                except UserError as error:  # what does not fit says so
                    yield {"name": row_name(memory_name(network, way), size_px), "said": f"does not fit: {error}"}
                    continue
                name = row_name(memory_name(network, way), size_px)
                yield {"name": name, "peak_gb": gigabytes, "said": f"{gigabytes:.2f} GB"}


def row(what: str, size_px: int, seconds: float, gigabytes: float) -> Row:
    return {
        "name": row_name(what, size_px),
        "seconds": seconds,
        "peak_gb": gigabytes,
        "said": f"{seconds:.1f} s, {gigabytes:.2f} GB",
    }


def turned(building: ByVgg | BySparse) -> tuple:
    """One turn in a fresh process."""
    side = Side(type(building).__name__, building)
    try:
        return tuple(side.turn())
    finally:
        side.close()


def drawn(folder: Path, parsed: Namespace) -> Pair:
    """The pictures that were named, else drawn ones."""
    size_px = QUICK_PX if parsed.quick else SIZE_PX
    content, style = parsed.content, parsed.style
    if content is None or style is None:
        synthesize(folder / "scenes", count=2, size_px=size_px)
        content = content or min((folder / "scenes" / "trainA").iterdir())
        style = style or min((folder / "scenes" / "trainB").iterdir())
    return Pair(content, style, size_px, parsed.device, parsed.weights)


def known_arguments() -> ArgumentParser:
    parser = arguments(__doc__)
    parser.add_argument("--weights", type=Path, help="of the features")
    parser.add_argument("--content", type=Path, help="a photo (a drawn one)")
    parser.add_argument("--style", type=Path, help="a picture (a drawn one)")
    parts = ["default", "sparse", "memory"]
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts, help="what to measure (all)")
    return parser


if __name__ == "__main__":
    benchmark(known_arguments(), measure)
