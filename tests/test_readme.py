"""The README's commands, run as they stand; training is only made small."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ganstyle.cli import main
from ganstyle.data.scenes import synthesize

ROOT = Path(__file__).resolve().parents[1]

TINY = (
    "generator.width=2 generator.blocks=1 discriminator.width=2 discriminator.layers=1 "
    "data.load_px=18 data.crop_px=16 data.workers=0 evaluate.every=2"
)


def shell_lines() -> list[str]:
    """Every line of the README's blocks of shell commands, without what is said of them."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def made_small(words: list[str]) -> list[str]:
    if words[0] != "train":
        return words
    steps = [f"training.steps={4 if 'training.steps=40000' in words else 2}"]
    kept = [word for word in words if not word.startswith("training.steps=")]
    return [*kept, *steps] if "--resume" in words else [*kept, *TINY.split(), *steps]


def run(words: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["ganstyle", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_every_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synthesize(tmp_path / "drawn", count=24, size_px=64)
    (tmp_path / "drawn/trainA").rename(tmp_path / "photos")
    (tmp_path / "drawn/trainB").rename(tmp_path / "paintings")
    monkeypatch.chdir(tmp_path)
    commands = [shlex.split(line)[1:] for line in shell_lines() if line.startswith("ganstyle ")]
    assert len(commands) >= 7
    for words in commands:
        assert run(made_small(words), monkeypatch) == 0, words
    assert len(list((tmp_path / "out").glob("*.png"))) == 24


def test_the_two_scripts_are_there() -> None:
    scripts = [line.split()[0] for line in shell_lines() if line.startswith("./")]
    assert scripts == ["./scripts/demo", "./scripts/test"]
    for script in scripts:
        assert os.access(ROOT / script, os.X_OK), script


def test_every_file_that_is_linked_is_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (ROOT / link).is_file()] == []


def test_every_recipe_is_in_the_table() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    recipes = sorted(path.stem for path in (ROOT / "configs").glob("*.yaml"))
    assert recipes
    assert [name for name in recipes if f"| `{name}` |" not in text] == []


def test_the_python_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synthesize(tmp_path / "drawn", count=2, size_px=32)
    (tmp_path / "drawn/trainA").rename(tmp_path / "photos")
    (tmp_path / "drawn/trainB").rename(tmp_path / "paintings")
    (tmp_path / "photos/0000.png").rename(tmp_path / "photos/beach.jpg")
    monkeypatch.chdir(tmp_path)
    words = ["train", "cyclegan-lite", "data.a=photos", "data.b=paintings", "name=mine", "training.steps=1"]
    assert run([*words, *TINY.split()], monkeypatch) == 0
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(examples) == 2
    for code in examples:
        exec(compile(code, "README.md", "exec"), {})
    assert (tmp_path / "beach.jpg").is_file()


def test_nothing_was_left_to_fill_in() -> None:
    assert re.findall(r"@[A-Z]+@|TODO|XXX", (ROOT / "README.md").read_text(encoding="utf-8")) == []


def test_the_table_of_measurements_is_that_of_the_results() -> None:
    command = [sys.executable, "scripts/benchmarks/table.py", "--check", "README.md"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
