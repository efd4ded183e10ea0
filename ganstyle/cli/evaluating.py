"""The verb that judges results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ganstyle.base.errors import UserError, printable
from ganstyle.cli.app import Device, app
from ganstyle.tracking.console import say


@app.command()
def evaluate(  # noqa: PLR0917 - Typer takes the arguments' order from here
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="CONTENT STYLE OUTPUT, three for each pair.", show_default=False),
    ],
    pair: Annotated[bool, typer.Option("--pair", help="Each output is one photo in the look of one picture.")] = False,
    features: Annotated[
        str | None, typer.Option(help="The VGG whose held-out layers are compared.", show_default=False)
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="The file of its weights.", show_default=False)] = None,
    inception: Annotated[
        Path | None,
        typer.Option(help="The file of FID's Inception, for SIFID; torch's cache by default.", show_default=False),
    ] = None,
    size: Annotated[int, typer.Option(min=32, help="Larger outputs are measured at this longer side.")] = 1024,
    style_scale: Annotated[float, typer.Option(help="The one that the outputs were made with.")] = 1.0,
    device: Device = "auto",
    as_json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all numbers there too.", show_default=False)
    ] = None,
) -> None:
    """Measure how much of the photo and how much of the picture's look an output has.

    Beside each output stand the same measures of the photo itself and of the photo in the picture's colours.
    """
    if not pair:
        raise UserError("evaluate measures pairs: ganstyle evaluate --pair CONTENT STYLE OUTPUT ...")
    from ganstyle.base.files import write_text  # noqa: PLC0415
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
    if as_json is not None:
        write_text(as_json, json.dumps({"pairs": rows, "mean": means}, indent=2) + "\n")


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
