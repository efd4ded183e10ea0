"""The wheel, installed outside the checkout, holds all that its recipes need."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = out.glob("ganstyle-*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's packages in a folder of their own; what it needs comes from the environment of the tests."""
    folder = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    return folder


def ganstyle(site: Path, cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1", "GANSTYLE_CACHE": str(cwd / "cache")}
    command = [sys.executable, "-m", "ganstyle", *words]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_it_carries_recipes_and_cards(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for folder in ("configs", "datasets"):
        files = {path.name for path in (ROOT / folder).iterdir()}
        assert files
        assert {name.rsplit("/", 1)[1] for name in names if name.startswith(f"ganstyle/share/{folder}/")} == files
    page = ("page.html.j2", "page.css", "page.js", "curves.js")
    for part in (*page, *(f"before_after.{kind}" for kind in ("html.j2", "css", "js"))):
        assert f"ganstyle/tracking/{part}" in names
    assert not [name for name in names if name.startswith(("tests/", "scripts/"))]


def test_it_is_the_wheel_that_runs(site: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-c", "import ganstyle; print(ganstyle.__file__)"]
    found = subprocess.run(
        words, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True, text=True, check=True
    )
    assert Path(found.stdout.strip()).is_relative_to(site)


def test_cyclegan_lite_trains_a_few_steps(site: Path, tmp_path: Path) -> None:
    drawn = ganstyle(site, tmp_path, "dataset", "synthesize", "pictures", "--count", "4", "--size", "64")
    assert drawn.returncode == 0, drawn.stderr
    small = ["generator.width=4", "generator.blocks=1", "data.load_px=36", "data.crop_px=32", "data.workers=0"]
    run = ganstyle(site, tmp_path, "train", "cyclegan-lite", "data.root=pictures", "training.steps=3", *small)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "runs/cyclegan-lite/checkpoints/step-00000003.pt").is_file()
    done = ganstyle(site, tmp_path, "translate", "pictures/testA", "out", "--model", "runs/cyclegan-lite")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").glob("*.png"))) == len(list((tmp_path / "pictures/testA").glob("*.png")))


def test_the_demo_runs_shortened(site: Path, tmp_path: Path) -> None:
    small = ["generator.width=4", "training.steps=4", "training.preview_every=2"]
    run = ganstyle(site, tmp_path, "demo", "demo", "--count", "8", *small)
    assert run.returncode == 0, run.stderr
    assert "<html" in (tmp_path / "demo/demo.html").read_text(encoding="utf-8")[:200].lower()
