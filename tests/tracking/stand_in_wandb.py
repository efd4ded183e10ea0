"""Stands in for the library in the other process: notes what it is asked, and fails where it is told to."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ["STAND_IN"])
KEEPING = ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_ARTIFACT_DIR", "WANDB_ERROR_REPORTING", "WANDB_SERVICE")


def _called(call: str, **details: Any) -> None:
    with (FOLDER / "calls").open("a") as file:
        file.write(json.dumps({"call": call, **details}, default=str) + "\n")
    told = json.loads((FOLDER / "breaks").read_text()).get(call)
    if told == "lost":
        raise ConnectionResetError("the service died\nin two lines")
    if told == "hang":
        time.sleep(60)
    if told:
        raise TypeError("the library broke\nin two lines")


_called("import", environment={name: os.environ.get(name) for name in KEEPING})


class Run:
    def __init__(self, mode: str, options: dict[str, Any]) -> None:
        self.id = options.get("id") or os.environ["WANDB_RUN_ID"]
        number = len((FOLDER / "calls").read_text().splitlines())
        prefix = "offline-run" if mode == "offline" else "run"
        folder = Path(options["dir"], "wandb", f"{prefix}-20260101_{number:06d}-{self.id}", "files")
        folder.mkdir(parents=True)
        self.dir = str(folder)

    def log(self, row: dict[str, Any]) -> None:
        _called("log", row=row)

    def alert(self, **details: Any) -> None:
        _called("alert", **details)

    def define_metric(self, name: str, **details: Any) -> None:
        _called("define_metric", name=name, **details)

    def log_artifact(self, artifact: Artifact, aliases: list[str]) -> None:
        _called("log_artifact", aliases=aliases, **vars(artifact))

    def finish(self, exit_code: int = 0) -> None:
        _called("finish", exit_code=exit_code)


class Artifact:
    def __init__(self, name: str, **details: Any) -> None:
        self.name, self.details, self.files = name, details, []

    def add_file(self, path: str) -> None:
        self.files.append(path)


def login(**_: Any) -> bool:
    _called("login")
    return (FOLDER / "key").exists()


def init(*, mode: str, **options: Any) -> Run:
    _called("init", mode=mode, **options)
    _called(f"init {mode}")
    return Run(mode, options)


def Settings(**options: Any) -> dict[str, Any]:  # noqa: N802
    return options


def Image(path: str) -> str:  # noqa: N802
    return f"{Path(path).suffix} of {Path(path).stat().st_size} bytes"


def Histogram(np_histogram: Any) -> dict[str, Any]:  # noqa: N802
    return {"counts": np_histogram[0], "edges": np_histogram[1]}


def Table(columns: Any, data: Any, allow_mixed_types: bool) -> dict[str, Any]:  # noqa: N802
    return {"columns": columns, "data": data}
