"""Weights & Biases. The only file that imports wandb, in a process of its own: whatever it does, training goes on."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ganstyle.base.errors import one_line
from ganstyle.tracking.apart import Apart, Lost, Refused
from ganstyle.tracking.checkout import checkout_facts
from ganstyle.tracking.tracker import Cell, SilentTracker, finite_numbers, histogram
from ganstyle.tracking.wandb_process import Order, WandbRun

ERRORS_BEFORE_GIVING_UP = 3  # in a row
STARTING_S, ANSWER_S, SPARE_S = 150.0, 30.0, 10.0
LEAST_FREE_BYTES, ENOUGH_BYTES = 2**17, 2**24
FOLDER_VARIABLES = ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_ARTIFACT_DIR")
UNSENT = "unsent"  # a file in the folder of a run that was being sent when its service was lost

HIDDEN = "..."
PATH_STARTS = (  # the last one is not in `images/s`, `+/-`, a web address or a relative path
    r"(?<!\w)[A-Za-z]:[\\/]",
    r"(?<![\w\\])\\\\[\w.?]",
    r"(?<!\w)~[\w.-]*/",
    r"(?<!http:)(?<!https:)(?<![\w.~/\\%)+-])/+[^\s/\"'`)\]},;:!?-]",
)
PATH_START = f"(?:{'|'.join(PATH_STARTS)})"
PATH_REST = r"(?:\S*[^\s.,:;!?)\]}\"'`])?"  # up to a space, without the sentence's own marks
PATH_WORD = r"[ \t]+[^\s/\\:;,\"'`~][^\s/\\:;,\"'`]*"
PATH = re.compile(
    rf"(?P<quote>[\"'`]){PATH_START}[^\n]*?(?P=quote)(?!\w)"
    rf"|{PATH_START}{PATH_REST}(?:(?:{PATH_WORD})+[/\\]{PATH_REST})*"  # words up to a later separator belong to it
)


class WandbTracker(SilentTracker):
    """One W&B run, resumed under the same id when the training run is resumed.

    Every call waits for the other process, as long as half a minute where that hangs: tell it through `InBackground`.

    Args:
        folder: the run's folder; everything that wandb keeps lives inside it.
        settings: `mode`, `project`, `entity`, `name`, `group`, `tags`, `images`, `log_model` and `host` of the config.
        config: what the run is made from, shown beside its curves; no paths. `commit` and `changed` are added.
        run_id: the id in W&B; under `wandb agent` the agent's is used.
        warn: told when something does not work, once.
        say: told at the end how to send what was kept offline; `warn` where none is given.
        opened: told the id in use, once, where that is not `run_id`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        settings: Mapping[str, Any],
        config: Mapping[str, Any],
        run_id: str,
        warn: Callable[[str], None],
        say: Callable[[str], None] | None = None,
        opened: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.warn, self.say, self._settings = warn, say or warn, settings
        self._folder, self._home = folder, folder.resolve() / "wandb"
        self._in_a_row, self._restarts = 0, 1
        self._errors: list[str] = []
        self._disk_is_full = False
        self._process: Apart | None = None
        self._run_id, self._kept = run_id, Path()
        mode = _mode(settings["mode"])
        if mode == "disabled":
            self.warn("Weights & Biases: WANDB_MODE=disabled, so nothing is recorded there")
            return
        self._order = Order(
            folder.resolve(),
            settings,
            {**config, **checkout_facts()},
            run_id,
            mode == "online",
            sys.argv if settings["host"] else (),
            os.getpid(),
        )
        try:
            self._open(self._order)
        except Exception as error:  # anything at all may come from a library that talks to a service
            self._switch_off(error)
        if self._run_id != run_id:
            self._tell_id(opened)

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Numbers along `train/step`, never `step=`: a lower one would be dropped after a resume."""
        self._tell(WandbRun.log, {"train/step": step, **finite_numbers(scalars)})

    def distributions(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        """Histograms."""
        found = {name: histogram(each) for name, each in values.items()}
        told = {name: (each[1].tolist(), each[2].tolist()) for name, each in found.items() if each}
        self._tell(WandbRun.histograms, step, told)

    def images(self, step: int, name: str, encoded: bytes) -> None:
        """One picture, unless the config keeps pictures at home."""
        if self._settings["images"]:
            self._tell(WandbRun.image, step, name, encoded)

    def alert(self, title: str, text: str, *, level: str = "warn") -> None:
        """Reaches people by mail or chat, without paths unless the config lets the host be told."""
        if not self._settings["host"]:
            title, text = (without_paths(each, self._folder) for each in (title, text))
        self._tell(WandbRun.alert, title, text, level)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """A table, without its columns of pictures where the config keeps those at home."""
        columns, rows = list(columns), [list(row) for row in rows]
        if not self._settings["images"]:
            shown = [place for place in range(len(columns)) if not any(isinstance(row[place], bytes) for row in rows)]
            columns, rows = [columns[place] for place in shown], [[row[place] for place in shown] for row in rows]
        if columns:
            self._tell(WandbRun.table, name, columns, rows)

    def model(self, path: Path, alias: str, facts: Mapping[str, Any]) -> None:
        """An artifact of the file's name, where the config asks for it."""
        if self._settings["log_model"]:
            self._tell(WandbRun.model, Path(path).resolve(), alias, dict(facts))

    def close(self, *, failed: bool = False) -> None:
        """Send what is left, for a minute at most, and say how to send the rest."""
        process, self._process = self._process, None
        if process is not None:
            self._finish(process, failed)
            process.close()
        folders = unsent_folders(self._home, self._run_id)
        if folders:
            self.say(f"to send this run to Weights & Biases: {sync_command(folders)}")

    def _finish(self, process: Apart, failed: bool) -> None:
        try:
            process.ask(WandbRun.finish, failed, timeout_s=self._order.finish_s + SPARE_S)
        except (Refused, Lost) as error:
            self._mark_unsent()
            self.warn(f"Weights & Biases may lack the end of this run: {one_line(error)[:200]}")
        else:
            if self._errors:
                self.warn(f"Weights & Biases lacks {len(self._errors)} of its records: {self._errors[-1][:200]}")

    def _open(self, order: Order) -> None:
        _make_room(self._home)
        process = Apart(WandbRun, _environment(self._home))
        try:
            opened = process.ask(WandbRun.open, order, library, timeout_s=STARTING_S)
        except Exception:
            process.kill()
            raise
        self._process, self._run_id, self._kept = process, opened["id"], Path(opened["folder"])
        if opened["reason"]:
            self.warn(f"Weights & Biases: {opened['reason']}, so the run is kept offline")

    def _tell_id(self, opened: Callable[[str], None]) -> None:
        try:
            opened(self._run_id)
        except Exception as error:
            self.warn(f"Weights & Biases: the run's id {self._run_id} cannot be kept: {one_line(error)[:200]}")

    def _tell(self, function: Callable[..., Any], *arguments: Any) -> None:
        if self._process is None:
            return
        try:
            self._process.ask(function, *arguments, timeout_s=ANSWER_S)
        except Lost as error:
            self._go_on_offline(error)
            if self._process is not None:
                self._tell(function, *arguments)
        except Exception as error:
            self._errors.append(one_line(error))
            self._in_a_row += 1
            if self._in_a_row == ERRORS_BEFORE_GIVING_UP:
                self._switch_off(error)
        else:
            self._in_a_row = 0
            self._watch_disk()

    def _watch_disk(self) -> None:
        """On a full disk wandb loses what it is told without a word, and all that it writes to that file later."""
        free = shutil.disk_usage(self._home).free
        if free < LEAST_FREE_BYTES and not self._disk_is_full:
            self._disk_is_full = True
            self.warn("Weights & Biases: the disk is full, what is told now may be lost there; free some space")
        elif free > ENOUGH_BYTES and self._disk_is_full and not self._order.online:
            self._disk_is_full = False
            self._go_on_offline(OSError("the disk was full"))

    def _go_on_offline(self, error: Exception) -> None:
        """With a new process, once: the same run in a folder of its own."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
        self._mark_unsent()
        if self._restarts == 0:
            self._switch_off(error)
            return
        self._restarts -= 1
        try:
            self._open(replace(self._order, online=False, run_id=self._run_id))
            self.warn(f"Weights & Biases was lost ({one_line(error)[:120]}): the rest of the run is kept offline")
        except Exception as another:
            self._switch_off(another)

    def _mark_unsent(self) -> None:
        with suppress(OSError):
            (self._kept / UNSENT).touch()

    def _switch_off(self, error: Exception) -> None:
        process, self._process = self._process, None
        if process is not None:
            threading.Thread(target=process.close, daemon=True).start()
        self.warn(f"Weights & Biases is switched off for this run: {one_line(error)[:200]}")


def without_paths(text: str, folder: Path) -> str:
    """The text with "..." for this folder and for all that looks like an absolute path, rather too much of it."""
    for name in {str(folder), str(folder.absolute()), str(folder.resolve())}:
        if len(Path(name).parts) > 1:  # a folder `run` would be any word
            text = re.sub(rf"(?<![\w.~/\\-]){re.escape(name)}(?![\w-])", HIDDEN, text)
    return PATH.sub(lambda found: f"{found['quote'] or ''}{HIDDEN}{found['quote'] or ''}", text)


def _mode(configured: str) -> str:
    """What the config says, unless WANDB_MODE asks for less."""
    asked = os.environ.get("WANDB_MODE", "").lower().replace("dryrun", "offline")
    return asked if asked == "disabled" or (asked == "offline" and configured == "online") else configured


def _make_room(home: Path) -> None:
    """The folder for everything of wandb, writable: it would take a temporary one without a word."""
    home.mkdir(exist_ok=True)
    shutil.rmtree(home / "staging", ignore_errors=True)
    (home / "staging").mkdir()


def _environment(home: Path) -> dict[str, str]:
    """Ours, with wandb's files in the run's folder where a person has not named another, and no reports on errors."""
    environment = dict.fromkeys(FOLDER_VARIABLES, str(home)) | os.environ | {"WANDB_ERROR_REPORTING": "false"}
    environment.pop("WANDB_SERVICE", None)
    return environment


def unsent_folders(home: Path, run_id: str) -> list[Path]:
    """The folders of a run that the service does not have whole, in order of their start."""
    folders = [
        folder
        for folder in home.glob(f"*run-*-{run_id}")
        if folder.name.startswith("offline-") or (folder / UNSENT).exists()
    ]
    waiting = [folder for folder in folders if not (folder / f"run-{run_id}.wandb.synced").exists()]
    return sorted(waiting, key=lambda folder: folder.name.removeprefix("offline-"))


def sync_command(folders: Sequence[Path]) -> str:
    """One command line for a shell; parts of one run must be named together, in order."""
    online = any(not folder.name.startswith("offline-") for folder in folders)
    words = ["wandb", "sync", *(["--include-online"] if online else []), *map(str, folders)]
    return shlex.join(words)


def library() -> Any:
    """The library; called in the other process alone."""
    import wandb  # noqa: PLC0415 - a second, and only where it is asked for

    return wandb
