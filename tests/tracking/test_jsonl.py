from __future__ import annotations

import errno
import json
import math
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ganstyle.tracking.jsonl import FolderTracker, read_events, read_metrics


def tracker(folder: Path, *, start: int = 0, warned: list[str] | None = None) -> FolderTracker:
    return FolderTracker(folder, start=start, warn=(warned if warned is not None else []).append)


def log(folder: Path, start: int, stop: int, every: int = 1, value: float = 0.0) -> None:
    here = tracker(folder, start=start)
    for step in range(start + every, stop + 1, every):
        here.log(step, {"generator/cycle_a": value})
    here.close()


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_line_for_each_log(tmp_path: Path) -> None:
    here = tracker(tmp_path)
    here.log(5, {"generator/cycle_a": 0.25, "memory/gigabytes": 1})
    assert rows(tmp_path) == [{"step": 5, "generator/cycle_a": 0.25, "memory/gigabytes": 1}]  # at once
    here.log(10, {"discriminator/b": 1e-9})
    assert rows(tmp_path)[1] == {"step": 10, "discriminator/b": 1e-9}
    assert read_metrics(tmp_path / "metrics.jsonl") == rows(tmp_path)


def test_each_step_once_whatever_was_resumed(tmp_path: Path) -> None:
    log(tmp_path, 0, 7, value=1)
    log(tmp_path, 4, 6, value=2)  # killed after step 7, and the last checkpoint was at 4
    log(tmp_path, 6, 6, value=3)  # killed at once
    log(tmp_path, 0, 2, value=4)  # killed before its first checkpoint
    log(tmp_path, 2, 9, value=5)
    assert [row["step"] for row in rows(tmp_path)] == list(range(1, 10))
    assert [row["generator/cycle_a"] for row in rows(tmp_path)] == [4, 4, 5, 5, 5, 5, 5, 5, 5]


@pytest.mark.parametrize("length", range(1, 30))
def test_a_cut_off_last_line_is_left_out(tmp_path: Path, length: int) -> None:
    log(tmp_path, 0, 2)
    path = tmp_path / "metrics.jsonl"
    whole = path.read_bytes()
    line = b'{"step": 3, "generator/cycle_a": 0.5}\n'
    path.write_bytes(whole + line[:length])
    assert [row["step"] for row in read_metrics(path)] == [1, 2]
    log(tmp_path, 2, 4)
    assert [row["step"] for row in rows(tmp_path)] == [1, 2, 3, 4]


def test_damaged_lines_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'\xff\xfe\n\0\0\0\n[1]\n3\n{"step": "x"}\n{"loss": 1}\n\n{"step": 8, "loss": 2}\n')
    assert read_metrics(path) == [{"step": 8, "loss": 2}]
    assert read_metrics(tmp_path / "gone.jsonl") == []
    tracker(tmp_path, start=8)
    assert rows(tmp_path) == [{"step": 8, "loss": 2}]


def test_lines_that_break_readers_are_left_out(tmp_path: Path) -> None:
    path, huge = tmp_path / "metrics.jsonl", "9" * 400
    lines = [
        "[" * 200_000,
        '{"step": 1, "x": ' * 50_000,
        '{"step": true, "title": "x"}',
        f'{{"step": {huge}, "title": "x"}}',
        f'{{"step": 2, "title": "x", "loss": -{huge}, "nested": [[1]], "more": {{}}}}',
    ]
    path.write_text("\n".join([*lines, '{"step": 3, "title": "y"}', ""]))
    assert read_metrics(path) == read_events(path) == [{"step": 2, "title": "x"}, {"step": 3, "title": "y"}]
    tracker(tmp_path, start=2)
    assert rows(tmp_path) == [{"step": 2, "title": "x"}]


def test_what_is_not_finite_is_left_out(tmp_path: Path) -> None:
    here = tracker(tmp_path)
    here.log(1, {"nan": math.nan, "infinite": math.inf, "loss": np.float32(0.5), "odd": "x"})  # type: ignore[dict-item]
    assert rows(tmp_path) == [{"step": 1, "loss": 0.5}]


def test_scores_are_a_row_of_their_own(tmp_path: Path) -> None:
    here = tracker(tmp_path)
    here.log(1, {"loss": 1})
    here.log(1, {"scores/kid": 2})
    assert rows(tmp_path) == [{"step": 1, "loss": 1}, {"step": 1, "scores/kid": 2}]


def test_events_have_the_step_that_was_last_told_and_the_time(tmp_path: Path) -> None:
    here = tracker(tmp_path, start=3)
    here.alert("goes on", "from 3", level="info")
    here.log(5, {"loss": 1})
    here.alert("collapse", "why\nin two lines", level="error")
    here.images(6, "preview", b"jpeg")
    here.alert("odd", "so")
    events = read_events(tmp_path / "events.jsonl")
    assert [(each["step"], each["level"], each["title"], each["text"]) for each in events] == [
        (3, "info", "goes on", "from 3"),
        (5, "error", "collapse", "why\nin two lines"),
        (6, "warn", "odd", "so"),
    ]
    for event in events:
        told = datetime.fromisoformat(event["time"])
        assert told.utcoffset() == timedelta(0)
        assert abs(datetime.now(UTC) - told) < timedelta(minutes=1)


@pytest.mark.parametrize("length", [0, 1, 20, 60])
def test_an_event_that_was_cut_off_does_not_take_the_next_one_with_it(tmp_path: Path, length: int) -> None:
    tracker(tmp_path).alert("first", "text")
    path = tmp_path / "events.jsonl"
    path.write_bytes(path.read_bytes() + path.read_bytes()[:length])
    here = tracker(tmp_path, start=8)
    here.alert("second", "text")
    here.alert("third", "text")
    assert [event["title"] for event in read_events(path)] == ["first", "second", "third"]
    assert b"\n\n" not in path.read_bytes()


def test_rewinding_drops_rows_and_previews_but_no_event(tmp_path: Path) -> None:
    here = tracker(tmp_path)
    for step in (2, 4, 6):
        here.log(step, {"loss": step})
        here.images(step, "preview", b"jpeg")
    here.alert("diverged", "why")
    (tmp_path / "previews" / "step-mine.jpg").touch()
    here.rewind(4)
    assert [row["step"] for row in rows(tmp_path)] == [2, 4]
    kept = {"step-00000002.jpg", "step-00000004.jpg", "step-mine.jpg"}
    assert {path.name for path in (tmp_path / "previews").iterdir()} == kept
    here.alert("went back", "why")
    here.log(6, {"loss": 60})
    assert [event["step"] for event in read_events(tmp_path / "events.jsonl")] == [6, 4]
    assert [row["loss"] for row in rows(tmp_path)] == [2, 4, 60]


def test_a_rewind_that_cannot_be_written_is_one_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warned: list[str] = []
    here = tracker(tmp_path, warned=warned)
    here.log(4, {"loss": 1})
    before = (tmp_path / "metrics.jsonl").read_bytes()

    def full(self: Path, *args: Any, **options: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", full)
        here.rewind(2)
        here.rewind(1)
    assert len(warned) == 1
    assert (tmp_path / "metrics.jsonl").read_bytes() == before  # whole, not half dropped


def test_pictures_are_files(tmp_path: Path) -> None:
    here = tracker(tmp_path)
    here.images(1000, "preview", b"first")
    here.images(2000, "preview", b"second")
    here.images(2000, "preview", b"again")
    found = {path.name: path.read_bytes() for path in (tmp_path / "previews").iterdir()}
    assert found == {"step-00001000.jpg": b"first", "step-00002000.jpg": b"again"}


def test_a_full_disk_is_said_once_and_training_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warned: list[str] = []
    here = tracker(tmp_path, warned=warned)
    here.log(1, {"loss": 1})
    real, full = Path.open, True

    def open_on_a_full_disk(self: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
        if full and ("a" in mode or "x" in mode):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, mode, *args, **options)

    monkeypatch.setattr(Path, "open", open_on_a_full_disk)
    here.log(2, {"loss": 2})
    here.images(2, "preview", b"jpeg")
    here.log(3, {"loss": 3})
    assert warned == [
        f"cannot write {tmp_path / 'metrics.jsonl'}: No space left on device; training goes on without it"
    ]
    full = False
    here.log(4, {"loss": 4})
    here.images(4, "preview", b"jpeg")
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [1, 4]
    assert (tmp_path / "previews" / "step-00000004.jpg").read_bytes() == b"jpeg"
    assert len(warned) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is not here")
def test_a_disk_that_is_full_when_the_line_is_flushed(tmp_path: Path) -> None:
    warned: list[str] = []
    here = tracker(tmp_path, warned=warned)
    (tmp_path / "metrics.jsonl").unlink()
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    here.log(1, {"loss": 1})
    here.log(2, {"loss": 1})
    assert len(warned) == 1
    assert "No space left on device" in warned[0]


def test_half_a_line_does_not_take_the_next_one_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tracker(tmp_path, warned=[])
    real = Path.open

    def half(self: Path, *args: Any, **options: Any) -> Any:
        with real(self, *args, **options) as file:
            file.write(b'{"step": 1, "lo')
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", half)
        here.log(1, {"loss": 1})
    here.log(2, {"loss": 2})
    here.log(3, {"loss": 3})
    assert [row["step"] for row in read_metrics(here.path)] == [2, 3]


def test_a_folder_in_the_way_from_the_start(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").mkdir()
    (tmp_path / "previews").touch()
    warned: list[str] = []
    here = tracker(tmp_path, warned=warned)
    here.log(1, {"loss": 1})
    here.images(1, "preview", b"jpeg")
    here.alert("title", "text")
    here.close()
    assert len(warned) == 1
    assert "training goes on without it" in warned[0]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes into read-only folders")
def test_a_read_only_folder(tmp_path: Path) -> None:
    warned: list[str] = []
    tmp_path.chmod(0o500)
    try:
        here = tracker(tmp_path, warned=warned)
        here.log(1, {"loss": 1})
    finally:
        tmp_path.chmod(0o700)
    assert len(warned) == 1
