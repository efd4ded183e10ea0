from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from ganstyle.base.errors import UserError
from ganstyle.train import run_folder
from ganstyle.train.hardware import Hardware
from ganstyle.train.run_folder import (
    CHANGEABLE,
    Record,
    RunFolder,
    fresh_folder,
    library_versions,
    refuse_other_config,
    refuse_unchangeable,
    why_not_exact,
)

CONFIG = {"name": "x", "training": {"steps": 8}, "data": {"a": ["with ${braces}", "2024"]}}
HARDWARE = Hardware("cpu", "float32", compile=False, threads=2)
DATA = {"images_a": 5, "fingerprint_a": "f", "steps": 8, "decay_from": 4}


def record(**changes: object) -> Record:
    return replace(Record(HARDWARE, DATA, library_versions()), **changes)  # type: ignore[arg-type]


def begun(path: Path) -> RunFolder:
    folder = RunFolder(path)
    with folder.locked():
        folder.write_config(CONFIG)
        folder.write_record(record())
    return folder


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    assert not RunFolder(tmp_path / "deep" / "run").exists()
    folder = begun(tmp_path / "deep" / "run")
    assert folder.exists()
    assert folder.config() == CONFIG
    assert folder.record() == record()
    assert folder.last_step() == 0
    folder.checkpoints.mkdir()
    for step in (3, 12):
        (folder.checkpoints / f"step-{step:08d}.pt").touch()
    assert folder.last_step() == 12


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    assert RunFolder(tmp_path).record() is None
    with pytest.raises(UserError, match=r"is not a run: it has no config\.yaml"):
        RunFolder(tmp_path).config()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        "5",
        "[" * 200_000,
        '{"hardware": {}, "data": {}, "versions": {}}',
        '{"hardware": 1}',
        "\xff",
    ],
)
def test_a_damaged_record_is_one_line(tmp_path: Path, text: str) -> None:
    folder = begun(tmp_path)
    folder.record_file.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match="damaged; delete it to decide anew, or take a fresh folder with --new"):
        folder.record()


@pytest.mark.parametrize("missing", ["steps", "decay_from"])
def test_a_record_without_its_length_is_damaged(tmp_path: Path, missing: str) -> None:
    folder = begun(tmp_path)
    values = json.loads(folder.record_file.read_text())
    del values["data"][missing]
    folder.record_file.write_text(json.dumps(values))
    with pytest.raises(UserError, match="damaged"):
        folder.record()


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("data", {"steps": float("inf")}),
        ("data", {"steps": float("nan")}),
        ("data", {"decay_from": 1e300}),
        ("data", {"steps": -1}),
        ("data", {"images_a": [[5]]}),
        ("hardware", {"threads": "2"}),
        ("hardware", {"threads": True}),
        ("hardware", {"compile": 0}),
        ("hardware", {"device": None}),
        ("hardware", {"ranks": 1.0}),
        ("evaluation", {"statement": 5}),
        ("evaluation", {"fingerprint": []}),
        ("versions", {"torch": {}}),
    ],
)
def test_a_record_of_wrong_types_is_damaged(tmp_path: Path, part: str, changes: dict[str, object]) -> None:
    folder = begun(tmp_path)
    values = json.loads(folder.record_file.read_text())
    values[part] |= changes
    folder.record_file.write_text(json.dumps(values))
    with pytest.raises(UserError, match="damaged"):
        folder.record()


@pytest.mark.parametrize("part", ["hardware", "data", "versions", "evaluation"])
@pytest.mark.parametrize("value", [5, None, [], "", [["a", "b"]]])
def test_a_record_whose_part_is_another_thing_is_damaged(tmp_path: Path, part: str, value: object) -> None:
    folder = begun(tmp_path)
    folder.record_file.write_text(json.dumps(json.loads(folder.record_file.read_text()) | {part: value}))
    with pytest.raises(UserError, match="damaged"):
        folder.record()


def test_a_record_from_before_scores_and_ranks_is_read(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    values = json.loads(folder.record_file.read_text())
    del values["evaluation"], values["hardware"]["ranks"], values["hardware"]["cuda_graphs"]
    folder.record_file.write_text(json.dumps(values))
    assert folder.record() == record()


def test_what_a_killed_writer_left_is_swept_away(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    folder.checkpoints.mkdir()
    left = [folder.checkpoints / ".123-0a1b2c3d.tmp", folder.path / ".9-00000000.tmp"]
    kept = [folder.checkpoints / "step-00000001.pt", folder.path / "notes.tmp"]
    for path in [*left, *kept]:
        path.touch()
    with folder.locked():
        assert not any(path.exists() for path in left)
    assert all(path.exists() for path in kept)


def test_only_one_process_at_a_time(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    refused: list[str] = []

    def second() -> None:
        try:
            with RunFolder(tmp_path / "run").locked():
                pass
        except UserError as error:
            refused.append(str(error))

    with folder.locked():
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert len(refused) == 1
    assert "another process is training this run" in refused[0]
    with folder.locked():  # and it was let go
        pass


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with (
        pytest.raises(UserError, match="a file is in the way; choose another name= or --run"),
        RunFolder(tmp_path / "run").locked(),
    ):
        pass
    with pytest.raises(UserError, match="cannot use the run's folder"), RunFolder(tmp_path / "run" / "x").locked():
        pass


def test_a_folder_that_cannot_be_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: FileLock) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(run_folder.FileLock, "acquire", refused)
    with (
        pytest.raises(UserError, match=r"cannot use the run's folder .*: Permission denied"),
        RunFolder(tmp_path).locked(),
    ):
        pass


def test_fresh_folders_are_counted(tmp_path: Path) -> None:
    assert fresh_folder(tmp_path / "run") == tmp_path / "run"
    (tmp_path / "run").mkdir()
    assert fresh_folder(tmp_path / "run") == tmp_path / "run-2"
    (tmp_path / "run-2").touch()
    assert fresh_folder(tmp_path / "run") == tmp_path / "run-3"


def test_another_config_is_refused_with_every_key(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    refuse_other_config(folder, CONFIG, dict(CONFIG))
    other = {"name": "x", "training": {"steps": 9, "batch_size": 2}, "data": {"a": ["2024"]}}
    with pytest.raises(UserError) as error:
        refuse_other_config(folder, CONFIG, other)
    text = str(error.value)
    assert "training.steps: the run has 8, asked for 9" in text
    assert "training.batch_size: the run has None, asked for 2" in text
    assert "data.a: the run has ['with ${braces}', '2024'], asked for ['2024']" in text
    assert "name:" not in text
    assert f"ganstyle train --resume {tmp_path}" in text
    assert "--new" in text


def test_only_what_is_listed_may_change() -> None:
    refuse_unchangeable({"training.steps": 9, "tracking.wandb.mode": "offline", "device": "cpu"})
    for key in ("generator.width", "training.decay_from", "training.stepsize", "seed", "name"):
        with pytest.raises(UserError, match=f"--resume cannot change {key}; it may change training.steps"):
            refuse_unchangeable({"training.steps": 9, key: 1})
    assert "training.steps" in CHANGEABLE


def test_nothing_changed_is_exact() -> None:
    assert why_not_exact({"training.log_every": 5}, record(), hardware=HARDWARE, data=dict(DATA)) == []


def test_what_spoils_exactness_is_named() -> None:
    old = record(versions={**library_versions(), "torch": "1.0"})
    reasons = why_not_exact(
        {"training.steps": 12},
        old,
        hardware=replace(HARDWARE, device="cuda", compile=True),
        data=DATA | {"fingerprint_a": "g", "steps": 12},
    )
    assert reasons[:4] == [
        "training.steps was changed",
        "device was cpu and is cuda",
        "compile was False and is True",
        "the training images are not the ones it began with",
    ]
    assert reasons[4].startswith("torch was 1.0 and is ")
    assert len(reasons) == 5
