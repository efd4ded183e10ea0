from __future__ import annotations

import base64
import io
import os
import re
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganstyle.base.errors import UserError
from ganstyle.verbs import before_after as module
from ganstyle.verbs.before_after import Counts, before_after
from tests import tiny

IMAGES = re.compile(r'<img src="data:image/(\w+);base64,([^"]+)" width="(\d+)" height="(\d+)"[^>]* alt="([^"]*)"')


def photo(path: Path, *, height: int = 20, width: int = 24, colour: tuple[int, int, int] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = tiny.picture(height, width) if colour is None else Image.new("RGB", (width, height), colour)
    image.save(path)
    return path


def folders(root: Path, results: list[str], sources: list[str]) -> tuple[Path, Path]:
    for folder, names in (("out", results), ("in", sources)):
        (root / folder).mkdir(exist_ok=True)
        for name in names:
            photo(root / folder / name)
    return root / "out", root / "in"


def images_on(page: Path) -> list[tuple[str, Image.Image]]:
    """(alternative text, decoded image) in their order; what the page says of their sizes is checked."""
    found = []
    for kind, data, width, height, text in IMAGES.findall(page.read_text(encoding="utf-8")):
        assert kind == "webp"
        image = Image.open(io.BytesIO(base64.b64decode(data)))
        assert image.format == "WEBP"
        assert image.width <= int(width)
        assert image.height <= int(height)
        found.append((unescape(text), image.convert("RGB")))
    return found


def names_on(page: Path) -> list[str]:
    """The names of the pairs; each is on the page twice, before and after."""
    texts = [text for text, _ in images_on(page)]
    befores, afters = texts[::2], texts[1::2]
    assert [text.removeprefix("before: ") for text in befores] == [text.removeprefix("after: ") for text in afters]
    assert all(text.startswith("before: ") for text in befores)
    return [text.removeprefix("before: ") for text in befores]


def test_the_same_relative_path(tmp_path: Path) -> None:
    out, source = folders(tmp_path, ["a.png", "sub/a.png"], ["a.png", "sub/a.png"])
    counts = before_after(out, source, tmp_path / "page.html")
    assert (counts.pairs, counts.shown, counts.lines()) == (2, 2, [])
    assert str(counts) == "2 pairs"
    assert names_on(tmp_path / "page.html") == ["a.png", "sub/a.png"]


@pytest.mark.parametrize(
    ("results", "sources", "partners"),
    [
        (["a.webp"], ["a.png"], {"a.webp": "a.png"}),
        (["a.webp.png"], ["a.webp"], {"a.webp.png": "a.webp"}),
        # As `translate --format png` names them: the first one keeps its name.
        (
            ["a.png", "a.tif.png", "a.webp.png"],
            ["a.jpg", "a.tif", "a.webp"],
            {"a.png": "a.jpg", "a.tif.png": "a.tif", "a.webp.png": "a.webp"},
        ),
        (["a.png"], ["a.jpg", "a.png"], {"a.png": "a.png"}),
        (["a.jpg", "a.png"], ["a.jpg"], {"a.jpg": "a.jpg", "a.png": "a.jpg"}),
        (["a.b.png", "a.c.png"], ["a.c.jpg", "a.b.jpg"], {"a.b.png": "a.b.jpg", "a.c.png": "a.c.jpg"}),
        (["sub/a.png", "a.png"], ["sub/a.jpg"], {"sub/a.png": "sub/a.jpg"}),
        (["IMG.png"], ["IMG.JPG"], {"IMG.png": "IMG.JPG"}),
    ],
)
def test_partners(results: list[str], sources: list[str], partners: dict[str, str]) -> None:
    places = [{name: Path(name) for name in sorted(names)} for names in (results, sources)]
    assert module._partners(*places) == partners


def test_before_is_the_photo_and_after_its_translation(tmp_path: Path) -> None:
    photo(tmp_path / "in/a.png", colour=(250, 20, 20))
    photo(tmp_path / "out/a.png", colour=(20, 20, 250))
    before_after(tmp_path / "out", tmp_path / "in", tmp_path / "page.html")
    (_, before), (_, after) = images_on(tmp_path / "page.html")
    np.testing.assert_allclose(np.asarray(before).mean(axis=(0, 1)), (250, 20, 20), atol=6)
    np.testing.assert_allclose(np.asarray(after).mean(axis=(0, 1)), (20, 20, 250), atol=6)


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        ((300, 400), (300, 400), [(300, 400), (300, 400)]),
        ((600, 800), (300, 400), [(480, 640), (480, 640)]),  # the larger one's size, as far as that is allowed
        ((30, 40), (60, 80), [(60, 80), (60, 80)]),
        ((301, 400), (256, 341), [(301, 400), (301, 400)]),  # sizes are rounded
        ((300, 400), (400, 300), [(225, 300), (400, 300)]),  # another shape is fitted into the translation's
        ((200, 800), (100, 100), [(160, 640), (160, 160)]),
        ((1, 2000), (2000, 1), [(1, 1), (640, 1)]),
    ],
)
def test_both_have_one_size(
    before: tuple[int, int], after: tuple[int, int], shown: list[tuple[int, int]], tmp_path: Path
) -> None:
    photo(tmp_path / "in.png", height=before[0], width=before[1])
    photo(tmp_path / "out.png", height=after[0], width=after[1])
    before_after(tmp_path / "out.png", tmp_path / "in.png", tmp_path / "page.html", longest_px=640)
    sizes = [(image.height, image.width) for _, image in images_on(tmp_path / "page.html")]
    assert sizes == shown


def test_upright_and_fitted_to_the_longest_side(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "in").mkdir()
    tiny.picture(20, 40).save(tmp_path / "in/a.jpg", exif=exif)
    photo(tmp_path / "out/a.jpg", height=40, width=20)
    before_after(tmp_path / "out", tmp_path / "in", tmp_path / "page.html", longest_px=10)
    assert [image.size for _, image in images_on(tmp_path / "page.html")] == [(5, 10), (5, 10)]


def test_two_files_of_any_names(tmp_path: Path) -> None:
    one, other = photo(tmp_path / "painted.png"), photo(tmp_path / "IMG_1.jpg")
    assert before_after(one, other, tmp_path / "page.html").shown == 1


def test_one_translation_and_its_photo_in_a_folder(tmp_path: Path) -> None:
    out, source = folders(tmp_path, ["b.png"], ["a.jpg", "b.jpg"])
    assert before_after(out / "b.png", source, tmp_path / "page.html").shown == 1
    assert names_on(tmp_path / "page.html") == ["b.png"]


def test_what_has_no_partner_is_told_in_a_line(tmp_path: Path) -> None:
    out, source = folders(tmp_path, ["a.png", "x.png"], ["a.png", *(f"y{number:02}.png" for number in range(30))])
    counts = before_after(out, source, tmp_path / "page.html")
    first, second = counts.lines()
    assert first == "no photo found for x.png"
    assert second.startswith("no translation found for y00.png, y01.png")
    assert second.endswith("y19.png and 10 more")
    assert str(counts) == "1 pair, 31 files without a partner"
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert f"<li>{first}</li>" in text
    assert f"<li>{second}</li>" in text


def test_files_that_cannot_be_read_are_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    out, source = folders(tmp_path, ["a.png", "b.png", "c.png"], ["a.png", "b.png", "c.png"])
    (out / "a.png").write_bytes(b"no image")
    (source / "b.png").write_bytes(b"")
    counts = before_after(out, source, tmp_path / "page.html")
    assert names_on(tmp_path / "page.html") == ["c.png"]
    assert [path for path, _ in counts.failed] == [out / "a.png", source / "b.png"]
    assert str(counts) == "1 of 3 pairs, 2 unreadable"
    text = unescape((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert all(f"<li>{line}</li>" in text for line in counts.lines())


def test_more_than_most_are_chosen_evenly_and_that_is_said(tmp_path: Path) -> None:
    names = [f"{number:02}.png" for number in range(23)]
    out, source = folders(tmp_path, names, names)
    counts = before_after(out, source, tmp_path / "page.html", most=5)
    chosen = [int(name[:2]) for name in names_on(tmp_path / "page.html")]
    assert len(chosen) == 5
    assert chosen[0] < 5
    assert chosen[-1] >= 18
    assert set(np.diff(chosen)) <= {4, 5}
    assert (counts.pairs, counts.shown) == (23, 5)
    assert "5 of 23 pairs, evenly chosen" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_names_are_escaped(tmp_path: Path) -> None:
    name = 'a&b"<script>alert(1)<\u202ex.png'
    out, source = folders(tmp_path, [name], [name])
    (tmp_path / "<b>").mkdir()
    out = out.rename(tmp_path / "<b>" / "<i>")
    before_after(out, source, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "<i>" not in text
    assert "\u202e" not in text
    assert names_on(tmp_path / "page.html") == [name.replace("\u202e", "\\u202e")]


def test_names_that_are_no_text(tmp_path: Path) -> None:
    out, source = folders(tmp_path, ["a.png"], ["a.png"])
    broken = os.fsdecode(b"\xff.png")
    try:
        for folder in (out, source):
            (folder / "a.png").rename(folder / broken)
    except OSError:
        pytest.skip("this file system takes no such names")
    before_after(out, source, tmp_path / "page.html")
    assert names_on(tmp_path / "page.html") == ["\\udcff.png"]


def test_the_page_asks_nothing_of_any_server(tmp_path: Path) -> None:
    out, source = folders(tmp_path, ["a.png"], ["a.png"])
    before_after(out, source, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", text)
    assert "url(" not in text
    assert "://" not in text


def test_it_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, source = folders(tmp_path, ["a.png", "b.png"], ["a.png", "b.png"])
    page = tmp_path / "page.html"
    page.write_text("the one before")
    calls: list[Path] = []

    read = module.read_image

    def stop(path: Path) -> Any:
        calls.append(path)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return read(path)

    monkeypatch.setattr(module, "read_image", stop)
    with pytest.raises(KeyboardInterrupt):
        before_after(out, source, page)
    assert page.read_text() == "the one before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out", "page.html"]


@pytest.mark.parametrize("page", ["out/a.png", "in/a.png", "new.jpg", "link.html", "out"])
def test_no_photo_is_overwritten(page: str, tmp_path: Path) -> None:
    out, source = folders(tmp_path, ["a.png"], ["a.png"])
    (tmp_path / "link.html").symlink_to(source / "a.png")
    before = (source / "a.png").read_bytes(), (out / "a.png").read_bytes()
    with pytest.raises(UserError, match=r"name a file such as .*\.html") as told:
        before_after(out, source, tmp_path / page)
    assert "\n" not in str(told.value)
    assert ((source / "a.png").read_bytes(), (out / "a.png").read_bytes()) == before
    assert not (tmp_path / "new.jpg").exists()


def test_a_photo_without_an_images_suffix_is_not_overwritten_either(tmp_path: Path) -> None:
    one, other = photo(tmp_path / "a.png"), photo(tmp_path / "b.png")
    odd = one.rename(tmp_path / "photo.html")
    with pytest.raises(UserError, match="is an image's name"):
        before_after(odd, other, odd)


@pytest.mark.parametrize(
    ("out", "source", "told"),
    [
        ("none", "in", "there is no such file or folder"),
        ("out", "none", "there is no such file or folder"),
        ("out", "empty", r"no images in it \("),
        ("out", "out", "are one place: name the translations first"),
        ("out", "others", "none of 1 translations has the name of one of 1 photos"),
    ],
)
def test_nothing_to_show_is_one_line(out: str, source: str, told: str, tmp_path: Path) -> None:
    folders(tmp_path, ["a.png"], ["a.png"])
    photo(tmp_path / "others/other.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=told) as error:
        before_after(tmp_path / out, tmp_path / source, tmp_path / "page.html")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("options", [{"most": 0}, {"longest_px": 0}, {"longest_px": 20_000}])
def test_numbers_that_cannot_be(options: dict[str, int], tmp_path: Path) -> None:
    out, source = folders(tmp_path, ["a.png"], ["a.png"])
    with pytest.raises(UserError, match="give 1 to 16383 px"):
        before_after(out, source, tmp_path / "page.html", **options)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    out, source = folders(tmp_path, ["a.png"], ["a.png"])
    with pytest.raises(UserError, match="the folder does not exist"):
        before_after(out, source, tmp_path / "none" / "page.html")


def test_photos_below_the_translations_are_no_translations(tmp_path: Path) -> None:
    out, _ = folders(tmp_path, ["a.png"], [])
    photo(out / "photos/a.png")
    assert before_after(out, out / "photos", tmp_path / "page.html").lines() == []


def test_memory_holds_one_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pair is on its way to the disk before the next one is read."""
    names = [f"{number}.png" for number in range(6)]
    out, source = folders(tmp_path, names, names)
    ahead: list[int] = []
    live = {"read": 0, "written": 0}

    def counting(name: str, function: Any) -> Any:
        def call(*given: Any) -> Any:
            live[name] += 1
            ahead.append(live["read"] - live["written"])
            return function(*given)

        return call

    monkeypatch.setattr(module, "encode_image", counting("read", module.encode_image))
    monkeypatch.setattr(module, "data_uri", counting("written", module.data_uri))
    before_after(out, source, tmp_path / "page.html")
    assert live == {"read": 12, "written": 12}
    assert max(ahead) == 2


def test_counts_in_words() -> None:
    assert str(Counts(1, 1)) == "1 pair"
    assert str(Counts(1234, 200)) == "200 of 1,234 pairs"
