from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ganstyle.base.errors import UserError
from ganstyle.data.grids import encode_grid
from ganstyle.tracking import tensorboard as module
from ganstyle.tracking.tensorboard import TensorboardTracker, check_tensorboard

PICTURE = encode_grid([[np.full((32, 48, 3), 90, dtype=np.uint8)]])

needed = pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="TensorBoard, an extra, is not installed"
)


def read(folder: Path) -> Any:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(folder))
    found.Reload()
    return found


def points(folder: Path, name: str) -> list[tuple[int, float]]:
    return [(each.step, each.value) for each in read(folder).Scalars(name)]


@needed
def test_everything_is_there(tmp_path: Path) -> None:
    check_tensorboard()
    warned: list[str] = []
    tracker = TensorboardTracker(tmp_path, start=0, warn=warned.append)
    values = np.array([-1.0, 0.25, 0.5, np.nan, 2.0])
    tracker.log(100, {"generator/cycle_a": 0.5, "bad": float("nan")})
    tracker.distributions(100, {"judged/b_real": values, "judged/none": np.array([])})
    tracker.images(100, "preview", PICTURE)
    tracker.alert("colour inversion", "what was measured", level="error")
    tracker.close()
    tracker.log(200, {"generator/cycle_a": 1.0})
    assert warned == []
    found = read(tmp_path)
    assert found.Tags()["scalars"] == ["generator/cycle_a"]
    assert points(tmp_path, "generator/cycle_a") == [(100, 0.5)]
    (histogram,) = found.Histograms("judged/b_real")
    told = histogram.histogram_value
    assert (told.min, told.max, told.num) == (-1.0, 2.0, 4)
    assert (told.sum, told.sum_squares) == (-1 + 0.25 + 0.5 + 2, 1 + 0.0625 + 0.25 + 4)
    assert sum(told.bucket) == 4
    assert found.Tags()["histograms"] == ["judged/b_real"]
    (picture,) = found.Images("preview")
    assert picture.encoded_image_string == PICTURE
    assert (picture.step, picture.height, picture.width) == (100, 40, 56)
    (text,) = found.Tensors("events/error/text_summary")
    assert b"colour inversion" in text.tensor_proto.string_val[0]
    assert text.step == 100


@needed
def test_steps_that_are_done_again_replace_the_first_ones(tmp_path: Path) -> None:
    first = TensorboardTracker(tmp_path, start=0, warn=print)
    for step in (1, 2, 3, 4):
        first.log(step, {"loss": step})
    first.rewind(3)
    first.log(4, {"loss": 40})
    first.close()
    assert points(tmp_path, "loss") == [(1, 1), (2, 2), (3, 3), (4, 40)]
    resumed = TensorboardTracker(tmp_path, start=2, warn=print)
    resumed.log(3, {"loss": 300})
    resumed.close()
    assert points(tmp_path, "loss") == [(1, 1), (2, 2), (3, 300)]


@needed
def test_a_run_that_goes_back_to_its_start_is_drawn_once(tmp_path: Path) -> None:
    first = TensorboardTracker(tmp_path, start=0, warn=print)
    first.log(1, {"loss": 1})
    first.log(2, {"loss": 2})
    first.rewind(0)
    first.log(1, {"loss": 10})
    first.close(failed=True)
    assert points(tmp_path, "loss") == [(1, 10)]
    again = TensorboardTracker(tmp_path, start=0, warn=print)
    again.log(1, {"loss": 100})
    again.close()
    assert points(tmp_path, "loss") == [(1, 100)]


@needed
def test_errors_in_a_row_switch_it_off_with_one_warning(tmp_path: Path) -> None:
    warned: list[str] = []
    tracker = TensorboardTracker(tmp_path, start=0, warn=warned.append)
    for step in range(2):
        tracker.images(step, "preview", b"no picture")
    tracker.log(3, {"loss": 1})
    assert warned == []
    for step in range(6):
        tracker.images(step, "preview", b"no picture")
    tracker.close()
    assert warned == ["TensorBoard is switched off for this run: a picture that cannot be read"]
    assert points(tmp_path, "loss") == [(3, 1)]


@needed
def test_a_file_in_the_way_is_one_warning(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").touch()
    warned: list[str] = []
    tracker = TensorboardTracker(tmp_path / "tensorboard", start=0, warn=warned.append)
    tracker.log(1, {"loss": 1})
    tracker.rewind(0)
    tracker.close()
    assert len(warned) == 1
    assert warned[0].startswith("TensorBoard is switched off for this run: ")
    assert "\n" not in warned[0]


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'ganstyle\[tensorboard\]'") as told:
        check_tensorboard()
    assert "\n" not in str(told.value)
