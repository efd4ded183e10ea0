"""Scores and facts of runs, as tables of their pages."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from ganstyle.base.keys import EvaluateConfig
from ganstyle.tracking.curves import PLACES
from ganstyle.tracking.page import NONE, Cell, Table, cell_text
from ganstyle.verbs.run_story import RunStory

SCORES = {"kid": "KID", "fid": "FID", "content": "content"}
WAYS = ("_ab", "_ba", "")


def score_names(logged: Collection[str]) -> list[str]:
    """The scores that were logged, such as `kid_ab`, in the order of tables."""
    return [f"{score}{way}" for score in SCORES for way in WAYS if f"scores/{score}{way}" in logged]


def scores_of(story: RunStory) -> list[Table]:
    """A row for each evaluation, the newest on top; nothing before the first."""
    evaluations = story.evaluations()
    logged = {name for scores in evaluations.values() for name in scores}
    names = score_names(logged)
    if not names:
        return []
    chosen, best_value = story.setting("evaluate.best", EvaluateConfig().best), story.newest("best/value")
    columns = ["step", "", *(column_of(name) for name in names)]
    rows: list[list[Cell]] = []
    for step, scores in reversed(evaluations.items()):
        # After a roll-back a step may have been scored again, worse than what is kept of it.
        kept = best_value is None or scores.get(f"scores/{chosen}", best_value) == best_value
        mark = "best" if step == story.best_step and kept else ""
        rows.append([step, mark, *(score_text(scores, name) for name in names)])
    marked = [number for number, row in enumerate(rows) if row[1]]
    return [Table("Scores", columns, rows, note=_scored_how(story), marked=marked)]


def column_of(name: str) -> str:
    """How a score's column is called."""
    score, _, way = name.partition("_")
    return f"{SCORES[score]}, {PLACES[way] if way else 'mean'}"


def score_text(scores: Mapping[str, float], name: str) -> str:
    """A score for a table, with its deviation where there is one; a dash where there is none."""
    value = scores.get(f"scores/{name}")
    if value is None:
        return NONE
    score, underscore, way = name.partition("_")
    deviation = scores.get(f"scores/{score}_deviation{underscore}{way}")
    text = cell_text(float(value))
    return text if deviation is None else f"{text} ± {cell_text(float(deviation))}"


def _scored_how(story: RunStory) -> str:
    statement = story.record.evaluation.get("statement", "") if story.record is not None else ""
    chosen = story.setting("evaluate.best", EvaluateConfig().best)
    parts = [
        "Of images that are held out from training. KID and FID: lower is closer to the other domain; "
        f"content: higher keeps more of the image. The best is chosen by {chosen}.",
        f"{statement[:1].upper()}{statement[1:]}." if statement else "",
    ]
    return " ".join(part for part in parts if part)


def facts_of(story: RunStory) -> list[tuple[str, Cell]]:
    """Hardware, images and speed, as far as they are known."""
    facts: list[tuple[str, Cell]] = [("steps", f"{story.step:,} of {story.steps:,}" if story.steps else story.step)]
    if story.record is not None:
        data, hardware = story.record.data, story.record.hardware
        ranks = f", {hardware.ranks} processes" if hardware.ranks > 1 else ""
        compiled = ", compiled" if hardware.compile else ""
        threads = (
            f", {hardware.threads} thread{'s' if hardware.threads > 1 else ''}" if hardware.device == "cpu" else ""
        )
        images = [str(data[key]) for key in ("images_a", "images_b") if key in data]
        facts += [
            ("training images", " + ".join(images) or NONE),
            ("hardware", f"{hardware.device}, {hardware.precision}{threads}{compiled}{ranks}"),
        ]
    facts += _speed(story)
    skipped = sum(row.get("guard/skipped", 0) for row in story.rows)
    rollbacks = story.newest("guard/rollbacks") or 0
    facts += [(name, int(value)) for name, value in (("updates skipped", skipped), ("roll-backs", rollbacks)) if value]
    if story.record is not None:
        facts.append(("versions", ", ".join(f"{name} {version}" for name, version in story.record.versions.items())))
    return facts


def _speed(story: RunStory) -> list[tuple[str, Cell]]:
    names = {
        "speed/seconds_per_step": "seconds a step",
        "speed/images_per_second": "images a second",
        "memory/gigabytes": "memory, GB",
    }
    logged = {name: [row[name] for row in story.rows if name in row] for name in names}
    return [(names[name], round(float(np.median(values)), 3)) for name, values in logged.items() if values]
