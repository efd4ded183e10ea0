"""The verbs around a run: train, watch it, see the whole of it work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ganstyle.base.errors import UserError
from ganstyle.cli.app import Words, app
from ganstyle.tracking.console import say

if TYPE_CHECKING:
    from ganstyle.verbs.train import Outcome


@app.command()
def train(
    recipe: Annotated[
        str | None,
        typer.Argument(metavar="CONFIG", help="A recipe's name (cyclegan-lite) or a YAML file.", show_default=False),
    ] = None,
    words: Words = None,
    *,
    run: Annotated[
        Path | None, typer.Option(help="The run's folder; runs/NAME by default.", show_default=False)
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with this run's folder.", show_default=False)] = None,
    new: Annotated[bool, typer.Option("--new", help="Take a fresh folder, never go on with a run.")] = False,
    init_from: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[ab=]MODEL",
            help="Start from this model's weights: latest_net_G_A.pth, ab=FILE, ba=FILE; may be given twice.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Train a style model between two folders of images.

    The same command again goes on where it stopped:

    ganstyle train cyclegan-lite data.a=photos data.b=paintings
    """
    from ganstyle.verbs.train import resume_run, train_recipe  # noqa: PLC0415 - imports torch

    if resume is not None:
        if run is not None or new:
            raise UserError("--resume names the run's folder already: leave out --run and --new")
        if init_from:
            raise UserError("--resume goes on from the run's own weights: leave out --init-from")
        # After --resume there is no recipe, so the first word may be a key=value too.
        _end_of_training(resume_run(resume, [*([recipe] if recipe else []), *(words or [])]))
    elif recipe is None:
        raise UserError("missing CONFIG: a recipe's name such as cyclegan-lite, or --resume RUN")
    else:
        _end_of_training(train_recipe(recipe, words or [], run=run, new=new, init_from=init_from or []))


def _end_of_training(outcome: Outcome) -> None:
    if outcome.signal is not None and not outcome.finished:
        raise typer.Exit(128 + outcome.signal)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(help="Where the comparison of several runs goes; comparison.html by default.", show_default=False),
    ] = None,
) -> None:
    """Write the page of a run again (RUN/report.html), or one page that compares several runs."""
    from ganstyle.verbs.report import compare_runs, write_report  # noqa: PLC0415 - takes a moment to import

    if len(runs) == 1 and out is None:
        say(f"wrote {write_report(runs[0])}")
    elif len(runs) == 1:
        raise UserError("--out is for a comparison of several runs: the page of one run is its report.html")
    else:
        say(f"wrote {compare_runs(runs, out or Path('comparison.html'))}")


@app.command()
def demo(
    out: Annotated[Path, typer.Argument(help="Where pictures, run and page go.")] = Path("demo"),
    words: Words = None,
    count: Annotated[int, typer.Option(min=2, help="Pictures of each domain to train on.")] = 200,
    size: Annotated[int, typer.Option(min=16, help="Their side in pixels.")] = 96,
    seed: Annotated[int, typer.Option(help="Another seed draws other scenes.")] = 0,
) -> None:
    """See it work: draw two domains, train a small model, translate, score, and write a page (under five minutes)."""
    from ganstyle.verbs.demo import run_demo  # noqa: PLC0415 - imports torch

    if "=" in out.name:  # `ganstyle demo training.steps=500`: no folder was named
        words, out = [str(out), *(words or [])], Path("demo")
    _end_of_training(run_demo(out, words or [], count=count, size_px=size, seed=seed))
