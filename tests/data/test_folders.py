from __future__ import annotations

import os
from pathlib import Path

import pytest

from ganstyle.data.folders import find_files, find_images


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
