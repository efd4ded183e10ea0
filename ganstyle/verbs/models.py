"""Models as people have them: a run's folder, an exported file or a checkpoint of other people's code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from ganstyle.assemble import build_generator, full_generator_spec
from ganstyle.base.errors import UserError, one_line
from ganstyle.networks.foreign import read_foreign, saved_directions, saved_generator
from ganstyle.train.checkpoint import load_checkpoint, step_files
from ganstyle.train.hardware import available_device
from ganstyle.translate.export import check_shapes, is_export, load_weights, read_export, write_export
from ganstyle.translate.facts import ModelFacts
from ganstyle.translate.onnx_export import write_onnx
from ganstyle.translate.translator import Tiles, Translator

EXPECTED = "a run's folder, an exported .safetensors file or a checkpoint of the CycleGAN or CUT code (.pth)"
_KIND = {True: "an exported model", False: "a checkpoint of other code"}

# How a model is written, by the suffix of its file.
WRITERS: dict[str, Callable[..., None]] = {".safetensors": write_export, ".onnx": write_onnx}


def load(
    model: str | Path,
    *,
    direction: str | None = None,
    checkpoint: str | int | None = None,
    raw: bool = False,
    device: str = "auto",
    tile: str = "auto",
    tile_px: int | None = None,
    scratch: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Translator:
    """A model that is ready to translate.

    Args:
        model: a run's folder, an exported `.safetensors` file, a checkpoint of the CycleGAN or CUT code
            (`latest_net_G_A.pth`) or a folder of such.
        direction: `ab` (the default) or `ba`; an exported file knows its own, `G_A` and `G_B` in a name say theirs.
        checkpoint: of a run: `best`, `latest` or a step; by default the best if there is one, else the latest. Of a
            folder of others' checkpoints: `latest` or an epoch.
        raw: the newest weights instead of their average (EMA), where there is one.
        device: auto, cpu, cuda, mps or cuda:N.
        tile: how large images are translated: none, auto, exact or thumbnail.
        tile_px: the side of their tiles; None for a good one.
        scratch: a folder where `exact` may keep on disk what does not fit the memory.
        say: told which file of a folder of others' is taken, and when `auto` does not give the whole image's result.

    Raises:
        UserError: there is no such model, checkpoint or direction, or the file cannot be used.
    """
    path, tiles = Path(model), Tiles(tile, tile_px, scratch, say)
    target = available_device(device)
    if path.is_dir() and not _is_run(path) and (foreign := saved_generator(path, direction, checkpoint)):
        say(f"{path} has no run of ganstyle: taking {foreign.name}")
        path, checkpoint = foreign, None
    if path.is_dir():
        name, file = _checkpoint_file(path, checkpoint)
        generator, spec, facts = _from_checkpoint(file, direction or "ab", raw=raw)
        facts = replace(facts, checkpoint=name)
    elif path.is_file() and path.suffix == ".onnx":
        raise UserError(f"{path} is for ONNX Runtime only: expected {EXPECTED}")
    elif path.is_file():
        if checkpoint is not None or raw:
            raise UserError(f"{path} is {_KIND[is_export(path)]}: --checkpoint and --raw are for a run's folder")
        generator, spec, facts = _from_file(path, direction)
    else:
        raise UserError(f"there is no model at {path}: expected {EXPECTED}")
    return Translator(generator, full_generator_spec(spec), facts, target, tiles)


def export(
    model: str | Path,
    out: Path,
    *,
    direction: str | None = None,
    checkpoint: str | int | None = None,
    raw: bool = False,
) -> ModelFacts:
    """Write one direction of a model, as `load` takes it, as one file: `.safetensors`, or `.onnx` for others."""
    write = WRITERS.get(out.suffix)
    if write is None:
        raise UserError(f"{out}: expected a name that ends in {' or '.join(WRITERS)}")
    translator = load(model, direction=direction, checkpoint=checkpoint, raw=raw, device="cpu")
    write(out, translator.generator, translator.spec, translator.facts)
    return translator.facts


def directions_of(model: str | Path) -> list[str]:
    """The directions that a model can be loaded for; those of a run's folder by its newest checkpoint."""
    path = Path(model)
    if path.is_dir() and not _is_run(path) and (saved := saved_directions(path)):
        return saved
    if path.is_dir():
        facts = load_checkpoint(_checkpoint_file(path, None)[1])["facts"]
        return list(facts["translators"])
    return [load(path, device="cpu").facts.direction]


def _is_run(folder: Path) -> bool:
    """Whether a folder is one of ours, whatever else people keep in it."""
    return (folder / "config.yaml").is_file() or any((folder / "checkpoints").glob("*.pt"))


def _from_file(path: Path, direction: str | None) -> tuple[nn.Module, Mapping[str, Any], ModelFacts]:
    if is_export(path):
        generator, spec, facts = read_export(path, build_generator)
        if direction not in (None, facts.direction):
            raise UserError(f"{path} translates {facts.direction}; for {direction} export that direction of its run")
        return generator, spec, facts
    foreign = read_foreign(path, direction)
    facts = ModelFacts(direction or foreign.direction or "ab", 0, averaged=False, origin=foreign.origin)
    return load_weights(build_generator(foreign.spec), foreign.weights), foreign.spec, facts


def _checkpoint_file(run: Path, checkpoint: str | int | None) -> tuple[str, Path]:
    """The name (none for a step) and the file of a checkpoint of a run's folder."""
    folder = run / "checkpoints"
    by_step = {int(path.stem.split("-")[1]): path for path in step_files(folder)}
    named = {path.stem: path for path in folder.glob("*.pt") if path not in by_step.values()}
    if by_step:
        named["latest"] = by_step[max(by_step)]
    wanted = checkpoint if checkpoint is not None else ("best" if "best" in named else "latest")
    found = named.get(str(wanted)) or (by_step.get(int(wanted)) if str(wanted).isdecimal() else None)
    if found is None and not _is_run(run):
        raise UserError(f"{run} holds no model: neither a run nor a generator (such as latest_net_G_A.pth) is in it")
    if found is None:
        there = ", ".join([*named, *map(str, by_step)])
        raise UserError(
            f"{run} has no checkpoint '{wanted}' "
            f"({f'there are {there}' if there else 'it has none yet: train it first'})"
        )
    return "" if found in by_step.values() and wanted != "latest" else str(wanted), found


def _from_checkpoint(path: Path, direction: str, *, raw: bool) -> tuple[Any, Mapping[str, Any], ModelFacts]:
    state = load_checkpoint(path)
    try:
        return _from_state(path, state, direction, raw=raw)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: its content is damaged ({type(error).__name__}: {one_line(error)[:100]})") from error


def _from_state(
    path: Path, state: Mapping[str, Any], direction: str, *, raw: bool
) -> tuple[Any, Mapping[str, Any], ModelFacts]:
    facts = state["facts"]
    if direction not in facts["translators"]:
        raise UserError(f"{path} does not translate '{direction}', only {', '.join(facts['translators'])}")
    averaged = direction in state["ema"] and not raw
    weights = state["ema"][direction] if averaged else state["networks"][facts["translators"][direction]]
    generator = build_generator(facts["generator"])
    check_shapes(path, generator, {name: tuple(tensor.shape) for name, tensor in weights.items()})
    return load_weights(generator, weights), facts["generator"], ModelFacts(direction, state["step"], averaged)
