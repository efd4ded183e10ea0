from __future__ import annotations

import base64
import dataclasses
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ganstyle.tracking.charts import Panel
from ganstyle.tracking.page import Cell, Event, Notice, Page, State, Table, cell_text, data_uri, render, write_page

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)
VOID = {"meta", "link", "img", "input", "br", "hr"}
HOSTILE = '<script>alert(\'x\')</script>"><img src=x onerror="y">&</style></script>'


class Reader(HTMLParser):
    """Collects tags, attributes and text, and insists that every tag is closed in turn."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(html)
        self.close()
        assert self.open == [], f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"nothing to close: {tag}"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def text_of(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]


def full_page(word: str = "ink") -> Page:
    return Page(
        title=f"{word} title",
        state=State(f"{word} state", 0.25, "2026-11-22T14:10:00+00:00"),
        summary=f"{word} summary",
        health=[Notice(f"{word} ailment", f"{word} measured", f"{word} hint", "error", f"{word} since")],
        gallery_title=f"{word} gallery",
        gallery_columns=[f"{word} photo", "truth"],
        gallery=[[(f"{word} caption", PNG), ("", PNG)]],
        frames=[(f"{word} 0", PNG), (f"{word} 1", PNG)],
        frame_rows=[f"{word} above", "below"],
        frame_note=f"{word} left out",
        tables=[
            Table(
                f"{word} table",
                [f"{word} column", "psnr"],
                [[f"{word} row", 20.125], ["photo", math.inf]],
                f"{word} how",
                [1],
            )
        ],
        curves=[
            Panel(f"{word} chart", {f"{word} line": [(1, 2.0), (2, 1.0)], "b": [(1, 4.0)]}, f"{word} section"),
            Panel("other", {"other": [(5, 0.1)]}, f"{word} section", f"{word} reading"),
        ],
        events=[Event(1500, f"{word} time", "warn", f"{word} event", f"{word} happened")],
        events_note=f"{word} older",
        config=f"{word}: config",
        facts=[(f"{word} label", f"{word} value"), ("steps", 2000)],
        commands=[(f"{word} what", f"{word} --command")],
    )


def test_a_page_is_one_whole_file_with_every_part(tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", full_page())
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    reader = Reader(html)
    assert html.startswith("<!DOCTYPE html>")
    shown = " ".join(text for tag, text in reader.texts if tag not in ("script", "style"))
    parts = (
        "title state summary ailment measured hint since gallery photo caption 1 above left table how column row "
        "section chart line reading event happened time older label value what"
    )
    for part in parts.split():
        assert f"ink {part}" in shown, part
    for value in ("2,000", "20.12", "∞", "ink --command", "step 1,500", "ink: config"):
        assert value in shown
    assert reader.text_of("title") == ["ink title"]


@pytest.mark.parametrize("page", [Page(title="empty"), full_page()])
def test_nothing_is_asked_of_any_server(page: Page) -> None:
    html = render(page)
    assert "://" not in html
    assert "url(" not in html
    assert "@import" not in html
    reader = Reader(html)
    addresses = [value for _, attributes in reader.tags for key, value in attributes.items() if key in ("src", "href")]
    assert addresses
    assert all(address is not None and address.startswith("data:") for address in addresses)
    policy = next(meta["content"] for meta in reader.named("meta") if meta.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_hostile_text_stays_text() -> None:
    plain, hostile = Reader(render(full_page())), Reader(render(full_page(HOSTILE)))
    assert len(hostile.named("img")) == len(plain.named("img"))
    handlers = [key for _, attributes in hostile.tags for key in attributes if key.startswith("on")]
    assert handlers == []
    scripts = [attributes for attributes in hostile.named("script") if attributes.get("type") != "application/json"]
    assert len(scripts) == 1
    assert len(hostile.named("style")) == 1
    assert f"{HOSTILE} title" in "".join(hostile.text_of("h1"))


def test_what_has_no_place_in_utf_8_is_written_as_an_escape(tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", full_page("half \ud83d, byte \udcff"))
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert Reader(html).text_of("h1") == ["half \\ud83d, byte \\udcff title"]
    line = json.loads(Reader(html).text_of("script")[0])["series"][0]
    assert line["name"] == "half \ud83d, byte \udcff line"  # JSON has escapes of its own


def test_hostile_curve_names_reach_the_script_as_data() -> None:
    reader = Reader(render(Page(title="x", curves=[Panel("generator", {HOSTILE: [(1, 1.0)]})])))
    data = json.loads(reader.text_of("script")[0])
    assert data["series"][0]["name"] == HOSTILE
    assert len(reader.named("script")) == 2


FIELDS = [field.name for field in dataclasses.fields(Page) if field.name != "title"]


@pytest.mark.parametrize("name", FIELDS)
def test_a_page_with_one_part_alone_or_without_it_is_whole(name: str) -> None:
    page = full_page()
    alone = Page(**{"title": "one", name: getattr(page, name)})
    empty = dataclasses.replace(page, **{name: getattr(Page(title=""), name)})
    assert Reader(render(alone)).text_of("h1") == ["one"]
    assert Reader(render(empty)).text_of("h1") == ["ink title"]


def test_an_empty_page_has_no_empty_parts() -> None:
    reader = Reader(render(Page(title="empty")))
    for tag in ("section", "svg", "table", "img", "input", "dl", "pre"):
        assert reader.named(tag) == []


def test_curves_without_a_finite_value_still_give_a_page() -> None:
    panels = [Panel("health", {"a": [(1, math.nan)], "b": []}), Panel("c", {"c": [(0, 1.0)]})]
    html = render(Page(title="x", curves=panels))
    reader = Reader(html)
    assert html.count("(no finite value)") == 2
    assert len(reader.named("svg")) == 2
    for text in reader.text_of("script")[:2]:
        json.loads(text)
    assert not re.search(r"\bnan\b|\binf\b", "".join(path["d"] or "" for path in reader.named("path")))


def test_pictures_are_inside_whole() -> None:
    sources = [image["src"] or "" for image in Reader(render(full_page())).named("img")]
    assert len(sources) == 4
    assert all(base64.b64decode(source.removeprefix("data:image/png;base64,")) == PNG for source in sources)


def test_only_the_last_frame_shows_at_first_and_the_slider_spans_them_all() -> None:
    reader = Reader(render(Page(title="x", frames=[(str(i), PNG) for i in range(5)])))
    assert ["hidden" in image for image in reader.named("img")] == [True] * 4 + [False]
    slider = next(attributes for attributes in reader.named("input") if attributes["type"] == "range")
    assert (slider["min"], slider["max"], slider["value"]) == ("0", "4", "4")
    assert reader.text_of("output") == ["4"]


@pytest.mark.parametrize(
    ("start", "kind"),
    [(b"\x89PNG\r\n", "png"), (b"\xff\xd8\xff\xe0", "jpeg"), (b"RIFF....WEBP", "webp"), (b"GIF89a", "gif")],
)
def test_the_kind_of_picture_is_told_by_its_first_bytes(start: bytes, kind: str) -> None:
    assert data_uri(start).startswith(f"data:image/{kind};base64,")


def test_bytes_that_are_no_picture_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected an encoded PNG"):
        write_page(tmp_path / "page.html", Page(title="x", frames=[("a", b"<svg>")]))
    assert list(tmp_path.iterdir()) == []


def test_columns_of_numbers_alone_are_set_to_the_right() -> None:
    rows: list[list[Cell]] = [
        ["1.20 ± 0.30", "–", "4", 0.5, "e"],
        ["–", "–", "not given", math.inf, "5"],
        ["1,200", "–", "3", -1, ""],
    ]
    reader = Reader(render(Page(title="x", tables=[Table("t", list("abcde"), rows, marked=[1])])))
    assert ["class" in head for head in reader.named("th")] == [True, False, False, True, False]
    assert ["class" in cell for cell in reader.named("td")] == [True, False, False, True, False] * 3
    assert [row.get("class") for row in reader.named("tr")] == [None, None, "marked", None]


def test_one_curve_with_the_name_of_its_chart_needs_no_legend() -> None:
    panels = [Panel("rate", {"rate": [(1, 1.0)]}), Panel("losses", {"a": [(1, 1.0)]})]
    reader = Reader(render(Page(title="x", curves=panels)))
    assert [item for item in reader.text_of("li") if item.strip()] == ["a"]


def test_charts_of_a_section_stand_together() -> None:
    points = {"x": [(1, 1.0)]}
    panels = [Panel("one", points, "first"), Panel("two", points, "second"), Panel("three", points, "first")]
    reader = Reader(render(Page(title="x", curves=panels)))
    assert reader.text_of("summary") == ["first", "second"]
    assert reader.text_of("h3") == ["one", "three", "two"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("as it is", "as it is"),
        (0, "0"),
        (1234567, "1,234,567"),
        (20.125, "20.12"),
        (0.4125, "0.412"),
        (0.0, "0.000"),
        (0.000123456, "0.000123"),
        (123456.7, "123,457"),
        (math.nan, "–"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
        (True, "True"),
    ],
)
def test_cells(value: str | float, text: str) -> None:
    assert cell_text(value) == text
