"""The verbs around a model: translate photos, compare them, export the model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ganstyle.base.errors import printable
from ganstyle.cli.app import Device, Model, Raw, RuntimeName, TileMode, Way, Which, app
from ganstyle.cli.progress import FileProgress
from ganstyle.tracking.console import say

if TYPE_CHECKING:
    from ganstyle.translate.folder import Report
    from ganstyle.verbs.painting_job import PaintingJob
    from ganstyle.verbs.translate import Job

WHAT, COLOURS, FILES, WORK = "What is translated", "How it looks", "What the files keep", "The work"
MOST_NOTES = 20


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
    size: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="The longer side at most, in pixels; photos are never enlarged.",
            show_default=False,
            rich_help_panel=WHAT,
        ),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(
            help="An image, or a folder with one for each photo: white is translated, black kept.",
            show_default=False,
            rich_help_panel=WHAT,
        ),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            metavar="CLASS,...",
            help="Leave these as in the photo: person, background, dog ...",
            show_default=False,
            rich_help_panel=WHAT,
        ),
    ] = None,
    feather: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Softness of a mask's edges in pixels; a hundredth of the shorter side by default.",
            show_default=False,
            rich_help_panel=WHAT,
        ),
    ] = None,
    segmentation: Annotated[
        Path | None,
        typer.Option(
            help="The weights that --keep needs; torchvision's by default.", show_default=False, rich_help_panel=WHAT
        ),
    ] = None,
    strength: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="0 is the photo, 1 the translation, mixed in linear light.", rich_help_panel=COLOURS
        ),
    ] = 1.0,
    match_colours: Annotated[
        bool,
        typer.Option(
            "--match-colours", "--match-colors", help="Keep the photo's hues and chroma.", rich_help_panel=COLOURS
        ),
    ] = False,
    grey: Annotated[
        bool, typer.Option("--grey", "--gray", help="Grey photos stay grey.", rich_help_panel=COLOURS)
    ] = False,
    format: Annotated[
        str | None,
        typer.Option(
            help="jpeg, png, webp, tiff, bmp, gif, avif or heic; each keeps its own by default.",
            show_default=False,
            rich_help_panel=FILES,
        ),
    ] = None,
    quality: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=100,
            help="Of JPEG, WebP, AVIF and HEIC; by default a JPEG's own, else 95.",
            show_default=False,
            rich_help_panel=FILES,
        ),
    ] = None,
    keep_gps: Annotated[
        bool, typer.Option("--keep-gps", help="Keep where photos were taken.", rich_help_panel=FILES)
    ] = False,
    strip_metadata: Annotated[
        bool, typer.Option("--strip-metadata", help="Drop EXIF, XMP, resolution and times.", rich_help_panel=FILES)
    ] = False,
    no_provenance: Annotated[
        bool,
        typer.Option(
            "--no-provenance", help="Leave out the note that it is a translation, and whose.", rich_help_panel=FILES
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Make again what is there already.", rich_help_panel=WORK)
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what failed before.", rich_help_panel=WORK)
    ] = False,
    shard: Annotated[
        str,
        typer.Option(
            metavar="I/N|auto|auto/N",
            help="Do one of N equal parts; auto asks torchrun, SLURM or an indexed job.",
            rich_help_panel=WORK,
        ),
    ] = "1/1",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what would happen and how long it takes.", rich_help_panel=WORK)
    ] = False,
) -> None:
    """Translate a photo or a folder of photos; every file keeps its size, name, sub-folder and metadata.

    The same command again goes on where it stopped. What has been done is written to ganstyle-ledger.jsonl in OUTPUT.
    """
    from ganstyle.verbs.translate import prepare  # noqa: PLC0415 - takes a moment to import

    job = prepare(
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
        size_px=size,
        mask=mask,
        keep=keep,
        feather_px=feather,
        segmentation=segmentation,
        strength=strength,
        match_colours=match_colours,
        grey=grey,
        format=format,
        quality=quality,
        gps=keep_gps,
        metadata=not strip_metadata,
        provenance=not no_provenance,
        overwrite=overwrite,
        retry_failed=retry_failed,
        shard=shard,
        say=say,
    )
    count = f"{len(job.tasks)} {'file' if len(job.tasks) == 1 else 'files'}"
    say(f"{count} with {job.translator.facts}, on {job.translator.device}")
    if dry_run:
        for line in job.forecast().lines():
            typer.echo(printable(line))
        return
    with FileProgress() as progress:
        report = job.run(progress.advance)
    tell(report, job)
    # torchrun ends all other processes when one fails, and their photos are good.
    if (report.failed or report.failed_before) and "TORCHELASTIC_RUN_ID" not in os.environ:
        raise typer.Exit(1)


def tell(report: Report, job: Job | PaintingJob) -> None:
    """Say what became of a file or a folder, and what people should know of its files."""
    say(str(report))
    files: dict[str, list[Path]] = {}
    for path, note in report.notes:
        files.setdefault(note, []).append(path)
    for note, paths in list(files.items())[:MOST_NOTES]:
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        say(printable(f"note: {note} ({paths[0]}{more})"))
    if len(files) > MOST_NOTES:
        say(f"and {len(files) - MOST_NOTES} other notes: ganstyle-ledger.jsonl has them all")
    for path, reason in report.failed:
        say(printable(f"failed: {path}: {reason}"))
    if report.skipped and job.ledger is None:
        say(f"{job.tasks[0].target} is there already, whatever made it: --overwrite makes it again")


@app.command()
def compare(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Translations: a folder or a file.", show_default=False)],
    source: Annotated[Path, typer.Argument(metavar="IN", help="The photos they are of.", show_default=False)],
    page: Annotated[Path, typer.Option(help="The page to write.")] = Path("before-after.html"),
    most: Annotated[int, typer.Option(min=1, help="So many pairs, evenly chosen.")] = 200,
    size: Annotated[int, typer.Option(min=16, help="The longer side of the pictures on the page, in pixels.")] = 1280,
) -> None:
    """Write one page on which each photo is compared with its translation under a slider."""
    from ganstyle.verbs.before_after import before_after  # noqa: PLC0415 - takes a moment to import

    counts = before_after(out, source, page, longest_px=size, most=most)
    for line in counts.lines():
        say(line)
    say(f"wrote {page}: {counts}")


@app.command()
def export(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL", help="A run's folder or a CycleGAN or CUT checkpoint (.pth).", show_default=False
        ),
    ],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="The file to write: .safetensors, or .onnx.", show_default=False)
    ],
    direction: Way = None,
    checkpoint: Which = None,
    raw: Raw = False,
) -> None:
    """Write one direction of a model as one file that says itself what it is."""
    from ganstyle.verbs.models import export as export_model  # noqa: PLC0415 - imports torch

    facts = export_model(model, out, direction=direction, checkpoint=checkpoint, raw=raw)
    say(f"wrote {out}: {facts}")
