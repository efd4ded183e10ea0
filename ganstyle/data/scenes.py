"""Generated landscapes whose translation is known: an unpaired data set with a paired test part.

A scene is composed once (`draw_scene`) and can be rendered photo-like and in every style of `STYLES`, at any size.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ganstyle.base.draws import Draws, stream_seed
from ganstyle.base.errors import UserError, one_line
from ganstyle.base.tables import did_you_mean
from ganstyle.data.images import write_image
from ganstyle.data.scene_ink import render_ink
from ganstyle.data.scene_layout import draw_scene
from ganstyle.data.scene_parts import Scene
from ganstyle.data.scene_photo import render_photo

__all__ = ["STYLES", "Scene", "draw_scene", "render_ink", "render_photo", "synthesize"]

Renderer = Callable[[Scene, int], NDArray[np.uint8]]

STYLES: dict[str, Renderer] = {"ink": render_ink}

SMALLEST_PX, LARGEST_PX = 16, 4096


def synthesize(
    out: Path,
    *,
    style: str = "ink",
    count: int = 200,
    size_px: int = 256,
    seed: int = 0,
    test_count: int | None = None,
) -> dict[str, int]:
    """Write an unpaired data set into the folder `out`, and return how many pictures each of its folders got.

    trainA holds `count` photo-like renderings, trainB as many other scenes in the style; testA and testB hold the same
    `test_count` scenes (default: a tenth of `count`, at least 1) under the same names. The pictures are a pure function
    of the seed, the style and their folder and number: a larger `count` only adds to them.

    Raises:
        UserError: for an unknown style, an impossible count or size, and a folder that is in use or cannot be written.
    """
    test_count = max(1, count // 10) if test_count is None else test_count
    _check(style, count=count, test_count=test_count, size_px=size_px)
    _claim(out)
    paint = STYLES[style]
    plan: dict[str, tuple[str, Renderer, int]] = {
        "trainA": ("train a", render_photo, count),
        "trainB": ("train b", paint, count),
        "testA": ("test", render_photo, test_count),
        "testB": ("test", paint, test_count),
    }
    try:
        for folder, (split, render, pictures) in plan.items():
            (out / folder).mkdir(parents=True, exist_ok=True)
            for index in range(pictures):
                scene = draw_scene(scene_stream(seed, style, split, index))
                write_image(out / folder / f"{index:04d}.png", render(scene, size_px))
    except OSError as error:
        raise UserError(f"cannot write pictures to {out}: {one_line(error)}; name another folder") from error
    return {folder: pictures for folder, (_, _, pictures) in plan.items()}


def scene_stream(seed: int, style: str, split: str, index: int) -> np.random.Generator:
    """The draws of one scene of a data set; splits are "train a", "train b" and "test"."""
    return Draws(stream_seed(seed, "scenes", style)).stream(split, index)


def _check(style: str, *, count: int, test_count: int, size_px: int) -> None:
    if style not in STYLES:
        raise UserError(f"unknown style {style!r}{did_you_mean(style, STYLES)}")
    for name, value in (("count", count), ("test_count", test_count)):
        if value < 1:
            raise UserError(f"{name} is {value}, expected 1 or more: ask for at least one picture")
    if not SMALLEST_PX <= size_px <= LARGEST_PX:
        raise UserError(f"size is {size_px} px, expected {SMALLEST_PX} to {LARGEST_PX}: choose a size in that range")


def _claim(out: Path) -> None:
    """Make the folder, and refuse one that holds anything."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        used = any(out.iterdir())
    except OSError as error:
        raise UserError(f"cannot use {out} as a folder: {one_line(error)}; name another folder") from error
    if used:
        raise UserError(f"{out} is not empty, and nothing in it is overwritten: name a new or an empty folder")
