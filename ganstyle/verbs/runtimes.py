"""Models as people have them, each with the runtime that it needs; torch is imported only for a model that needs it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ganstyle.base.errors import UserError
from ganstyle.translate.onnx_runtime import OnnxTranslator, read_onnx

if TYPE_CHECKING:
    from ganstyle.translate.translator import Translator

ONNX_SUFFIX = ".onnx"


def load(
    model: str | Path,
    *,
    direction: str | None = None,
    checkpoint: str | int | None = None,
    raw: bool = False,
    device: str = "auto",
    runtime: str = "auto",
    tile: str = "auto",
    tile_px: int | None = None,
    scratch: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Translator | OnnxTranslator:
    """A model that is ready to translate.

    Args:
        model: a run's folder, or a file that `export` wrote (`.safetensors` or `.onnx`).
        direction: as `ganstyle.verbs.models.load` takes it; an exported file knows its own.
        checkpoint: of a run, as `ganstyle.verbs.models.load` takes it.
        raw: of a run, as `ganstyle.verbs.models.load` takes it.
        device: auto, cpu, cuda, mps or cuda:N.
        runtime: torch, onnx, or auto: onnx for a file that ends in `.onnx`, torch for all others.
        tile: as `ganstyle.verbs.models.load` takes it; ONNX Runtime translates images whole.
        tile_px: as `ganstyle.verbs.models.load` takes it.
        scratch: as `ganstyle.verbs.models.load` takes it.
        say: as `ganstyle.verbs.models.load` takes it.

    Raises:
        UserError: there is no such model, or it is of another runtime than the one that was asked for.
    """
    path = Path(model)
    is_onnx = path.suffix.lower() == ONNX_SUFFIX and not path.is_dir()
    if runtime not in ("auto", "onnx" if is_onnx else "torch"):
        advice = "leave --runtime out" if is_onnx else f"first run: ganstyle export {path} model.onnx"
        raise UserError(f"--runtime {runtime} cannot take {path}: {advice}")
    if is_onnx:
        if tile not in ("none", "auto") or tile_px is not None:
            option = f"--tile {tile}" if tile_px is None else f"--tile-px {tile_px}"
            raise UserError(f"{option}: ONNX Runtime translates images whole; take a model of torch for tiles")
        return _load_onnx(path, direction, checkpoint=checkpoint, raw=raw, device=device)
    from ganstyle.verbs import models  # noqa: PLC0415 - imports torch

    return models.load(
        path,
        direction=direction,
        checkpoint=checkpoint,
        raw=raw,
        device=device,
        tile=tile,
        tile_px=tile_px,
        scratch=scratch,
        say=say,
    )


def digest_of(translator: Translator | OnnxTranslator, model: str | Path) -> str:
    """What tells one model from another: of its weights, or of all of an ONNX file.

    Args:
        translator: as `load` gave it.
        model: what it was loaded from.
    """
    if isinstance(translator, OnnxTranslator):
        with Path(model).open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).hexdigest()
    from ganstyle.networks.weight_files import weights_digest  # noqa: PLC0415 - imports torch

    return weights_digest(translator.generator.state_dict().items())


def _load_onnx(
    path: Path, direction: str | None, *, checkpoint: str | int | None, raw: bool, device: str
) -> OnnxTranslator:
    if checkpoint is not None or raw:
        raise UserError(f"{path} is an exported model: --checkpoint and --raw are for a run's folder")
    translator = read_onnx(path, device=device)
    if direction not in (None, translator.facts.direction):
        raise UserError(
            f"{path} translates {translator.facts.direction}; for {direction} export that direction of its run"
        )
    return translator
