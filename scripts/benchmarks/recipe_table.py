"""The README's tables of recipes, one for each set of pictures, from the rows that `recipes.py` keeps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

Row = Mapping[str, Any]


def tables(rows: Sequence[Row]) -> str:
    """In Markdown, each under the name of its pictures, the recipes in the order in which they were first trained."""
    names = dict.fromkeys(row["pictures"] for row in rows)
    return "\n\n".join(_table(name, [row for row in rows if row["pictures"] == name]) for name in names)


def _table(pictures: str, rows: Sequence[Row]) -> str:
    networks = list(rows[0]["kid"])
    heads = ["recipe", "steps", *(f"KID, {name}" for name in networks), "structure", "edges"]
    heads += ["PSNR to the truth"] if "truth" in rows[0] else []
    lines = [f"**{pictures}**", "", _line(heads), "|---" * len(heads) + "|"]
    recipes = dict.fromkeys(row["recipe"] for row in rows)
    by_recipe = ([row for row in rows if row["recipe"] == recipe] for recipe in recipes)
    return "\n".join(lines + [_line(_cells(same, networks)) for same in by_recipe])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(rows: Sequence[Row], networks: Iterable[str]) -> list[str]:
    """Of the trainings of one recipe, by seed."""
    rows = sorted(rows, key=lambda row: row["seed"])
    cells = [rows[0]["recipe"], ", ".join(f"{row['steps']:,}" for row in rows)]
    cells += [_score([row["kid"][name] for row in rows], 2) for name in networks]
    cells += [_score([row["content"][name] for row in rows], 2) for name in ("structure", "edges")]
    return cells + ([_score([row["truth"]["psnr"] for row in rows], 1)] if "truth" in rows[0] else [])


def _score(scores: Sequence[Row], digits: int) -> str:
    """The mean of the trainings, and each; of a single one its interval, or the standard error over images."""
    values = [score["value"] for score in scores]
    if len(scores) > 1:
        return f"{fmean(values):.{digits}f} ({', '.join(f'{value:.{digits}f}' for value in values)})"
    only = scores[0]
    if "low" in only:
        return f"{values[0]:.{digits}f} ({only['low']:.{digits}f} to {only['high']:.{digits}f})"
    return f"{values[0]:.{digits}f} ± {only['error']:.{digits + 1}f}"
