"""Weights & Biases. The only file that imports wandb; whatever it does, training goes on."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ganstyle.base.errors import one_line
from ganstyle.tracking.tracker import SilentTracker

ERRORS_BEFORE_GIVING_UP = 3
FOLDER_VARIABLES = ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_ARTIFACT_DIR")


class WandbTracker(SilentTracker):
    """One W&B run, resumed under the same id when the training run is resumed.

    Args:
        folder: the run's folder; everything that wandb keeps lives inside it.
        settings: `mode`, `project`, `entity`, `name`, `group`, `tags`, `images` of the config.
        config: what the run is made from, shown beside its curves; no paths.
        run_id: the id in W&B.
        warn: told once when something does not work.
    """

    def __init__(
        self,
        folder: Path,
        *,
        settings: Mapping[str, Any],
        config: Mapping[str, Any],
        run_id: str,
        warn: Callable[[str], None],
    ) -> None:
        self.with_images, self.warn = settings["images"], warn
        self._errors = 0
        self._variables: list[str] = []
        self._run: Any = None
        try:
            self._run = self._start(folder, settings, config, run_id)
        except Exception as error:  # anything at all may come from a library that talks to a service
            self._switch_off(error)

    def _start(self, folder: Path, settings: Mapping[str, Any], config: Mapping[str, Any], run_id: str) -> Any:
        assert settings["mode"] in ("online", "offline")  # disabled: no tracker is made
        self._keep_inside(folder / "wandb")
        import wandb  # noqa: PLC0415 - a second, and only when it is asked for

        options = wandb.Settings(
            init_timeout=20,
            finish_timeout=60,
            x_transaction_log_flush_interval=2,
            console="off",
            disable_git=True,
            disable_code=True,
            x_disable_meta=True,  # host, user, command line and paths are nobody's business
            host="",
            silent=True,
        )
        named = {key: settings[key] for key in ("project", "entity", "name", "group", "tags")}
        common = {"dir": str(folder), "id": run_id, "config": dict(config), "settings": options, **named}
        reason = ""
        if settings["mode"] == "online":
            run, reason = _online(wandb, common)
            if run is not None:
                return _with_steps(run)
        run = _with_steps(wandb.init(mode="offline", **common))
        if reason:
            self.warn(f"Weights & Biases: {reason}, so the run is kept offline")
        return run

    def _keep_inside(self, folder: Path) -> None:
        """Have wandb stage its files in the run's folder, where a person has not named another, until it is closed."""
        self._variables = [name for name in FOLDER_VARIABLES if name not in os.environ]
        os.environ.update(dict.fromkeys(self._variables, str(folder)))

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Numbers along `train/step`, never `step=`: a lower one would be dropped after a resume."""
        self._attempt(lambda run: run.log({"train/step": step, **scalars}))

    def images(self, step: int, name: str, encoded: bytes) -> None:
        """One picture, unless the config keeps pictures at home."""
        if self.with_images:
            self._attempt(lambda run: _log_image(run, step, name, encoded))

    def alert(self, title: str, text: str) -> None:
        """Reaches people by mail or chat."""
        self._attempt(lambda run: run.alert(title=title, text=text))

    def close(self) -> None:
        """Send what is left, for a minute at most."""
        run, self._run = self._run, None
        try:
            if run is not None:
                run.finish()
        except Exception as error:
            self.warn(f"Weights & Biases may lack the end of this run: {one_line(error)[:200]}")
        for name in self._variables:
            os.environ.pop(name, None)

    def _attempt(self, action: Callable[[Any], Any]) -> None:
        if self._run is None:
            return
        try:
            action(self._run)
        except Exception as error:
            self._errors += 1
            if self._errors == ERRORS_BEFORE_GIVING_UP:
                self._switch_off(error)

    def _switch_off(self, error: Exception) -> None:
        self._run = None
        self.warn(f"Weights & Biases is switched off for this run: {one_line(error)[:200]}")


def _online(wandb: Any, common: Mapping[str, Any]) -> tuple[Any, str]:
    """A run that is sent, or why there is none."""
    try:
        if wandb.login(prompt=False):
            return wandb.init(mode="online", resume="allow", **common), ""
    except Exception as error:
        return None, f"it cannot be reached ({one_line(error)[:120]})"
    return None, "no key on this machine"


def _with_steps(run: Any) -> Any:
    run.define_metric("train/step")
    run.define_metric("*", step_metric="train/step")
    return run


def _log_image(run: Any, step: int, name: str, encoded: bytes) -> None:
    import wandb  # noqa: PLC0415

    # wandb takes a path, and copies the file into its own folder at once.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{name}.jpg")
        path.write_bytes(encoded)
        run.log({"train/step": step, name: wandb.Image(str(path))})
