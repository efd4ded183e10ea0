"""The verb that gives one photo the look of one picture."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ganstyle.base.errors import UserError, printable
from ganstyle.cli.app import Device, app
from ganstyle.cli.progress import PhotoProgress
from ganstyle.cli.translating import tell
from ganstyle.tracking.console import say

LOOK, VGG, SPARSE, WHERE, FILES, WORK = (
    "The look", "--method vgg", "--method sparse", "Where", "What the files keep", "The work",
)  # fmt: skip


class MethodName(StrEnum):
    """How a photo gets its look."""

    VGG = "vgg"
    SPARSE = "sparse"


class Colours(StrEnum):
    """Whose colours the result has."""

    STYLE = "style"
    LUMINANCE = "luminance"
    MATCH = "match"
    HISTOGRAM = "histogram"


class Tiling(StrEnum):
    """Whether large pictures are optimised in tiles."""

    AUTO = "auto"
    NONE = "none"
    ON = "on"


class Optimiser(StrEnum):
    """What moves the pixels."""

    LBFGS = "lbfgs"
    ADAM = "adam"


class Pooling(StrEnum):
    """What a VGG's pooling takes of four values."""

    MAX = "max"
    AVERAGE = "average"
    L2 = "l2"


class Atoms(StrEnum):
    """What a photo is represented by."""

    PATCHES = "patches"
    LEARNED = "learned"


def _option(help: str, panel: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=panel, show_default=False, **more)


@app.command()
def stylize(  # noqa: PLR0917 - Typer takes the arguments' order from here
    context: typer.Context,
    content: Annotated[Path, typer.Argument(metavar="CONTENT", help="A photo or a folder of photos.")],
    style: Annotated[Path, typer.Argument(metavar="STYLE", help="The picture whose look is wanted.")],
    output: Annotated[
        Path | None,
        typer.Argument(metavar="OUTPUT", help="A folder, or for one photo a file.", show_default=False),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option("--style", hidden=True, help="STYLE, where only CONTENT and OUTPUT are in line.")
    ] = None,
    method: Annotated[
        MethodName,
        typer.Option(
            help="vgg optimises pixels; sparse takes patches and needs no weights (for portraits add --protect MASK or "
            "--content-weight 3)."
        ),
    ] = MethodName.VGG,
    size: Annotated[int | None, _option("The longer side at most, in pixels; 2048 by default.", LOOK, min=16)] = None,
    strength: Annotated[float | None, _option("0 is the photo, 1 all of the style.", LOOK, min=0, max=1)] = None,
    content_weight: Annotated[
        float | None,
        _option("How much of the photo's content stays; for faces 3 by sparse (0.6 by default).", LOOK, min=0),
    ] = None,
    also: Annotated[list[Path] | None, _option("One more picture; may be repeated (vgg).", LOOK)] = None,
    style_weights: Annotated[
        str | None, _option("How much each picture counts, as 2,1 (vgg).", LOOK, metavar="W,W,...")
    ] = None,
    seed: Annotated[int | None, _option("Of what is drawn at random.", LOOK)] = None,
    config: Annotated[Path | None, _option("A YAML file with the method's settings.", LOOK)] = None,
    features: Annotated[str | None, _option("vgg19-light, vgg19, vgg16, vgg19-caffe or vgg16-caffe.", VGG)] = None,
    weights: Annotated[Path | None, _option("The file of its weights; published ones by default.", VGG)] = None,
    colours: Annotated[
        Colours | None,
        _option("Of the picture (style), or of the photo in one of three ways.", VGG, "--colours", "--colors"),
    ] = None,
    style_scale: Annotated[float | None, _option("The size of the strokes; 1 by default.", LOOK, min=0.05)] = None,
    iterations: Annotated[
        str | None, _option("At each scale, the smallest first, as 150,100,60.", VGG, metavar="N,N,...")
    ] = None,
    optimiser: Annotated[Optimiser | None, _option("lbfgs or adam.", VGG, "--optimiser", "--optimizer")] = None,
    tv_weight: Annotated[
        float | None, _option("Of total variation: more takes grain away; 0.02 by default.", VGG, min=0)
    ] = None,
    pooling: Annotated[Pooling | None, _option("max, average or l2.", VGG)] = None,
    start: Annotated[str | None, _option("content, noise or a file.", VGG, metavar="content|noise|FILE")] = None,
    tile: Annotated[Tiling | None, _option("Optimise in tiles; auto where memory asks for it.", VGG)] = None,
    tile_px: Annotated[int | None, _option("The side of a tile in pixels.", VGG, min=64)] = None,
    atoms: Annotated[int | None, _option("So many atoms a patch.", SPARSE, "--atoms", min=1, max=8)] = None,
    dictionary: Annotated[
        Atoms | None, _option("The picture's patches, or atoms learned of them (for study).", SPARSE)
    ] = None,
    report: Annotated[
        Path | None, _option("Write what the sparse code says into this folder.", SPARSE, metavar="DIR")
    ] = None,
    repair: Annotated[
        Path | None,
        _option(
            "Instead of a look: fill what is white in this mask from the photo itself. PHOTO OUTPUT alone.",
            SPARSE,
            metavar="MASK",
        ),
    ] = None,
    protect: Annotated[
        Path | None, _option("A mask of what must stay recognisable, such as faces.", SPARSE, metavar="FILE|DIR")
    ] = None,
    mask: Annotated[
        Path | None,
        _option("White is changed, black kept; with --style-mask: the photo's regions.", WHERE, metavar="FILE|DIR"),
    ] = None,
    style_mask: Annotated[
        list[Path] | None, _option("The picture's regions, in the colours of --mask (vgg).", WHERE)
    ] = None,
    regions: Annotated[
        int | None, _option("Find so many regions, so that sky takes from sky (vgg).", WHERE, min=2, max=12)
    ] = None,
    keep: Annotated[
        str | None, _option("Leave these as in the photo: person, dog ...", WHERE, metavar="CLASS,...")
    ] = None,
    feather: Annotated[float | None, _option("Softness of masks' edges in pixels.", WHERE, min=0)] = None,
    segmentation: Annotated[Path | None, _option("The weights that --keep needs.", WHERE)] = None,
    format: Annotated[str | None, _option("jpeg, png, webp, tiff ...; each keeps its own.", FILES)] = None,
    quality: Annotated[int | None, _option("Of JPEG, WebP, AVIF and HEIC.", FILES, min=1, max=100)] = None,
    keep_gps: Annotated[bool, _option("Keep where photos were taken.", FILES, "--keep-gps")] = False,
    strip_metadata: Annotated[
        bool, _option("Drop EXIF, XMP, resolution and times.", FILES, "--strip-metadata")
    ] = False,
    no_provenance: Annotated[bool, _option("Leave out the note on how it was made.", FILES, "--no-provenance")] = False,
    preview: Annotated[
        int | None, _option("Rewrite OUTPUT.preview.jpg after so many rounds.", WORK, metavar="N", min=1)
    ] = None,
    resume: Annotated[bool, _option("Go on where a run was stopped (vgg).", WORK, "--resume")] = False,
    overwrite: Annotated[bool, _option("Make again what is there already.", WORK, "--overwrite")] = False,
    retry_failed: Annotated[bool, _option("Try again what failed before.", WORK, "--retry-failed")] = False,
    device: Device = "auto",
) -> None:
    """Give a photo, or each of a folder, the look of one picture. No training; sparse needs no weights either.

    Ctrl-C keeps the best so far, and --resume goes on from there.
    """
    if picture is not None and output is None:
        style, output = picture, style
    elif picture is not None:
        raise UserError("--style beside STYLE: leave one of them out")
    if repair is not None:
        if output is not None or method is not MethodName.SPARSE:
            raise UserError("--repair MASK: ganstyle stylize PHOTO OUTPUT --method sparse --repair MASK")
        _refuse_with_repair(context)
        from ganstyle.verbs.stylize import prepare_repair  # noqa: PLC0415 - imports torch

        job = prepare_repair(content, style, mask=repair, seed=seed, device=device, format=format, quality=quality,
                             gps=keep_gps, metadata=not strip_metadata, provenance=not no_provenance,
                             overwrite=overwrite, retry_failed=retry_failed, say=say)  # fmt: skip
    else:
        if output is None:
            raise UserError("OUTPUT is missing: ganstyle stylize CONTENT STYLE OUTPUT")
        from ganstyle.verbs.stylize import prepare  # noqa: PLC0415 - imports torch

        beginning = start if start in ("content", "noise") else None
        settings = {
            **{"size_px": size, "strength": strength, "seed": seed},
            **{"style_weights": _numbers(style_weights, float, "--style-weights")},
            **{"iterations": _numbers(iterations, int, "--iterations")},
            **{"colours": colours, "style_scale": style_scale, "optimiser": optimiser, "start": beginning},
            **{"content_weight": content_weight, "tv_weight": tv_weight},
            **{"tile": tile, "tile_px": tile_px, "atoms_per_patch": atoms, "dictionary": dictionary},
        }
        job = prepare(
            content,
            [style, *(also or [])],
            output,
            method=str(method),
            settings={name: _plain(value) for name, value in settings.items() if value is not None},
            config=config,
            features=features,
            weights=weights,
            pooling=pooling,
            start=None if start is None or beginning is not None else Path(start),
            regions=regions,
            mask=mask,
            style_masks=style_mask or [],
            protect=protect,
            keep=keep,
            feather_px=feather,
            segmentation=segmentation,
            report=report,
            device=device,
            format=format,
            quality=quality,
            gps=keep_gps,
            metadata=not strip_metadata,
            provenance=not no_provenance,
            preview_every=preview,
            resume=resume,
            overwrite=overwrite,
            retry_failed=retry_failed,
            say=say,
        )
    with PhotoProgress(len(job.tasks)) as progress:
        outcome = job.run(progress.watch, progress.advance)
    tell(outcome, job)
    for line in job.stopped:
        say(printable(line))
    if job.stopped:
        raise typer.Exit(130)  # as a shell has it of what Ctrl-C ended
    if outcome.failed or outcome.failed_before:
        raise typer.Exit(1)


WITH_REPAIR = {
    *("content", "style", "output", "method", "repair", "seed", "device", "format", "quality", "keep_gps"),
    *("strip_metadata", "no_provenance", "overwrite", "retry_failed"),
}


def _refuse_with_repair(context: typer.Context) -> None:
    """`--repair` alone is told what else was typed: nothing of it would be done."""
    given = [
        name
        for name in context.params
        if name not in WITH_REPAIR and getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    ]
    if given:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise UserError(f"{flags}: does not go with --repair, which fills a mask and gives no look")


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, StrEnum) else value


def _numbers(text: str | None, kind: type[int] | type[float], option: str) -> tuple[float, ...] | None:
    """`150,100,60` as numbers."""
    if text is None:
        return None
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError as error:
        raise UserError(f"{option} {text}: expected numbers with commas between them") from error
