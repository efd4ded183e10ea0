"""The command line itself and the options that several of its verbs share.

Nothing heavy is imported here: `ganstyle --help` loads no torch.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from ganstyle import __version__

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
    str,
    typer.Option(
        help="A run's folder, an exported file (.safetensors, .onnx) or a CycleGAN or CUT checkpoint (.pth).",
        show_default=False,
    ),
]
Way = Annotated[
    Direction | None, typer.Option(help="ab or ba; by default what its file says, else ab.", show_default=False)
]
Which = Annotated[
    str | None,
    typer.Option(help="best, latest or a step (epoch); best if there is one, else latest.", show_default=False),
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
