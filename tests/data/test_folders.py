from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ganstyle.base.errors import UserError
from ganstyle.data import folders
from ganstyle.data.folders import (
    as_given,
    find_files,
    find_images,
    folded,
    folds_names,
    identity_of_names,
    megapixels_of,
)
from tests import tiny


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def found(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in find_images(folder)]


def test_images_by_their_suffix_in_the_order_of_their_paths(tmp_path: Path) -> None:
    touch(tmp_path, "b.PNG", "a/2.jpg", "a/10.jpeg", "a.webp", "c.txt", "d", "e.Tiff", "a/b/z.avif", "f.bmp", "g.gif")
    expected = ["a.webp", "a/10.jpeg", "a/2.jpg", "a/b/z.avif", "b.PNG", "e.Tiff", "f.bmp", "g.gif"]
    assert found(tmp_path) == expected
    assert expected == sorted(expected)
    assert {path.name for path in find_files(tmp_path)} - {path.name for path in find_images(tmp_path)} == {
        "c.txt",
        "d",
    }


def test_hidden_files_and_folders_are_skipped(tmp_path: Path) -> None:
    touch(tmp_path, ".a.png", ".cache/b.png", "c/.d/e.png", "f.png")
    assert found(tmp_path) == ["f.png"]
    touch(tmp_path, ".hidden/g.png")
    assert found(tmp_path / ".hidden") == ["g.png"]  # asked for by name


def test_nothing_there(tmp_path: Path) -> None:
    assert find_images(tmp_path) == []
    assert find_images(tmp_path / "gone") == []


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links(tmp_path: Path) -> None:
    touch(tmp_path, "set/real/a.png", "elsewhere/b.png")
    root = tmp_path / "set"
    (root / "loop").symlink_to(root)
    (root / "real" / "up").symlink_to(root)
    (root / "again").symlink_to(root / "real")
    (root / "outside").symlink_to(tmp_path / "elsewhere")
    (root / "file.png").symlink_to(tmp_path / "elsewhere" / "b.png")
    (root / "dangling.png").symlink_to(tmp_path / "gone.png")
    # Each real folder once, under its own name; a dangling link is found, and then cannot be read.
    assert found(root) == ["dangling.png", "file.png", "outside/b.png", "real/a.png"]


def test_folders_that_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "masks/b.png", "c/masks/d.png")
    found = find_images(tmp_path, leave_out=[tmp_path / "c" / ".." / "masks"])
    assert [path.name for path in found] == ["a.png", "d.png"]
    assert len(find_files(tmp_path, leave_out=[tmp_path / "c"])) == 2
    touch(tmp_path, "c/a.png")
    assert [path.name for path in find_images(tmp_path / "c", leave_out=[tmp_path / "c" / "a.png"])] == ["d.png"]
    assert len(find_images(tmp_path, leave_out=[tmp_path / "a.png"])) == 3, "but not another of its name"


def test_megapixels_by_headers(tmp_path: Path) -> None:
    tiny.picture(200, 100).save(tmp_path / "a.png")
    tiny.picture(10, 20).save(tmp_path / "b.jpg")
    (tmp_path / "c.png").write_text("no image")
    paths = [tmp_path / name for name in ("a.png", "b.jpg", "c.png", "gone.png")]
    assert megapixels_of(paths) == [0.02, 0.0002, 0, 0]
    assert megapixels_of([]) == []


def test_what_is_equal_without_case() -> None:
    assert folded("\u00c4.PNG") == folded("a\u0308.png")
    assert folded("Stra\u00dfe") == folded("STRASSE")
    assert folded("a.png") != folded("b.png")


@pytest.mark.parametrize("answers", [True, False])
def test_a_disk_is_asked_whether_it_knows_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: bool) -> None:
    asked: list[tuple[str, str]] = []

    def same(one: Path, other: Path) -> bool:
        asked.append((one.name, other.name))
        return answers

    monkeypatch.setattr(folders, "_same", same)
    touch(tmp_path / "out", "12.34", "ab.PNG", "AB.png")
    (tmp_path / "out" / "12.34").rename(tmp_path / "out" / "1234")
    assert folds_names(tmp_path / "out" / "new" / "er") is answers
    assert asked == [("out", "OUT")], "names that stand there in both cases tell nothing"
    touch(tmp_path / "out", "x.png")
    assert folds_names(tmp_path / "out") is answers
    assert asked[-1] == ("x.png", "X.PNG")
    assert (identity_of_names(tmp_path / "out") is folded) is answers


@pytest.mark.skipif(os.name == "nt", reason="this system's disks know no case")
def test_the_disk_of_these_tests(tmp_path: Path) -> None:
    touch(tmp_path, "ab.png")
    assert folds_names(tmp_path) is (tmp_path / "AB.PNG").exists()
    if not folds_names(tmp_path):
        assert identity_of_names(tmp_path) is as_given


def test_a_folder_that_cannot_be_read_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in" / "shut").mkdir(parents=True)
    scan = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("shut"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=r"shut: the folder cannot be read \(Permission denied\)"):
        find_images(tmp_path / "in")
    assert find_images(tmp_path / "none") == []
