"""Several runs side by side: their states, scores, previews and curves, and what differs between their configs."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ganstyle.base.config import differing_keys, flatten
from ganstyle.base.errors import UserError
from ganstyle.tracking.curves import comparison_panels
from ganstyle.tracking.page import NONE, Cell, Notice, Page, Picture, Table
from ganstyle.verbs.run_story import RunStory, health_of, picture_in, preview_files, read_run, state_of
from ganstyle.verbs.run_tables import column_of, score_names, score_text

# Of no interest: every run has a name of its own.
NOT_COMPARED = {"name"}


def comparison_page(runs: Sequence[Path]) -> Page:
    """What the page of several runs shows.

    Raises:
        UserError: fewer than two runs, one of them twice, or one that is no run or is damaged.
    """
    _refuse(runs)
    stories = _named([read_run(run) for run in runs])
    health = [replace(each, since=f"{name}, {each.since}") for name, story in stories.items() for each in _ill(story)]
    previews = _previews(stories)
    return Page(
        title=" · ".join(stories),
        summary=f"{len(stories)} runs side by side; each keeps its colour on all charts.",
        health=health,
        tables=[_states(stories), *_scores(stories), *_differences(stories)],
        gallery_title="Newest previews",
        gallery_columns=list(previews),
        gallery=[list(previews.values())] if previews else [],
        curves=comparison_panels({name: story.rows for name, story in stories.items()}),
        commands=[("make this page again", shlex.join(["ganstyle", "report", *map(str, runs)]))],
    )


def _refuse(runs: Sequence[Path]) -> None:
    if len(runs) < 2:
        raise UserError(f"got {len(runs)} run{'' if len(runs) == 1 else 's'} to compare: name at least two")
    twice = [path for path, count in Counter(run.resolve() for run in runs).items() if count > 1]
    if twice:
        raise UserError(f"{twice[0]} was named more than once: name each run once")


def _named(stories: Sequence[RunStory]) -> dict[str, RunStory]:
    """The runs by the shortest end of their paths that tells them apart."""
    paths = [story.folder.path.resolve() for story in stories]
    length = 1
    while len({path.parts[-length:] for path in paths}) < len(paths):
        length += 1
    return {"/".join(path.parts[-length:]): story for path, story in zip(paths, stories, strict=True)}


def _ill(story: RunStory) -> list[Notice]:
    return [notice for notice in health_of(story) if notice.level in ("warn", "error")]


def _states(stories: Mapping[str, RunStory]) -> Table:
    rows: list[list[Cell]] = []
    for name, story in stories.items():
        seconds = story.newest("speed/seconds_per_step")
        ailments = ", ".join(notice.title for notice in _ill(story)) or NONE
        rows.append([name, state_of(story).text, round(seconds, 3) if seconds is not None else NONE, ailments])
    return Table("Runs", ["run", "state", "seconds a step", "health"], rows)


def _scores(stories: Mapping[str, RunStory]) -> list[Table]:
    """The newest and the best scores of each run; nothing where no run was scored."""
    evaluations = {name: story.evaluations() for name, story in stories.items()}
    logged = {score for each in evaluations.values() for scores in each.values() for score in scores}
    names = score_names(logged)
    rows: list[list[Cell]] = []
    for name, story in stories.items():
        steps = {"newest": max(evaluations[name], default=None), "best": story.best_step}
        for which, step in steps.items():
            if step is not None and step in evaluations[name]:
                scores = evaluations[name][step]
                rows.append([name, which, step, *(score_text(scores, score) for score in names)])
    marked = [number for number, row in enumerate(rows) if row[1] == "best"]
    columns = ["run", "", "step", *(column_of(name) for name in names)]
    return [Table("Scores", columns, rows, note=_comparable(stories), marked=marked)] if names else []


def _comparable(stories: Mapping[str, RunStory]) -> str:
    """What scores of these runs say beside each other."""
    how = "KID and FID: lower is closer to the other domain; content: higher keeps more of the image."
    facts = {name: story.record.evaluation for name, story in stories.items() if story.record is not None}
    used = {name: each.get("name", "features unknown") for name, each in facts.items() if each}
    if len({each.get("fingerprint") for each in facts.values() if each}) < 2:
        return how
    networks = ", ".join(f"{name} ({network})" for name, network in used.items())
    return f"{how} These do not compare between runs, as they were made on different networks: {networks}."


def _differences(stories: Mapping[str, RunStory]) -> list[Table]:
    """The keys on which configs differ, and what each run has for them."""
    first, *others = (story.config for story in stories.values())
    keys = dict.fromkeys(key for other in others for key in differing_keys(first, other) if key not in NOT_COMPARED)
    flat = [flatten(story.config) for story in stories.values()]
    rows: list[list[Cell]] = [[key, *(_value(values, key) for values in flat)] for key in keys]
    return [Table("What differs in their configs", ["key", *stories], rows)] if rows else []


def _value(values: Mapping[str, Any], key: str) -> str:
    return str(values[key]) if key in values else "not given"


def _previews(stories: Mapping[str, RunStory]) -> dict[str, Picture]:
    """The newest whole preview of each run that has one."""
    found: dict[str, Picture] = {}
    for name, story in stories.items():
        for step, path in reversed(preview_files(story.folder.path)):
            picture = picture_in(path)
            if picture is not None:
                found[name] = (f"step {step:,}", picture)
                break
    return found
