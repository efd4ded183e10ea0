"""Translate a photo or a folder of photos."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ganstyle.data.outputs import Task, plan
from ganstyle.translate.folder import Report, translate_tasks
from ganstyle.translate.onnx_runtime import OnnxTranslator
from ganstyle.verbs.runtimes import load

if TYPE_CHECKING:
    from ganstyle.translate.translator import Translator


def translate_folder(
    source: Path,
    output: Path,
    *,
    model: str | Path,
    direction: str | None = None,
    checkpoint: str | None = None,
    raw: bool = False,
    device: str = "auto",
    runtime: str = "auto",
    tile: str = "auto",
    tile_px: int | None = None,
    format: str | None = None,
    quality: int = 95,
    overwrite: bool = False,
    started: Callable[[Translator | OnnxTranslator, list[Task]], Callable[[str], None]] = lambda *_: lambda _: None,
) -> Report:
    """Translate a file or a folder; what is there already is skipped.

    Args:
        source: a photo or a folder of photos.
        output: a folder; for a photo also the name of a file.
        model: as `load` takes it.
        direction: as `load` takes it.
        checkpoint: as `load` takes it.
        raw: as `load` takes it.
        device: as `load` takes it.
        runtime: as `load` takes it.
        tile: as `load` takes it; what does not fit the memory lies in the output folder meanwhile.
        tile_px: as `load` takes it.
        format: change all to jpeg, png, webp, tiff, bmp, gif or avif; by default each keeps its own.
        quality: 1 to 100, for JPEG, WebP and AVIF.
        overwrite: make again what is there.
        started: called with the model and the files; gives back what is called after each file.
    """
    tasks = plan(source, output, format=format)
    translator = load(
        model,
        direction=direction,
        checkpoint=checkpoint,
        raw=raw,
        device=device,
        runtime=runtime,
        tile=tile,
        tile_px=tile_px,
        scratch=tasks[0].target.parent if tasks else None,
    )
    return translate_tasks(translator, tasks, overwrite=overwrite, quality=quality, advance=started(translator, tasks))
