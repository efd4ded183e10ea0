from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ganstyle
from ganstyle.base.errors import UserError
from ganstyle.data.images import read_image
from ganstyle.translate.onnx_runtime import OnnxTranslator
from ganstyle.translate.translator import Translator
from ganstyle.verbs import models
from ganstyle.verbs.runtimes import load
from tests import tiny

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason="needs the extra 'onnx'")

WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None  # importing it fails
from ganstyle.cli import main
main()
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runtimes")
    tiny.train(folder, {"training.learning_rate": "0.05"})
    return folder / "run"


@pytest.fixture(scope="module")
def model(run: Path) -> Path:
    """The run as an ONNX file."""
    path = run.parent / "model.onnx"
    ended = tiny.ganstyle("export", run, path)
    assert ended.code == 0, ended.err
    assert f"wrote {path}: latest checkpoint: direction ab, step 4, EMA weights" in ended.err
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for number, (name, size) in enumerate({"one.png": (1, 1), "odd.png": (17, 31), "deep/strip.png": (3, 90)}.items()):
        tiny.picture(*size, number).save(folder / name)
    return folder


def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (19, 23, 3), dtype=np.uint8)


def furthest(one: np.ndarray, other: np.ndarray) -> int:
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other.astype(int)).max())


@pytest.mark.parametrize("runtime", ["auto", "onnx"])
def test_an_onnx_file_is_known_by_its_suffix(run: Path, model: Path, tmp_path: Path, runtime: str) -> None:
    capital = shutil.copy(model, tmp_path / "MODEL.ONNX")
    want = load(run, device="cpu").translate(pixels())
    for path in (model, str(model), capital):
        translator = load(path, device="cpu", runtime=runtime)
        assert isinstance(translator, OnnxTranslator)
        assert translator.facts == load(run).facts
        assert furthest(translator.translate(pixels()), want) <= 1
    assert isinstance(ganstyle.load(model), OnnxTranslator)


@pytest.mark.parametrize("runtime", ["auto", "torch"])
def test_all_else_is_torchs(run: Path, tmp_path: Path, runtime: str) -> None:
    folder = shutil.copytree(run, tmp_path / "run.onnx")
    models.export(run, tmp_path / "model.safetensors")
    for path in (run, folder, tmp_path / "model.safetensors"):
        assert isinstance(load(path, device="cpu", runtime=runtime), Translator)


def test_what_does_not_go_together(run: Path, model: Path) -> None:
    cases: list[tuple[Path, dict[str, Any], str]] = [
        (run, {"runtime": "onnx"}, "--runtime onnx cannot take .*run: first run: ganstyle export .*run model.onnx"),
        (model, {"runtime": "torch"}, "--runtime torch cannot take .*model.onnx: leave --runtime out"),
        (model, {"tile": "exact"}, "^--tile exact: ONNX Runtime translates images whole"),
        (model, {"tile": "thumbnail"}, "^--tile thumbnail: ONNX Runtime translates images whole"),
        (model, {"tile_px": 64}, "^--tile-px 64: ONNX Runtime translates images whole"),
        (model, {"direction": "ba"}, "translates ab; for ba export that direction of its run"),
        (model, {"checkpoint": "best"}, "is an exported model: --checkpoint and --raw are for a run's folder"),
        (model, {"raw": True}, "is an exported model: --checkpoint and --raw are for a run's folder"),
        (model, {"device": "mps"}, "device: mps is not available to this ONNX Runtime"),
        (model.with_name("none.onnx"), {}, "there is no model at .*none.onnx"),
    ]
    for path, options, message in cases:
        with pytest.raises(UserError, match=message) as error:
            load(path, **options)
        assert "\n" not in str(error.value)
    fitting: list[dict[str, Any]] = [{"tile": "none"}, {"tile": "auto"}, {"direction": "ab"}]
    for options in fitting:
        assert isinstance(load(model, **options), OnnxTranslator)


def test_an_onnx_file_is_not_exported_again(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model\.onnx is for ONNX Runtime only: expected a run's folder"):
        models.export(model, tmp_path / "again.safetensors")


def test_the_command_line_refuses_with_one_line(model: Path, photos: Path, tmp_path: Path) -> None:
    for words, message in {
        ("--tile", "exact"): "--tile exact: ONNX Runtime translates images whole",
        ("--runtime", "torch"): "--runtime torch cannot take",
    }.items():
        ended = tiny.ganstyle("translate", photos, tmp_path / "out", "--model", model, *words)
        assert ended.code == 2
        assert ended.err.startswith("error: ")
        assert message in ended.err
        assert ended.err.count("\n") == 1
        assert not (tmp_path / "out").exists()


def test_a_folder_is_translated_without_torch(run: Path, model: Path, photos: Path, tmp_path: Path) -> None:
    words = ["translate", str(photos), str(tmp_path / "out"), "--model", str(model), "--device", "cpu"]
    command = [sys.executable, "-c", WITHOUT_TORCH, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=tiny.environment(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "3 files with direction ab, step 4, EMA weights, on ONNX Runtime, cpu" in done.stderr
    assert done.stderr.rstrip().endswith("3 translated")
    translator = load(run, device="cpu")
    files = sorted(path.relative_to(photos) for path in photos.rglob("*.png"))
    assert len(files) == 3
    for file in files:
        want = translator.translate(read_image(photos / file).pixels)
        assert furthest(read_image(tmp_path / "out" / file).pixels, want) <= 1
