from __future__ import annotations

from pathlib import Path

import pytest

from ganstyle.base.errors import UserError
from ganstyle.data.images import read_image, write_image
from ganstyle.data.outputs import plan
from ganstyle.translate.folder import translate_tasks
from ganstyle.translate.forecast import forecast
from ganstyle.translate.ledger import Fate, Ledger
from ganstyle.translate.pipeline import Stages
from tests import tiny


def written(task, photo, pixels):  # type: ignore[no-untyped-def]
    write_image(task.target, pixels)
    return []


STAGES = Stages(
    read=lambda task: read_image(task.source),
    compute=lambda photos: [photo.pixels for _, photo in photos],
    write=written,
)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tiny.pictures(tmp_path / "photos", 2, height=50, width=40)
    tiny.picture(100, 100).save(folder / "large.png")
    (folder / "text.png").write_text("no image")
    return folder


def everything(root: Path) -> dict[str, int]:
    return {path.relative_to(root).as_posix(): path.stat().st_mtime_ns for path in root.rglob("*")}


def test_what_would_happen_and_nothing_does(photos: Path, tmp_path: Path) -> None:
    before = everything(tmp_path)
    tasks = plan(photos, tmp_path / "out")
    found = forecast(tasks, seconds_per_megapixel=10, max_pixels=9999)
    assert [file.fate for file in found.files] == [Fate.TRANSLATE, Fate.TRANSLATE, Fate.LARGE, Fate.TRANSLATE]
    assert [file.megapixels for file in found.files] == [0.002, 0.002, 0.01, 0]
    assert found.megapixels == pytest.approx(0.004)
    assert found.seconds == pytest.approx(0.04)
    assert found.bytes == sum((photos / name).stat().st_size for name in ("0.png", "1.png", "text.png"))
    assert everything(tmp_path) == before


def test_it_says_what_the_run_then_does(photos: Path, tmp_path: Path) -> None:
    tasks = plan(photos, tmp_path / "out")
    ledger = Ledger(tmp_path / "out", photos, {"model": "ink"})
    expected = forecast(tasks, ledger=ledger)
    report = translate_tasks(tasks, STAGES, ledger=ledger)
    assert len(expected.to_translate) == report.done + len(report.failed) == 4
    again = Ledger(tmp_path / "out", photos, {"model": "ink"})
    found = forecast(tasks, ledger=again)
    assert [file.fate for file in found.files] == [Fate.THERE, Fate.THERE, Fate.THERE, Fate.FAILED]
    retried = forecast(tasks, ledger=again, retry_failed=True)
    assert len(retried.to_translate) == 1
    assert len(forecast(tasks, ledger=again, overwrite=True).to_translate) == 4
    with pytest.raises(UserError, match="model ink -> oil"):
        forecast(tasks, ledger=Ledger(tmp_path / "out", photos, {"model": "oil"}))


def test_in_words(photos: Path, tmp_path: Path) -> None:
    tiny.pictures(tmp_path / "out", 1)
    tasks = plan(photos, tmp_path / "out")
    lines = list(forecast(tasks, seconds_per_megapixel=5000, max_pixels=9999).lines())
    assert lines[0] == f"{photos / '0.png'} -> {tmp_path / 'out' / '0.png'}: there already, 0.00 MP"
    assert lines[2].endswith(": too large, 0.01 MP")
    assert lines[3].endswith(": to translate, size unknown")
    assert lines[4].startswith(
        "2 to translate: 0.0 MP, about 10 s, about 0.0 MB to write, 1 there already, 1 too large"
    )
    assert len(lines) == 5


@pytest.mark.parametrize(
    ("seconds", "words"), [(59.4, "about 59 s"), (61, "about 1 min 1 s"), (7260, "about 2 h 1 min")]
)
def test_durations(photos: Path, tmp_path: Path, seconds: float, words: str) -> None:
    tasks = plan(photos / "0.png", tmp_path / "out")
    assert words in str(forecast(tasks, sizes=[1.0], seconds_per_megapixel=seconds))


def test_without_a_speed_there_is_no_time(photos: Path, tmp_path: Path) -> None:
    found = forecast(plan(photos / "0.png", tmp_path / "out"))
    assert found.seconds is None
    assert str(found) == "1 to translate: 0.0 MP, about 0.0 MB to write"
