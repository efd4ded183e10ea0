"""Weights & Biases. The only file that imports wandb; whatever it does, training goes on."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ganstyle.base.errors import one_line
from ganstyle.tracking.tracker import SilentTracker

ERRORS_BEFORE_GIVING_UP = 3


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
        self._run: Any = None
        self._attempt(lambda: self._start(folder, settings, config, run_id))

    def _start(self, folder: Path, settings: Mapping[str, Any], config: Mapping[str, Any], run_id: str) -> None:
        for variable in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_ARTIFACT_DIR"):
            os.environ.setdefault(variable, str(folder / "wandb"))
        import wandb  # noqa: PLC0415 - a second, and only when it is asked for

        mode = settings["mode"]
        if mode == "online" and not wandb.login(prompt=False):
            self.warn("Weights & Biases: no key on this machine, so the run is kept offline")
            mode = "offline"
        options = wandb.Settings(
            init_timeout=20,
            finish_timeout=60,
            x_transaction_log_flush_interval=2,
            console="off",
            disable_git=True,
            disable_code=True,
            host="",
            silent=True,
        )
        named = {key: settings[key] for key in ("project", "entity", "name", "group", "tags")}
        common = {"dir": str(folder), "id": run_id, "config": dict(config), "settings": options, **named}
        try:
            self._run = wandb.init(mode=mode, resume="allow", **common)
        except Exception as error:
            if mode != "online":
                raise
            self.warn(f"Weights & Biases cannot be reached ({one_line(error)[:120]}), so the run is kept offline")
            self._run = wandb.init(mode="offline", **common)
        self._run.define_metric("train/step")
        self._run.define_metric("*", step_metric="train/step")

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Numbers along `train/step`, never `step=`: a lower one would be dropped after a resume."""
        self._attempt(lambda: self._run.log({"train/step": step, **scalars}))

    def images(self, step: int, name: str, encoded: bytes) -> None:
        """One picture, unless the config keeps pictures at home."""
        if self.with_images:
            self._attempt(lambda: self._log_image(step, name, encoded))

    def _log_image(self, step: int, name: str, encoded: bytes) -> None:
        import tempfile  # noqa: PLC0415

        import wandb  # noqa: PLC0415

        # wandb takes a path, and copies the file into its own folder at once.
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"{name}.jpg")
            path.write_bytes(encoded)
            self._run.log({"train/step": step, name: wandb.Image(str(path))})

    def alert(self, title: str, text: str) -> None:
        """Reaches people by mail or chat."""
        self._attempt(lambda: self._run.alert(title=title, text=text))

    def close(self) -> None:
        """Send what is left, for a minute at most."""
        self._attempt(lambda: self._run.finish())
        self._run = None

    def _attempt(self, action: Callable[[], Any]) -> None:
        if self._errors >= ERRORS_BEFORE_GIVING_UP or (self._run is None and self._errors):
            return
        try:
            action()
        except Exception as error:  # anything at all may come from a library that talks to a service
            self._errors += 1
            if self._run is None or self._errors == ERRORS_BEFORE_GIVING_UP:
                self._errors = ERRORS_BEFORE_GIVING_UP
                self.warn(f"Weights & Biases is switched off for this run: {one_line(error)[:200]}")
