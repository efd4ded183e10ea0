from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest

from ganstyle.base.errors import UserError
from ganstyle.methods.cyclegan import CycleGAN
from ganstyle.tracking.jsonl import read_metrics
from ganstyle.verbs.demo import run_demo
from ganstyle.verbs.train import Outcome
from tests import tiny

WORDS = [
    "device=cpu",
    "training.steps=4",
    "training.log_every=1",
    "training.preview_every=2",
    "training.checkpoint_every=2",
    "generator.width=2",
    "generator.blocks=1",
    "discriminator.width=2",
    "discriminator.layers=1",
    "data.load_px=32",
    "data.crop_px=16",
]


def demo(out: Path, *more: str, count: int = 6, seed: int = 0) -> tuple[Outcome, list[str]]:
    said: list[str] = []
    return run_demo(out, [*WORDS, *more], count=count, size_px=32, seed=seed, say=said.append), said


def test_pictures_run_translations_scores_and_page(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    outcome, said = demo(out)
    assert outcome.finished
    assert len(list((out / "pictures" / "trainA").iterdir())) == 6
    photos = sorted(path.name for path in (out / "pictures" / "testA").iterdir())
    assert photos == sorted(path.name for path in (out / "translated").glob("*.png"))
    scores = json.loads((out / "scores.json").read_text())
    assert [score["name"] for score in scores][:2] == ["translated", "photo"]
    assert len(scores) == 5
    assert {"kid", "gradient_correlation", "psnr"} <= set(scores[0])
    page = (out / "demo.html").read_text()
    for word in ("<html", "data:image/jpeg;base64,", "translated by the model", "step 4", f"--model {out / 'run'}"):
        assert word in page, word
    # The rest is the page of the run.
    for word in ("finished: 4 of 4 steps", "a to b and back", "<h3>learning rate</h3>", "generator:\n  name: resnet"):
        assert word in page, word
    # One file that opens offline: nothing is fetched.
    assert not re.search(r"""(src|href)=["']https?://""", page)
    assert said[-1].endswith(f"open {out / 'demo.html'}")
    table = [line for line in said if line.startswith("translated by the model")]
    assert len(table) == 1


def test_again_uses_what_is_there(tmp_path: Path) -> None:
    demo(tmp_path)
    pictures = {path: path.stat().st_mtime_ns for path in (tmp_path / "pictures").rglob("*.*")}
    checkpoint = tmp_path / "run" / "checkpoints" / "step-00000004.pt"
    trained, page = checkpoint.stat().st_mtime_ns, (tmp_path / "demo.html").stat().st_mtime_ns
    outcome, said = demo(tmp_path)
    assert outcome.finished
    assert any("is finished" in line for line in said)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "pictures").rglob("*.*")} == pictures
    assert checkpoint.stat().st_mtime_ns == trained
    assert (tmp_path / "demo.html").stat().st_mtime_ns > page


def test_other_pictures_need_another_folder(tmp_path: Path) -> None:
    demo(tmp_path)
    for options in ({"seed": 1}, {"count": 7}):
        with pytest.raises(UserError, match=r"holds a demo of other pictures .*: choose another folder"):
            demo(tmp_path, **options)
    with pytest.raises(UserError, match="holds a run with another config"):
        demo(tmp_path, "generator.width=3")


def test_interrupted_and_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    demo(tmp_path / "whole")
    step = CycleGAN.training_step

    def signalled(method: CycleGAN, batch: object, optimizers: object) -> object:
        if batch.first_sample == 2:  # type: ignore[attr-defined]
            signal.raise_signal(signal.SIGTERM)
        return step(method, batch, optimizers)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(CycleGAN, "training_step", signalled)
        outcome, _ = demo(tmp_path / "cut")
    assert (outcome.step, outcome.signal) == (3, signal.SIGTERM)
    assert not (tmp_path / "cut" / "demo.html").exists()
    outcome, said = demo(tmp_path / "cut")
    assert outcome.finished
    assert "going on from step 3" in said
    assert [row["step"] for row in read_metrics(tmp_path / "cut" / "run" / "metrics.jsonl")] == [1, 2, 3, 4]
    runs = [tiny.checkpoint_tensors(tmp_path / name / "run", 4) for name in ("whole", "cut")]
    assert tiny.differing_tensors(*runs) == []
    scores = [json.loads((tmp_path / name / "scores.json").read_text()) for name in ("whole", "cut")]
    assert scores[0] == scores[1]


def test_interrupted_while_drawing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the pictures are not taken for all of them."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for where in ("ganstyle.verbs.demo.write_text", "pathlib.Path.rename"):
        with monkeypatch.context() as patch:
            patch.setattr(where, interrupted)
            with pytest.raises(KeyboardInterrupt):
                demo(tmp_path / "demo")
    outcome, _ = demo(tmp_path / "demo")
    assert outcome.finished
    assert sorted(path.name for path in (tmp_path / "demo").iterdir() if path.is_dir()) == [
        "pictures",
        "run",
        "translated",
    ]


def test_a_folder_of_somebody_elses_pictures_is_left_alone(tmp_path: Path) -> None:
    tiny.pictures(tmp_path / "pictures", 1)
    with pytest.raises(UserError, match="is there, and not of a demo: choose another folder"):
        demo(tmp_path)
    assert [path.name for path in tmp_path.rglob("*.*")] == ["0.png"]


def test_the_command(tmp_path: Path) -> None:
    ended = tiny.ganstyle("demo", tmp_path / "demo", "--count", "6", "--size", "32", *WORDS)
    assert ended.code == 0, ended.err
    assert (tmp_path / "demo" / "demo.html").is_file()
    ended = tiny.ganstyle("demo", tmp_path / "demo", "--count", "8", "--size", "32", *WORDS)
    assert ended.code == 2
    assert "choose another folder" in ended.err
