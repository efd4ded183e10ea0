"""What only the sparse method can say: where each place came from, of what it was made, what was copied."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ganstyle.base.errors import UserError, one_line
from ganstyle.base.files import fsync_folder, make_folder, write_text
from ganstyle.data.images import encode_image, resize
from ganstyle.data.pixels import within
from ganstyle.data.tensors import to_pixels
from ganstyle.painting.copied import copied_warning
from ganstyle.painting.sparse_maps import MAPS, Layer, key_of, layer_of, most_used, sparsity
from ganstyle.tracking.page import Cell, Notice, Page, Picture, Table, write_page

if TYPE_CHECKING:
    from ganstyle.painting.sparse import SparseStylized

NOTE, PAGE = "report.json", "report.html"
KIND = "ganstyle sparse report"  # what the JSON file says of itself, so that only folders of ours are written again
LONGEST_PX, LEAST_PX = 1024, 480  # of pictures in the report
MOST_RUNS = 20  # in the JSON file

Array = np.ndarray


def write_report(folder: Path, stylized: SparseStylized, style: Tensor, content: Tensor) -> list[str]:
    """Write `report.html`, which holds all, `report.json` and the pictures as PNG files into a folder.

    A folder of an earlier report is written again; other files in it stay. The folder is whole or not there: all is
    written beside it first.

    Args:
        folder: a new or an empty one, or that of an earlier report.
        stylized: with its codes (`keep_codes`); without any nothing is written.
        style: the picture (1, 3, h, w) in [-1, 1].
        content: the photo (1, 3, H, W) in [-1, 1].

    Returns what a person should be warned of, a line each.

    Raises:
        UserError: the folder holds other things, or cannot be written.
    """
    if not stylized.layers:
        return ["no report: nothing was coded by patches"]
    check_report_folder(folder)
    layers = [layer_of(number, level, stylized.image) for number, level in enumerate(stylized.layers, 1)]
    pictures = _pictures(layers, *(to_pixels(image)[0] for image in (style, content, stylized.image)))
    warnings = _warnings(layers)
    note = _note(layers, stylized.facts, warnings, sorted(pictures))
    with _beside(folder) as work:
        for name, (_, data) in pictures.items():
            (work / name).write_bytes(data)
        write_page(work / PAGE, _page(layers, pictures, warnings))
        write_text(work / NOTE, json.dumps(note, indent=2) + "\n")
    return warnings


def check_report_folder(folder: Path) -> None:
    """Raise `UserError` where a report may not be written: what is there is no folder, or holds others' files."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"{folder} is a file: name a folder for the report")
    if any(folder.iterdir()) and not _is_ours(folder):
        raise UserError(f"{folder} holds other files than a report, and nothing of them is touched: name a new folder")


def _warnings(layers: Sequence[Layer]) -> list[str]:
    """Of the finest level, whose patches are the smallest in the result; of its patch sizes that which tells most."""
    finest = [layer for layer in layers if layer.level.level == layers[-1].level.level]
    told = copied_warning(max(finest, key=lambda layer: layer.copied.share).copied)
    return [told] if told else []


def _is_ours(folder: Path) -> bool:
    return bool(_note_in(folder))


def _note_in(folder: Path) -> dict[str, Any]:
    """What an earlier report says of itself; nothing where there is none."""
    with suppress(OSError, ValueError):
        note = json.loads((folder / NOTE).read_text("utf-8"))
        if isinstance(note, dict) and note.get("kind") == KIND:
            return note
    return {}


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """A hidden folder beside `folder`; its files take their place in it when the block ends well, else they go."""
    folder = folder.resolve()  # a link to a folder stays a link
    make_folder(folder.parent)
    work = folder.parent / f".{os.getpid()}-{secrets.token_hex(4)}.tmp"
    try:
        work.mkdir()
        yield work
        _publish(work, folder)
    except OSError as error:
        raise UserError(f"cannot write the report {folder}: {error.strerror or one_line(error)}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _publish(work: Path, folder: Path) -> None:
    """Rename the new folder, or move its files over those of an earlier report; of that, what is not new goes."""
    with suppress(OSError):  # an empty folder makes way
        folder.rmdir()
    if not folder.exists():
        work.rename(folder)
        fsync_folder(folder.parent)
        return
    old = {name for name in _note_in(folder).get("files", []) if isinstance(name, str) and Path(name).name == name}
    new = [path.name for path in work.iterdir()]
    for name in sorted(new, key=lambda name: name == NOTE):  # the note last: it tells of all others
        (work / name).replace(folder / name)
    for name in old - set(new):
        (folder / name).unlink(missing_ok=True)


def _pictures(layers: Sequence[Layer], style: Array, content: Array, result: Array) -> dict[str, Picture]:
    """File name -> (caption, PNG)."""
    named: dict[str, tuple[str, Array]] = {
        "photo.png": ("the photo", _fitted(content)),
        "result.png": ("the result", _fitted(result)),
        "style.png": ("the picture", _fitted(style)),
        "key.png": ("the key: the picture in the colours of its places", _fitted(key_of(style))),
    }
    for layer in layers:
        small = resize(result, layer.sources.size)
        for name, (caption, draw) in MAPS.items():
            told = f"{caption}, {layer.title}"
            named[f"{name}-{layer.name}.png"] = (told, _fitted(draw(layer, small), least_px=LEAST_PX))
    return {name: (caption, encode_image(pixels, "png")) for name, (caption, pixels) in named.items()}


def _page(layers: Sequence[Layer], pictures: Mapping[str, Picture], warnings: Sequence[str]) -> Page:
    first = [pictures[name] for name in ("photo.png", "result.png", "style.png", "key.png")]
    rows = [[pictures[f"{name}-{layer.name}.png"] for name in MAPS] for layer in reversed(layers)]
    return Page(
        title="How the sparse result was made",
        summary="Every place of the result is a mixture of a few patches of the picture. The finest level comes first.",
        health=[Notice("pieces of the picture were copied", warning) for warning in warnings],
        gallery_title="Where each place came from",
        gallery=[first, *rows],
        tables=[_copied_table(layers), _sparsity_table(layers)],
    )


def _copied_table(layers: Sequence[Layer]) -> Table:
    rows: list[list[Cell]] = [
        [layer.title, layer.copied.share * 100, len(layer.copied.runs), layer.copied.largest_px]
        for layer in reversed(layers)
    ]
    note = "Neighbouring patches that are neighbours in the picture too; the largest run as the side of a square."
    return Table("Copied word for word", ["level", "% of the result", "runs", "largest, px"], rows, note=note)


def _sparsity_table(layers: Sequence[Layer]) -> Table:
    most = max(layer.level.codes.atoms.shape[1] for layer in layers)
    columns = ["level", *(f"{count} atom{'' if count == 1 else 's'}, %" for count in range(most + 1))]
    columns += [*(f"weight {number}" for number in range(1, most + 1)), "residual", "atoms used"]
    return Table("How sparse the code is", columns, [_sparsity_row(layer, most) for layer in reversed(layers)])


def _sparsity_row(layer: Layer, most: int) -> list[Cell]:
    told = sparsity(layer.level)
    patches, coefficients = told["patches"], told["coefficients"]
    shares = [100 * count / max(1, sum(patches)) for count in patches] + [0.0] * (most + 1 - len(patches))
    weights = coefficients + [float("nan")] * (most - len(coefficients))
    used = f"{told['atoms_used']:,} of {told['atoms']:,}"
    return [layer.title, *shares, *weights, told["residual"], used]


def _note(
    layers: Sequence[Layer], facts: Mapping[str, Any], warnings: Sequence[str], pictures: Sequence[str]
) -> dict[str, Any]:
    return {
        "kind": KIND,
        "warnings": list(warnings),
        "facts": json.loads(json.dumps(dict(facts), default=str)),
        "levels": [_told(layer) for layer in layers],
        "files": [PAGE, *pictures],
    }


def _told(layer: Layer) -> dict[str, Any]:
    order, shares = most_used(layer.level)
    places = layer.level.dictionary.places.cpu().numpy()[order].tolist()
    return {
        "level": int(layer.level.level),
        "size": list(layer.sources.size),
        "patch_px": layer.level.patch_px,
        "copied": {
            "share": round(layer.copied.share, 4),
            "runs": len(layer.copied.runs),
            "largest_px": layer.copied.largest_px,
            "largest": [asdict(run) for run in layer.copied.runs[:MOST_RUNS]],
        },
        "sparsity": sparsity(layer.level),
        "atoms_most_used": [
            {"atom": int(atom), "share": round(float(share), 5), "place": place}
            for atom, share, place in zip(order, shares, places, strict=True)
        ],
    }


def _fitted(pixels: Array, *, least_px: int = 0) -> Array:
    """Not above LONGEST_PX; small ones grown whole numbers of times, so that pixels stay pixels."""
    times = max(1, least_px // max(pixels.shape[:2]))
    grown = np.ascontiguousarray(pixels.repeat(times, axis=0).repeat(times, axis=1))
    return resize(grown, within((grown.shape[0], grown.shape[1]), LONGEST_PX))
