"""The verbs that look at recipes and folders of images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ganstyle.base.errors import printable
from ganstyle.cli.app import Words, config_app, dataset_app
from ganstyle.tracking.console import say


@config_app.command("show")
def config_show(
    recipe: Annotated[
        str, typer.Argument(metavar="CONFIG", help="A recipe's name or a YAML file.", show_default=False)
    ],
    words: Words = None,
) -> None:
    """Print the recipe with its changes merged, or all its mistakes."""
    from ganstyle.assemble import check_config  # noqa: PLC0415 - imports torch
    from ganstyle.base.config import load_config, write_yaml  # noqa: PLC0415

    values = load_config(recipe, words or [])
    check_config(values)
    typer.echo(write_yaml(values), nl=False)


@config_app.command("list")
def config_list() -> None:
    """The recipes that come with ganstyle."""
    from ganstyle.base.recipes import recipe_names  # noqa: PLC0415

    typer.echo("\n".join(recipe_names()))


@dataset_app.command("check")
def dataset_check(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="DIR...", help="Folders of images, or one with trainA, trainB ...", show_default=False),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Look for what would spoil training; exit code 1 when something needs attention."""
    from ganstyle.data.doctor import check_folders, report_table  # noqa: PLC0415

    report = check_folders(folders)
    if as_json:
        typer.echo(json.dumps(report.to_json(), indent=2))
    else:
        _print_report(report, report_table(report))
    if report.needs_attention:
        raise typer.Exit(1)


def _print_report(report: Any, rows: list[list[str]]) -> None:
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(highlight=False, emoji=False, markup=False)
    table = Table(*rows[0])
    for row in rows[1:]:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console.print(table)
    for finding in report.findings:
        console.print(printable(f"{finding.severity}: {finding.message}"), soft_wrap=True)
    console.print("something needs attention" if report.needs_attention else "nothing needs attention")


@dataset_app.command("synthesize")
def dataset_synthesize(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder.", show_default=False)],
    style: Annotated[str, typer.Option(help="The look of domain b.")] = "ink",
    count: Annotated[int, typer.Option(help="Images of each domain to train on.")] = 200,
    size: Annotated[int, typer.Option(help="Side in pixels.")] = 256,
    seed: Annotated[int, typer.Option(help="Another seed draws other scenes.")] = 0,
) -> None:
    """Draw landscapes: photo-like in trainA, other scenes in the style in trainB, the same in testA and testB."""
    from ganstyle.data.scenes import synthesize  # noqa: PLC0415

    counts = synthesize(out, style=style, count=count, size_px=size, seed=seed)
    say(f"wrote {', '.join(f'{number} to {out / name}' for name, number in counts.items())}")
