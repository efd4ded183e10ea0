"""The tracker with the real library, offline or refused, read back by the library's own reader."""

from __future__ import annotations

import getpass
import io
import json
import os
import resource
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganstyle.data.grids import encode_grid
from ganstyle.tracking import apart, wandb, wandb_process
from ganstyle.tracking.background import InBackground
from ganstyle.tracking.wandb import WandbTracker
from tests.tracking.test_wandb import CONFIG, RUN_ID, SETTINGS

pytestmark = pytest.mark.slow

PICTURE = encode_grid([[np.full((32, 48, 3), 90, dtype=np.uint8)]])
needs_processes = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="/proc, to find its service, is not here"
)


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The library as on a machine without a key, which must stay as empty as it was."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("NETRC", str(folder / "netrc"))
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "secret folder of mine"
    folder.mkdir()
    return folder


def tracker(folder: Path, warned: list[str], said: list[str] | None = None, **settings: Any) -> WandbTracker:
    say = (said if said is not None else []).append
    options = {**SETTINGS, **settings}
    return WandbTracker(folder, settings=options, config=CONFIG, run_id=RUN_ID, warn=warned.append, say=say)


def run_files(folder: Path) -> list[Path]:
    return sorted((folder / "wandb").glob("*run-*/run-*.wandb"), key=lambda file: file.parent.name[-24:])


def inspect(file: Path, *words: str) -> str:
    command = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", *words, "--json", str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def records(file: Path, kind: str) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in inspect(file).splitlines()]
    return [row[kind] for row in rows if row["type"] == kind]


def history(file: Path) -> list[dict[str, Any]]:
    return [record["item"] for record in records(file, "history")]


def steps(file: Path) -> list[int]:
    return [item["train/step"] for item in history(file)]


def service_of(process: int) -> int:
    """The library's service is a child of the process that serves the tracker."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue
        if name.startswith("wandb-core") and int(rest.split()[1]) == process:
            return int(folder.name)
    raise AssertionError("no service was found")


def until(done: Callable[[], Any], seconds: float = 30) -> Any:
    end = time.monotonic() + seconds
    while not done() and time.monotonic() < end:
        time.sleep(0.05)
    return done()


def test_an_offline_run_can_be_read_back(run: Path) -> None:
    warned: list[str] = []
    said: list[str] = []
    here = tracker(run, warned, said)
    for step, kid in ((100, 3.0), (200, 1.0), (300, 2.0)):
        here.log(step, {"generator/cycle_a": step / 800, "scores/kid_ab": kid, "scores/content": kid})
    here.distributions(300, {"judged/b_real": np.linspace(0, 1, 100)})
    here.images(300, "preview", PICTURE)
    here.alert("colour inversion (a to b)", "what was measured", level="error")
    here.close()
    assert warned == []
    (file,) = run_files(run)
    assert said == [f"to send this run to Weights & Biases: {shlex.join(['wandb', 'sync', str(file.parent)])}"]

    summary = json.loads(inspect(file, "--summary"))
    told = {key: summary[key] for key in ("run_id", "project", "name", "tags", "state", "exit_code")}
    assert told == {
        "run_id": RUN_ID,
        "project": "ink",
        "name": "first",
        "tags": ["small"],
        "state": "finished",
        "exit_code": 0,
    }
    assert summary["config"].items() >= CONFIG.items()
    assert summary["config"].keys() <= CONFIG.keys() | {"commit", "changed"}
    assert summary["summary"]["scores/kid_ab"] == {"min": 1}
    assert summary["summary"]["scores/content"] == {"max": 3}
    assert summary["summary"]["generator/cycle_a"] == 300 / 800
    assert [(item["train/step"], item["generator/cycle_a"]) for item in history(file)[:3]] == [
        (step, step / 800) for step in (100, 200, 300)
    ]
    histogram, shown = history(file)[3:]
    assert histogram["train/step"] == shown["train/step"] == 300
    assert sum(histogram["judged/b_real.values"]) == 100
    stored = file.parent / "files" / shown["preview.path"]
    assert stored.read_bytes() == PICTURE
    with Image.open(io.BytesIO(PICTURE)) as image:
        assert image.size == (shown["preview.width"], shown["preview.height"])
    (alert,) = records(file, "alert")
    assert (alert["level"], alert["title"]) == ("ERROR", "colour inversion (a to b)")
    globs = {each["glob_name"]: each["step_metric"] for each in records(file, "metric") if "glob_name" in each}
    assert globs == {"*": "train/step"}


def test_nothing_private_leaves(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_USERNAME", "person-of-the-name-of")
    here = tracker(run, [])
    here.log(1, {"generator/cycle_a": 0.5})
    here.images(1, "preview", PICTURE)
    here.close()
    (file,) = run_files(run)
    content = file.read_bytes() + b"".join(each.read_bytes() for each in (file.parent / "files").rglob("*.*"))
    private = [str(run), run.name, str(Path.cwd()), sys.executable, "pytest", "github.com", "person-of-the-name-of"]
    for text in private:
        assert text.encode() not in content, text
    for word in (socket.gethostname(), getpass.getuser()):  # short names may stand in any file by chance
        assert f'"{word}"'.encode() not in inspect(file).encode(), word
    assert records(file, "environment") == []
    assert {path.suffix for path in (file.parent / "files").rglob("*") if path.is_file()} == {".jpg"}


def test_the_host_is_told_where_it_is_asked_for(run: Path) -> None:
    here = tracker(run, [], host=True)
    here.log(1, {"generator/cycle_a": 0.5})
    here.close()
    (file,) = run_files(run)
    told = records(file, "environment")[0]
    assert told["host"] == socket.gethostname()
    assert told["program"] == sys.argv[0]
    assert told.get("args", []) == sys.argv[1:]


def test_tables_and_models_are_staged_in_the_run_s_folder(run: Path, tmp_path: Path) -> None:
    weights = tmp_path / "best-ab.safetensors"
    weights.write_bytes(bytes(range(256)))
    before = set(Path(wandb_process.tempfile.gettempdir()).glob("*wandb*"))
    warned: list[str] = []
    here = tracker(run, warned)
    here.table("validation", ["name", "picture", "content"], [["a.jpg", PICTURE, 1], ["b.jpg", PICTURE, 0.25]])
    here.model(weights, "best", {"direction": "ab"})
    here.close()
    assert warned == []
    (file,) = run_files(run)
    tables, model = records(file, "artifact")
    for artifact in (tables, model):
        staged = [Path(each["local_path"]) for each in artifact["manifest"]["contents"]]
        assert staged
        assert all(path.is_relative_to(run / "wandb") and path.is_file() for path in staged)
    assert model["name"] == f"best-ab-{RUN_ID}"
    assert "best" in model["aliases"]
    assert json.loads(model["metadata"]) == {"direction": "ab"}
    (table,) = [item for item in history(file) if "validation.nrows" in item]
    assert (table["validation.nrows"], table["validation.ncols"]) == (2, 3)
    assert set(Path(wandb_process.tempfile.gettempdir()).glob("*wandb*")) <= before


def test_pictures_can_be_kept_at_home(run: Path) -> None:
    here = tracker(run, [], images=False, log_model=False)
    here.log(1, {"generator/cycle_a": 0.5})
    here.images(1, "preview", PICTURE)
    here.table("validation", ["name", "picture"], [["a.jpg", PICTURE]])
    here.close()
    (file,) = run_files(run)
    assert PICTURE not in b"".join(path.read_bytes() for path in run.rglob("*") if path.is_file())
    assert not list((run / "wandb").rglob("*.jpg"))
    assert [item["validation.ncols"] for item in history(file) if "validation.ncols" in item] == [1]


def test_a_run_that_failed_is_shown_as_failed(run: Path) -> None:
    here = tracker(run, [])
    here.log(1, {"generator/cycle_a": 0.5})
    here.close(failed=True)
    summary = json.loads(inspect(run_files(run)[0], "--summary"))
    assert (summary["state"], summary["exit_code"]) == ("failed", 1)


def test_a_resumed_run_is_two_folders_of_one_run(run: Path) -> None:
    said: list[str] = []
    for start in (0, 2):  # the second goes on from an earlier step than the first reached
        here = tracker(run, [], said)
        for step in range(start + 1, start + 4):
            here.log(step, {"generator/cycle_a": step / 8})
        here.close()
        time.sleep(1)  # the folders are named by the second
    first, second = run_files(run)
    assert (steps(first), steps(second)) == ([1, 2, 3], [3, 4, 5])
    assert [records(file, "run")[0]["run_id"] for file in (first, second)] == [RUN_ID] * 2
    command = shlex.split(said[1].partition(": ")[2])
    assert command == ["wandb", "sync", str(first.parent), str(second.parent)]
    would = subprocess.run(
        [str(Path(sys.executable).with_name("wandb")), *command[1:], "--dry-run"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Would sync 2 run(s)" in would.stdout + would.stderr


def test_no_key_keeps_it_offline(run: Path) -> None:
    warned: list[str] = []
    here = tracker(run, warned, mode="online")
    here.log(1, {"generator/cycle_a": 0.5})
    here.close()
    assert warned == ["Weights & Biases: no key on this machine, so the run is kept offline"]
    assert steps(run_files(run)[0]) == [1]


def test_a_refused_network_keeps_it_offline_and_holds_nobody_up(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{_closed_port()}")
    warned: list[str] = []
    began = time.monotonic()
    here = InBackground(lambda: tracker(run, warned, mode="online"), warned.append, name="Weights & Biases")
    for step in range(1, 100):
        here.log(step, {"generator/cycle_a": 0.5})
    assert time.monotonic() - began < 1  # while it still tries
    here.close()
    assert time.monotonic() - began < 60
    (line,) = warned
    assert line.startswith("Weights & Biases: it cannot be reached (")
    assert line.endswith("so the run is kept offline")
    assert steps(run_files(run)[0]) == list(range(1, 100))


def _closed_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@needs_processes
def test_a_service_that_is_killed_is_replaced_and_all_is_kept(run: Path) -> None:
    warned: list[str] = []
    said: list[str] = []
    here = tracker(run, warned, said)
    here.log(1, {"generator/cycle_a": 0.5})
    time.sleep(3)  # it writes every two seconds
    assert here._process is not None
    os.kill(service_of(here._process.pid), signal.SIGKILL)
    time.sleep(0.2)
    for step in (2, 3, 4):
        here.log(step, {"generator/cycle_a": 0.5})
    here.close()
    (line,) = warned
    assert line.startswith("Weights & Biases was lost (")
    assert "the rest of the run is kept offline" in line
    first, second = run_files(run)
    assert steps(first) == [1]
    assert set(steps(second)) <= {2, 3, 4} >= {3, 4}
    assert shlex.split(said[0].partition(": ")[2])[2:] == [str(first.parent), str(second.parent)]


@needs_processes
def test_a_service_that_is_stopped_holds_nobody_up(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb, "ANSWER_S", 3.0)
    monkeypatch.setattr(wandb, "SPARE_S", -17.0)
    monkeypatch.setattr(apart, "ENDING_S", 1.0)
    warned: list[str] = []
    made: list[WandbTracker] = []

    def make() -> WandbTracker:
        made.append(tracker(run, warned))
        return made[0]

    here = InBackground(make, warned.append, name="Weights & Biases", closing_s=60)
    here.log(1, {"generator/cycle_a": 0.5})
    assert until(lambda: made)
    assert made[0]._process is not None
    time.sleep(3)
    service = service_of(made[0]._process.pid)
    os.kill(service, signal.SIGSTOP)
    try:
        began = time.monotonic()
        for step in range(2, 200):
            here.log(step, {"generator/cycle_a": 0.5})
            here.images(step, "preview", PICTURE)
        assert time.monotonic() - began < 1
        here.close()
        assert time.monotonic() - began < 40
    finally:
        os.kill(service, signal.SIGKILL)
    assert 1 <= len(warned) <= 2
    assert all("Weights & Biases" in line for line in warned)
    assert steps(run_files(run)[0])[0] == 1


def test_odd_values_are_left_out(run: Path) -> None:
    warned: list[str] = []
    here = tracker(run, warned)
    odd: dict[str, Any] = {"a": float("nan"), "b": None, "c": object(), "d": "text", "e": 10**400, "f": np.float32(0.5)}
    here.log(1, odd)
    here.log(2, {"": 1.0, "a" * 2000: 2.0, "\x00": 3.0, "☃/é": 4.0})
    here.distributions(3, {"x": np.array(["text"]), "y": np.array([1e308, -1e308, np.inf])})
    here.images(4, "preview", b"no picture at all")
    here.table("t", ["one", "two"], [[1, "x"], ["y", float("nan")]])
    here.alert("", "\x00", level="of no kind")
    here.model(run / "no such file", "latest", {"odd": object()})  # cannot even be told to another process
    here.log(5, {"generator/cycle_a": 0.5})
    here.close()
    (line,) = warned
    assert "records" in line or "switched off" in line
    rows = history(run_files(run)[0])
    assert rows[0].keys() >= {"train/step", "f"}
    assert set("abcde").isdisjoint(rows[0])


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("a small disk cannot be mounted here")
    try:
        run, warned = disk / "run", []
        run.mkdir()
        here = tracker(run, warned)
        for step in range(1, 600):
            here.log(step, {f"generator/cycle_{number}": 0.5 for number in range(40)})
            if step % 50 == 0:
                here.images(step, "preview", os.urandom(8) + PICTURE * 10)
        here.close()
        kept = steps(run_files(run)[0])
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
    assert "the disk is full" in warned[0]
    assert len(warned) <= 3
    assert kept == list(range(1, len(kept) + 1))
    assert len(kept) > 10


def test_a_limit_on_files_is_survived(run: Path) -> None:
    """As a quota does it; the limit is of a process and its children."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    warned: list[str] = []
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))
    try:
        here = tracker(run, warned)
        for step in range(1, 300):
            here.log(step, {f"generator/cycle_{number}": 0.5 for number in range(40)})
        here.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(warned) <= 2
    assert all(line.startswith("Weights & Biases") for line in warned)
    assert steps(run_files(run)[0])[:10] == list(range(1, 11))


def test_under_an_agent_the_run_is_the_agent_s(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = tmp_path / "config.yaml"
    parameters.write_text("wandb_version: 1\nseed:\n  value: 2\ntraining.learning_rate:\n  value: 0.0005\n")
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep123")
    monkeypatch.setenv("WANDB_RUN_ID", "agents01")
    monkeypatch.setenv("WANDB_PROJECT", "agents-project")
    monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", str(parameters))
    warned: list[str] = []
    here = tracker(run, warned)
    here.log(1, {"scores/kid": 0.5})
    here.close()
    assert warned == []
    (file,) = run_files(run)
    told = records(file, "run")[0]
    assert (told["run_id"], told["project"], told["sweep_id"]) == ("agents01", "agents-project", "sweep123")
    config = json.loads(inspect(file, "--summary"))["config"]
    assert config["training.learning_rate"] == 0.0005


PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from tests.tracking.test_wandb_library import service_of, tracker
from ganstyle.tracking.background import InBackground
made = []
def make():
    made.append(tracker(Path(sys.argv[1]), []))
    return made[0]
here = InBackground(make, print, name="Weights & Biases", closing_s=1)
for step in range(1, 6):
    here.log(step, {"generator/cycle_a": 0.5})
while not (made and made[0]._process):
    time.sleep(0.05)
time.sleep(3)
"""


def program(run: Path, end: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", PROGRAM + end, str(run)]
    root = Path(__file__).resolve().parents[2]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120, check=False)


def test_a_killed_program_loses_nothing_that_it_told(run: Path) -> None:
    ended = program(run, "here.log(6, {'generator/cycle_a': 1.0}); time.sleep(0.5); os.kill(os.getpid(), 9)")
    assert ended.returncode == -9, ended.stderr
    (file,) = run_files(run)
    assert until(lambda: json.loads(inspect(file, "--summary"))["state"] == "failed")
    assert steps(file) == [1, 2, 3, 4, 5, 6]


@needs_processes
@pytest.mark.parametrize("how", ["SIGSTOP", "SIGKILL"])
def test_a_program_ends_quietly_whatever_became_of_the_service(run: Path, how: str) -> None:
    began = time.monotonic()
    ended = program(
        run,
        f"service = service_of(made[0]._process.pid); print('service', service)\n"
        f"os.kill(service, signal.{how}); time.sleep(0.2)\n"
        "here.log(7, {'generator/cycle_a': 1.0}); here.close()\n",
    )
    if how == "SIGSTOP":
        os.kill(int(ended.stdout.split()[1]), signal.SIGKILL)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert time.monotonic() - began < 60
    assert steps(run_files(run)[0]) == [1, 2, 3, 4, 5]
