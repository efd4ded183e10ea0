"""One HTML file that shows a run: it opens offline, holds its pictures and asks nothing of any server."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from ganstyle.base.files import write_text
from ganstyle.tracking.charts import MOST_POINTS, SMOOTHING_SHARE, Chart, Panel, charts

TEMPLATE, STYLE, SCRIPTS = "page.html.j2", "page.css", ("page.js", "curves.js")
KINDS = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"RIFF": "webp", b"GIF8": "gif"}  # first bytes -> picture type

NONE = "–"  # a table's cell where there is no number
NUMERIC = re.compile(rf"[-−]?[\d.,]+(e[-+]?\d+)?( ± [\d.,]+(e[-+]?\d+)?)?|{NONE}|[-−]?∞")  # 1,234.5 or 0.12 ± 0.03

Picture = tuple[str, bytes]  # caption, encoded PNG, JPEG, WebP or GIF
Cell = str | int | float


@dataclass(frozen=True)
class State:
    """How far a run is, in words.

    Attributes:
        text: in one line.
        share: of its steps that are done, 0 to 1; None where that is not known.
        told: when it was last heard of, as ISO 8601 with a time zone; "" where that does not matter.
        level: `info`, `good` or `error`.
    """

    text: str
    share: float | None = None
    told: str = ""
    level: str = "info"


@dataclass(frozen=True)
class Notice:
    """Something about a run's health; `level` is `good`, `info`, `warn` or `error`."""

    title: str
    text: str
    hint: str = ""
    level: str = "warn"
    since: str = ""


@dataclass(frozen=True)
class Event:
    """Something that happened at a step; `time` is ISO 8601, `level` is `info`, `warn` or `error`."""

    step: int
    time: str
    level: str
    title: str
    text: str


@dataclass(frozen=True)
class Table:
    """Rows of cells under named columns; `marked` are the numbers of rows that stand out."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    marked: Sequence[int] = ()


@dataclass(frozen=True)
class Page:
    """What a page shows, from top to bottom; parts left empty do not appear.

    Each row of `gallery` holds one picture for each of `gallery_columns`. `frames` are pictures of one kind through
    time, under a slider, the newest last; `frame_rows` says what their rows of equal height show. Values of `curves`
    that are not finite are left out. `commands` are (what it does, command line).
    """

    title: str
    state: State | None = None
    summary: str = ""
    health: Sequence[Notice] = ()
    gallery_title: str = "Results"
    gallery_columns: Sequence[str] = ()
    gallery: Sequence[Sequence[Picture]] = ()
    frames: Sequence[Picture] = ()
    frame_rows: Sequence[str] = ()
    frame_note: str = ""
    tables: Sequence[Table] = ()
    curves: Sequence[Panel] = ()
    events: Sequence[Event] = ()
    events_note: str = ""
    config: str = ""
    facts: Sequence[tuple[str, Cell]] = ()
    commands: Sequence[tuple[str, str]] = ()


def write_page(path: Path, page: Page) -> None:
    """Write the page as one HTML file, atomically.

    Raises:
        UserError: the file cannot be written.
        ValueError: a picture is neither PNG, JPEG, WebP nor GIF.
    """
    write_text(path, render(page))


def render(page: Page) -> str:
    """The page's HTML; every text in it is escaped, and so is what has no place in UTF-8, such as a broken name."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"data_uri": data_uri, "cell": cell_text, "numeric_columns": _numeric_columns}
    sections: dict[str, list[Chart]] = {}
    for chart in charts(page.curves):
        sections.setdefault(chart.panel.section, []).append(chart)
    html = environment.from_string(_source(TEMPLATE)).render(
        page=page,
        sections=sections,
        share=SMOOTHING_SHARE,
        most=MOST_POINTS,
        style=_source(STYLE),
        script="\n".join(map(_source, SCRIPTS)),
    )
    return html.encode("utf-8", "backslashreplace").decode("utf-8")


def _source(name: str) -> str:
    return files("ganstyle.tracking").joinpath(name).read_text("utf-8")


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
            return NONE
        if math.isinf(value):
            return "∞" if value > 0 else "−∞"
        return f"{value:,.0f}" if abs(value) >= 1e4 else _fraction(value)
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _fraction(value: float) -> str:
    if 0 < abs(value) < 1e-3:
        return f"{value:.3g}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def _numeric_columns(table: Table) -> list[bool]:
    """Of each column whether numbers stand in it, and nothing else."""
    columns = [[cell_text(row[number]) for row in table.rows] for number in range(len(table.columns))]
    return [not {*texts} <= {NONE} and all(NUMERIC.fullmatch(text) for text in texts) for texts in columns]
