"""The page of photos under sliders in a real browser: nothing complains, what is seen is what the slider says."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganstyle.verbs.before_after import before_after

pytestmark = pytest.mark.slow

DESKTOP, PHONE = 1280, 390
RED, BLUE = (230, 30, 30), (30, 30, 230)
# Name -> (height, width) of the photo and of its translation.
SIZES = {
    "small.png": ((60, 90), (60, 90)),
    "large.png": ((1000, 1500), (250, 375)),
    "tall.png": ((1500, 500), (1500, 500)),
    "wide.png": ((100, 2000), (100, 2000)),
    "other-shape.png": ((300, 400), (400, 400)),
    f"{70 * 'n'}.png": ((60, 60), (60, 60)),
}
STICKING_OUT = """() => [...document.querySelectorAll('main *')].filter((each) =>
    !each.closest('.stage') && each.getBoundingClientRect().right > innerWidth + 1).map((each) => each.outerHTML)"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos are red, translations blue."""
    folder = tmp_path_factory.mktemp("pairs")
    for place, colour, which in (("in", RED, 0), ("out", BLUE, 1)):
        (folder / place).mkdir()
        for name, sizes in SIZES.items():
            height, width = sizes[which]
            Image.new("RGB", (width, height), colour).save(folder / place / name)
    Image.new("RGB", (9, 9)).save(folder / "in" / "alone.png")
    before_after(folder / "out", folder / "in", folder / "page.html")
    return folder / "page.html"


@pytest.fixture
def open_page(browser: Any, file: Path) -> Iterator[Any]:
    complaints: list[str] = []
    contexts = []

    def opened(width: int = DESKTOP, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.append(request.url) if asked_for(request.url) else None)
        page.goto(file.as_uri())
        return page

    def asked_for(url: str) -> bool:
        return not url.startswith("data:") and url != file.as_uri()

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def share_of_photo(page: Any, stage: Any) -> float:
    """Which part of a stage's width, from the left, is red as the photo and not blue as the translation."""
    stage.scroll_into_view_if_needed()
    page.wait_for_timeout(100)
    pixels = np.asarray(Image.open(io.BytesIO(stage.screenshot())).convert("RGB")).astype(int)
    row = pixels[pixels.shape[0] * 3 // 4]  # beside the labels and the handle
    red, blue = row[:, 0] > row[:, 2] + 80, row[:, 2] > row[:, 0] + 80
    assert red.sum() + blue.sum() > 0.9 * len(row)
    if red.any() and blue.any():
        assert red.nonzero()[0].max() < blue.nonzero()[0].min()
    return float(red.sum() / len(row))


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_everything_is_there_and_nothing_sticks_out(open_page: Any, width: int) -> None:
    page = open_page(width)
    assert page.locator("figure").count() == len(SIZES)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for stage in page.locator(".stage").all():
        stage.scroll_into_view_if_needed()
        box = stage.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert box["height"] <= 900
        assert min(box["width"], box["height"]) >= 60
        assert stage.locator(".label").all_inner_texts() == ["before", "after"]
    assert page.evaluate(STICKING_OUT) == []
    page.wait_for_function("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    assert "no translation found for alone.png" in page.locator(".lines").inner_text()


@pytest.mark.parametrize("name", ["small.png", "large.png", "tall.png"])
def test_a_slider_shows_what_it_says(open_page: Any, name: str) -> None:
    page = open_page()
    figure = page.locator("figure", has_text=name)
    stage, slider = figure.locator(".stage"), figure.locator("input")
    assert share_of_photo(page, stage) == pytest.approx(0.5, abs=0.03)
    slider.focus()
    slider.press("Home")
    assert share_of_photo(page, stage) < 0.03
    slider.press("End")
    assert share_of_photo(page, stage) > 0.97
    for _ in range(4):
        slider.press("ArrowLeft")
    assert share_of_photo(page, stage) == pytest.approx(0.8, abs=0.03)


def test_the_line_stands_where_it_is_pressed_and_follows_the_mouse(open_page: Any) -> None:
    page = open_page()
    stage = page.locator("figure", has_text="large.png").locator(".stage")
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    down = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.3, down)
    page.mouse.down()
    assert share_of_photo(page, stage) == pytest.approx(0.3, abs=0.03)
    page.mouse.move(box["x"] + box["width"] * 0.9, down, steps=5)
    page.mouse.up()
    assert share_of_photo(page, stage) == pytest.approx(0.9, abs=0.03)


def test_a_finger_moves_the_line_and_scrolls_the_page(open_page: Any) -> None:
    page = open_page(PHONE, has_touch=True, is_mobile=True)
    stage = page.locator("figure", has_text="large.png").locator(".stage")
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    client = page.context.new_cdp_session(page)

    def touch(kind: str, places: list[tuple[float, float]]) -> None:
        points = [{"x": box["x"] + box["width"] * x, "y": box["y"] + box["height"] * y} for x, y in places]
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", [(0.5, 0.5)])
    for across in (0.4, 0.3, 0.25):
        touch("touchMove", [(across, 0.5)])
    touch("touchEnd", [])
    assert share_of_photo(page, stage) == pytest.approx(0.25, abs=0.06)
    assert stage.evaluate("(stage) => getComputedStyle(stage.querySelector('input')).touchAction") == "pan-y"


def test_buttons_move_all_sliders(open_page: Any) -> None:
    page = open_page()
    stages = [page.locator("figure", has_text=name).locator(".stage") for name in ("large.png", "tall.png")]
    for name, share in (("before", 1.0), ("after", 0.0), ("half", 0.5)):
        page.get_by_role("button", name=name).click()
        for stage in stages:
            assert share_of_photo(page, stage) == pytest.approx(share, abs=0.03)


def test_without_its_script_a_page_shows_half_of_each(open_page: Any) -> None:
    page = open_page(java_script_enabled=False)
    stage = page.locator("figure", has_text="large.png").locator(".stage")
    assert share_of_photo(page, stage) == pytest.approx(0.5, abs=0.03)
    assert page.locator("input:visible").count() == 0
    assert page.locator(".all").is_hidden()


def test_dark_paper(open_page: Any) -> None:
    page = open_page(color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 21, 19)"


def test_on_paper_both_stand_side_by_side(open_page: Any) -> None:
    page = open_page()
    page.emulate_media(media="print")
    stage = page.locator("figure", has_text="large.png").locator(".stage")
    before, after = (stage.locator("img").nth(number).bounding_box() for number in (0, 1))
    assert before["x"] + before["width"] <= after["x"] + 1
    assert before["width"] == pytest.approx(after["width"], abs=2)
    assert page.locator("input:visible").count() == 0
    assert len(page.pdf()) > 1000
