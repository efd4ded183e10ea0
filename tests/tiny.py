"""Tiny pictures, a tiny recipe and tiny runs, so that whole commands take a moment."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image

from ganstyle.cli import main
from ganstyle.train.checkpoint import load_checkpoint, named_tensors
from ganstyle.verbs.train import Outcome, train_recipe

RECIPE = "cyclegan-lite"

# Key -> value; later words win over earlier ones only in `words`.
TINY = {
    "name": "tiny",
    "device": "cpu",
    "generator.width": "2",
    "generator.blocks": "1",
    "generator.halvings": "1",
    "discriminator.width": "2",
    "discriminator.layers": "1",
    "data.load_px": "18",
    "data.crop_px": "16",
    "data.workers": "0",
    "data.cache": "false",
    "training.steps": "4",
    "training.decay_from": "2",
    "training.batch_size": "1",
    "training.learning_rate": "1e-3",
    "training.log_every": "1",
    "training.preview_every": "1000",
    "training.checkpoint_every": "1000",
    "evaluate.every": "0",
    "tracking.page": "false",
}

# All that could break exactness: the pool, the batch, the decay, dropout, random augmentation and the average.
EXACT = {
    "method.pool_size": "2",
    "generator.dropout": "0.3",
    "data.augment": "[{name: ColorJitter, p: 0.9}, {name: GaussNoise, p: 0.9}]",
    "training.steps": "8",
    "training.decay_from": "4",
    "training.batch_size": "2",
    "training.ema_decay": "0.9",
    "training.checkpoint_every": "3",
    "data.holdout": "0.3",
    "evaluate.every": "2",
}

# A tiny generator has few layers, and a tiny image few places.
PATCHES = {"method.nce_layers": "[image, down_1, block_1]", "method.patches": "9", "method.head_width": "4"}

# The same for every method: what is not of CycleGAN, and what a tiny run of each needs.
WITHOUT_POOL = {key: value for key, value in EXACT.items() if key != "method.pool_size"}
EXACT_OF = {
    RECIPE: EXACT,
    "cut-lite": {**WITHOUT_POOL, **PATCHES},
    "fastcut-lite": {**WITHOUT_POOL, **PATCHES},
    "dcl-lite": {**WITHOUT_POOL, **PATCHES},
}


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def pictures(folder: Path, count: int, *, seed: int = 0, height: int = 20, width: int = 24) -> Path:
    """A folder of different small PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        picture(height, width, seed + number).save(folder / f"{number}.png")
    return folder


def data(folder: Path) -> Path:
    """`a` and `b` of unequal sizes below the folder."""
    pictures(folder / "a", 7, seed=100)
    pictures(folder / "b", 5, seed=200)
    return folder


def words(folder: Path, changes: Mapping[str, str] | None = None) -> list[str]:
    """The words of a tiny run on the pictures that `data` made in this folder."""
    places = {"data.a": str(folder / "a"), "data.b": str(folder / "b")}
    return [f"{key}={value}" for key, value in {**TINY, **places, **(changes or {})}.items()]


def train(
    folder: Path,
    changes: Mapping[str, str] | None = None,
    *,
    run: str = "run",
    recipe: str = RECIPE,
    **options: Any,
) -> Outcome:
    """Train a tiny recipe in this process, in `folder/run`; the pictures are made if need be."""
    if not (folder / "a").is_dir():
        data(folder)
    return train_recipe(recipe, words(folder, changes), run=folder / run, **options)


def environment(cache: Path) -> dict[str, str]:
    """For a process of its own: one thread, and a cache folder of its own."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "GANSTYLE_CACHE": str(cache), "PYTHONUNBUFFERED": "1"}


def command(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "ganstyle", *arguments]


def start(arguments: Sequence[str], cache: Path) -> subprocess.Popen[str]:
    """`ganstyle` in a process of its own, standard error and output together in one pipe."""
    return subprocess.Popen(
        command(arguments), env=environment(cache), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def finish(arguments: Sequence[str], cache: Path) -> tuple[int, str]:
    """Run `ganstyle` to its end: exit code and everything it said."""
    process = start(arguments, cache)
    said, _ = process.communicate(timeout=600)
    return process.returncode, said


def checkpoint_tensors(run: Path, step: int) -> dict[str, torch.Tensor]:
    """Every tensor of a checkpoint by its path."""
    return dict(named_tensors(load_checkpoint(run / "checkpoints" / f"step-{step:08d}.pt", mapped=False)))


def differing_tensors(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> list[str]:
    """The names of tensors that are not equal bit for bit, or that only one has."""
    names = dict.fromkeys([*one, *other])
    return [name for name in names if name not in one or name not in other or not torch.equal(one[name], other[name])]


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


def ganstyle(*arguments: str | Path) -> Ended:
    """The command line in this process, as typed."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        patch.object(sys, "argv", ["ganstyle", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as error:
            code = int(error.code or 0)
    return Ended(code, out.getvalue(), err.getvalue())
