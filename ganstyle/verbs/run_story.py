"""What the files of a run tell, read again at any moment: also while it trains, and after it was killed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ganstyle.base.config import flatten, write_yaml
from ganstyle.base.errors import UserError, one_line
from ganstyle.base.keys import DataConfig
from ganstyle.data.grids import GAP_PX
from ganstyle.data.images import Unreadable, read_size
from ganstyle.evaluate.health import diagnose, well
from ganstyle.tracking.charts import MOST
from ganstyle.tracking.jsonl import read_events, read_metrics
from ganstyle.tracking.page import Event, Notice, Picture, State
from ganstyle.train.run_folder import MOST_STEPS, Record, RunFolder

MOST_PREVIEWS = 40
MOST_PREVIEW_BYTES = 5_000_000  # 7 MB of text in the page
MOST_PICTURE_BYTES = 20_000_000  # of one preview; larger ones stay beside the page
PREVIEW_FILE = re.compile(r"step-(\d+)\.jpg")
WHOLE = {b"\xff\xd8\xff": b"\xff\xd9", b"\x89PNG": b"IEND\xaeB`\x82"}  # how a file begins and ends that is all there

LEVELS = ("info", "warn", "error")
# Title of the event that ends a run -> how that is said, and its level.
ENDED = {
    "finished": ("finished early, after", "good"),
    "stopped": ("stopped after", "info"),
    "training stopped": ("stopped by an error after", "error"),
}

# What writing a config raises where a person has put odd things into it, such as a number of 5000 digits.
NOT_SHOWN = (ValueError, RecursionError)

Row = Mapping[str, float]


@dataclass(frozen=True)
class RunStory:
    """What a run's folder holds; parts that are not there yet are empty.

    Attributes:
        folder: where it is.
        config: what it was made from.
        config_text: the same as YAML.
        record: what was decided when it began.
        rows: its numbers, finite ones alone, oldest first; each row has a `step`.
        events: what happened, oldest first.
        told: when its numbers were last written, as ISO 8601; "" before the first.
    """

    folder: RunFolder
    config: Mapping[str, Any]
    config_text: str
    record: Record | None
    rows: Sequence[Row]
    events: Sequence[Event]
    told: str

    @property
    def name(self) -> str:
        """What the run is called."""
        return self.folder.path.resolve().name

    @property
    def step(self) -> int:
        """How far it is known to be: its numbers may be ahead of its checkpoints, or behind."""
        return max(int(self.rows[-1]["step"]) if self.rows else 0, self.folder.last_step())

    @property
    def steps(self) -> int | None:
        """How far it is to go."""
        return self.record.data["steps"] if self.record is not None else self.whole_number("training.steps")

    @property
    def best_step(self) -> int | None:
        """The step whose weights are kept as the best."""
        found = [row["best/step"] for row in self.rows if "best/step" in row]
        return int(found[-1]) if found else None

    def setting(self, key: str, otherwise: Any = None) -> Any:
        """A value of the config by its dotted key."""
        return flatten(self.config).get(key, otherwise)

    def whole_number(self, key: str) -> int | None:
        """A whole number of the config, not below zero; None where it is not given, or is none."""
        value = self.setting(key)
        return value if isinstance(value, int) and 0 <= value < MOST_STEPS and not isinstance(value, bool) else None

    def newest(self, name: str) -> float | None:
        """The last value of a number."""
        return next((row[name] for row in reversed(self.rows) if name in row), None)

    def evaluations(self) -> dict[int, Row]:
        """The scores of each step that was scored, oldest first."""
        found: dict[int, dict[str, float]] = {}
        for row in self.rows:
            scores = {name: value for name, value in row.items() if name.startswith("scores/")}
            if scores:
                found.setdefault(int(row["step"]), {}).update(scores)
        return dict(sorted(found.items()))


def read_run(path: Path) -> RunStory:
    """Everything that a run's folder tells; `UserError` when it is no run, or its config or record is damaged."""
    folder = RunFolder(path)
    try:
        if not folder.exists():
            raise UserError(f"there is no run at {path}: expected a run's folder, which holds config.yaml")
        metrics = path / "metrics.jsonl"
        rows = [_numbers(row) for row in read_metrics(metrics) if 0 <= row["step"] < MOST_STEPS]
        config = folder.config()
        text = _config_text(folder, config)
        told = _written(metrics) if rows else ""
        return RunStory(folder, config, text, folder.record(), rows, _events(path / "events.jsonl"), told)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or one_line(error)}") from error


def _config_text(folder: RunFolder, config: Mapping[str, Any]) -> str:
    try:
        return write_yaml(config)
    except NOT_SHOWN as error:
        raise UserError(f"{folder.config_file}: holds what cannot be shown: {one_line(error)}") from error


def _written(path: Path) -> str:
    """When a file was written, as ISO 8601; "" where its time is none, or it has gone."""
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
    except (OSError, ValueError, OverflowError):
        return ""


def _numbers(row: Mapping[str, Any]) -> Row:
    return {
        name: value
        for name, value in row.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MOST
    }


def _events(path: Path) -> list[Event]:
    """The events of a run; lines that are damaged are left out."""
    return [event for row in read_events(path) if (event := _event(row)) is not None]


def _event(row: Mapping[str, Any]) -> Event | None:
    step, texts = row["step"], [row.get(key) for key in ("time", "level", "title", "text")]
    if not 0 <= step < MOST_STEPS or not all(isinstance(text, str) for text in texts):
        return None
    time, level, title, text = map(str, texts)
    return Event(step, time, level if level in LEVELS else "warn", title, text)


def state_of(story: RunStory) -> State:
    """How far a run is, in words."""
    step, steps = story.step, story.steps
    of_all = f"{step:,} of {steps:,} steps" if steps else f"step {step:,}"
    share = min(step / steps, 1.0) if steps else None
    if steps and step >= steps:
        return State(f"finished: {of_all}", share, level="good")
    ended = _ended(story)
    if ended is not None:
        text, level = ENDED[ended.title]
        return State(f"{text} {of_all}", share, ended.time, level)
    if not story.rows:
        return State("begun: nothing was told yet", share)
    return State(f"at step {step:,} of {steps:,}" if steps else f"at {of_all}", share, story.told)


def _ended(story: RunStory) -> Event | None:
    """The event that ended the run, unless it has gone on since.

    A run that goes on tells so ("going on"), and no event follows the end but of a run that has gone on; its numbers
    may be ahead of the event all the same, where that could not be written.
    """
    last = story.events[-1] if story.events else None
    if last is None or last.title not in ENDED:
        return None
    return last if not story.rows or last.step >= story.rows[-1]["step"] else None


def health_of(story: RunStory) -> list[Notice]:
    """What ails the run, or one line that says that nothing does; nothing where nothing was told."""
    if not story.rows:
        return []
    findings = diagnose(story.rows)
    if findings:
        return [Notice(each.title, each.text, each.hint, each.level, f"since step {each.since:,}") for each in findings]
    verdict, _, rest = well(story.rows).partition(": ")
    return [Notice(verdict, rest, level="good" if verdict == "healthy" else "info")]


def preview_files(run: Path) -> list[tuple[int, Path]]:
    """(step, file) of each preview, oldest first."""
    found = (run / "previews").glob("step-*.jpg")
    return sorted((int(match[1]), path) for path in found if (match := PREVIEW_FILE.fullmatch(path.name)))


def previews_of(run: Path) -> list[Picture]:
    """The first and the newest preview and some evenly between: a page stays small. Broken ones are left out."""
    sizes = {file: size for file in preview_files(run) if 0 < (size := _bytes_of(file[1])) <= MOST_PICTURE_BYTES}
    files = list(sizes)
    room = int(MOST_PREVIEW_BYTES / max(float(np.mean(list(sizes.values()))), 1.0)) if sizes else 0
    chosen = np.linspace(0, len(files) - 1, min(MOST_PREVIEWS, len(files), max(2, room))).round().astype(int).tolist()
    pictures = [(f"step {step:,}", picture_in(path)) for step, path in (files[number] for number in chosen)]
    return [(label, picture) for label, picture in pictures if picture is not None]


def _bytes_of(path: Path) -> int:
    """A file's size; 0 when it has gone: a run that goes back drops previews."""
    with suppress(OSError):
        return path.stat().st_size
    return 0


def picture_in(path: Path) -> bytes | None:
    """A picture's file, unless it is damaged, half written or too large for a page."""
    try:
        read_size(path)
        if path.stat().st_size > MOST_PICTURE_BYTES:
            return None
        content = path.read_bytes()
    except (OSError, Unreadable):
        return None
    whole = any(content.startswith(start) and content.rstrip(b"\0").endswith(end) for start, end in WHOLE.items())
    return content if whole else None


ONE_WAY = ("{a}", "{a} to {b}")
BOTH_WAYS = (*ONE_WAY, "{a} to {b} and back")
WITH_IDENTITY = (*BOTH_WAYS, "{a} by the generator to {a}: best unchanged")


def preview_rows(story: RunStory) -> list[str]:
    """What the rows of the newest preview show, as far as their number tells; empty where it does not."""
    files = preview_files(story.folder.path)
    try:
        _, height = read_size(files[-1][1]) if files else (0, 0)
    except Unreadable:
        return []
    crop_px = story.whole_number("data.crop_px") or DataConfig().crop_px
    rows, rest = divmod(height - GAP_PX, crop_px + GAP_PX)
    each = {2: ONE_WAY, 6: BOTH_WAYS, 8: WITH_IDENTITY}.get(rows, ()) if not rest else ()
    ways = ("ab",) if rows == len(ONE_WAY) else ("ab", "ba")
    return [text.format(a=way[0], b=way[1]) for way in ways for text in each]
