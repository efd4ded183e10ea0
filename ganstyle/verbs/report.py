"""The page of a run, made from the files in its folder, and the page that compares several runs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from ganstyle.tracking.curves import run_panels
from ganstyle.tracking.page import Event, Page, write_page
from ganstyle.tracking.wandb import sync_command, unsent_folders
from ganstyle.verbs.compare import comparison_page
from ganstyle.verbs.run_story import (
    RunStory,
    health_of,
    preview_files,
    preview_rows,
    previews_of,
    read_run,
    state_of,
)
from ganstyle.verbs.run_tables import facts_of, scores_of

MOST_EVENTS = 200
WANDB_FOLDER = re.compile(r"(?:offline-)?run-\d{8}_\d{6}-([^*?\[\]]+)")  # and the run's id in W&B


def write_report(run: Path) -> Path:
    """Write a run's page again and return its path; `UserError` when it is no run or its folder cannot be written."""
    path = run / "report.html"
    write_page(path, run_page(run))
    return path


def compare_runs(runs: Sequence[Path], out: Path) -> Path:
    """Write one page that shows several runs side by side; `UserError` for fewer than two, or one that is no run."""
    write_page(out, comparison_page(runs))
    return out


def run_page(run: Path) -> Page:
    """What the page of a run shows, whatever of its files is there yet."""
    story = read_run(run)
    frames = previews_of(run)
    return Page(
        title=story.name,
        state=state_of(story),
        health=health_of(story),
        frames=frames,
        frame_rows=preview_rows(story),
        frame_note=_left_out(run, len(frames)),
        tables=scores_of(story),
        curves=run_panels(story.rows),
        events=newest_first(story.events),
        events_note="" if len(story.events) <= MOST_EVENTS else "older ones stand in events.jsonl",
        config=story.config_text,
        facts=facts_of(story),
        commands=_commands(story),
    )


def newest_first(events: Sequence[Event]) -> list[Event]:
    """The newest events, the last one on top."""
    return list(reversed(events[-MOST_EVENTS:]))


def _left_out(run: Path, shown: int) -> str:
    count = len(preview_files(run))
    return "" if shown == count else f"{shown} of {count} previews; all of them are in {run / 'previews'}"


def _commands(story: RunStory) -> list[tuple[str, str]]:
    run = str(story.folder.path)
    finished = story.steps is not None and story.step >= story.steps
    extend = f"training.steps={2 * story.steps}" if finished and story.steps else ""
    commands = [
        ("train it for longer" if finished else "go on with it", _command("train", "--resume", run, extend)),
        ("translate photos with it", _command("translate", "PHOTOS", "OUT", "--model", run)),
        ("take the model along as one file", _command("export", run, f"{story.name}.safetensors")),
        ("make this page again", _command("report", run)),
    ]
    unsent = _unsent(story.folder.path / "wandb")
    return commands + [("send to Weights & Biases what it lacks", sync_command(folders)) for folders in unsent]


def _unsent(home: Path) -> list[list[Path]]:
    """What Weights & Biases does not have whole, for each id that the run has there: a sweep gives it more than one."""
    ids = {path: match[1] for path in home.glob("*run-*") if (match := WANDB_FOLDER.fullmatch(path.name))}
    found = [
        [folder for folder in unsent_folders(home, run_id) if ids.get(folder) == run_id]
        for run_id in sorted(set(ids.values()))
    ]
    return [folders for folders in found if folders]


def _command(*words: str) -> str:
    return shlex.join(["ganstyle", *(word for word in words if word)])
