"""`scripts/train.py` and `scripts/translate.py`: thin faces of the verbs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ganstyle.data.scenes import synthesize

ROOT = Path(__file__).resolve().parents[1]


def script(
    name: str, *words: str, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / name), *words]
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False
    )


def test_train_is_the_verb() -> None:
    shown = script("train.py", "--help")
    assert shown.returncode == 0, shown.stderr
    assert "ganstyle train" in shown.stdout


def test_translate_is_the_verb() -> None:
    shown = script("translate.py", "--help")
    assert shown.returncode == 0, shown.stderr
    assert "ganstyle translate" in shown.stdout


def test_a_single_pair_needs_its_picture() -> None:
    told = script("translate.py", "--method", "sparse", "photo.jpg", "out.png")
    assert told.returncode == 2
    assert told.stderr == "error: --method sparse needs --style PICTURE\n"


def test_a_picture_needs_a_method() -> None:
    told = script("translate.py", "--style", "painting.jpg", "photo.jpg", "out.png")
    assert told.returncode == 2
    assert "--method vgg or sparse" in told.stderr


def test_stylizes_a_folder(tmp_path: Path) -> None:
    synthesize(tmp_path / "pictures", count=2, size_px=32)
    style = next((tmp_path / "pictures" / "trainB").iterdir())
    words = ["--method", "sparse", "--style", str(style), "pictures/testA", "out", "--device", "cpu"]
    made = script("translate.py", *words, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    names = {path.name for path in (tmp_path / "pictures" / "testA").iterdir()}
    assert names
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == names


def test_an_unknown_method_is_refused() -> None:
    told = script("translate.py", "--method", "magic", "in", "out")
    assert told.returncode == 2
    assert "magic" in told.stderr


@pytest.mark.slow
def test_train_then_translate(tmp_path: Path) -> None:
    drawn = subprocess.run(
        [sys.executable, "-m", "ganstyle", "dataset", "synthesize", "pictures", "--count", "4", "--size", "32"],
        cwd=tmp_path,
        check=False,
    )
    assert drawn.returncode == 0
    small = ["generator.width=4", "generator.blocks=1", "data.load_px=32", "data.crop_px=32", "training.steps=2"]
    trained = script("train.py", "cyclegan-lite", "data.root=pictures", "name=x", *small, cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    words = ["--method", "model", "--model", "runs/x", "pictures/testA", "out"]
    translated = script("translate.py", *words, cwd=tmp_path)
    assert translated.returncode == 0, translated.stderr
    assert list((tmp_path / "out").glob("*.png"))


@pytest.mark.slow
def test_train_with_workers_that_are_spawned(tmp_path: Path) -> None:
    """As on macOS and Windows, where every worker imports the script again."""
    (tmp_path / "sitecustomize.py").write_text("import multiprocessing\nmultiprocessing.set_start_method('spawn')\n")
    synthesize(tmp_path / "pictures", count=4, size_px=32)
    small = ["generator.width=4", "generator.blocks=1", "data.load_px=32", "data.crop_px=32", "training.steps=2"]
    words = ["cyclegan-lite", "data.root=pictures", "data.workers=1", *small]
    trained = script("train.py", *words, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
    assert trained.returncode == 0, trained.stderr
    assert "finished 2 steps" in trained.stderr
