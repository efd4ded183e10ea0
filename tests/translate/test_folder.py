from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from ganstyle.base.errors import UserError
from ganstyle.data.images import read_image
from ganstyle.data.outputs import Task, plan
from ganstyle.translate import folder as module
from ganstyle.translate.folder import Report, translate_tasks
from ganstyle.translate.translator import ModelFacts, Translator
from tests import tiny


class Inverted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.passes = 0

    def forward(self, images: Tensor) -> Tensor:
        self.passes += 1
        return -images


def run(tasks: list[Task], *, overwrite: bool = False) -> tuple[Report, list[str], int]:
    network, told = Inverted(), list[str]()
    translator = Translator(network, {"width": 1}, ModelFacts("ab", 1, averaged=False), torch.device("cpu"))
    report = translate_tasks(translator, tasks, overwrite=overwrite, quality=90, advance=told.append)
    return report, told, network.passes


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tiny.pictures(tmp_path / "photos", 2, height=5, width=7)
    tiny.pictures(folder / "deep" / "er", 1, seed=50, height=1, width=1)
    return folder


def test_every_file_at_its_own_place_and_size(photos: Path, tmp_path: Path) -> None:
    report, told, _ = run(plan(photos, tmp_path / "out"))
    assert str(report) == "3 translated"
    assert len(told) == 3
    for name in ("0.png", "1.png", "deep/er/0.png"):
        before, after = (read_image(root / name).pixels for root in (photos, tmp_path / "out"))
        assert np.array_equal(after, 255 - before)
    made = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*"))
    assert made == ["0.png", "1.png", "deep/er/0.png"]


def test_a_second_run_skips_what_is_done(photos: Path, tmp_path: Path) -> None:
    tasks = plan(photos, tmp_path / "out")
    run(tasks)
    (tmp_path / "out" / "1.png").unlink()
    (tmp_path / "out" / "0.png").write_bytes(b"kept as it is")
    report, told, passes = run(tasks)
    assert str(report) == "1 translated, 2 there already"
    assert passes == 1
    assert sum(line.endswith(": there already") for line in told) == 2
    assert (tmp_path / "out" / "0.png").read_bytes() == b"kept as it is"
    report, _, _ = run(tasks, overwrite=True)
    assert str(report) == "3 translated"
    assert read_image(tmp_path / "out" / "0.png").pixels.shape == (5, 7, 3)


def test_bad_files_do_not_stop_the_rest(photos: Path, tmp_path: Path) -> None:
    (photos / "00-empty.png").touch()
    (photos / "01-text.jpg").write_text("hello")
    (photos / "02-cut.png").write_bytes((photos / "0.png").read_bytes()[:60])
    report, told, _ = run(plan(photos, tmp_path / "out"))
    assert str(report) == "3 translated, 3 failed"
    assert [path.name for path, _ in report.failed] == ["00-empty.png", "01-text.jpg", "02-cut.png"]
    assert all("\n" not in reason for _, reason in report.failed)
    assert len(told) == 6
    assert not (tmp_path / "out" / "00-empty.png").exists()


def test_an_image_that_its_format_cannot_hold_is_that_files_failure(photos: Path, tmp_path: Path) -> None:
    Image.new("RGB", (16400, 1)).save(photos / "00-long.png")
    report, _, _ = run(plan(photos, tmp_path / "out", format="webp"))
    assert str(report) == "3 translated, 1 failed"
    assert "does not fit into webp" in report.failed[0][1]


def test_a_name_that_is_too_long_is_that_files_failure(photos: Path, tmp_path: Path) -> None:
    tiny.picture(3, 3).save(photos / ("0" * 251 + ".png"))
    report, _, _ = run(plan(photos, tmp_path / "out", format="avif"))
    assert str(report) == "3 translated, 1 failed"
    assert "name is too long" in report.failed[0][1]


def test_something_in_the_way_of_one_file(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "deep").write_text("a file where a folder is needed")
    report, _, _ = run(plan(photos, tmp_path / "out"))
    assert str(report) == "2 translated, 1 failed"
    assert "cannot make the folder" in report.failed[0][1]


def failing(number: int) -> Callable[[int], None]:
    def fsync(_: int) -> None:
        raise OSError(number, "reason")

    return fsync


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_stops_all_with_one_line(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr("os.fsync", failing(number))
    with pytest.raises(UserError, match="cannot write ") as error:
        run(plan(photos, tmp_path / "out"))
    assert "\n" not in str(error.value)
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


def test_a_folder_that_cannot_be_made_on_a_full_disk_stops_all(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(UserError, match=r"cannot make the folder .*: No space left on device"):
        run(plan(photos, tmp_path / "out"))


def test_an_unreadable_disk_is_the_files_failure_and_not_the_end(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = module.read_image

    def broken(path: Path) -> object:
        if path.name == "0.png":
            raise module.Unreadable("Input/output error") from OSError(errno.EIO, "Input/output error")
        return read(path)

    monkeypatch.setattr(module, "read_image", broken)
    report, _, _ = run(plan(photos, tmp_path / "out"))
    assert str(report) == "1 translated, 2 failed"


def test_report_in_words() -> None:
    assert str(Report()) == "0 translated"
    assert str(Report(3, 2, [(Path("x"), "bad")])) == "3 translated, 2 there already, 1 failed"
