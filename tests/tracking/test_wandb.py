"""The tracker, told by a stand-in for the library; `test_wandb_library.py` has the real one."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ganstyle.tracking import wandb as module
from ganstyle.tracking.tracker import BINS
from ganstyle.tracking.wandb import (
    ENOUGH_BYTES,
    ERRORS_BEFORE_GIVING_UP,
    LEAST_FREE_BYTES,
    UNSENT,
    WandbTracker,
    sync_command,
    unsent_folders,
    without_paths,
)

PICTURE = b"\xff\xd8\xff a picture"
SETTINGS: dict[str, Any] = {
    "mode": "offline",
    "project": "ink",
    "entity": "someone",
    "name": "first",
    "group": None,
    "tags": ["small"],
    "images": True,
    "log_model": True,
    "host": False,
}
CONFIG = {"seed": 7, "training": {"steps": 3}}
RUN_ID = "abcd1234"
BROKEN = "it cannot be reached (the library broke in two lines)"


class Library:
    """The stand-in that the other process imports."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.breaks()

    def breaks(self, **how: str) -> None:
        """From now on these calls `raise`, find the service `lost`, or `hang`."""
        told = {name.replace("_online", " online").replace("_offline", " offline"): kind for name, kind in how.items()}
        (self.folder / "breaks").write_text(json.dumps(told))

    def calls(self, name: str) -> list[dict[str, Any]]:
        path = self.folder / "calls"
        rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [row for row in rows if row["call"] == name]

    def rows(self) -> list[dict[str, Any]]:
        return [call["row"] for call in self.calls("log")]

    def modes(self) -> list[str]:
        return [call["mode"] for call in self.calls("init")]


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "library"
    folder.mkdir()
    shutil.copy(Path(__file__).with_name("stand_in_wandb.py"), folder / "wandb.py")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("STAND_IN", str(folder))
    return Library(folder)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def tracker(folder: Path, warned: list[str], said: list[str] | None = None, **settings: Any) -> WandbTracker:
    say = (said if said is not None else []).append
    options = {**SETTINGS, **settings}
    return WandbTracker(folder, settings=options, config=CONFIG, run_id=RUN_ID, warn=warned.append, say=say)


def tell_everything(here: WandbTracker, path: Path, times: int = 6) -> None:
    for step in range(times):
        here.log(step, {"generator/cycle_a": 0.5})
        here.images(step, "preview", PICTURE)
        here.alert("title", "text")
    here.model(path, "latest", {})
    here.close()
    here.log(99, {})
    here.close()


@pytest.mark.parametrize("broken", ["import", "login", "init", "log", "finish", "alert", "define_metric"])
@pytest.mark.parametrize("mode", ["online", "offline"])
def test_a_broken_library_is_one_warning(library: Library, run: Path, broken: str, mode: str) -> None:
    library.breaks(**{broken: "raise"})
    (library.folder / "key").touch()
    warned: list[str] = []
    tell_everything(tracker(run, warned, mode=mode), run)
    if broken == "login" and mode == "offline":
        assert warned == []
        return
    (line,) = warned
    assert line.startswith("Weights & Biases")
    assert "\n" not in line
    if broken == "log":
        assert len(library.calls("log")) == 6 * 2  # an alert between them works, so it is not given up


def test_errors_in_a_row_switch_it_off(library: Library, run: Path) -> None:
    warned: list[str] = []
    here = tracker(run, warned)
    library.breaks(log="raise")
    for step in range(9):
        here.log(step, {})
    assert warned == ["Weights & Biases is switched off for this run: the library broke in two lines"]
    assert len(library.calls("log")) == ERRORS_BEFORE_GIVING_UP
    here.close()
    assert len(warned) == 1


def test_a_few_errors_are_forgiven_and_told_at_the_end(library: Library, run: Path) -> None:
    warned: list[str] = []
    here = tracker(run, warned)
    for step in range(6):
        library.breaks(**({"log": "raise"} if step in (1, 2, 4) else {}))
        here.log(step, {"step": step})
    assert warned == []
    here.close()
    assert warned == ["Weights & Biases lacks 3 of its records: the library broke in two lines"]
    assert library.calls("finish") == [{"call": "finish", "exit_code": 0}]


@pytest.mark.parametrize("failed", [False, True])
def test_a_run_that_failed_ends_as_one(library: Library, run: Path, failed: bool) -> None:
    tracker(run, []).close(failed=failed)
    assert library.calls("finish") == [{"call": "finish", "exit_code": int(failed)}]


@pytest.mark.parametrize(
    ("broken", "key", "modes", "reason"),
    [
        ({}, False, ["offline"], "no key on this machine"),
        ({"login": "raise"}, True, ["offline"], BROKEN),
        (
            {"init_online": "raise"},
            True,
            ["online", "offline"],
            "it cannot be reached (the library broke in two lines)",
        ),
    ],
)
def test_a_run_that_cannot_be_sent_is_kept_offline(
    library: Library, run: Path, *, broken: dict[str, str], key: bool, modes: list[str], reason: str
) -> None:
    library.breaks(**broken)
    if key:
        (library.folder / "key").touch()
    warned: list[str] = []
    said: list[str] = []
    here = tracker(run, warned, said, mode="online")
    here.log(1, {})
    here.close()
    assert library.modes() == modes
    assert warned == [f"Weights & Biases: {reason}, so the run is kept offline"]
    assert len(library.rows()) == len(library.calls("finish")) == 1
    (folder,) = (run / "wandb").glob("offline-run-*")
    assert said == [f"to send this run to Weights & Biases: wandb sync {folder}"]


def test_with_a_key_it_is_sent_and_nothing_is_left_to_say(library: Library, run: Path) -> None:
    (library.folder / "key").touch()
    warned: list[str] = []
    tracker(run, warned, warned, mode="online").close()
    (begun,) = library.calls("init")
    assert (begun["mode"], begun["resume"], begun["id"]) == ("online", "allow", RUN_ID)
    assert warned == []


@pytest.mark.parametrize(
    ("mode", "environment", "modes"),
    [
        ("online", "offline", ["offline"]),
        ("online", "dryrun", ["offline"]),
        ("online", "online", ["online"]),
        ("offline", "online", ["offline"]),  # a person's config keeps it at home
        ("online", "disabled", []),
        ("offline", "disabled", []),
    ],
)
def test_the_environment_may_ask_for_less(
    library: Library, run: Path, monkeypatch: pytest.MonkeyPatch, *, mode: str, environment: str, modes: list[str]
) -> None:
    (library.folder / "key").touch()
    monkeypatch.setenv("WANDB_MODE", environment)
    warned: list[str] = []
    here = tracker(run, warned, mode=mode)
    here.log(1, {})
    here.close()
    assert library.modes() == modes
    assert [line for line in warned if "disabled" in line] == warned
    assert bool(warned) == (environment == "disabled")


def test_it_says_what_it_is_made_from_and_no_more(library: Library, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "checkout_facts", lambda: {"commit": "0123", "changed": True})
    tracker(run, []).close()
    (begun,) = library.calls("init")
    settings = begun.pop("settings")
    assert begun == {
        "call": "init",
        "mode": "offline",
        "dir": str(run),
        "id": RUN_ID,
        "project": "ink",
        "entity": "someone",
        "name": "first",
        "group": None,
        "tags": ["small"],
        "config": CONFIG | {"commit": "0123", "changed": True},
    }
    private = ("x_disable_meta", "disable_git", "disable_code", "disable_job_creation", "silent")
    assert all(settings[name] is True for name in private)
    assert (settings["host"], settings["username"], settings["console"]) == ("", "", "off")
    assert settings["x_save_requirements"] is False
    assert 0 < settings["finish_timeout"] <= 60  # 0 would wait for ever
    assert settings["x_stats_pid"] == os.getpid()


def test_the_host_is_told_where_it_is_asked_for(library: Library, run: Path) -> None:
    tracker(run, [], host=True).close()
    settings = library.calls("init")[0]["settings"]
    assert settings["program"] == sys.argv[0]
    assert {"host", "username", "x_disable_meta"}.isdisjoint(settings)
    assert settings["disable_git"] is settings["disable_code"] is True


def test_under_an_agent_the_run_is_the_agent_s(library: Library, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (library.folder / "key").touch()
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep123")
    monkeypatch.setenv("WANDB_RUN_ID", "agents01")
    said: list[str] = []
    library.breaks(log="lost")
    here = tracker(run, [], said, mode="online")
    here.log(1, {})
    here.close()
    assert library.modes() == ["online", "offline"]
    assert all({"id", "project", "entity", "resume"}.isdisjoint(begun) for begun in library.calls("init"))
    assert "agents01" in said[0]
    assert RUN_ID not in said[0]


def opened_as(run: Path, warned: list[str], told: Callable[[str], None]) -> WandbTracker:
    return WandbTracker(run, settings=SETTINGS, config=CONFIG, run_id=RUN_ID, warn=warned.append, opened=told)


def test_the_agent_s_id_is_told_once(library: Library, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    opened_as(run, [], told.append).close()
    assert told == []  # it is the one that was given
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep123")
    monkeypatch.setenv("WANDB_RUN_ID", "agents01")
    library.breaks(log="lost")
    here = opened_as(run, [], told.append)
    assert told == ["agents01"]
    here.log(1, {})
    here.close()
    assert library.modes()[1:] == ["offline", "offline"]
    assert told == ["agents01"]


def test_an_id_that_cannot_be_kept_is_one_warning(library: Library, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep123")
    monkeypatch.setenv("WANDB_RUN_ID", "agents01")
    warned: list[str] = []
    here = opened_as(run, warned, refusing)
    here.log(1, {})
    assert warned == ["Weights & Biases: the run's id agents01 cannot be kept: [Errno 13] Permission denied"]
    assert len(library.rows()) == 1
    here.close()


def test_an_id_is_not_told_of_a_run_that_is_none(library: Library, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep123")
    library.breaks(init="raise")
    told: list[str] = []
    opened_as(run, [], told.append).close()
    assert told == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cannot write /home/me/x.pt: [Errno 28] No space left", "cannot write ...: [Errno 28] No space left"),
        ("cannot write /home/me/my run/a b/x.pt: full", "cannot write ...: full"),
        ("cannot write ~/art/x or ~me/art.", "cannot write ... or ...."),
        ("in (/home/me/a), data.a=/b/c, file:///home/me/x!", "in (...), data.a=..., file:...!"),
        ("the output /a/b lies in the input /c/(d)/e; no", "the output ... lies in the input ...; no"),
        ("mistakes:\n  /data/\u00e9: none\n  /(data)/b: none", "mistakes:\n  ...: none\n  ...: none"),
        ("No such file: '/home/me/bob's art/x y', \"/a b\", b'/c d'", "No such file: '...', \"...\", b'...'"),
        ("of '/home/me/my run/x", "of '..."),  # cut off
        (r"C:\Users\Jane Doe\x.png: gone, D:/art", "...: gone, ..."),
        (r"No such file: 'C:\\Users\\Jane Doe\\x y.png'", "No such file: '...'"),
        (r"\\server\share\a b\c.png is gone", "... is gone"),
        ("runs/my ink/metrics.jsonl: a file", ".../metrics.jsonl: a file"),
        ("runs/my ink: a file", "...: a file"),
        ("", ""),
    ],
)
def test_paths_are_hidden(text: str, shown: str) -> None:
    assert without_paths(text, Path("runs", "my ink")) == shown


@pytest.mark.parametrize(
    "text",
    [
        "KID/FID 1.2, 3.1 images/s, 10%/s, 5 +/- 0.2, 1/2, a / b, and/or, generator/cycle_a, (a/b)",
        "colour inversion (a to b): -0.5; see https://wandb.ai/someone/ink",
        "the run is not what ./run or runs/other is; step 3/40",
    ],
)
def test_what_is_no_path_is_told_as_it_is(text: str) -> None:
    assert without_paths(text, Path("run")) == text


def test_the_run_s_folder_is_hidden_by_each_of_its_names(tmp_path: Path) -> None:
    folder, link = tmp_path / "a folder, of mine", tmp_path / "link"
    folder.mkdir()
    link.symlink_to(folder)
    text = f"{link}/x: no; {folder}/y z: no; {folder}: no"
    assert without_paths(text, link) == ".../x: no; .../y z: no; ...: no"


@pytest.mark.parametrize("host", [False, True])
def test_alerts_hold_no_paths_unless_the_host_may_be_told(library: Library, run: Path, host: bool) -> None:
    here = tracker(run, [], host=host)
    here.alert("stopped", f"cannot write {run / 'x.pt'}: full")
    here.close()
    (alert,) = library.calls("alert")
    assert alert["text"] == (f"cannot write {run / 'x.pt'}: full" if host else "cannot write .../x.pt: full")
    assert alert["title"] == "stopped"


def test_its_files_are_in_the_run_s_folder(library: Library, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_CACHE_DIR", "a person's own")
    monkeypatch.setenv("WANDB_SERVICE", "another program's")
    before = dict(os.environ)
    tracker(run, []).close()
    assert dict(os.environ) == before
    (imported,) = library.calls("import")
    assert imported["environment"] == {
        "WANDB_DATA_DIR": str(run / "wandb"),
        "WANDB_ARTIFACT_DIR": str(run / "wandb"),
        "WANDB_CACHE_DIR": "a person's own",
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_SERVICE": None,
    }


def test_rows_have_the_step_among_their_numbers(library: Library, run: Path) -> None:
    here = tracker(run, [])
    here.log(100, {"generator/cycle_a": 0.5, "bad": float("nan"), "odd": "text"})  # type: ignore[dict-item]
    here.log(50, {"scores/kid_ab": 2.0, "scores/content": 0.5, "scores/kid_deviation_ab": 0.1})
    here.log(60, {"scores/kid_ab": 1.0})
    here.close()
    assert library.rows() == [
        {"train/step": 100, "generator/cycle_a": 0.5},
        {"train/step": 50, "scores/kid_ab": 2.0, "scores/content": 0.5, "scores/kid_deviation_ab": 0.1},
        {"train/step": 60, "scores/kid_ab": 1.0},
    ]
    defined = {call["name"]: call for call in library.calls("define_metric")}
    assert {name: call.get("summary") for name, call in defined.items()} == {
        "train/step": None,
        "*": None,
        "scores/kid_ab": "min",
        "scores/content": "max",
    }
    assert {call.get("step_metric") for name, call in defined.items() if name != "train/step"} == {"train/step"}


def test_histograms_are_of_what_is_finite(library: Library, run: Path) -> None:
    here = tracker(run, [])
    values = np.array([0.0, 0.5, 1.0, 1.0, np.nan, np.inf])
    here.distributions(100, {"judged/b_real": values, "none": np.array([np.nan]), "odd": np.array(["x"])})
    here.close()
    (row,) = library.rows()
    assert row.keys() == {"train/step", "judged/b_real"}
    counts, edges = row["judged/b_real"]["counts"], row["judged/b_real"]["edges"]
    assert len(counts) == BINS == len(edges) - 1
    assert sum(counts) == 4
    assert (counts[0], counts[-1]) == (1, 2)
    assert (edges[0], edges[-1]) == (0.0, 1.0)


def test_pictures_tables_and_models(library: Library, run: Path) -> None:
    here = tracker(run, [])
    here.images(100, "preview", PICTURE)
    here.table("validation", ["name", "picture", "content"], [["a.jpg", PICTURE, 0.5], ["b.jpg", b"\x89PNG", 1]])
    here.alert("x" * 99, "text", level="error")
    here.model(run / "best ab.safetensors", "best", {"step": 3})
    here.close()
    jpeg, png = f".jpg of {len(PICTURE)} bytes", ".png of 4 bytes"
    assert library.rows() == [
        {"train/step": 100, "preview": jpeg},
        {"validation": {"columns": ["name", "picture", "content"], "data": [["a.jpg", jpeg, 0.5], ["b.jpg", png, 1]]}},
    ]
    (alert,) = library.calls("alert")
    assert (len(alert["title"]), alert["level"]) == (63, "ERROR")
    (artifact,) = library.calls("log_artifact")
    assert artifact["name"] == f"best-ab-{RUN_ID}"
    assert artifact["details"] == {"type": "model", "metadata": {"step": 3}}
    assert artifact["files"] == [str(run / "best ab.safetensors")]
    assert artifact["aliases"] == ["best"]
    assert not list((run / "wandb" / "staging").iterdir())


def test_pictures_and_models_can_be_kept_at_home(library: Library, run: Path) -> None:
    here = tracker(run, [], images=False, log_model=False)
    here.images(1, "preview", PICTURE)
    here.table("validation", ["name", "picture", "content"], [["a.jpg", PICTURE, 0.5], ["b.jpg", "missing", 1]])
    here.table("pictures", ["picture"], [[PICTURE]])
    here.model(run / "x.safetensors", "best", {})
    here.close()
    assert library.rows() == [{"validation": {"columns": ["name", "content"], "data": [["a.jpg", 0.5], ["b.jpg", 1]]}}]
    assert library.calls("log_artifact") == []


@pytest.mark.parametrize("how", ["lost", "hang"])
def test_a_service_that_is_lost_is_replaced_once(
    library: Library, run: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(module, "ANSWER_S", 2.0)
    (library.folder / "key").touch()
    warned: list[str] = []
    said: list[str] = []
    here = tracker(run, warned, said, mode="online")
    here.log(1, {})
    library.breaks(alert=how)
    mended = threading.Timer(1.0, library.breaks)  # while it hangs; a lost one is told of at once, and lost again
    mended.start()
    here.alert("title", "text")
    mended.join()
    here.log(2, {})
    if how == "lost":
        assert [line[:45] for line in warned][1:] == ["Weights & Biases is switched off for this run"]
    else:
        assert len(warned) == 1
        assert [row["train/step"] for row in library.rows()] == [1, 2]
    assert "the rest of the run is kept offline" in warned[0]
    here.close()
    assert library.modes() == ["online", "offline"]
    online, offline = sorted((run / "wandb").glob(f"*run-*-{RUN_ID}"), key=lambda folder: folder.name[-20:])
    assert (online / UNSENT).exists()
    assert said == [f"to send this run to Weights & Biases: wandb sync --include-online {online} {offline}"]


def test_closing_a_service_that_hangs_takes_a_limited_time(
    library: Library, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SPARE_S", -19.5)
    warned: list[str] = []
    here = tracker(run, warned)
    library.breaks(finish="hang")
    began = time.monotonic()
    here.close()
    assert time.monotonic() - began < 15
    assert len(warned) == 1
    assert "may lack the end of this run" in warned[0]


@pytest.mark.parametrize("in_the_way", ["wandb", "wandb/staging/x"])
def test_a_folder_that_cannot_be_written_is_one_warning(
    library: Library, run: Path, monkeypatch: pytest.MonkeyPatch, in_the_way: str
) -> None:
    if in_the_way == "wandb":
        (run / "wandb").touch()
    else:
        monkeypatch.setattr(Path, "mkdir", refusing)
    warned: list[str] = []
    tell_everything(tracker(run, warned), run)
    assert len(warned) == 1
    assert warned[0].startswith("Weights & Biases is switched off for this run: ")
    assert library.calls("init") == []


def refusing(*_: Any, **__: Any) -> None:
    raise PermissionError(13, "Permission denied")


def test_a_full_disk_is_said_once_and_a_new_file_is_begun_when_there_is_room(
    library: Library, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = [ENOUGH_BYTES * 2]
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: SimpleNamespace(free=free[0]))
    warned: list[str] = []
    said: list[str] = []
    here = tracker(run, warned, said)
    for step, now in enumerate(
        [ENOUGH_BYTES, LEAST_FREE_BYTES - 1, 0, LEAST_FREE_BYTES, ENOUGH_BYTES, ENOUGH_BYTES * 2]
    ):
        free[0] = now
        here.log(step, {})
    assert len(warned) == 2
    assert "the disk is full" in warned[0]
    assert "the rest of the run is kept offline" in warned[1]
    here.close()
    assert library.modes() == ["offline", "offline"]
    assert len(said[0].split("offline-run-")) == 3


def folders(home: Path, *names: str) -> None:
    for name in names:
        (home / name).mkdir(parents=True)


def test_all_parts_of_a_run_are_named_in_order_of_their_start(tmp_path: Path) -> None:
    home = tmp_path / "a folder's" / "wandb"
    folders(
        home,
        f"offline-run-20260103_000000-{RUN_ID}",
        f"run-20260102_000000-{RUN_ID}",
        f"run-20260101_000000-{RUN_ID}",
        f"offline-run-20260104_000000-{RUN_ID}",
        f"offline-run-20251231_000000-{RUN_ID}",
        "offline-run-20260101_000000-other",
    )
    (home / f"run-20260102_000000-{RUN_ID}" / UNSENT).touch()
    (home / f"offline-run-20260104_000000-{RUN_ID}" / f"run-{RUN_ID}.wandb.synced").touch()
    found = unsent_folders(home, RUN_ID)
    assert [folder.name for folder in found] == [
        f"offline-run-20251231_000000-{RUN_ID}",
        f"run-20260102_000000-{RUN_ID}",
        f"offline-run-20260103_000000-{RUN_ID}",
    ]
    assert shlex.split(sync_command(found)) == ["wandb", "sync", "--include-online", *map(str, found)]
    assert shlex.split(sync_command(found[:1])) == ["wandb", "sync", str(found[0])]


def test_the_library_is_never_imported_here(library: Library, run: Path) -> None:
    loaded = sys.modules.get("wandb")
    tracker(run, []).close()
    assert sys.modules.get("wandb") is loaded
    assert len(library.calls("import")) == 1
