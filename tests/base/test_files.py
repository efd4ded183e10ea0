from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ganstyle.base import files
from ganstyle.base.errors import UserError
from ganstyle.base.files import TEMPORARY, atomic_write, drop_leftovers, fsync_folder, write_text


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_new_file_is_written_whole(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a.bin") as file:
        file.write(b"12345")
        file.seek(1)
        file.write(b"x")
    assert (tmp_path / "a.bin").read_bytes() == b"1x345"
    assert names(tmp_path) == ["a.bin"]


def test_the_old_file_stands_until_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")
    with atomic_write(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
        (temporary,) = [name for name in names(tmp_path) if name != "a.txt"]
        assert temporary.startswith(".")
        assert temporary.endswith(".tmp")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt, UserError])
def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path: Path, kind: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")

    def interrupted() -> None:
        with atomic_write(path) as file:
            file.write(b"half")
            raise kind("stop")

    with pytest.raises(kind, match="stop"):
        interrupted()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is a POSIX signal")
def test_a_killed_process_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")
    code = (
        "import os, signal, sys; from pathlib import Path; from ganstyle.base.files import atomic_write\n"
        "with atomic_write(Path(sys.argv[1])) as file:\n"
        "    file.write(b'half' * 100000); file.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(files.__file__).parents[2]
    result = subprocess.run([sys.executable, "-c", code, str(path)], cwd=root, check=False)
    assert result.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is not here")
@pytest.mark.parametrize("size", [10, 1_000_000])
def test_a_full_disk_is_one_line_and_keeps_the_old_file(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def write_to_a_full_disk() -> None:
        with atomic_write(path) as file:
            full = os.open("/dev/full", os.O_WRONLY)
            os.dup2(full, file.fileno())
            os.close(full)
            file.write(bytes(size))

    with pytest.raises(UserError) as caught:
        write_to_a_full_disk()
    assert str(caught.value) == f"cannot write {path}: no space left on device: free some space and run again"
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_a_disk_that_fails_while_flushing_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def broken(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(UserError, match=r"a\.bin: Input/output error$"):
        write_text(path, "new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_flushed_before_renamed_and_the_folder_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    real_fsync, real_replace = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        events.append("folder" if os.path.isdir(descriptor) else "file")  # noqa: PTH112 - a descriptor, not a path
        real_fsync(descriptor)

    def replace(self: Path, target: Path) -> Path:
        events.append("rename")
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    write_text(tmp_path / "a.txt", "x")
    assert events == (["file", "rename"] if os.name == "nt" else ["file", "rename", "folder"])


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the folder does not exist: make it first"):
        write_text(tmp_path / "no" / "a.txt", "x")


def test_a_folder_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(UserError, match="a folder of this name is in the way"):
        write_text(tmp_path / "a", "x")
    assert names(tmp_path) == ["a"]


def test_a_file_where_a_folder_is_needed(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(UserError, match="a file stands where a folder is needed"):
        write_text(tmp_path / "a" / "b", "x")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes into read-only folders")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UserError, match="no permission"):
            write_text(tmp_path / "a.txt", "x")
    finally:
        tmp_path.chmod(0o700)


def test_long_names(tmp_path: Path) -> None:
    longest = tmp_path / ("é" * 125 + ".text")  # 255 bytes, the limit of most file systems
    write_text(longest, "x")
    assert longest.read_text() == "x"
    with pytest.raises(UserError, match="the name is too long"):
        write_text(tmp_path / ("n" * 300), "x")
    assert names(tmp_path) == [longest.name]


def test_text_is_utf_8_with_its_own_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "müde\nworld\r\n")
    assert (tmp_path / "a.txt").read_bytes() == "müde\nworld\r\n".encode()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_rights_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


def test_file_systems_without_folder_flush_are_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(code: int) -> None:
        def fsync(descriptor: int) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "fsync", fsync)

    refuse(errno.EINVAL)
    fsync_folder(tmp_path)
    refuse(errno.EIO)
    if os.name != "nt":
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            fsync_folder(tmp_path)


def test_leftovers_of_a_killed_write_are_dropped_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "changed_at", lambda path: path.stat().st_mtime)
    leftover, fresh = tmp_path / ".123-0a1b2c3d.tmp", tmp_path / ".124-0a1b2c3d.tmp"
    kept = [tmp_path / name for name in (".mine.tmp", "123-0a1b2c3d.tmp", ".123-0a1b2c3d.tmp.png")]
    for path in (leftover, fresh, *kept):
        path.write_bytes(b"x")
    os.utime(leftover, (1, 1))
    drop_leftovers(tmp_path, older_than_s=3600)
    assert not leftover.exists()
    assert fresh.exists()
    drop_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(kept)


def test_a_file_that_is_being_written_is_kept_whatever_its_times_say(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "photo") as file:
        os.utime(file.name, (1, 1))
        drop_leftovers(tmp_path, older_than_s=3600)
        file.write(b"whole")
    assert (tmp_path / "photo").read_bytes() == b"whole"


def test_the_temporary_name_is_one_that_is_known_as_a_leftover(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "file"):
        (temporary,) = tmp_path.iterdir()
        assert TEMPORARY.fullmatch(temporary.name)
