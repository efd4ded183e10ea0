from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest
from filelock import FileLock

from ganstyle.base.errors import UserError
from ganstyle.data.outputs import Task
from ganstyle.translate.ledger import LEFT_S, Fate, Ledger, LedgerError, fates_of, ledger_name
from ganstyle.translate.shards import WHOLE, Shard

THERE, TRANSLATE, FAILED = Fate.THERE, Fate.TRANSLATE, Fate.FAILED


class Place:
    """An input and an output folder; files are texts, and translating one copies it."""

    def __init__(self, root: Path, files: str = "abc") -> None:
        self.source, self.output = root / "in", root / "out"
        self.source.mkdir(parents=True)
        for name in files:
            self.change(name, name)
        self.said: list[str] = []

    def change(self, name: str, text: str) -> None:
        (self.source / f"{name}.png").write_text(text)

    def tasks(self) -> list[Task]:
        return [
            Task(path, self.output / path.relative_to(self.source)) for path in sorted(self.source.glob("**/*.png"))
        ]

    def ledger(self, shard: Shard = WHOLE, **settings: Any) -> Ledger:
        return Ledger(self.output, self.source, settings, shard=shard, say=self.said.append)

    def fates(self, ledger: Ledger | None = None, **options: bool) -> list[Fate]:
        return (ledger or self.ledger()).fates(self.tasks(), **options)

    def run(
        self,
        *,
        shard: Shard = WHOLE,
        fail: str = "",
        kill_after: int | None = None,
        overwrite: bool = False,
        retry_failed: bool = False,
        **settings: Any,
    ) -> list[str]:
        """Translate; gives the names that were worked on."""
        ledger = self.ledger(shard, **settings)
        tasks = self.tasks()
        fates = ledger.fates(tasks, overwrite=overwrite, retry_failed=retry_failed)
        chosen = [task for task, fate in zip(tasks, fates, strict=True) if fate is TRANSLATE]
        with ledger.writing(overwrite=overwrite):
            for task in chosen[:kill_after]:
                if task.source.stem in fail:
                    ledger.failed(task, "bad")
                    continue
                task.target.write_bytes(task.source.read_bytes())
                ledger.done(task, seconds=0.12345, megapixels=2, notes=["x"] if task.source.stem == "a" else [])
            if kill_after is None:
                ledger.end(done=len(chosen), failed=0)
        return [task.source.stem for task in chosen[:kill_after]]

    def rows(self, shard: Shard = WHOLE) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.output / ledger_name(shard)).read_text("utf-8").splitlines()]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_lines_that_people_can_read(place: Place) -> None:
    place.change("ä ö", "x")
    place.run(fail="b", model="ink", strength=0.5)
    header, *files, end = place.rows()
    assert header["what"] == "ganstyle translate"
    assert header["settings"] == {"model": "ink", "strength": 0.5}
    assert (header["version"], header["shard"], header["overwrite"]) == (1, "1/1", False)
    first, second, third, fourth = files
    stat = (place.source / "a.png").stat()
    assert first.pop("time") > header["started"][:10]
    assert first == {
        "file": "a.png",
        "source": "a.png",
        "status": "done",
        "seconds": 0.123,
        "megapixels": 2,
        "target_bytes": 1,
        "notes": ["x"],
        "source_bytes": stat.st_size,
        "source_mtime_ns": stat.st_mtime_ns,
    }
    assert (second["status"], second["reason"]) == ("failed", "bad")
    assert "notes" not in third
    assert fourth["file"] == "ä ö.png"
    assert "ä ö" in (place.output / "ganstyle-ledger.jsonl").read_text("utf-8")
    assert end["done"] == 4
    assert not list(place.output.glob(".*")), "no lock is left"


def test_names() -> None:
    assert ledger_name(Shard()) == "ganstyle-ledger.jsonl"
    assert ledger_name(Shard(2, 8)) == "ganstyle-ledger.2-of-8.jsonl"


def test_nothing_is_written_by_asking(place: Place) -> None:
    assert place.fates() == [TRANSLATE] * 3
    assert not place.output.exists()


def test_what_is_done_is_there_and_what_is_gone_is_made_again(place: Place) -> None:
    assert place.run() == ["a", "b", "c"]
    assert place.fates() == [THERE] * 3
    (place.output / "b.png").unlink()
    assert place.fates() == [THERE, TRANSLATE, THERE]
    assert place.run() == ["b"]


def test_a_source_that_changed_is_made_again(place: Place) -> None:
    place.run()
    place.change("a", "longer")
    os.utime(place.source / "b.png", ns=(1, 1))
    assert place.fates() == [TRANSLATE, TRANSLATE, THERE]
    assert place.run() == ["a", "b"]
    assert place.fates() == [THERE] * 3


def test_a_source_that_changed_while_it_was_translated_is_made_again(place: Place) -> None:
    ledger = place.ledger()
    place.fates(ledger)
    place.change("a", "changed after it was read")
    with ledger.writing():
        for task in place.tasks():
            task.target.write_text("x")
            ledger.done(task, seconds=0, megapixels=0)
    assert place.fates() == [TRANSLATE, THERE, THERE]


def test_files_of_others_stay(place: Place) -> None:
    place.output.mkdir()
    (place.output / "b.png").write_text("somebody's")
    assert place.run() == ["a", "c"]
    assert (place.output / "b.png").read_text() == "somebody's"
    assert place.run(overwrite=True) == ["a", "b", "c"]


def test_a_result_that_somebody_worked_on_stays(place: Place) -> None:
    place.run()
    (place.output / "b.png").write_text("retouched")
    for name in "abc":
        place.change(name, f"new {name}")
    assert place.fates() == [TRANSLATE, THERE, TRANSLATE]
    assert place.fates(overwrite=True) == [TRANSLATE] * 3


def test_failed_ones_are_not_tried_again_unless_asked_or_changed(place: Place) -> None:
    place.run(fail="b")
    assert place.fates() == [THERE, FAILED, THERE]
    assert place.fates(retry_failed=True) == [THERE, TRANSLATE, THERE]
    assert place.fates(place.ledger(), overwrite=True) == [TRANSLATE] * 3
    place.change("b", "mended")
    assert place.run() == ["b"]
    assert place.fates() == [THERE] * 3


def test_a_failure_after_success_keeps_what_is_there(place: Place) -> None:
    place.run()
    before = (place.source / "b.png").stat()
    place.change("b", "broken now")
    assert place.run(fail="b") == ["b"]
    assert place.fates() == [THERE, FAILED, THERE]
    assert (place.output / "b.png").read_text() == "b"
    place.change("b", "b")
    os.utime(place.source / "b.png", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert place.fates() == [THERE] * 3


def test_a_source_that_changed_while_it_failed_is_tried_again(place: Place) -> None:
    ledger, tasks = place.ledger(), place.tasks()
    ledger.fates(tasks)
    place.change("a", "was being copied when it was read")
    with ledger.writing():
        ledger.failed(tasks[0], "truncated")
        ledger.failed(tasks[1], "bad")
    assert place.fates() == [TRANSLATE, FAILED, TRANSLATE]


def test_other_settings_try_failed_ones_again(place: Place) -> None:
    place.run(fail="abc", longest_px=None)
    assert place.fates() == [FAILED] * 3
    assert place.fates(place.ledger(longest_px=100)) == [TRANSLATE] * 3


def test_what_was_away_for_a_moment_is_tried_again(place: Place) -> None:
    ledger = place.ledger()
    tasks = place.tasks()
    ledger.fates(tasks)
    kept = (place.source / "a.png").stat()
    (place.source / "a.png").unlink()
    with ledger.writing():
        ledger.failed(tasks[0], "no such file")
    place.change("a", "a")
    os.utime(place.source / "a.png", ns=(kept.st_atime_ns, kept.st_mtime_ns))
    assert place.fates() == [TRANSLATE] * 3


def test_other_settings_are_refused_by_name(place: Place) -> None:
    place.run(model="ink", strength=1, mask=None)
    place.fates(place.ledger(strength=1, model="ink"))
    with pytest.raises(UserError, match=r"\(strength 1 -> 0.5\): use another folder, or --overwrite"):
        place.fates(place.ledger(model="ink", strength=0.5))
    with pytest.raises(UserError, match=r"\(model ink -> oil, strength 1 -> none, blend none -> True\)"):
        place.fates(place.ledger(model="oil", blend=True))
    assert place.fates(place.ledger(model="oil"), overwrite=True) == [TRANSLATE] * 3


def test_settings_are_compared_as_they_are_written(place: Place) -> None:
    values: dict[str, Any] = {"place": Path("x"), "size": (1, 2), "share": 0.1}
    place.run(**values)
    assert place.fates(place.ledger(**values)) == [THERE] * 3


def test_settings_of_files_that_are_gone_do_not_matter(place: Place) -> None:
    place.run(strength=1)
    for path in place.output.glob("*.png"):
        path.unlink()
    assert place.fates(place.ledger(strength=2)) == [TRANSLATE] * 3


def test_photos_of_another_folder_are_refused(place: Place, tmp_path: Path) -> None:
    place.run()
    other = Place(tmp_path / "other")
    other.output = place.output
    with pytest.raises(UserError, match=r"was made of .*in.a\.png, not of .*other.*a\.png: use another folder"):
        other.fates()
    assert other.fates(overwrite=True) == [TRANSLATE] * 3


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_a_folder_that_was_moved_with_its_times_is_the_same(place: Place, tmp_path: Path) -> None:
    place.run()
    moved = tmp_path / "moved"
    place.source.rename(moved)
    place.source = moved
    assert place.fates() == [THERE] * 3
    (tmp_path / "link").symlink_to(moved)
    place.source = tmp_path / "link"
    assert place.run() == []


def test_a_target_that_now_belongs_to_another_file(place: Place) -> None:
    place.run()
    tasks = [Task(place.source / "b.png", place.output / "a.png")]
    assert place.ledger().fates(tasks) == [TRANSLATE]


# Overwriting


def test_overwriting_makes_all_again_every_time(place: Place) -> None:
    place.run(strength=1)
    assert place.run(strength=2, overwrite=True) == ["a", "b", "c"]
    assert place.run(strength=2, overwrite=True) == ["a", "b", "c"]
    assert place.fates(place.ledger(strength=2)) == [THERE] * 3


def test_an_interrupted_run_that_overwrites_is_gone_on_with(place: Place) -> None:
    place.run(strength=1)
    assert place.run(strength=2, overwrite=True, kill_after=1) == ["a"]
    with pytest.raises(UserError, match="strength 1 -> 2"):
        place.fates(place.ledger(strength=2))
    assert place.run(strength=2, overwrite=True, kill_after=1) == ["b"]
    assert place.run(strength=2, overwrite=True) == ["c"]
    assert place.run(strength=2, overwrite=True) == ["a", "b", "c"]


def test_with_other_settings_an_interrupted_one_is_not_gone_on_with(place: Place) -> None:
    place.run(strength=2, overwrite=True, kill_after=2)
    assert place.run(strength=3, overwrite=True, kill_after=2) == ["a", "b"]
    assert place.run(strength=2, overwrite=True) == ["a", "b", "c"]


def test_a_change_during_an_interrupted_run_that_overwrites(place: Place) -> None:
    place.run(overwrite=True, kill_after=2, fail="b")
    place.change("a", "new")
    assert place.run(overwrite=True) == ["a", "c"]


# Shards


def test_ledgers_of_other_shards_and_of_other_numbers_count(place: Place) -> None:
    for shard in (Shard(1, 2), Shard(2, 2)):
        ledger = place.ledger(shard)
        own = place.tasks()[shard.index - 1 :: 2]
        ledger.fates(own)
        with ledger.writing():
            for task in own:
                task.target.write_text("x")
                ledger.done(task, seconds=0, megapixels=0)
    assert sorted(path.name for path in place.output.glob("*.jsonl")) == [
        "ganstyle-ledger.1-of-2.jsonl",
        "ganstyle-ledger.2-of-2.jsonl",
    ]
    assert place.fates() == [THERE] * 3
    assert place.fates(place.ledger(Shard(3, 7))) == [THERE] * 3


def test_the_latest_line_of_all_ledgers_counts(place: Place) -> None:
    place.run(shard=Shard(2, 2), strength=1)
    time.sleep(0.002)
    place.run(strength=2, overwrite=True)
    assert place.fates(place.ledger(strength=2)) == [THERE] * 3
    assert place.fates(place.ledger(Shard(2, 2), strength=2)) == [THERE] * 3
    time.sleep(0.002)  # lines tell their time to the millisecond
    place.run(shard=Shard(2, 2), strength=3, overwrite=True)
    assert place.fates(place.ledger(strength=3)) == [THERE] * 3


def test_a_second_run_of_the_same_shard_waits_its_turn(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganstyle.translate.ledger.LOCK_S", 0.1)
    first, second, other = place.ledger(), place.ledger(), place.ledger(Shard(1, 2))
    with first.writing():
        with pytest.raises(UserError, match="another run is writing"), second.writing():
            pass
        with other.writing():
            pass
    with second.writing():
        pass


HOLD = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_leftovers_are_nobodys_when_nobody_else_is_at_work(place: Place) -> None:
    place.run(shard=Shard(1, 2))
    ledger = place.ledger(Shard(2, 2))
    with ledger.writing():
        assert ledger.leftover_age_s() < 60
        lock = place.output / ".ganstyle-ledger.1-of-2.lock"
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        with process:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            assert ledger.leftover_age_s() == LEFT_S
        assert ledger.leftover_age_s() < 60


def test_without_locks_only_old_leftovers_are_nobodys(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object, **__: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(FileLock, "acquire", unsupported)
    ledger = place.ledger()
    with ledger.writing():
        assert ledger.leftover_age_s() == LEFT_S
    assert place.run() == ["a", "b", "c"]


# Damage


def path_of(place: Place) -> Path:
    return place.output / "ganstyle-ledger.jsonl"


def test_half_a_line_at_the_end_is_mended(place: Place) -> None:
    place.run()
    whole = path_of(place).read_bytes()
    for cut in range(1, 120):
        path_of(place).write_bytes(whole[:-cut])
        fates = place.fates()
        assert set(fates) == {THERE}, "whatever is not in the ledger is somebody's"
        assert place.said == []
        place.run()
        assert all(isinstance(row, dict) for row in place.rows())
        assert place.said == []


def test_a_whole_line_without_its_end_is_kept(place: Place) -> None:
    place.run(kill_after=3)
    path_of(place).write_bytes(path_of(place).read_bytes()[:-1])
    place.change("c", "changed")
    assert place.run() == ["c"], "its line is known"
    assert [row["file"] for row in place.rows() if "file" in row] == ["a.png", "b.png", "c.png", "c.png"]


def test_damaged_lines_are_passed_over_with_one_warning(place: Place) -> None:
    place.run()
    lines = path_of(place).read_bytes().split(b"\n")
    damage = [b"\xff\xfe", b"{}", b"[]", b"null", b'{"file": 3, "status": "done"}', b"[" * 100_000, b"", b'{"file']
    path_of(place).write_bytes(b"\n".join([lines[0], *damage, *lines[1:]]))
    assert place.fates() == [THERE] * 3
    assert len(place.said) == 1
    assert "7 damaged lines are passed over" in place.said[0]


def test_without_a_header_nothing_is_known_of_settings(place: Place) -> None:
    place.run(strength=1)
    path_of(place).write_bytes(path_of(place).read_bytes().split(b"\n", 1)[1])
    assert place.fates(place.ledger(strength=2)) == [THERE] * 3


@pytest.mark.parametrize("value", ["text", -1, None, [], {}, True, 10**30])
def test_odd_values_in_a_line(place: Place, value: Any) -> None:
    place.run()
    rows = place.rows()
    for name in ("source_bytes", "source_mtime_ns", "target_bytes", "time", "reason", "seconds"):
        rows[1] |= {name: value}
    path_of(place).write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert place.fates()[1:] == [THERE] * 2


def test_a_newer_ledger_is_refused(place: Place) -> None:
    place.run()
    path_of(place).write_text(path_of(place).read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(UserError, match="written by a newer ganstyle"):
        place.ledger()


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="names are Unicode here")
def test_names_that_are_no_unicode(place: Place) -> None:
    (place.source / os.fsdecode(b"\xff.png")).write_text("x")
    place.run()
    assert place.fates() == [THERE] * 4
    assert all(isinstance(row, dict) for row in place.rows())


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a folder that takes no files")
def test_a_folder_that_takes_no_files(place: Place) -> None:
    place.output.mkdir(mode=0o500)
    with pytest.raises(UserError, match="cannot write"), place.ledger().writing():
        pass


def test_a_folder_that_cannot_be_made(place: Place) -> None:
    place.output = place.source / "a.png" / "out"
    ledger = place.ledger()
    with pytest.raises(LedgerError, match=r"cannot make the folder .*: Not a directory"), ledger.writing():
        pass


def test_a_ledger_in_whose_place_a_folder_stands(place: Place) -> None:
    path_of(place).mkdir(parents=True)
    with pytest.raises(UserError, match="cannot read") as error:
        place.ledger()
    assert "\n" not in str(error.value)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_an_error_of_the_ledger(place: Place) -> None:
    ledger, (task, *_) = place.ledger(), place.tasks()
    ledger.fates([task])
    with ledger.writing(), Path("/dev/full").open("wb") as full:
        assert ledger._file is not None
        ledger._file.close()
        ledger._file = cast(BinaryIO, full)
        with pytest.raises(LedgerError, match=r"cannot write .*ganstyle-ledger.jsonl: No space left"):
            ledger.done(task, seconds=0, megapixels=0)
        with suppress(OSError):
            full.close()


def note(ledger: Ledger, task: Task) -> None:
    for _ in range(50):
        ledger.done(task, seconds=1, megapixels=1)


def test_lines_from_many_threads_are_whole(place: Place) -> None:
    ledger, (task, *_) = place.ledger(), place.tasks()
    ledger.fates([task])
    with ledger.writing():
        threads = [threading.Thread(target=note, args=(ledger, task)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(place.rows()) == 1 + 400


def test_without_a_ledger_what_is_there_is_taken_as_it_is(place: Place) -> None:
    place.output.mkdir()
    (place.output / "a.png").touch()
    assert fates_of(place.tasks(), None) == [THERE, TRANSLATE, TRANSLATE]
    assert fates_of(place.tasks(), None, overwrite=True) == [TRANSLATE] * 3
