from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganstyle.base.errors import UserError
from ganstyle.data.outputs import Task, _distinct, _renamed, plan


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def planned(source: Path, output: Path, format: str | None = None) -> dict[str, str]:
    tasks = plan(source, output, format=format)
    return {str(task.source.relative_to(source)): str(task.target.relative_to(output)) for task in tasks}


def refused(source: Path, output: Path, format: str | None = None) -> str:
    with pytest.raises(UserError) as caught:
        plan(source, output, format=format)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Folders


def test_names_sub_folders_and_formats_are_kept(tmp_path: Path) -> None:
    photos = touch(tmp_path / "in", "a.JPG", "b/c d.png", "b/e/f.webp", "notes.txt", ".hidden.png")
    names = ["a.JPG", "b/c d.png", "b/e/f.webp"]
    assert planned(photos, tmp_path / "out") == {name: name for name in names}


def test_another_format(tmp_path: Path) -> None:
    photos = touch(tmp_path / "in", "a.JPG", "b/c.d.png", "e.jpeg")
    assert planned(photos, tmp_path / "out", "png") == {"a.JPG": "a.png", "b/c.d.png": "b/c.d.png", "e.jpeg": "e.png"}
    assert planned(photos, tmp_path / "out", "jpeg") == {"a.JPG": "a.jpg", "b/c.d.png": "b/c.d.jpg", "e.jpeg": "e.jpg"}


def test_names_that_would_meet(tmp_path: Path) -> None:
    photos = touch(tmp_path / "in", "a.jpg", "a.webp", "b/a.jpg")
    assert planned(photos, tmp_path / "out", "png") == {
        "a.jpg": "a.png",
        "a.webp": "a.webp.png",
        "b/a.jpg": "b/a.png",
    }


def test_names_that_meet_among_the_renamed_ones(tmp_path: Path) -> None:
    photos = touch(tmp_path / "in", "a.jpg", "a.webp", "a.webp.jpg", "a.webp.png", "a.webp.png.gif")
    targets = planned(photos, tmp_path / "out", "png")
    assert len(set(targets.values())) == 5
    assert targets["a.webp"] == "a.webp.png"
    assert targets["a.webp.jpg"] == "a.webp.jpg.png"


NAMES = st.lists(st.sampled_from([".jpg", ".png", ".gif", ".webp"]), min_size=1, max_size=4).map("".join)


@settings(max_examples=300, deadline=None, database=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), NAMES).map("".join), unique=True, max_size=12))
def test_no_two_files_ever_meet(names: list[str]) -> None:
    tasks = [Task(Path("in", name), Path("out", _renamed(Path(name), "png"))) for name in sorted(names)]
    targets = [task.target for task in _distinct(tasks)]
    assert len(set(targets)) == len(names)
    assert all(target.suffix == ".png" for target in targets)


def test_a_folder_without_images(tmp_path: Path) -> None:
    photos = touch(tmp_path / "in", "notes.txt")
    assert "no images in it" in refused(photos, tmp_path / "out")


def test_the_output_is_not_in_the_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = touch(tmp_path / "in", "a.png")
    for output in (photos, photos / "out", photos / "b" / ".." / "out", tmp_path / "x" / ".." / "in"):
        assert "is or lies in the input" in refused(photos, output)
    monkeypatch.chdir(photos)
    assert "is or lies in the input" in refused(Path(), Path("out"))
    assert planned(photos, tmp_path / "in2") == {"a.png": "a.png"}  # a name that only begins alike


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links_to_the_input_are_the_input(tmp_path: Path) -> None:
    photos = touch(tmp_path / "in", "a.png", "b/c.png")
    (tmp_path / "link").symlink_to(photos)
    assert "is or lies in the input" in refused(photos, tmp_path / "link")
    assert "is or lies in the input" in refused(tmp_path / "link", photos / "deeper")
    # An input that is linked in from the output's own place.
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b").symlink_to(photos / "b")
    assert "is one of the input's own files" in refused(photos, tmp_path / "out")


def test_a_file_where_the_output_folder_should_be(tmp_path: Path) -> None:
    photos = touch(tmp_path / "in", "a.png")
    touch(tmp_path, "out", "out.png")
    assert "is a file" in refused(photos, tmp_path / "out")
    assert "is a file" in refused(photos, tmp_path / "out.png")


# Single files


def test_one_file_to_a_file_or_into_a_folder(tmp_path: Path) -> None:
    photo = touch(tmp_path, "a.jpg") / "a.jpg"
    assert plan(photo, tmp_path / "b.webp") == [Task(photo, tmp_path / "b.webp")]
    assert plan(photo, tmp_path / "out") == [Task(photo, tmp_path / "out" / "a.jpg")]
    assert plan(photo, tmp_path / "out", format="png") == [Task(photo, tmp_path / "out" / "a.png")]
    assert plan(photo, tmp_path, format="png") == [Task(photo, tmp_path / "a.png")]
    (tmp_path / "folder.png").mkdir()
    assert plan(photo, tmp_path / "folder.png") == [Task(photo, tmp_path / "folder.png" / "a.jpg")]


@pytest.mark.parametrize(
    ("name", "format"), [("b.jpg", "jpeg"), ("b.JPEG", "jpeg"), ("b.tiff", "tiff"), ("b.tif", "tiff")]
)
def test_a_suffix_and_its_format_agree(tmp_path: Path, name: str, format: str) -> None:
    photo = touch(tmp_path, "a.jpg") / "a.jpg"
    assert plan(photo, tmp_path / name, format=format) == [Task(photo, tmp_path / name)]


def test_what_is_refused_for_one_file(tmp_path: Path) -> None:
    photo = touch(tmp_path, "a.jpg", "plain") / "a.jpg"
    assert "its suffix and --format jpeg differ" in refused(photo, tmp_path / "b.png", "jpeg")
    assert "is one of the input's own files" in refused(photo, photo)
    assert "is one of the input's own files" in refused(photo, tmp_path)
    assert "is a file without an image's suffix" in refused(photo, tmp_path / "plain")
    assert "there is no such file or folder" in refused(tmp_path / "gone.jpg", tmp_path / "out")


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_one_file_under_another_name(tmp_path: Path) -> None:
    photo = touch(tmp_path, "a.jpg") / "a.jpg"
    (tmp_path / "link.jpg").symlink_to(photo)
    assert "is one of the input's own files" in refused(photo, tmp_path / "link.jpg")
    assert "is one of the input's own files" in refused(tmp_path / "link.jpg", photo)


def test_an_unknown_format_is_refused_with_those_there_are(tmp_path: Path) -> None:
    photos = touch(tmp_path / "in", "a.png")
    assert refused(photos, tmp_path / "out", "jgp").startswith("unknown image format 'jgp': choose one of jpeg, png")


@pytest.mark.parametrize("name", ["jpeg", "jpg", "JPG", ".jpg", "jfif"])
def test_a_format_by_any_of_its_names(name: str, tmp_path: Path) -> None:
    photos = touch(tmp_path / "in", "a.png")
    assert [task.target for task in plan(photos, tmp_path / "out", format=name)] == [tmp_path / "out" / "a.jpg"]


def test_a_link_to_itself_stops_nothing(tmp_path: Path) -> None:
    photos = touch(tmp_path / "in", "a.png")
    (photos / "self.png").symlink_to(photos / "self.png")
    assert [task.source.name for task in plan(photos, tmp_path / "out")] == ["a.png", "self.png"]


def test_a_folder_in_the_way_is_not_done(tmp_path: Path) -> None:
    photos = touch(tmp_path / "in", "a.png")
    (tmp_path / "out" / "a.png").mkdir(parents=True)
    assert [task.is_done() for task in plan(photos, tmp_path / "out")] == [False]


def test_what_is_done_already(tmp_path: Path) -> None:
    photos = touch(tmp_path / "in", "a.png", "b.png")
    touch(tmp_path / "out", "a.png")
    assert [task.is_done() for task in plan(photos, tmp_path / "out")] == [True, False]
