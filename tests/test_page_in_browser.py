"""The pages in a real browser: nothing complains, every curve is drawn, and what can be moved moves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ganstyle.verbs.report import compare_runs, write_report
from tests import told_run

pytestmark = pytest.mark.slow

DESKTOP, PHONE = 1280, 390


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    healthy = told_run.write_run(folder / "healthy")
    ill = told_run.write_run(folder / ("ill-" + 60 * "x"), inverted=True, config={"method": {"name": "y" * 200}})
    told_run.append(ill / "events.jsonl", [told_run.event(500, "rolled back", "error", "z" * 300)])
    begun = told_run.write_run(folder / "begun", steps=10)
    return {
        "healthy": write_report(healthy),
        "ill": write_report(ill),
        "begun": write_report(begun),
        "compared": compare_runs([healthy, ill, begun], folder / "compared.html"),
    }


@pytest.fixture
def open_page(browser: Any, pages: dict[str, Path]) -> Iterator[Any]:
    complaints: list[str] = []
    contexts = []

    def opened(name: str, width: int = DESKTOP, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.append(request.url) if asked_for(request.url) else None)
        page.goto(pages[name].as_uri())
        return page

    def asked_for(url: str) -> bool:
        return not url.startswith("data:") and url not in {path.as_uri() for path in pages.values()}

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


DRAWN = """() => [...document.querySelectorAll('.plot path')].map((path) => {
    const box = path.getBoundingClientRect();
    return [path.getAttribute('d').split('L').length, box.width, box.height, !/NaN|Infinity/.test(path.outerHTML)];
})"""
PATHS = "() => [...document.querySelectorAll('.plot path')].map((path) => path.getAttribute('d'))"
STICKING_OUT = """() => [...document.querySelectorAll('main *')].filter((each) =>
    !each.closest('.scroll, pre, svg') && each.getBoundingClientRect().right > innerWidth + 1
).map((each) => each.outerHTML)"""
TICKS = "() => [...document.querySelectorAll('.ticks')].map((ticks) => ticks.innerText)"


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
@pytest.mark.parametrize("name", ["healthy", "ill", "compared"])
def test_every_curve_is_drawn_and_nothing_sticks_out(open_page: Any, name: str, width: int) -> None:
    page = open_page(name, width)
    drawn = page.evaluate(DRAWN)
    assert len(drawn) >= 30
    longest = max(across for _, across, _, _ in drawn)
    assert longest > 200
    for points, across, down, whole in drawn:
        assert whole
        assert points >= 2
        assert points == 2 or across > longest / 2
        assert across > 0 or down > 0 or points == 2
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    sideways = page.evaluate(STICKING_OUT)
    assert sideways == []
    assert page.evaluate("[...document.images].every((image) => image.hidden || image.naturalWidth > 0)")


def test_a_run_that_has_just_begun_and_dark_paper(open_page: Any) -> None:
    page = open_page("begun", color_scheme="dark")
    assert page.locator(".chart").count() > 5
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 21, 19)"


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_the_slider_moves_through_the_pictures(open_page: Any, width: int) -> None:
    page = open_page("healthy", width)
    shown = page.locator(".frames img:visible")
    assert shown.count() == 1
    newest = shown.get_attribute("src")
    assert page.locator(".frames output").inner_text() == "step 1,000"
    page.locator(".frames input").press("ArrowLeft")
    assert page.locator(".frames output").inner_text() == "step 750"
    assert shown.count() == 1
    assert shown.get_attribute("src") != newest
    page.locator(".frames input").press("Home")
    assert page.locator(".frames output").inner_text() == "step 250"
    before = shown.bounding_box()["width"]
    page.get_by_role("button", name="Larger").click()
    assert shown.bounding_box()["width"] > before
    page.get_by_role("button", name="Play").click()
    page.get_by_text("step 1,000", exact=True).wait_for()
    assert shown.get_attribute("src") == newest
    assert page.get_by_role("button", name="Play").is_visible()


def drag(page: Any, plot: Any, start: float, end: float) -> None:
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    down = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + start * box["width"], down)
    page.mouse.down()
    page.mouse.move(box["x"] + (start + end) / 2 * box["width"], down)
    page.mouse.move(box["x"] + end * box["width"], down)
    page.mouse.up()


def test_dragging_zooms_all_charts_and_all_ways_back_restore_them(open_page: Any) -> None:
    page = open_page("healthy")
    whole, ticks = page.evaluate(PATHS), page.evaluate(TICKS)
    plot = page.locator(".plot").nth(3)
    ways_back = (
        plot.dblclick,
        page.get_by_role("button", name="Whole run").click,
        lambda: plot.press("0"),
        lambda: plot.press("Escape"),
    )
    for way_back in ways_back:
        drag(page, plot, 0.25, 0.5)
        # 10 to 1000 steps: a quarter is at 257.5, the middle at 505.
        assert page.locator(".toolbar output").inner_text() in ("Steps 258 – 505", "Steps 257 – 505", "Steps 258 – 504")
        assert all(was != now for was, now in zip(ticks, page.evaluate(TICKS), strict=True))
        changed = [was != now for was, now in zip(whole, page.evaluate(PATHS), strict=True)]
        assert sum(changed) > 0.8 * len(changed)  # a level line stays as it is
        way_back()
        assert page.evaluate(PATHS) == whole
        assert page.evaluate(TICKS) == ticks
        assert page.locator(".toolbar output").inner_text() == "Whole run: steps 10 – 1,000"


def test_a_zoomed_curve_shows_the_points_where_its_axes_say(open_page: Any) -> None:
    page = open_page("healthy")
    plot = page.locator(".plot[aria-label^='generator over']")
    drag(page, plot, 0.25, 0.5)
    low, high = page.evaluate("[258, 505]")
    marks = (
        plot.locator("xpath=..")
        .locator(".tick.value")
        .evaluate_all("(ticks) => ticks.map((tick) => [Number(tick.innerText), parseFloat(tick.style.top)])")
    )
    assert len(marks) >= 3
    (value, down), (other, farther) = marks[0], marks[-1]
    path = plot.locator("path.logged").nth(0).get_attribute("d")
    places = [tuple(map(float, each.split())) for each in path.removeprefix("M").split("L")]
    steps = [step for step in range(10, 1001, 10) if low - 10 <= step <= high + 10]
    assert len(places) == len(steps)
    for step, (across, top) in list(zip(steps, places, strict=True))[1:-1]:
        assert across / 1000 == pytest.approx((step - 257.5) / 247.5, abs=0.01)
        shown = value + (top / 10 - down) / (farther - down) * (other - value)
        assert shown == pytest.approx(told_run.row(step)["generator/adversarial_ab"], abs=0.005)


def test_values_are_told_under_the_pointer_and_by_the_keyboard(open_page: Any) -> None:
    page = open_page("healthy")
    plot = page.locator(".plot[aria-label^='generator over']")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    tip = plot.locator(".tip")
    assert tip.inner_text().startswith("step 500\n") or tip.inner_text().startswith("step 510\n")
    assert "adversarial_ab" in tip.inner_text()
    assert page.locator(".cursor:visible").count() == page.locator(".chart").count()
    page.mouse.move(1, 1)
    assert page.locator(".cursor:visible").count() == 0
    plot.focus()
    plot.press("ArrowRight")
    first = tip.inner_text().split("\n")[0]
    plot.press("ArrowRight")
    second = tip.inner_text().split("\n")[0]
    assert int(second.split()[1]) == int(first.split()[1]) + 10
    plot.press("+")
    assert page.locator(".toolbar output").inner_text().startswith("Steps ")
    plot.press("-")
    assert page.locator(".toolbar output").inner_text().startswith("Whole run")


def test_buttons_zoom_and_move_on_a_phone(open_page: Any) -> None:
    page = open_page("healthy", PHONE, has_touch=True, is_mobile=True)
    shown = page.locator(".toolbar output")
    page.get_by_role("button", name="Zoom in").tap()
    assert shown.inner_text() == "Steps 258 – 752"
    page.get_by_role("button", name="Later steps").tap()
    assert shown.inner_text() == "Steps 505 – 1,000"
    assert page.get_by_role("button", name="Later steps").is_disabled()
    page.get_by_role("button", name="Earlier steps").tap()
    page.get_by_role("button", name="Zoom out").tap()
    assert shown.inner_text() == "Whole run: steps 10 – 1,000"


def test_values_stay_after_a_tap_until_another_place_is_tapped(open_page: Any) -> None:
    page = open_page("healthy", PHONE, has_touch=True, is_mobile=True)
    plots = page.locator(".plot")
    plots.nth(2).tap()
    assert page.locator(".tip:visible").count() == 1
    plots.nth(3).tap()
    assert page.locator(".tip:visible").count() == 1
    page.locator(".toolbar output").tap()
    assert page.locator(".tip:visible").count() == 0


def touch(client: Any, kind: str, places: list[tuple[float, float]]) -> None:
    points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(places)]
    client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})


def test_two_fingers_zoom_on_a_phone(open_page: Any) -> None:
    page = open_page("healthy", PHONE, has_touch=True, is_mobile=True)
    plot = page.locator(".plot").nth(2)
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    centre, down = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    client = page.context.new_cdp_session(page)
    touch(client, "touchStart", [(centre - 20, down), (centre + 20, down)])
    for apart in (30, 40, 60, 80):
        touch(client, "touchMove", [(centre - apart, down), (centre + apart, down)])
    touch(client, "touchEnd", [])
    words = page.locator(".toolbar output").inner_text().removeprefix("Steps ").split(" – ")
    low, high = (int(word.replace(",", "")) for word in words)
    # What was 40 px apart is 160 px apart now.
    assert high - low == pytest.approx(990 / 4, abs=15)
    assert (low + high) / 2 == pytest.approx(505, abs=15)


def test_without_its_script_a_page_still_shows_the_newest_picture_and_the_curves(open_page: Any) -> None:
    page = open_page("healthy", java_script_enabled=False)
    assert page.locator(".frames img:visible").count() == 1
    assert page.locator(".plot path").count() >= 30
    assert page.locator(".toolbar").is_hidden()
