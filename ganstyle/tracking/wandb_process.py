"""The run in Weights & Biases itself, in the process that `wandb.py` starts for it; what raises here is told there."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganstyle.base.errors import one_line
from ganstyle.tracking.tracker import Cell

SEND_S, WRITE_S = 60.0, 20.0  # what the library may take to send or to write the end of a run
TITLE_LETTERS = 63
# What of a number stands in the summary, by the start of its name, where that is not the last value.
SUMMARIES = {"scores/kid": "min", "scores/fid": "min", "scores/content": "max"}


@dataclass(frozen=True)
class Order:
    """What a run in W&B is begun with."""

    folder: Path
    settings: Mapping[str, Any]
    config: Mapping[str, Any]
    run_id: str
    online: bool
    argv: Sequence[str]
    pid: int

    @property
    def finish_s(self) -> float:
        """What the end may take."""
        return SEND_S if self.online else WRITE_S


class WandbRun:
    """The run itself, in the process that imports wandb."""

    def __init__(self) -> None:
        self._run: Any = None
        self._known: set[str] = set()

    def open(self, order: Order, library: Callable[[], Any]) -> dict[str, str]:
        """Begin with the library: gives `id`, `folder`, and the `reason` for keeping offline what should be sent."""
        # What wandb stages in Python lies in the run's folder; its service needs the short path of the usual place.
        tempfile.tempdir = str(order.folder / "wandb" / "staging")
        if order.argv:
            sys.argv = list(order.argv)
        self._wandb = library()
        options, reason = self._options(order), ""
        if order.online:
            reason = self._begin_online(options)
        if self._run is None:
            self._run = self._wandb.init(mode="offline", **options)
        self._run.define_metric("train/step")
        self._run.define_metric("*", step_metric="train/step")
        return {"id": str(self._run.id), "folder": str(Path(self._run.dir).parent), "reason": reason}

    def _options(self, order: Order) -> dict[str, Any]:
        given = order.settings
        options: dict[str, Any] = {
            "dir": str(order.folder),
            "config": dict(order.config),
            "settings": self._wandb.Settings(**_kept_at_home(order)),
            **{key: given[key] or None for key in ("name", "group", "tags")},
        }
        if "WANDB_SWEEP_ID" not in os.environ:  # else these are the agent's
            options |= {"id": order.run_id, "project": given["project"], "entity": given["entity"]}
        return options

    def _begin_online(self, options: Mapping[str, Any]) -> str:
        """Begin a run that is sent; else why there is none."""
        try:
            if not self._wandb.login(prompt=False):
                return "no key on this machine"
            resume = {"resume": "allow"} if "id" in options else {}
            self._run = self._wandb.init(mode="online", **resume, **options)
            return ""
        except Exception as error:
            return f"it cannot be reached ({one_line(error)[:120]})"

    def log(self, numbers: Mapping[str, float]) -> None:
        """One row."""
        for name in numbers.keys() - self._known:
            self._define(name)
        self._run.log(dict(numbers))

    def _define(self, name: str) -> None:
        """By its whole name: of several patterns that fit, wandb takes any."""
        self._known.add(name)
        for start, summary in SUMMARIES.items():
            if name.startswith(start) and "deviation" not in name:
                self._run.define_metric(name, step_metric="train/step", summary=summary)

    def histograms(self, step: int, values: Mapping[str, tuple[list[int], list[float]]]) -> None:
        """Counts and edges by name."""
        made = {name: self._wandb.Histogram(np_histogram=each) for name, each in values.items()}
        self._run.log({"train/step": step, **made})

    def image(self, step: int, name: str, encoded: bytes) -> None:
        """One picture."""
        with _Pictures(self._wandb) as picture:
            self._run.log({"train/step": step, name: picture(encoded)})

    def alert(self, title: str, text: str, level: str) -> None:
        """A short title, and more."""
        self._run.alert(title=title[:TITLE_LETTERS], text=text, level=level.upper())

    def table(self, name: str, columns: list[str], rows: list[list[Cell]]) -> None:
        """A table with pictures in its cells."""
        with _Pictures(self._wandb) as picture:
            cells = [[picture(cell) if isinstance(cell, bytes) else cell for cell in row] for row in rows]
            self._run.log({name: self._wandb.Table(columns=columns, data=cells, allow_mixed_types=True)})

    def model(self, path: Path, alias: str, facts: Mapping[str, Any]) -> None:
        """A file of weights."""
        name = f"{re.sub(r'[^A-Za-z0-9_.-]', '-', path.stem)}-{self._run.id}"
        artifact = self._wandb.Artifact(name, type="model", metadata=dict(facts))
        artifact.add_file(str(path))
        self._run.log_artifact(artifact, aliases=[alias])

    def finish(self, failed: bool) -> None:
        """Send or write all that is left; the run is shown as finished or as failed."""
        run, self._run = self._run, None
        if run is not None:
            run.finish(exit_code=int(failed))

    def orphaned(self) -> None:
        """The training process was killed: what it has told is kept, and the run is shown as failed."""
        if self._run is not None:
            self._run.finish(exit_code=1)


def _kept_at_home(order: Order) -> dict[str, Any]:
    """Limits of time; no code, no output, no list of packages; host, user, command line and paths where asked for."""
    host: dict[str, Any] = {"x_disable_meta": True, "host": "", "username": ""}
    if order.settings["host"]:
        host = {"program": order.argv[0]}
    return host | {
        "init_timeout": 20,
        "finish_timeout": order.finish_s,
        "finish_timeout_raises": True,
        "x_transaction_log_flush_interval": 2,
        "x_stats_pid": order.pid,
        "x_save_requirements": False,
        "disable_job_creation": True,
        "disable_git": True,
        "disable_code": True,
        "console": "off",
        "silent": True,
    }


class _Pictures:
    """Makes W&B's images of encoded pictures; wandb takes paths, and copies the files when they are logged."""

    def __init__(self, wandb: Any) -> None:
        self._wandb, self._number = wandb, 0
        self._folder = tempfile.TemporaryDirectory()

    def __enter__(self) -> _Pictures:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def __call__(self, encoded: bytes) -> Any:
        self._number += 1
        suffix = "png" if encoded.startswith(b"\x89PNG") else "jpg"
        path = Path(self._folder.name, f"{self._number}.{suffix}")
        path.write_bytes(encoded)
        return self._wandb.Image(str(path))
