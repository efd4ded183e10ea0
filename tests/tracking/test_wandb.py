from __future__ import annotations

import getpass
import io
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganstyle.data.grids import encode_grid
from ganstyle.tracking import wandb as module
from ganstyle.tracking.wandb import ERRORS_BEFORE_GIVING_UP, FOLDER_VARIABLES, WandbTracker

PICTURE = encode_grid([[np.full((32, 48, 3), 90, dtype=np.uint8)]])
SETTINGS: dict[str, Any] = {
    "mode": "offline",
    "project": "ink",
    "entity": None,
    "name": "first",
    "group": None,
    "tags": ["small"],
    "images": True,
}
CONFIG = {"seed": 7, "training": {"steps": 3}}


def tracker(folder: Path, warned: list[str], **settings: Any) -> WandbTracker:
    return WandbTracker(folder, settings={**SETTINGS, **settings}, config=CONFIG, run_id="abcd1234", warn=warned.append)


# A library that fails where it is told to


class BrokenRun:
    def __init__(self, *, breaks: set[str]) -> None:
        self.breaks, self.calls = breaks, []

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **options: Any) -> None:
            self.calls.append(name)
            if name in self.breaks:
                raise ConnectionResetError("the service died\nin two lines")

        return call


def library(monkeypatch: pytest.MonkeyPatch, *breaks: str, key: bool = True) -> tuple[BrokenRun, list[str]]:
    """A stand-in whose `breaks` raise; returns its run and the modes that were tried."""
    run, modes = BrokenRun(breaks=set(breaks)), []

    def init(*, mode: str, **options: Any) -> BrokenRun:
        modes.append(mode)
        if "init" in breaks or f"init {mode}" in breaks:
            raise TimeoutError("no answer\nat all")
        return run

    def login(**options: Any) -> bool:
        if "login" in breaks:
            raise ConnectionError("no network")
        return key

    def image(path: str) -> bytes:
        return Path(path).read_bytes()

    fake = SimpleNamespace(init=init, login=login, Settings=lambda **options: options, Image=image)
    monkeypatch.setitem(sys.modules, "wandb", fake)  # type: ignore[arg-type]
    return run, modes


def tell_everything(here: WandbTracker, times: int = 6) -> None:
    for step in range(times):
        here.log(step, {"generator/cycle_a": 0.5})
        here.images(step, "preview", PICTURE)
        here.alert("title", "text")
    here.close()
    here.log(99, {})
    here.close()


@pytest.mark.parametrize(
    "broken", [{"init"}, {"log"}, {"finish"}, {"alert"}, {"define_metric"}, {"log", "finish", "alert"}], ids=str
)
@pytest.mark.parametrize("mode", ["online", "offline"])
def test_a_broken_library_is_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: set[str], mode: str
) -> None:
    run, _ = library(monkeypatch, *broken)
    warned: list[str] = []
    tell_everything(tracker(tmp_path, warned, mode=mode))
    (line,) = warned
    assert line.startswith("Weights & Biases ")
    assert "\n" not in line
    assert run.calls.count("log") <= (ERRORS_BEFORE_GIVING_UP if "log" in broken else 12)


def test_a_library_that_cannot_be_imported_is_one_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    warned: list[str] = []
    tell_everything(tracker(tmp_path, warned))
    assert len(warned) == 1
    assert "switched off" in warned[0]


def test_a_few_errors_are_forgiven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = library(monkeypatch)
    warned: list[str] = []
    here = tracker(tmp_path, warned)
    run.breaks.add("log")
    here.log(1, {})
    here.log(2, {})
    run.breaks.clear()
    here.log(3, {})
    here.close()
    assert warned == []
    assert run.calls.count("log") == 3
    assert run.calls[-1] == "finish"


@pytest.mark.parametrize(
    ("broken", "key", "modes", "reason"),
    [
        ([], False, ["offline"], "no key on this machine"),
        (["login"], True, ["offline"], "it cannot be reached (no network)"),
        (["init online"], True, ["online", "offline"], "it cannot be reached (no answer at all)"),
    ],
)
def test_a_run_that_cannot_be_sent_is_kept_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, broken: list[str], key: bool, modes: list[str], reason: str
) -> None:
    run, tried = library(monkeypatch, *broken, key=key)
    warned: list[str] = []
    here = tracker(tmp_path, warned, mode="online")
    here.log(1, {})
    here.close()
    assert tried == modes
    assert warned == [f"Weights & Biases: {reason}, so the run is kept offline"]
    assert run.calls[-2:] == ["log", "finish"]


def test_with_a_key_it_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, tried = library(monkeypatch)
    warned: list[str] = []
    tracker(tmp_path, warned, mode="online").close()
    assert (tried, warned) == (["online"], [])


def test_its_folders_are_named_until_it_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library(monkeypatch)
    for name in FOLDER_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_CACHE_DIR", "a person's own")
    for run in ("one", "two"):
        here = tracker(tmp_path / run, [])
        assert os.environ["WANDB_DATA_DIR"] == os.environ["WANDB_ARTIFACT_DIR"] == str(tmp_path / run / "wandb")
        assert os.environ["WANDB_CACHE_DIR"] == "a person's own"
        here.close()
        assert {name for name in FOLDER_VARIABLES if name in os.environ} == {"WANDB_CACHE_DIR"}


def test_pictures_can_be_kept_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = library(monkeypatch)
    here = tracker(tmp_path, [], images=False)
    here.images(1, "preview", PICTURE)
    assert "log" not in run.calls
    here = tracker(tmp_path, [], images=True)
    here.images(1, "preview", PICTURE)
    assert run.calls.count("log") == 1


def test_it_is_not_imported_unless_asked_for() -> None:
    code = (
        "import sys, ganstyle.tracking.wandb\n"
        "from ganstyle.verbs.training import _wandb\n"
        "from ganstyle.base.config import parse_config\n"
        "assert _wandb(None, parse_config({'training': {'steps': 1}}), print) == []\n"
        "assert 'wandb' not in sys.modules, 'imported'\n"
    )
    root = Path(module.__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)


# The real library, offline


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The library as on a machine without a key; its service ends with the test."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "home"))
    yield
    if "wandb" in sys.modules:
        sys.modules["wandb"].teardown()


def offline_files(folder: Path) -> list[Path]:
    return sorted((folder / "wandb").glob("offline-run-*/run-*.wandb"))


def records(file: Path) -> list[dict[str, Any]]:
    command = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--json", str(file)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return [json.loads(line) for line in result.stdout.splitlines()]


def history(file: Path) -> list[dict[str, Any]]:
    return [record["history"]["item"] for record in records(file) if record["type"] == "history"]


@pytest.mark.slow
def test_an_offline_run_can_be_read_back(tmp_path: Path, offline: None) -> None:
    folder, warned = tmp_path / "secret folder of mine", []
    folder.mkdir()
    for start in (0, 2):  # the second goes on from an earlier step than the first reached
        here = tracker(folder, warned)
        for step in range(start + 1, start + 4):
            here.log(step, {"generator/cycle_a": step / 8})
        here.images(start + 3, "preview", PICTURE)
        here.alert("title", "text")
        here.close()
    assert warned == []
    files = offline_files(folder)
    assert len(files) == 2
    assert [file.name for file in files] == ["run-abcd1234.wandb"] * 2
    for file, start in zip(files, (0, 2), strict=True):
        items = [item for item in history(file) if "generator/cycle_a" in item]
        assert [(item["train/step"], item["generator/cycle_a"]) for item in items] == [
            (step, step / 8) for step in range(start + 1, start + 4)
        ]
        (run,) = [record["run"] for record in records(file) if record["type"] == "run"]
        assert (run["run_id"], run["project"], run["display_name"], run["tags"]) == (
            "abcd1234",
            "ink",
            "first",
            ["small"],
        )
        assert run["config"]["update"]["training"] == {"steps": 3}
        metrics = [record["metric"] for record in records(file) if record["type"] == "metric"]
        assert {each["glob_name"]: each["step_metric"] for each in metrics if "glob_name" in each} == {
            "*": "train/step"
        }
        (shown,) = [item for item in history(file) if "preview.path" in item]
        assert shown["train/step"] == start + 3
        stored = file.parent / "files" / shown["preview.path"]
        assert stored.read_bytes() == PICTURE
        with Image.open(io.BytesIO(stored.read_bytes())) as image:
            assert image.size == (shown["preview.width"], shown["preview.height"])
        content = file.read_bytes()
        for private in (socket.gethostname(), folder.name, str(tmp_path), str(Path.cwd()), sys.executable, "pytest"):
            assert len(private) < 2 or _hidden(private, content), private
        assert b"github.com" not in content
    assert _hidden(str(folder), b"".join(path.read_bytes() for path in (files[0].parent / "files").rglob("*.txt")))


def _hidden(private: str, content: bytes) -> bool:
    """Very short names (a host called `vm`) may stand in any binary file by chance; then only whole words count."""
    if len(private) > 4:
        return private.encode() not in content
    text = f'"{private}"'.encode()
    return text not in content


@pytest.mark.slow
def test_no_key_keeps_the_real_run_offline_without_pictures(tmp_path: Path, offline: None) -> None:
    folder, warned = tmp_path / "run", []
    folder.mkdir()
    here = tracker(folder, warned, mode="online", images=False)
    here.log(1, {"generator/cycle_a": 0.5})
    here.images(1, "preview", PICTURE)
    here.close()
    assert warned == ["Weights & Biases: no key on this machine, so the run is kept offline"]
    (file,) = offline_files(folder)
    assert [item["train/step"] for item in history(file)] == [1]
    assert not list(folder.rglob("*.jpg"))
    assert getpass.getuser() not in {record.get("run", {}).get("username") for record in records(file)}


@pytest.mark.slow
@pytest.mark.parametrize("call", ["log", "finish"])
def test_the_real_library_breaking_is_one_warning(
    tmp_path: Path, offline: None, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    warned: list[str] = []
    here = tracker(tmp_path, warned)
    assert warned == []
    run = here._run

    def broken(*args: Any, **options: Any) -> None:
        raise ConnectionResetError("the service died")

    with monkeypatch.context() as patched:
        patched.setattr(run, call, broken)
        tell_everything(here)
    run.finish()
    assert len(warned) == 1
    assert "the service died" in warned[0]
