"""Trains recipes for the same time on the same pictures, and scores what they make of photos they never saw.

On a drawn pair, where the truth is known, and on a folder of your own (trainA, trainB, testA, testB). All are trained
by one thread at 64 px, eager, with their own networks and losses, for as many steps as take the time of `--steps` of
the first recipe: how long a step of each takes is measured first, by turns in one process, so that other work on the
machine makes a run longer, not worse. Scores are those of `ganstyle evaluate`; their intervals tell of the test images
alone, and seeds (`--seeds`) differ by more. It takes hours, so `run` leaves it out.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from case import Case
from ours import Trained
from report import Row, arguments, benchmark

from ganstyle.assemble import check_config, settle
from ganstyle.base.config import load_config
from ganstyle.base.draws import Draws
from ganstyle.base.errors import UserError
from ganstyle.data.batches import ImageBatch
from ganstyle.data.folders import find_images
from ganstyle.data.images import read_image, write_image
from ganstyle.data.pixels import resize
from ganstyle.data.scenes import synthesize
from ganstyle.train.hardware import Hardware
from ganstyle.verbs.evaluate_sets import evaluate_sets

RECIPES = ("cyclegan-lite", "cut-lite", "fastcut-lite", "fastcut-lite method.nce_weight=1", "dcl-lite", "ganstyle-lite")
LOAD_PX, CROP_PX = 96, 64
PATCH_LAYERS = 2  # of the PatchGAN: with 3 a patch would be the whole crop
TURNS = 24
WORDS = (
    f"data.load_px={LOAD_PX}",
    f"data.crop_px={CROP_PX}",
    "data.resize=short_side",
    "data.workers=0",
    "data.holdout=0",
    "evaluate.every=0",
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


def measure(parsed: Namespace) -> Iterator[Row]:
    with TemporaryDirectory() as folder:
        recipes = {recipe: words_of(recipe, parsed) for recipe in dict.fromkeys([RECIPES[0], *parsed.recipes])}
        times = step_times(list(recipes.values()), 2 if parsed.quick else TURNS)
        shares = {recipe: each / times[0] for recipe, each in zip(recipes, times, strict=True)}
        for pictures in data_sets(Path(folder), parsed):
            for recipe, seed in itertools.product(parsed.recipes, parsed.seeds):
                name = f"{pictures.name}, {recipe}, seed {seed}"
                steps = 20 if parsed.quick else round(parsed.steps / shares[recipe])
                work = Path(parsed.keep or folder) / name
                yield run(pictures, [*recipes[recipe], f"seed={seed}"], steps, work, parsed) | {
                    "name": f"recipes, {name}",
                    "pictures": pictures.name,
                    "recipe": recipe,
                    "seed": seed,
                    "steps": steps,
                    "step_to_first": shares[recipe],
                }


def words_of(recipe: str, parsed: Namespace) -> list[str]:
    """What a recipe is trained by: its name, then what is changed of it."""
    name, *changes = recipe.split()
    patch = "discriminator.members.0" if name.startswith("ganstyle") else "discriminator"
    sizes = [f"{patch}.layers={PATCH_LAYERS}", *(["generator.width=4"] if parsed.quick else [])]
    return [name, *WORDS, *sizes, f"training.learning_rate={parsed.learning_rate}", *changes]


def step_times(recipes: Sequence[Sequence[str]], turns: int) -> list[float]:
    """Seconds of processor time a step of each: the median of as many turns."""
    torch.set_num_threads(1)
    eager = Hardware("cpu", "float32", compile=False, threads=1, cuda_graphs=False)
    configs = [check_config(load_config(name, [*words, "training.steps=1"])) for name, *words in recipes]
    trained = [Trained(settle(config, lambda line: print(line, file=sys.stderr)), eager) for config in configs]
    pairs = Case(px=CROP_PX).inputs(torch.channels_last)
    seconds = np.empty((turns, len(trained)))
    for turn, (number, each) in itertools.product(range(turns), enumerate(trained)):
        batch = ImageBatch(*pairs(), draws=Draws(0, turn), first_sample=turn)
        start = time.process_time()
        each(batch)
        seconds[turn, number] = time.process_time() - start
    return np.median(seconds, axis=0).tolist()


def data_sets(folder: Path, parsed: Namespace) -> Iterator[Pictures]:
    """The drawn pair, and the person's own pictures made as small."""
    if parsed.drawn:
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


def run(pictures: Pictures, words: Sequence[str], steps: int, work: Path, parsed: Namespace) -> Row:
    """One training, and the scores of what it makes of the test photos."""
    name, *rest = words
    length = [f"data.root={pictures.root}", f"training.steps={steps}", f"training.decay_from={steps // 2}"]
    ganstyle("train", name, *rest, *length, "--run", str(work / "run"))
    ganstyle("translate", str(pictures.root / "testA"), str(work / "out"), "--model", str(work / "run"))
    scores = scored(pictures, work / "out", parsed)
    return {**scores, "said": told(scores, steps)}


def ganstyle(*words: str) -> None:
    """The command in a process of its own and on one thread; its last words where it fails."""
    command = [sys.executable, "-m", "ganstyle", *words]
    threads = os.environ | {"OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=threads)
    if ended.returncode:
        raise UserError(f"ganstyle {words[0]}: {ended.stderr.strip().splitlines()[-1]}")


def scored(pictures: Pictures, out: Path, parsed: Namespace) -> Row:
    """KID to all real pictures of the style that were trained on, what is kept, and the truth where it is known."""
    root, rows = pictures.root, dict[str, Any]()
    for weights in parsed.weights:
        found = evaluate_sets(
            out,
            root / "trainB",
            source=root / "testA",
            truth=root / "testB" if pictures.has_truth else None,
            weights=weights,
            device="cpu",
            say=lambda _: None,
        )
        for key in {"content", "truth"} & set(found):
            rows[key] = {name: score for name, score in found[key].items() if isinstance(score, dict)}
        rows.setdefault("kid", {})[found["features"]["name"]] = found["scores"]["kid"]
    return rows


def told(scores: Row, steps: int) -> str:
    """One line: the distances with their intervals, what is kept, and the truth."""
    content = scores["content"]
    parts = [f"KID {kid['value']:.3g} ({kid['low']:.3g} to {kid['high']:.3g})" for kid in scores["kid"].values()]
    parts += [f"structure {content['structure']['value']:.2f}", f"edges {content['edges']['value']:.2f}"]
    if "truth" in scores:
        parts += [f"PSNR {scores['truth']['psnr']['value']:.1f} dB"]
    return ", ".join([*parts, f"{steps} steps"])


def options() -> ArgumentParser:
    parser = arguments(__doc__)
    parser.add_argument("--steps", type=int, default=1800, help=f"of {RECIPES[0]}; the others for as long")
    parser.add_argument("--pictures", type=Path, help="a folder with trainA, trainB, testA, testB; beside drawn ones")
    parser.add_argument("--drawn", action=BooleanOptionalAction, default=True, help="train on drawn pictures too")
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), help='which: "NAME KEY=VALUE ..." changes one')
    parser.add_argument(
        "--seeds", nargs="+", type=int, default=[0], help="of the trainings: each recipe is trained so often"
    )
    parser.add_argument("--weights", nargs="+", default=["random"], help="of the networks that score")
    parser.add_argument("--learning-rate", type=float, default=4e-4, help="of all")
    parser.add_argument("--keep", type=Path, help="a folder for runs and pictures, to look at them")
    return parser


if __name__ == "__main__":
    benchmark(options(), measure)
