from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganstyle.base.errors import UserError
from ganstyle.data.folders import as_given, folded
from ganstyle.data.outputs import Task, distinct, is_single, plan


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
    assert targets["a.webp.png"] == "a.webp.png"  # what keeps its name has it first
    assert targets["a.webp"] == "a-2.png"
    assert targets["a.webp.jpg"] == "a.webp.jpg.png"


NAMES = st.lists(st.sampled_from([".jpg", ".png", ".gif", ".webp"]), min_size=1, max_size=4).map("".join)


def targets_of(names: Sequence[str], format: str | None, same: Callable[[str], str]) -> dict[str, str]:
    images = [(Path("in", name), Path(name)) for name in sorted(names)]
    tasks, changes = distinct(images, Path("out"), format, lambda _: same)
    made = {task.source.relative_to("in").as_posix(): task.target.relative_to("out").as_posix() for task in tasks}
    natural = {name: str(Path(name).with_suffix(".png")) if format else name for name in made}
    assert {task.source.relative_to("in").as_posix() for task in changes} == {
        name for name in made if made[name] != natural[name]
    }
    return made


@settings(max_examples=300, deadline=None, database=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), NAMES).map("".join), unique=True, max_size=12))
def test_no_two_files_ever_meet(names: list[str]) -> None:
    targets = targets_of(names, "png", as_given)
    assert len(set(targets.values())) == len(names)
    assert all(target.endswith(".png") for target in targets.values())


ODD = st.text("aAäÄé\u0301eßẞſsK\u212aİi.-2", min_size=1, max_size=5).filter(lambda name: not name.startswith("."))


@settings(max_examples=300, deadline=None, database=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["", "d/", "D/"]), ODD, st.sampled_from([".png", ".PNG", ".jpg"])).map("".join),
        unique=True,
    ),
    st.sampled_from([None, "png"]),
)
def test_no_two_files_ever_meet_where_case_does_not_count(names: list[str], format: str | None) -> None:
    targets = targets_of(names, format, folded)
    assert set(targets) == set(names)
    assert len({folded(target) for target in targets.values()}) == len(names)
    assert all(Path(target).parent == Path(name).parent for name, target in targets.items())


def test_names_that_differ_only_in_case_or_in_form() -> None:
    names = ["A.jpg", "a.jpg", "a.JPG", "b/\u00e4.png", "b/a\u0308.png", "B/\u00c4.png"]
    assert targets_of(names, None, as_given) == {name: name for name in names}
    assert targets_of(names, None, folded) == {
        "A.jpg": "A.jpg",
        "a.JPG": "a-2.JPG",
        "a.jpg": "a-3.jpg",
        "B/\u00c4.png": "B/\u00c4.png",
        "b/a\u0308.png": "b/a\u0308-2.png",
        "b/\u00e4.png": "b/\u00e4-3.png",
    }


def test_a_file_and_a_folder_of_one_name() -> None:
    assert targets_of(["a.jpg", "a.png/b.png"], "png", as_given) == {"a.jpg": "a.jpg.png", "a.png/b.png": "a.png/b.png"}


def test_names_that_become_too_long_are_cut_and_stay_apart() -> None:
    names = ["x" * 250 + end for end in ("a.jpg", "b.jpg", "b.png")] + ["\u00e4" * 125 + "a.jpg"]
    targets = targets_of(names, "avif", as_given)
    assert len(set(targets.values())) == len(names)
    for target in targets.values():
        assert 250 <= len(os.fsencode(target)) <= 255
        assert target.endswith(".avif")
    assert targets[names[0]] == "x" * 250 + ".avif"
    assert targets[names[1]] == "x" * 248 + "-2.avif"


def test_a_line_tells_of_each_name_that_changed(tmp_path: Path) -> None:
    photos = touch(tmp_path / "in", "a.jpg", "A.jpg", "b.jpg", *(f"c/{number}.jpg" for number in range(20)))
    touch(photos, *(f"c/{number}.png" for number in range(20)))
    said: list[str] = []
    plan(photos, tmp_path / "out", say=said.append)
    assert said == []
    plan(photos, tmp_path / "out", say=said.append, identity=lambda _: folded)
    assert said == [f"{photos / 'a.jpg'}: written as a-2.jpg, as its own name is taken or too long there"]
    said.clear()
    plan(photos, tmp_path / "out", format="png", say=said.append)
    assert len(said) == 11
    assert said[-1] == "and 10 more under other names"


def test_a_single_file_whose_name_becomes_too_long(tmp_path: Path) -> None:
    name = "x" * 251
    photo = touch(tmp_path, f"{name}.png") / f"{name}.png"
    assert [task.target.name for task in plan(photo, tmp_path / "out", format="avif")] == ["x" * 250 + ".avif"]


def test_names_that_some_systems_reserve_stay(tmp_path: Path) -> None:
    photos = touch(tmp_path / "in", "CON.png", "aux.jpg", "a .png")
    assert set(planned(photos, tmp_path / "out")) == {"CON.png", "aux.jpg", "a .png"}


def test_folders_that_are_left_out(tmp_path: Path) -> None:
    photos = touch(tmp_path / "in", "a.png", "masks/a.png", "b/masks/a.png")
    tasks = plan(photos, tmp_path / "out", leave_out=[photos / "masks", tmp_path / "gone"])
    assert [task.source.relative_to(photos).as_posix() for task in tasks] == ["a.png", "b/masks/a.png"]


def test_the_ledgers_of_a_folder_are_no_input(tmp_path: Path) -> None:
    photos = touch(tmp_path / "in", "a.png", "ganstyle-ledger.jsonl", "ganstyle-ledger.2-of-8.jsonl")
    assert planned(photos, tmp_path / "out") == {"a.png": "a.png"}


def test_an_input_within_the_output(tmp_path: Path) -> None:
    photos = touch(tmp_path / "out" / "sub", "a.png")
    assert planned(photos, tmp_path / "out") == {"a.png": "a.png"}, "nothing meets"
    touch(photos, "sub/new.png")
    assert "would lie in the input" in refused(photos, tmp_path / "out")
    touch(photos, "new.png")
    assert "is one of the input's own files" in refused(photos, tmp_path / "out")


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_an_output_folder_that_leads_into_the_input(tmp_path: Path) -> None:
    photos = touch(tmp_path / "in", "a.png", "b/c.png", "d/e.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b").symlink_to(photos / "d")
    assert "c.png would lie in the input" in refused(photos, tmp_path / "out")


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_an_output_that_is_a_link_to_itself(tmp_path: Path) -> None:
    photos = touch(tmp_path / "in", "a.png", "b/c.png")
    (photos / "loop").symlink_to(photos)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b").symlink_to(tmp_path / "out" / "b")
    assert planned(photos, tmp_path / "out") == {"a.png": "a.png", "b/c.png": "b/c.png"}


def test_another_name_of_the_same_file(tmp_path: Path) -> None:
    """A disk without case answers to `A.JPG` too; a second hard link does the same on any disk."""
    photo = touch(tmp_path, "a.jpg") / "a.jpg"
    (tmp_path / "A.JPG").hardlink_to(photo)
    assert "is one of the input's own files" in refused(photo, tmp_path / "A.JPG")


def test_whether_one_file_is_named(tmp_path: Path) -> None:
    photo = touch(tmp_path, "a.jpg") / "a.jpg"
    assert is_single(photo, tmp_path / "b.webp")
    assert not is_single(photo, tmp_path / "b")
    assert not is_single(photo, tmp_path)
    assert not is_single(tmp_path, tmp_path / "b.webp")


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
