"""The verbs of the command line. A person's mistake is one line on standard error and exit code 2.

Nothing heavy is imported here: `ganstyle --help` loads no torch.
"""

from __future__ import annotations

import json
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from ganstyle import __version__
from ganstyle.base.errors import LAUNCHER, RunFailed, ToldElsewhere, UserError, printable
from ganstyle.tracking.console import error_console, say

if TYPE_CHECKING:
    from ganstyle.data.outputs import Task
    from ganstyle.translate.onnx_runtime import OnnxTranslator
    from ganstyle.translate.translator import Translator
    from ganstyle.verbs.train import Outcome

app = typer.Typer(
    name="ganstyle",
    help="Unpaired image style translation with GANs: train, translate, watch.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
config_app = typer.Typer(no_args_is_help=True, help="Look at recipes.")
dataset_app = typer.Typer(no_args_is_help=True, help="Check folders of images, or draw some.")
app.add_typer(config_app, name="config")
app.add_typer(dataset_app, name="dataset")


class Direction(StrEnum):
    """Which way a model translates."""

    AB = "ab"
    BA = "ba"


class RuntimeName(StrEnum):
    """What computes a translation."""

    AUTO = "auto"
    TORCH = "torch"
    ONNX = "onnx"


class TileMode(StrEnum):
    """How large images are translated."""

    NONE = "none"
    AUTO = "auto"
    EXACT = "exact"
    THUMBNAIL = "thumbnail"


Words = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Change keys of the recipe.", show_default=False)
]
Model = Annotated[
    str, typer.Option(help="A run's folder or an exported file (.safetensors, .onnx).", show_default=False)
]
Way = Annotated[Direction | None, typer.Option(help="ab or ba; a run's default is ab.", show_default=False)]
Which = Annotated[
    str | None, typer.Option(help="best, latest or a step; best if there is one, else latest.", show_default=False)
]
Raw = Annotated[bool, typer.Option("--raw", help="The newest weights instead of their average (EMA).")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, mps or cuda:N.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ganstyle {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    pass


@app.command()
def train(
    recipe: Annotated[
        str | None,
        typer.Argument(metavar="CONFIG", help="A recipe's name (cyclegan-lite) or a YAML file.", show_default=False),
    ] = None,
    words: Words = None,
    run: Annotated[
        Path | None, typer.Option(help="The run's folder; runs/NAME by default.", show_default=False)
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with this run's folder.", show_default=False)] = None,
    new: Annotated[bool, typer.Option("--new", help="Take a fresh folder, never go on with a run.")] = False,
) -> None:
    """Train a style model between two folders of images.

    The same command again goes on where it stopped:

    ganstyle train cyclegan-lite data.a=photos data.b=paintings
    """
    from ganstyle.verbs.train import resume_run, train_recipe  # noqa: PLC0415 - imports torch

    if resume is not None:
        if run is not None or new:
            raise UserError("--resume names the run's folder already: leave out --run and --new")
        # After --resume there is no recipe, so the first word may be a key=value too.
        _end_of_training(resume_run(resume, [*([recipe] if recipe else []), *(words or [])]))
    elif recipe is None:
        raise UserError("missing CONFIG: a recipe's name such as cyclegan-lite, or --resume RUN")
    else:
        _end_of_training(train_recipe(recipe, words or [], run=run, new=new))


def _end_of_training(outcome: Outcome) -> None:
    if outcome.signal is not None and not outcome.finished:
        raise typer.Exit(128 + outcome.signal)


@app.command()
def translate(  # noqa: PLR0917 - Typer takes the arguments' order from here
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="A photo or a folder of photos.", show_default=False)],
    output: Annotated[
        Path, typer.Argument(metavar="OUTPUT", help="A folder, or for one photo a file.", show_default=False)
    ],
    model: Model,
    direction: Way = None,
    checkpoint: Which = None,
    raw: Raw = False,
    device: Device = "auto",
    runtime: Annotated[
        RuntimeName, typer.Option(help="auto is onnx for a model that ends in .onnx.")
    ] = RuntimeName.AUTO,
    tile: Annotated[
        TileMode,
        typer.Option(
            help="exact is the whole image's result by tiles; thumbnail takes least memory and differs a little; "
            "auto takes the first of whole, exact and thumbnail that fits."
        ),
    ] = TileMode.AUTO,
    tile_px: Annotated[
        int | None, typer.Option(min=32, help="The side of a tile in pixels.", show_default=False)
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            help="jpeg, png, webp, tiff, bmp, gif or avif; each keeps its own by default.", show_default=False
        ),
    ] = None,
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of JPEG, WebP and AVIF.")] = 95,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Make again what is there already.")] = False,
) -> None:
    """Translate a photo or a folder of photos; every file keeps its size, name and sub-folder."""
    from ganstyle.verbs.translate import translate_folder  # noqa: PLC0415 - takes a moment to import

    progress = _FileProgress()
    with progress:
        report = translate_folder(
            source,
            output,
            model=model,
            direction=direction,
            checkpoint=checkpoint,
            raw=raw,
            device=device,
            runtime=runtime,
            tile=tile,
            tile_px=tile_px,
            format=format,
            quality=quality,
            overwrite=overwrite,
            started=progress.start,
        )
    say(str(report))
    for path, reason in report.failed:
        say(printable(f"failed: {path}: {reason}"))
    if report.failed:
        raise typer.Exit(1)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.", show_default=False)],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="The file to write: .safetensors, or .onnx.", show_default=False)
    ],
    direction: Way = None,
    checkpoint: Which = None,
    raw: Raw = False,
) -> None:
    """Write one direction of a run as one file that says itself what it is."""
    from ganstyle.verbs.models import export as export_model  # noqa: PLC0415 - imports torch

    facts = export_model(run, out, direction=direction, checkpoint=checkpoint, raw=raw)
    say(f"wrote {out}: {facts}")


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


class _FileProgress:
    """A bar with files and time left on a terminal; nothing elsewhere."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

        columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
        self._console = error_console()
        self._progress = Progress(*columns, console=self._console, disable=not self._console.is_terminal)

    def start(self, translator: Translator | OnnxTranslator, tasks: list[Task]) -> Any:
        say(f"{len(tasks)} files with {translator.facts}, on {translator.device}")
        bar = self._progress.add_task("", total=len(tasks))
        return lambda text: self._progress.update(bar, advance=1, description=escape(printable(text)[-60:]))

    def __enter__(self) -> None:
        self._progress.start()

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


def _fail(text: str, code: int) -> NoReturn:
    say(f"error: {text}")
    raise SystemExit(code)


def main() -> None:
    """Run the command line."""
    try:
        _run()
    except SystemExit as ended:
        if ended.code and LAUNCHER in os.environ:
            # Another rank may be gone, and then the threads that were talking to it abort a process that tidies up.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(ended.code if isinstance(ended.code, int) else 1)
        raise


def _run() -> None:
    try:
        app()
    except UserError as error:
        _fail(str(error), 2)
    except ToldElsewhere as error:
        raise SystemExit(error.code) from None
    except RunFailed as error:
        _fail(str(error), 1)
    except BrokenPipeError:
        # The reader of standard output went away (`| head`); Python would complain once more while it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except OSError as error:
        # A path that the system refuses (a name too long, no permission to look) is a person's to mend.
        _fail(f"{error.filename or 'the system'}: {error.strerror or error}", 2)
