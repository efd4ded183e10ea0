"""The README's tables of recipes, one for each set of pictures, from the rows that `recipes.py` keeps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def tables(rows: Sequence[Row]) -> str:
    """In Markdown, each under the name of its pictures, the recipes in the order in which they were trained."""
    names = dict.fromkeys(row["pictures"] for row in rows)
    return "\n\n".join(_table(name, [row for row in rows if row["pictures"] == name]) for name in names)


def _table(pictures: str, rows: Sequence[Row]) -> str:
    networks = list(rows[0]["kid"])
    heads = ["recipe", "steps", *(f"KID, {name}" for name in networks), "structure", "edges"]
    heads += ["PSNR to the truth"] if "truth" in rows[0] else []
    lines = [f"**{pictures}**", "", _line(heads), "|---" * len(heads) + "|"]
    return "\n".join(lines + [_line(_cells(row, networks)) for row in rows])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(row: Row, networks: Iterable[str]) -> list[str]:
    kids = [row["kid"][name] for name in networks]
    cells = [row["recipe"], f"{row['steps']:,}"]
    cells += [f"{kid['value']:.2f} ({kid['low']:.2f} to {kid['high']:.2f})" for kid in kids]
    cells += [_score(row["content"][name], 2) for name in ("structure", "edges")]
    return cells + ([_score(row["truth"]["psnr"], 1)] if "truth" in row else [])


def _score(score: Row, digits: int) -> str:
    """A mean over images with its standard error."""
    return f"{score['value']:.{digits}f} ± {score['error']:.{digits + 1}f}"
