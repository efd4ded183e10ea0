"""Trains recipes for the same time on the same pictures, and scores what they make of photos they never saw.

On a drawn pair, where the truth is known, and on a folder of your own (trainA, trainB, testA, testB). All are trained
by one thread at 64 px, eager, with their own networks and losses; how many steps the time has room for is measured
first. Scores are those of `ganstyle evaluate`, on one network for all; one seed each, so that another seed's run may
well lie outside of the intervals, which tell of the test images alone. It takes hours, so `run` leaves it out.
"""

from __future__ import annotations

import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from report import Row, arguments, benchmark

from ganstyle.base.errors import UserError
from ganstyle.data.folders import find_images
from ganstyle.data.images import read_image, write_image
from ganstyle.data.pixels import resize
from ganstyle.data.scenes import synthesize
from ganstyle.tracking.jsonl import read_metrics
from ganstyle.verbs.evaluate_sets import evaluate_sets

RECIPES = ("cyclegan-lite", "cut-lite", "fastcut-lite", "dcl-lite")
LOAD_PX, CROP_PX = 96, 64
CALIBRATION_STEPS = 60
WORDS = (
    f"data.load_px={LOAD_PX}",
    f"data.crop_px={CROP_PX}",
    "data.resize=short_side",
    "data.workers=0",
    "data.holdout=0",
    "evaluate.every=0",
    "discriminator.layers=2",
    "training.compile=false",
    "training.ema_decay=0.99",
    "device=cpu",
)


@dataclass(frozen=True)
class Pictures:
    """A data set at the size that is trained on.

    Args:
        name: what people call it.
        root: with trainA, trainB, testA and testB.
        has_truth: whether testB is what testA should become.
    """

    name: str
    root: Path
    has_truth: bool


def row_name(pictures: str, recipe: str) -> str:
    return f"recipes, {pictures}, {recipe}"


def measure(parsed: Namespace) -> Iterator[Row]:
    with TemporaryDirectory() as folder:
        for pictures in data_sets(Path(folder), parsed):
            for recipe in parsed.recipes:
                work = Path(parsed.keep or folder) / f"{pictures.name} {recipe}"
                yield run(pictures, recipe, work, parsed)


def data_sets(folder: Path, parsed: Namespace) -> Iterator[Pictures]:
    """The drawn pair, and the person's own pictures made as small."""
    drawn = folder / "drawn"
    count = 12 if parsed.quick else 400
    synthesize(drawn, count=count, size_px=LOAD_PX, seed=0, test_count=max(8, count // 4))
    yield Pictures("drawn scenes", drawn, has_truth=True)
    if parsed.pictures is not None:
        root = folder / "own"
        for part in ("trainA", "trainB", "testA", "testB"):
            shrink(parsed.pictures / part, root / part)
        yield Pictures(parsed.pictures.name, root, has_truth=False)


def shrink(source: Path, target: Path) -> None:
    """All images of a folder with a short side of LOAD_PX, as PNG."""
    target.mkdir(parents=True)
    for path in find_images(source):
        pixels = read_image(path).pixels
        scale = LOAD_PX / min(pixels.shape[:2])
        size = (round(pixels.shape[0] * scale), round(pixels.shape[1] * scale))
        write_image(target / f"{path.stem}.png", resize(pixels, size))


def run(pictures: Pictures, recipe: str, work: Path, parsed: Namespace) -> Row:
    """One training of the time that is given, and its scores."""
    words = [f"data.root={pictures.root}", *WORDS, f"training.learning_rate={parsed.learning_rate}", *parsed.words]
    words += ["generator.width=4", "discriminator.width=4"] if parsed.quick else []
    step_s = calibrated(recipe, words, work / "calibration")
    steps = 20 if parsed.quick else max(CALIBRATION_STEPS, round(parsed.minutes * 60 / step_s))
    words += [f"training.steps={steps}", f"training.decay_from={steps // 2}"]
    start = time.perf_counter()
    ganstyle("train", recipe, *words, "--run", str(work / "run"))
    seconds = time.perf_counter() - start
    ganstyle("translate", str(pictures.root / "testA"), str(work / "out"), "--model", str(work / "run"))
    scores = scored(pictures, work / "out", parsed)
    return {
        "name": row_name(pictures.name, recipe),
        "steps": steps,
        "seconds": seconds,
        **scores,
        "said": told(scores, steps, seconds),
    }


def calibrated(recipe: str, words: Sequence[str], folder: Path) -> float:
    """Seconds a step, by a short run of its own."""
    length = [f"training.steps={CALIBRATION_STEPS}", f"training.log_every={CALIBRATION_STEPS // 3}"]
    ganstyle("train", recipe, *words, *length, "--run", str(folder))
    last = read_metrics(folder / "metrics.jsonl")[-1]
    return float(last["speed/seconds_per_step"])


def ganstyle(*words: str) -> None:
    """The command in a process of its own; its last words where it fails."""
    command = [sys.executable, "-m", "ganstyle", *words]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise UserError(f"ganstyle {words[0]}: {ended.stderr.strip().splitlines()[-1]}")


def scored(pictures: Pictures, out: Path, parsed: Namespace) -> Row:
    """KID to all real pictures of the style that were trained on, what is kept, and the truth where it is known."""
    root = pictures.root
    found = evaluate_sets(
        out,
        root / "trainB",
        source=root / "testA",
        truth=root / "testB" if pictures.has_truth else None,
        weights=parsed.weights,
        device="cpu",
        say=lambda _: None,
    )
    rows = {"kid": found["scores"]["kid"], "content": found["content"], "features": found["features"]["name"]}
    return rows | ({"truth": found["truth"]} if pictures.has_truth else {})


def told(scores: Row, steps: int, seconds: float) -> str:
    """One line: the distance with its interval, what is kept, and the truth."""
    kid, content = scores["kid"], scores["content"]
    parts = [f"KID {kid['value']:.3g} ({kid['low']:.3g} to {kid['high']:.3g})"]
    parts += [f"structure {content['structure']['value']:.2f}", f"edges {content['edges']['value']:.2f}"]
    if "truth" in scores:
        parts += [f"PSNR {scores['truth']['psnr']['value']:.1f} dB"]
    return ", ".join([*parts, f"{steps} steps in {seconds / 60:.1f} min"])


def options() -> ArgumentParser:
    parser = arguments(__doc__)
    parser.add_argument("--minutes", type=float, default=15, help="of training, for each recipe and data set")
    parser.add_argument("--pictures", type=Path, help="a folder with trainA, trainB, testA, testB; beside drawn ones")
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), help="which")
    parser.add_argument("--weights", default="random", help="of the network that scores, as `ganstyle evaluate` has it")
    parser.add_argument("--learning-rate", type=float, default=4e-4, help="of all")
    parser.add_argument("--words", nargs="*", default=[], help="further key=value words for all")
    parser.add_argument("--keep", type=Path, help="a folder for runs and pictures, to look at them")
    return parser


if __name__ == "__main__":
    benchmark(options(), measure)
