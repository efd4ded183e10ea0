from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ganstyle import __version__
from ganstyle.base.recipes import recipe_names
from tests import tiny

VERBS = [
    *("train", "translate", "compare", "stylize", "evaluate", "export", "report", "demo"),
    *("config show", "config list", "dataset check", "dataset synthesize"),
]

WITHOUT_TORCH = """
import sys
import ganstyle
assert ganstyle.__version__
assert "torch" not in sys.modules, "import ganstyle"
from ganstyle.cli import main
for words in {commands!r}:
    sys.argv = ["ganstyle", *words]
    try:
        main()
    except SystemExit as error:
        assert error.code in (0, None), (words, error.code)
    assert "torch" not in sys.modules, words
print("checked", len({commands!r}))
"""


def run(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)


def test_help_of_every_verb_imports_no_torch() -> None:
    commands = [["--help"], ["--version"], ["config", "list"], *([*verb.split(), "--help"] for verb in VERBS)]
    done = run(WITHOUT_TORCH.format(commands=commands))
    assert done.returncode == 0, done.stderr
    assert f"checked {len(commands)}" in done.stdout
    for verb in VERBS:
        assert f"ganstyle {verb}" in done.stdout


def test_help_comes_at_once() -> None:
    """CPU time, the best of three: other work on the machine does not count."""
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(tiny.command(["--help"]), check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 1.0


def test_help_tells_every_verb() -> None:
    ended = tiny.ganstyle("--help")
    assert ended.code == 0
    for verb in {verb.split()[0] for verb in VERBS}:
        assert verb in ended.out


def test_no_words_show_the_help() -> None:
    ended = tiny.ganstyle()
    assert "Usage: " in ended.out
    assert "translate" in ended.out


def test_version() -> None:
    assert tiny.ganstyle("--version").out == f"ganstyle {__version__}\n"


def test_every_verb_is_tested_here() -> None:
    from ganstyle.cli import app, config_app, dataset_app

    found = {
        command.callback.__name__ for each in (app, config_app, dataset_app) for command in each.registered_commands
    }
    assert found == {verb.replace(" ", "_") for verb in VERBS}


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["trian"], "train"),
        (["translat"], "translate"),
        (["config", "shwo"], "show"),
        (["train", "--resum"], "--resume"),
    ],
)
def test_typos_get_the_nearest_name(words: list[str], meant: str) -> None:
    ended = tiny.ganstyle(*words)
    assert ended.code == 2
    assert meant in ended.err
    assert "Traceback" not in ended.err


def test_recipes_are_listed() -> None:
    assert tiny.ganstyle("config", "list").out.split() == recipe_names()


@pytest.mark.parametrize("recipe", recipe_names())
def test_what_config_show_prints_is_a_recipe_again(recipe: str, tmp_path: Path) -> None:
    words = [
        "seed=7",
        "training.steps=9",
        "data.a=[x, 'y z', \"q#1\"]",
        "name=ink 2",
        "data.augment=[{name: Blur, p: 0.5}]",
    ]
    first = tiny.ganstyle("config", "show", recipe, *words)
    assert first.code == 0, first.err
    values = yaml.safe_load(first.out)
    assert (values["seed"], values["training"]["steps"], values["name"]) == (7, 9, "ink 2")
    assert values["data"]["a"] == ["x", "y z", "q#1"]
    assert "epochs" not in values["training"]
    (tmp_path / "again.yaml").write_text(first.out)
    again = tiny.ganstyle("config", "show", tmp_path / "again.yaml")
    assert again.code == 0, again.err
    assert again.out == first.out


def test_a_shown_recipe_trains_the_same_run(tmp_path: Path) -> None:
    words = tiny.words(tiny.data(tmp_path))
    shown = tiny.ganstyle("config", "show", tiny.RECIPE, *words)
    (tmp_path / "shown.yaml").write_text(shown.out)
    for number, arguments in enumerate([[tiny.RECIPE, *words], [str(tmp_path / "shown.yaml")]]):
        ended = tiny.ganstyle("train", *arguments, "--run", tmp_path / str(number))
        assert ended.code == 0, ended.err
    both = [tiny.checkpoint_tensors(tmp_path / name, 4) for name in ("0", "1")]
    assert tiny.differing_tensors(*both) == []
    assert (tmp_path / "0" / "config.yaml").read_text() == (tmp_path / "1" / "config.yaml").read_text()


def test_all_mistakes_of_a_recipe_at_once() -> None:
    words = ["generator.name=resnt", "training.stepz=3", "data.crop_px=4000", "device=gpu", "method.cycle_weight=-1"]
    ended = tiny.ganstyle("config", "show", "cyclegan-lite", *words)
    assert ended.code == 2
    assert ended.out == ""
    assert ended.err.startswith("error: the config has 5 mistakes:")
    for part in (
        "generator.name: unknown generator 'resnt': did you mean 'resnet'?",
        "training.stepz: unknown key: did you mean 'steps'?",
        "data.load_px: got 144, expected at least data.crop_px (4000)",
        "device: got 'gpu': expected auto, cpu, cuda, mps or cuda:N",
        "method.cycle_weight: got -1, expected at least 0",
    ):
        assert part in ended.err


def test_mistakes_are_never_a_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "tabs.yaml").write_text("name:\n\t- x")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x01")
    (tmp_path / "list.yaml").write_text("[1, 2]")
    (tmp_path / "empty.yaml").write_text("")
    cases = {
        ("config", "show", "cyclegam"): "did you mean 'cyclegan'?",
        ("config", "show", "none.yaml"): "there is no such config file",
        ("config", "show", "folder.yaml"): "folder.yaml",
        ("config", "show", "tabs.yaml"): "tabs.yaml",
        ("config", "show", "binary.yaml"): "binary.yaml",
        ("config", "show", "list.yaml"): "list.yaml",
        ("config", "show", "empty.yaml"): "training.steps",
        ("config", "show", "cyclegan", "seed"): "'seed' is not key=value",
        ("config", "show", "y" * 300): "y" * 20,
        ("train", "cyclegan-lite", "data.a=nowhere", "data.b=none"): "data.a: there is no folder or file 'nowhere'",
        ("train", "cyclegan-lite", "device=cuda:99", "data.a=.", "data.b=."): "device: cuda:99",
        ("train", "cyclegan-lite", "devices=2", "data.a=.", "data.b=."): "batch_size: got 1, expected a multiple of 2",
        ("train", "--resume", "nowhere"): "is not a run",
        ("translate", "nowhere", "out", "--model", "nowhere"): "there is no such file or folder",
        ("export", "nowhere", "x.safetensors"): "there is no model at nowhere",
        ("export", "nowhere", "x.pth"): "expected a name that ends in .safetensors or .onnx",
        ("export", "nowhere", "x.onnx"): "there is no model at nowhere",
        ("dataset", "check", "nowhere"): "nowhere",
        ("dataset", "synthesize", "pictures", "--style", "inc"): "ink",
    }
    for words, message in cases.items():
        ended = tiny.ganstyle(*words)
        assert ended.code == 2, (words, ended)
        assert message in ended.err, (words, ended.err)
        assert "Traceback" not in ended.err
        assert ended.err.startswith("error: ")


def test_text_in_brackets_is_shown_as_it_is() -> None:
    ended = tiny.ganstyle("translate", "[bold]none[/bold]", "out", "--model", "[red]")
    assert "[bold]none[/bold]: there is no such file or folder" in ended.err


def test_our_own_mistakes_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def bug() -> list[str]:
        raise RuntimeError("a bug")

    monkeypatch.setattr("ganstyle.base.recipes.recipe_names", bug)
    with pytest.raises(RuntimeError, match="a bug"):
        tiny.ganstyle("config", "list")


def test_a_path_that_the_system_refuses_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> list[str]:
        raise PermissionError(13, "Permission denied", "/secret")

    monkeypatch.setattr("ganstyle.base.recipes.recipe_names", refused)
    ended = tiny.ganstyle("config", "list")
    assert (ended.code, ended.err) == (2, "error: /secret: Permission denied\n")


def test_dataset_verbs(tmp_path: Path) -> None:
    out = tmp_path / "pictures"
    ended = tiny.ganstyle("dataset", "synthesize", out, "--count", "2", "--size", "32", "--seed", "3")
    assert ended.code == 0, ended.err
    assert {path.name for path in out.iterdir()} >= {"trainA", "trainB", "testA", "testB"}
    (out / "trainA" / "broken.png").write_text("no image")
    ended = tiny.ganstyle("dataset", "check", out)
    assert ended.code == 1
    assert "broken.png" in ended.out
    ended = tiny.ganstyle("dataset", "check", "--json", out)
    assert ended.code == 1
    assert "broken.png" in str(yaml.safe_load(ended.out))


def test_reading_stops_early_without_complaint(tmp_path: Path) -> None:
    """`ganstyle config list | head -0`."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        tiny.command(["config", "list"]), stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_python_dash_m(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ganstyle", "--version"],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"ganstyle {__version__}\n"
