"""The verb that judges results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated, Any

import typer
from rich.console import Console

from ganstyle.base.errors import UserError, printable
from ganstyle.cli.app import Device, app
from ganstyle.cli.progress import reading
from ganstyle.tracking.console import say

SETS, PAIRS = "Of folders", "Of pairs"
OURS, MOST, SIZE_PX = "ganstyle", 10_000, 1024  # as the verb has them, which imports torch


@app.command()
def evaluate(  # noqa: PLR0917 - Typer takes the arguments' order from here
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FAKE REAL",
            help="A folder of outputs and one of real images of the style. With --compare: A B REAL. With --pair: "
            "files CONTENT STYLE OUTPUT, three for each pair.",
            show_default=False,
        ),
    ],
    source: Annotated[
        Path | None,
        typer.Option(help="The photos, by the same names: how much is kept.", show_default=False, rich_help_panel=SETS),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(help="What outputs should be, by the same names.", show_default=False, rich_help_panel=SETS),
    ] = None,
    train: Annotated[
        Path | None,
        typer.Option(
            help="The style images trained on: are outputs copies of them?", show_default=False, rich_help_panel=SETS
        ),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Whether outputs A are better than B.", rich_help_panel=SETS)
    ] = False,
    protocol: Annotated[
        str,
        typer.Option(help="ganstyle, cut, clean-fid or torch-fidelity: whose way.", rich_help_panel=SETS),
    ] = OURS,
    most: Annotated[int, typer.Option("--max", min=2, help="Images of a folder at most.", rich_help_panel=SETS)] = MOST,
    skip_unreadable: Annotated[
        bool,
        typer.Option("--skip-unreadable", help="Leave out images that cannot be read.", rich_help_panel=SETS),
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the resamples.", rich_help_panel=SETS)] = 0,
    pair: Annotated[
        bool,
        typer.Option("--pair", help="Each output is one photo in the look of one picture.", rich_help_panel=PAIRS),
    ] = False,
    features: Annotated[
        str | None,
        typer.Option(help="The VGG whose held-out layers are compared.", show_default=False, rich_help_panel=PAIRS),
    ] = None,
    inception: Annotated[
        Path | None,
        typer.Option(
            help="The file of FID's Inception, for SIFID; torch's cache by default.",
            show_default=False,
            rich_help_panel=PAIRS,
        ),
    ] = None,
    size: Annotated[
        int, typer.Option(min=32, help="Larger outputs are measured at this longer side.", rich_help_panel=PAIRS)
    ] = SIZE_PX,
    style_scale: Annotated[
        float, typer.Option(help="The one that the outputs were made with.", rich_help_panel=PAIRS)
    ] = 1.0,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Of folders: a file of Inception or of a VGG, `inception` (fetched) or `random`; by default Inception "
            "where it is, else the random network. Of pairs: the VGG's file.",
            show_default=False,
        ),
    ] = None,
    device: Device = "auto",
    as_json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all numbers there too.", show_default=False)
    ] = None,
) -> None:
    """Measure a folder of outputs against real images, or an output of one photo and one picture.

    Folders: KID and FID, precision and recall, what is kept of the photos, copies of training images; --compare says
    whether one model's outputs are better than another's. Pairs: beside each output stand the same measures of the
    photo itself and of the photo in the picture's colours.
    """
    if as_json is not None:
        as_json = as_json.resolve()  # a link stays one
        _check_place(as_json, [*files, *(path for path in (weights, inception) if path is not None)])
    of_two = {"--source": source, "--truth": truth, "--train": train, "--protocol": protocol != OURS}
    of_sets = {"--max": most != MOST, "--seed": seed != 0, "--skip-unreadable": skip_unreadable}
    of_pairs: dict[str, object] = {"--features": features, "--inception": inception}
    of_pairs |= {"--size": size != SIZE_PX, "--style-scale": style_scale != 1}
    options: dict[str, Any] = {"device": device, "most": most, "seed": seed, "skip_unreadable": skip_unreadable}
    if pair:
        _refuse("--pair", **of_two, **of_sets, **{"--compare": compare})
        found = _pairs(files, features, weights, inception, device=device, size=size, style_scale=style_scale)
    elif compare:
        _refuse_count(files, 3, "--compare takes three folders: A B REAL")
        _refuse("--compare", **of_two, **of_pairs)
        found = _compared(files, weights, **options)
    else:
        _refuse_count(
            files, 2, "give FAKE REAL, --compare A B REAL, or files: ganstyle evaluate --pair CONTENT STYLE OUTPUT"
        )
        _refuse("two folders", **of_pairs)
        found = _sets(files, weights, source=source, truth=truth, train=train, protocol=protocol, **options)
    if as_json is not None:
        from ganstyle.base.files import write_text  # noqa: PLC0415

        write_text(as_json, json.dumps(found, indent=2) + "\n")


def _check_place(file: Path, reads: Sequence[Path]) -> None:
    """Before all the work, whether a file can be there at all, and is none that is read."""
    if file.is_file() and any(path.is_file() and path.samefile(file) for path in reads):
        raise UserError(f"--json: {file} is read for this; expected a file to write")
    if file.is_dir():
        raise UserError(f"--json: {file} is a folder; expected a file to write")
    if file.exists() and not file.is_file():
        raise UserError(f"--json: {file} is no file but a device or a pipe; expected a file to write")
    if file.is_file() and not _is_ours(file):
        raise UserError(f"--json: {file} is there already and holds no scores; expected a new file or earlier scores")
    if not file.parent.is_dir():
        raise UserError(f"--json: the folder {file.parent} is not there; make it first")
    try:
        TemporaryFile(dir=file.parent).close()
    except OSError as error:
        raise UserError(f"--json: nothing can be written into {file.parent}: {error.strerror}") from error


def _is_ours(file: Path) -> bool:
    """Whether a file may be replaced: it is empty, or holds scores of folders or of pairs."""
    if file.stat().st_size == 0:
        return True
    try:
        found = json.loads(file.read_bytes())
    except (ValueError, RecursionError, OSError):
        return False
    if not isinstance(found, dict):
        return False
    return str(found.get("format", "")).startswith("ganstyle evaluation ") or found.keys() == {"pairs", "mean"}


def _refuse_count(files: list[Path], count: int, line: str) -> None:
    if len(files) != count:
        raise UserError(f"got {len(files)} paths: {line}")


def _refuse(beside: str, **given: object) -> None:
    foreign = [name for name, value in given.items() if value]
    if foreign:
        raise UserError(f"{', '.join(foreign)}: has no meaning with {beside}; leave it out")


def _pairs(
    files: list[Path],
    features: str | None,
    weights: Path | None,
    inception: Path | None,
    *,
    device: str,
    size: int,
    style_scale: float,
) -> dict[str, Any]:
    from ganstyle.verbs.evaluate import evaluate_pairs, mean_rows, triples_of  # noqa: PLC0415 - imports torch

    triples = triples_of(files)
    rows = evaluate_pairs(
        triples,
        weights=weights,
        features=features,
        inception=inception,
        device=device,
        longest_px=size,
        style_scale=style_scale,
        say=say,
    )
    means = mean_rows(rows)
    for triple in dict.fromkeys(triples):
        files_of = tuple(str(path) for path in triple)
        own = {
            row["answer"]: row["scores"] for row in rows if (row["content"], row["style"], row["output"]) == files_of
        }
        _print(f"{triple.content.name} in the look of {triple.style.name}: {triple.output.name}", own)
    if len(triples) > 1:
        _print(f"mean of {len(triples)} pairs", means)
    return {"pairs": rows, "mean": means}


def _sets(files: list[Path], weights: Path | None, **options: Any) -> dict[str, Any]:
    from ganstyle.cli.score_tables import print_sets  # noqa: PLC0415
    from ganstyle.verbs.evaluate_sets import evaluate_sets  # noqa: PLC0415 - imports torch

    with reading() as watch:
        found = evaluate_sets(files[0], files[1], weights=str(weights or "auto"), say=say, watch=watch, **options)
    print_sets(found)
    return found


def _compared(files: list[Path], weights: Path | None, **options: Any) -> dict[str, Any]:
    from ganstyle.cli.score_tables import print_comparison  # noqa: PLC0415
    from ganstyle.verbs.evaluate_sets import compare_sets  # noqa: PLC0415 - imports torch

    with reading() as watch:
        found = compare_sets(*files, weights=str(weights or "auto"), say=say, watch=watch, **options)
    print_comparison(found)
    return found


def _print(title: str, scores: Mapping[str, Mapping[str, float]]) -> None:
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from ganstyle.evaluate.pair import MEANINGS  # noqa: PLC0415 - imports torch

    console = Console(highlight=False, emoji=False, markup=False)
    table = Table("", *scores, "better")
    for name, meaning in MEANINGS.items():
        if any(name in each for each in scores.values()):
            numbers = [f"{each[name]:.3f}" if name in each else "" for each in scores.values()]
            table.add_row(meaning.title, *numbers, "more" if meaning.more_is_better else "less")
    console.print(Text(printable(title)))
    console.print(table)
