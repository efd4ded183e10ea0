from __future__ import annotations

import errno
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganstyle.base import files
from ganstyle.base.errors import UserError
from ganstyle.data.folders import megapixels_of
from ganstyle.data.images import Picture, Unreadable, read_image, write_image
from ganstyle.data.outputs import Task, plan
from ganstyle.translate.folder import Progress, Report, translate_tasks
from ganstyle.translate.ledger import LEFT_S, Ledger, LedgerError
from ganstyle.translate.pipeline import Stages
from ganstyle.translate.shards import Shard, share
from tests import tiny


class Inverter:
    """Stages that turn light into dark, and count."""

    def __init__(self) -> None:
        self.computed: list[str] = []

    def read(self, task: Task) -> Picture:
        return read_image(task.source)

    def compute(self, photos: Sequence[tuple[Task, Picture]]) -> list[np.ndarray]:
        self.computed += [task.source.name for task, _ in photos]
        return [255 - photo.pixels for _, photo in photos]

    def write(self, task: Task, photo: Picture, pixels: np.ndarray) -> list[str]:
        write_image(task.target, pixels)
        return [f"{photo.metadata.mode} is gone"] if photo.metadata.mode != "RGB" else []

    def stages(self) -> Stages[Task, Picture]:
        return Stages(self.read, self.compute, self.write)


def run(tasks: list[Task], work: Inverter | None = None, **options: Any) -> tuple[Report, list[str], int]:
    work, told = work or Inverter(), list[Progress]()
    report = translate_tasks(tasks, work.stages(), advance=told.append, **options)
    assert [progress.files for progress in told] == list(range(1, len(tasks) + 1))
    return report, [progress.line for progress in told], len(work.computed)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tiny.pictures(tmp_path / "photos", 2, height=5, width=7)
    tiny.pictures(folder / "deep" / "er", 1, seed=50, height=1, width=1)
    return folder


def test_every_file_at_its_own_place_and_size(photos: Path, tmp_path: Path) -> None:
    report, told, _ = run(plan(photos, tmp_path / "out"))
    assert str(report) == "3 translated"
    assert len(told) == 3
    for name in ("0.png", "1.png", "deep/er/0.png"):
        before, after = (read_image(root / name).pixels for root in (photos, tmp_path / "out"))
        assert np.array_equal(after, 255 - before)
    made = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*"))
    assert made == ["0.png", "1.png", "deep/er/0.png"]


def test_a_second_run_skips_what_is_done(photos: Path, tmp_path: Path) -> None:
    tasks = plan(photos, tmp_path / "out")
    run(tasks)
    (tmp_path / "out" / "1.png").unlink()
    (tmp_path / "out" / "0.png").write_bytes(b"kept as it is")
    report, told, passes = run(tasks)
    assert str(report) == "1 translated, 2 there already"
    assert passes == 1
    assert sum(line.endswith(": there already") for line in told) == 2
    assert (tmp_path / "out" / "0.png").read_bytes() == b"kept as it is"
    report, _, _ = run(tasks, overwrite=True)
    assert str(report) == "3 translated"
    assert read_image(tmp_path / "out" / "0.png").pixels.shape == (5, 7, 3)


def test_bad_files_do_not_stop_the_rest(photos: Path, tmp_path: Path) -> None:
    (photos / "00-empty.png").touch()
    (photos / "01-text.jpg").write_text("hello")
    (photos / "02-cut.png").write_bytes((photos / "0.png").read_bytes()[:60])
    report, told, _ = run(plan(photos, tmp_path / "out"))
    assert str(report) == "3 translated, 3 failed"
    assert [path.name for path, _ in report.failed] == ["00-empty.png", "01-text.jpg", "02-cut.png"]
    assert all("\n" not in reason for _, reason in report.failed)
    assert len(told) == 6
    assert not (tmp_path / "out" / "00-empty.png").exists()


def test_an_image_that_its_format_cannot_hold_is_that_files_failure(photos: Path, tmp_path: Path) -> None:
    Image.new("RGB", (16400, 1)).save(photos / "00-long.png")
    report, _, _ = run(plan(photos, tmp_path / "out", format="webp"))
    assert str(report) == "3 translated, 1 failed"
    assert "does not fit into webp" in report.failed[0][1]


def test_a_name_that_is_too_long_is_that_files_failure(photos: Path, tmp_path: Path) -> None:
    tasks = plan(photos, tmp_path / "out")
    tasks[0] = Task(tasks[0].source, tmp_path / "out" / ("0" * 252 + ".png"))
    report, _, _ = run(tasks)
    assert str(report) == "2 translated, 1 failed"
    assert "name is too long" in report.failed[0][1]


def test_a_name_that_another_suffix_makes_too_long_is_shortened(photos: Path, tmp_path: Path) -> None:
    tiny.picture(3, 3).save(photos / ("0" * 251 + ".png"))
    report, _, _ = run(plan(photos, tmp_path / "out", format="avif"))
    assert str(report) == "4 translated"
    assert (tmp_path / "out" / ("0" * 250 + ".avif")).is_file()


def test_something_in_the_way_of_one_file(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "deep").write_text("a file where a folder is needed")
    report, _, _ = run(plan(photos, tmp_path / "out"))
    assert str(report) == "2 translated, 1 failed"
    assert "cannot make the folder" in report.failed[0][1]


def failing(number: int) -> Callable[[int], None]:
    def fsync(_: int) -> None:
        raise OSError(number, "reason")

    return fsync


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_stops_all_with_one_line(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr("os.fsync", failing(number))
    with pytest.raises(UserError, match="cannot write ") as error:
        run(plan(photos, tmp_path / "out"))
    assert "\n" not in str(error.value)
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


def test_a_folder_that_cannot_be_made_on_a_full_disk_stops_all(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(UserError, match=r"cannot make the folder .*: No space left on device"):
        run(plan(photos, tmp_path / "out"))


class Faulty(Inverter):
    """One stage fails for files of some names."""

    def __init__(self, stage: str, error: Exception, names: Collection[str]) -> None:
        super().__init__()
        self.stage, self.error, self.names = stage, error, names

    def stages(self) -> Stages[Task, Picture]:
        kept = super().stages()

        def read(task: Task) -> Picture:
            self.fail("read", task)
            return kept.read(task)

        def compute(photos: Sequence[tuple[Task, Picture]]) -> Sequence[np.ndarray]:
            for task, _ in photos:
                self.fail("compute", task)
            return kept.compute(photos)

        def write(task: Task, photo: Picture, pixels: np.ndarray) -> list[str]:
            self.fail("write", task)
            return kept.write(task, photo, pixels)

        return Stages(read, compute, write)

    def fail(self, stage: str, task: Task) -> None:
        if stage == self.stage and task.source.name in self.names:
            raise self.error


def test_an_unreadable_disk_is_the_files_failure_and_not_the_end(photos: Path, tmp_path: Path) -> None:
    error = Unreadable("Input/output error")
    error.__cause__ = OSError(errno.EIO, "Input/output error")
    report, _, _ = run(plan(photos, tmp_path / "out"), Faulty("read", error, ["0.png"]))
    assert str(report) == "1 translated, 2 failed"


@pytest.mark.parametrize("stage", ["read", "compute", "write"])
def test_any_error_is_the_files_own(photos: Path, tmp_path: Path, stage: str) -> None:
    report, told, _ = run(plan(photos, tmp_path / "out"), Faulty(stage, ValueError("what\na day"), ["1.png"]))
    assert str(report) == "2 translated, 1 failed"
    assert report.failed == [(photos / "1.png", "ValueError: what a day")]
    assert f"{photos / '1.png'}: ValueError: what a day" in told


def test_a_device_that_is_broken_ends_all(tmp_path: Path) -> None:
    photos = tiny.pictures(tmp_path / "photos", 30, height=2, width=2)
    tasks = plan(photos, tmp_path / "out")
    broken = Faulty("compute", RuntimeError("device lost"), [task.source.name for task in tasks])
    with pytest.raises(UserError, match=r"8 files in a row could not be translated: RuntimeError: device lost \("):
        run(tasks, broken)


def test_photos_that_go_well_in_between_show_that_it_is_not(tmp_path: Path) -> None:
    photos = tiny.pictures(tmp_path / "photos", 30, height=2, width=2)
    tasks = plan(photos, tmp_path / "out")
    some = [task.source.name for number, task in enumerate(tasks) if number % 8]
    report, _, _ = run(tasks, Faulty("compute", RuntimeError("odd"), some))
    assert str(report) == f"{30 - len(some)} translated, {len(some)} failed"
    assert [path.name for path, _ in report.failed] == some


def test_photos_that_are_too_large_for_the_memory_do_not(tmp_path: Path) -> None:
    photos = tiny.pictures(tmp_path / "photos", 30, height=2, width=2)
    tasks = plan(photos, tmp_path / "out")
    large = Faulty("compute", UserError("needs 9 GB"), [task.source.name for task in tasks])
    assert str(run(tasks, large)[0]) == "0 translated, 30 failed"


def test_a_file_that_vanishes_meanwhile(photos: Path, tmp_path: Path) -> None:
    tasks = plan(photos, tmp_path / "out")
    (photos / "1.png").unlink()
    report, _, _ = run(tasks, ledger=Ledger(tmp_path / "out", photos, {}))
    assert str(report) == "2 translated, 1 failed"
    assert report.failed[0][1].startswith("no such file")


def test_what_could_not_be_kept_is_told(photos: Path, tmp_path: Path) -> None:
    tiny.picture(3, 3).convert("L").save(photos / "grey.png")
    tasks = plan(photos, tmp_path / "out")
    report, _, _ = run(tasks, ledger=Ledger(tmp_path / "out", photos, {}))
    assert report.notes == [(photos / "grey.png", "L is gone")]
    rows = [json.loads(line) for line in (tmp_path / "out" / "ganstyle-ledger.jsonl").read_text().splitlines()]
    assert [row["notes"] for row in rows if "notes" in row] == [["L is gone"]]
    made = {row["file"]: row for row in rows if row.get("status") == "done"}
    assert set(made) == {"0.png", "1.png", "deep/er/0.png", "grey.png"}
    assert all(row["seconds"] > 0 for row in made.values())
    assert made["0.png"]["target_bytes"] == (tmp_path / "out" / "0.png").stat().st_size


def test_with_a_ledger_from_run_to_run(photos: Path, tmp_path: Path) -> None:
    (photos / "bad.png").write_text("no image")
    tasks = plan(photos, tmp_path / "out")

    def again(**options: Any) -> str:
        return str(run(tasks, ledger=Ledger(tmp_path / "out", photos, {}), **options)[0])

    assert again() == "3 translated, 1 failed"
    assert again() == "0 translated, 3 there already, 1 failed before (--retry-failed tries again)"
    assert again(retry_failed=True) == "0 translated, 3 there already, 1 failed"
    tiny.picture(2, 2).save(photos / "bad.png")
    tiny.picture(9, 9).save(photos / "0.png")
    assert again() == "2 translated, 2 there already"
    assert read_image(tmp_path / "out" / "0.png").metadata.size == (9, 9)
    assert again(overwrite=True) == "4 translated"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a folder that takes no files")
def test_a_folder_that_takes_no_ledger_is_known_before_anything_is_computed(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir(mode=0o500)
    work = Inverter()
    with pytest.raises(UserError, match="cannot write"):
        run(plan(photos, tmp_path / "out"), work, ledger=Ledger(tmp_path / "out", photos, {}))
    assert work.computed == []


def test_a_disk_that_is_full_for_the_ledger_ends_all(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise LedgerError("cannot write the ledger: no space left") from OSError(errno.EACCES, "any reason")

    ledger = Ledger(tmp_path / "out", photos, {})
    monkeypatch.setattr(ledger, "done", full)
    with pytest.raises(UserError, match=r"cannot write the ledger: no space left \(0 translated before it; the same"):
        run(plan(photos, tmp_path / "out"), ledger=ledger)


@pytest.mark.parametrize("with_ledger", [True, False])
def test_what_a_killed_run_left_is_swept_away(
    photos: Path, tmp_path: Path, with_ledger: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "changed_at", lambda path: path.stat().st_mtime)
    (tmp_path / "out" / "deep" / "er").mkdir(parents=True)
    left = [tmp_path / "out" / name for name in (".17-0123abcd.tmp", "deep/er/.17-0123abcd.tmp")]
    for path in left:
        path.write_text("half")
        moment = time.time() - (5 if with_ledger else LEFT_S + 5)
        os.utime(path, (moment, moment))
    fresh = tmp_path / "out" / ".18-0123abcd.tmp"
    fresh.write_text("another process's work")
    later = time.time() + 60
    os.utime(fresh, (later, later))
    run(plan(photos, tmp_path / "out"), ledger=Ledger(tmp_path / "out", photos, {}) if with_ledger else None)
    assert [path.exists() for path in (*left, fresh)] == [False, False, True]


def test_what_a_run_killed_in_its_last_moment_left_is_swept_away(photos: Path, tmp_path: Path) -> None:
    tasks, out = plan(photos, tmp_path / "out"), tmp_path / "out"
    for _ in range(2):
        run(tasks, ledger=Ledger(out, photos, {"model": "invert"}))
        (out / ".ganstyle-ledger.lock").touch()  # all is made and noted, and the lock is not released yet
    run(tasks, ledger=Ledger(out, photos, {"model": "invert"}))
    assert not (out / ".ganstyle-ledger.lock").exists()


def test_progress_in_files_and_megapixels(photos: Path, tmp_path: Path) -> None:
    tasks = plan(photos, tmp_path / "out")
    run(tasks[:1])
    (photos / "bad.png").write_text("no image")
    told: list[Progress] = []
    tasks = plan(photos, tmp_path / "out")
    translate_tasks(tasks, Inverter().stages(), advance=told.append)
    assert [progress.files for progress in told] == [1, 2, 3, 4]
    assert {progress.files_total for progress in told} == {4}
    assert [progress.megapixels_total for progress in told] == pytest.approx([36e-6] * 4)
    assert told[0].megapixels == 0
    assert told[0].line.endswith("there already")
    assert told[0].seconds_left is None
    assert told[-1].megapixels == pytest.approx(36e-6)
    assert told[-1].megapixels_per_s > 0
    assert told[-1].seconds_left == pytest.approx(0)


def test_seconds_left_by_megapixels() -> None:
    progress = Progress(1, 2, 30.0, 90.0, 10.0, "x")
    assert progress.megapixels_per_s == 3
    assert progress.seconds_left == 20


def test_sizes_may_be_given(photos: Path, tmp_path: Path) -> None:
    tasks = plan(photos, tmp_path / "out")
    told: list[Progress] = []
    sizes = {task.source: 2.0 for task in tasks}
    report = translate_tasks(tasks, Inverter().stages(), sizes=sizes, advance=told.append)
    assert told[-1].megapixels_total == 6
    assert report.megapixels == pytest.approx((35 + 35 + 1) / 1e6)
    assert report.times.busy_s["read"] > 0


@pytest.fixture
def usual_sigterm() -> Iterator[None]:
    """As in a process of its own: libraries that other tests use leave handlers behind."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


@pytest.mark.usefixtures("usual_sigterm")
def test_sigterm_finishes_what_is_being_written(tmp_path: Path) -> None:
    photos = tiny.pictures(tmp_path / "photos", 5)

    class Terminated(Inverter):
        def compute(self, photos: Sequence[tuple[Task, Picture]]) -> list[np.ndarray]:
            if len(self.computed) == 2:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(10)
            return super().compute(photos)

    work, before = Terminated(), threading.active_count()
    with pytest.raises(SystemExit) as ended:
        run(plan(photos, tmp_path / "out"), work, ledger=Ledger(tmp_path / "out", photos, {}))
    assert ended.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert threading.active_count() == before
    assert len(work.computed) == 2
    for path in (tmp_path / "out").glob("*.png"):
        assert read_image(path).pixels.size
    assert list((tmp_path / "out").glob(".*")) == []
    run(plan(photos, tmp_path / "out"), ledger=Ledger(tmp_path / "out", photos, {}))
    assert len(list((tmp_path / "out").glob("*.png"))) == 5


def test_shards_together_make_all_once(tmp_path: Path) -> None:
    photos = tiny.pictures(tmp_path / "photos", 7)
    tasks = plan(photos, tmp_path / "out")
    sizes = megapixels_of([task.source for task in tasks])
    made = []
    for index in (1, 2, 3):
        shard, work = Shard(index, 3), Inverter()
        run(share(tasks, sizes, shard), work, ledger=Ledger(tmp_path / "out", photos, {}, shard=shard))
        made += work.computed
    assert sorted(made) == [f"{number}.png" for number in range(7)]
    report, _, _ = run(tasks, ledger=Ledger(tmp_path / "out", photos, {}))
    assert str(report) == "0 translated, 7 there already"


def test_what_is_left_is_told_before_the_first(photos: Path, tmp_path: Path) -> None:
    tasks, told = plan(photos, tmp_path / "out"), list[tuple[list[Task], bool]]()

    def begin(left: Sequence[Task]) -> None:
        told.append((list(left), any(task.target.exists() for task in left)))

    run(tasks[:1], ledger=Ledger(tmp_path / "out", photos, {}))
    run(tasks, ledger=Ledger(tmp_path / "out", photos, {}), begin=begin)
    run(tasks, ledger=Ledger(tmp_path / "out", photos, {}), begin=begin)
    assert told == [(tasks[1:], False), ([], False)]


def test_report_in_words() -> None:
    assert str(Report()) == "0 translated"
    assert str(Report(3, 2, [(Path("x"), "bad")])) == "3 translated, 2 there already, 1 failed"


def test_photos_are_not_blamed_for_a_device_that_is_broken(tmp_path: Path) -> None:
    """The same command tries all of them again; those that fail by themselves among good ones are noted."""
    photos = tiny.pictures(tmp_path / "photos", 12, height=2, width=2)
    tasks = plan(photos, tmp_path / "out")
    broken = Faulty("compute", RuntimeError("device lost"), [task.source.name for task in tasks])
    with pytest.raises(UserError, match="device lost"):
        run(tasks, broken, ledger=Ledger(tmp_path / "out", photos, {}))
    one = Faulty("compute", RuntimeError("odd"), [tasks[3].source.name])
    report, _, _ = run(tasks, one, ledger=Ledger(tmp_path / "out", photos, {}))
    assert str(report) == "11 translated, 1 failed"
    report, _, _ = run(tasks, ledger=Ledger(tmp_path / "out", photos, {}))
    assert str(report) == "0 translated, 11 there already, 1 failed before (--retry-failed tries again)"
