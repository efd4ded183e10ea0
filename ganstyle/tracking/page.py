"""One HTML file that shows a run: it opens offline, holds its pictures and asks nothing of any server."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from ganstyle.base.files import write_text
from ganstyle.tracking.charts import SMOOTHING_SHARE, Points, charts

TEMPLATE = "page.html.j2"
KINDS = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"RIFF": "webp", b"GIF8": "gif"}  # first bytes -> picture type

Picture = tuple[str, bytes]  # caption, encoded PNG, JPEG, WebP or GIF
Cell = str | int | float


@dataclass(frozen=True)
class Page:
    """What a page shows, from top to bottom; parts left empty do not appear.

    `curves` are (step, value) points by name, drawn in one chart for each prefix before the "/"; values that are not
    finite are left out. `frames` are pictures of one kind through time, under a slider. Each row of `gallery` holds one
    picture for each of `gallery_columns`. `tables` are (title, columns, rows), `commands` (what it does, command line).
    """

    title: str
    summary: str = ""
    facts: Sequence[tuple[str, Cell]] = ()
    gallery_columns: Sequence[str] = ()
    gallery: Sequence[Sequence[Picture]] = ()
    tables: Sequence[tuple[str, Sequence[str], Sequence[Sequence[Cell]]]] = ()
    frames: Sequence[Picture] = ()
    curves: Mapping[str, Points] = field(default_factory=dict)
    commands: Sequence[tuple[str, str]] = ()


def write_page(path: Path, page: Page) -> None:
    """Write the page as one HTML file, atomically.

    Raises:
        UserError: the file cannot be written.
        ValueError: a picture is neither PNG, JPEG, WebP nor GIF.
    """
    write_text(path, render(page))


def render(page: Page) -> str:
    """The page's HTML; every text in it is escaped."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"data_uri": data_uri, "cell": cell_text, "is_number": _is_number}
    source = files("ganstyle.tracking").joinpath(TEMPLATE).read_text("utf-8")
    return environment.from_string(source).render(page=page, charts=charts(page.curves), share=SMOOTHING_SHARE)


def data_uri(picture: bytes) -> str:
    """An encoded picture as a `data:` address."""
    kind = next((kind for start, kind in KINDS.items() if picture.startswith(start)), None)
    if kind is None:
        raise ValueError(f"a picture starts with {picture[:4]!r}; expected an encoded PNG, JPEG, WebP or GIF")
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode('ascii')}"


def cell_text(value: Cell) -> str:
    """A table's cell or a fact: fractions with two or three decimals, whole numbers with thousands marked."""
    if isinstance(value, float):
        if math.isnan(value):
            return "–"
        if math.isinf(value):
            return "∞" if value > 0 else "−∞"
        return f"{value:,.0f}" if abs(value) >= 1e4 else _fraction(value)
    return f"{value:,}" if _is_number(value) else str(value)


def _fraction(value: float) -> str:
    if 0 < abs(value) < 1e-3:
        return f"{value:.3g}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def _is_number(value: Cell) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
