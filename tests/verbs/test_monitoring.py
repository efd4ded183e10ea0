"""What a run measures and tells of itself, as whole commands on tiny pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import ganstyle
from ganstyle.base.errors import UserError
from ganstyle.evaluate.held_out import HeldOutScores
from ganstyle.tracking.jsonl import read_events, read_metrics
from ganstyle.train.checkpoint import load_checkpoint
from ganstyle.verbs.train import resume_run
from tests import tiny

SCORED = {"data.holdout": "0.5", "evaluate.every": "2", "training.steps": "6", "training.checkpoint_every": "2"}


@pytest.fixture
def kids(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the evaluations of a run say, in order; the last one again and again."""
    told: list[float] = []

    def scores(_: HeldOutScores) -> dict[str, float]:
        value = told.pop(0) if len(told) > 1 else told[0]
        return {"scores/kid": value, "scores/content": 0.5}

    monkeypatch.setattr(HeldOutScores, "__call__", scores)
    return told


def test_a_scored_run(tmp_path: Path) -> None:
    said: list[str] = []
    tiny.pictures(tiny.data(tmp_path) / "b", 12, seed=200)
    outcome = tiny.train(tmp_path, SCORED, say=said.append)
    run = outcome.folder
    assert any("fixed random network" in line and "compare only" in line for line in said), "never a silent choice"
    rows = [row for row in read_metrics(run / "metrics.jsonl") if "scores/kid" in row]
    assert [row["step"] for row in rows] == [2, 4, 6]
    for row in rows:
        assert {"scores/kid_ab", "scores/kid_ba", "scores/kid_deviation_ab", "scores/content_ab"} <= set(row)
    lowest = min(rows, key=lambda row: float(row["scores/kid"]))
    best = load_checkpoint(run / "checkpoints" / "best.pt")
    assert best["step"] == lowest["step"] == rows[-1]["best/step"]
    assert best["scores"]["scores/kid"] == lowest["scores/kid"]
    facts = ganstyle.load(run).facts
    assert (facts.checkpoint, facts.step) == ("best", lowest["step"])
    record = json.loads((run / "run.json").read_text())
    assert record["evaluation"]["name"] == "random network"


def test_the_best_is_what_the_rule_says(tmp_path: Path, kids: list[float]) -> None:
    kids += [3.0, 1.0, 2.0]
    run = tiny.train(tmp_path, SCORED).folder
    assert load_checkpoint(run / "checkpoints" / "best.pt")["step"] == 4
    assert load_checkpoint(run / "checkpoints" / "step-00000006.pt")["selection"]["step"] == 4


def test_without_gain_it_ends_early_and_the_same_command_says_so(tmp_path: Path, kids: list[float]) -> None:
    kids += [1.0, 2.0]
    changes = {**SCORED, "training.steps": "20", "evaluate.patience": "2"}
    said: list[str] = []
    outcome = tiny.train(tmp_path, changes, say=said.append)
    assert (outcome.step, outcome.finished) == (6, True)
    assert "stopped early at step 6 of 20: 2 evaluations in a row brought no gain; the best is step 2" in said[-1]
    again = tiny.train(tmp_path, changes, say=said.append)
    assert (again.step, again.finished) == (6, True), "nothing is trained"
    assert "stopped early at step 6" in said[-1]
    on = resume_run(tmp_path / "run", ["evaluate.patience=0"], say=said.append)
    assert on.step == 20


def test_scores_go_on_after_a_resume(tmp_path: Path) -> None:
    run = tiny.train(tmp_path, SCORED).folder
    whole = read_metrics(run / "metrics.jsonl")
    selection = load_checkpoint(run / "checkpoints" / "step-00000006.pt")["selection"]
    for step in (4, 6):
        (run / "checkpoints" / f"step-{step:08d}.pt").unlink()
    tiny.train(tmp_path, SCORED)
    assert load_checkpoint(run / "checkpoints" / "step-00000006.pt")["selection"] == selection
    scores = [[row for row in rows if "scores/kid" in row] for rows in (whole, read_metrics(run / "metrics.jsonl"))]
    assert scores[0] == scores[1]


def test_another_network_of_features_begins_the_best_anew(tmp_path: Path) -> None:
    run = tiny.train(tmp_path, SCORED).folder
    said: list[str] = []
    words = ["training.steps=8", "evaluate.best=kid_ab"]
    resume_run(run, words, say=said.append)
    assert any("the best checkpoint is chosen anew: its rule was" in line for line in said)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"evaluate.every": "2", "data.holdout": "0"}, "evaluate.every: scores need images that are held out"),
        ({"evaluate.every": "2", "data.crop_px": "8"}, "data.crop_px: got 8; scores on random network need at least"),
        ({"evaluate.every": "2", "evaluate.weights": "nowhere.pth"}, "nowhere.pth"),
        ({"evaluate.best": "kdi"}, "did you mean 'kid'"),
        ({"evaluate.patience": "-1"}, "evaluate.patience: got -1, expected at least 0"),
        ({"training.most_skips": "0"}, "training.most_skips: got 0, expected at least 1"),
    ],
)
def test_a_persons_mistake_leaves_no_folder(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    with pytest.raises(UserError) as error:
        tiny.train(tmp_path, changes)
    assert message in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_mistake_in_a_resume_leaves_the_run_as_it_was(tmp_path: Path) -> None:
    tiny.train(tmp_path)
    before = (tmp_path / "run" / "config.yaml").read_text()
    for word in ("evaluate.weights=nowhere.pth", "data.workers=x"):
        with pytest.raises(UserError):
            resume_run(tmp_path / "run", ["training.steps=6", "evaluate.every=2", word])
        assert (tmp_path / "run" / "config.yaml").read_text() == before
    assert resume_run(tmp_path / "run", ["training.steps=6"]).step == 6


def test_a_failure_is_an_event_and_a_new_start_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Any) -> bytes:
        raise RuntimeError("the preview broke")

    changes = {"training.steps": "4", "training.checkpoint_every": "2", "training.preview_every": "3"}
    with monkeypatch.context() as patched:
        patched.setattr("ganstyle.train.preview.Previews.__call__", fail)
        with pytest.raises(RuntimeError):
            tiny.train(tmp_path, changes)
    tiny.train(tmp_path, changes)
    told = [(event["title"], event["text"]) for event in read_events(tmp_path / "run" / "events.jsonl")]
    assert told == [
        ("training stopped", "the preview broke"),
        ("going on", "from step 2"),
        ("finished", "step 4 of 4, saved"),
    ]


class Negative(nn.Module):
    """Makes light dark."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return -images


def test_an_ailment_is_said_in_every_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ganstyle.train import probe

    original = probe.Probe.__init__

    def spoiled(self: Any, translators: Any, *arguments: Any, **options: Any) -> None:
        original(self, {way: Negative() for way in translators}, *arguments, **options)

    monkeypatch.setattr(probe.Probe, "__init__", spoiled)
    changes = {"training.steps": "900", "training.log_every": "150", "tracking.page": "true", "generator.width": "1"}
    ended = tiny.ganstyle("train", tiny.RECIPE, *tiny.words(tiny.data(tmp_path), changes), "--run", tmp_path / "run")
    assert ended.code == 0, ended.err
    assert "colour inversion (a to b)" in ended.err
    titles = [event["title"] for event in read_events(tmp_path / "run" / "events.jsonl")]
    assert titles.count("colour inversion (a to b)") == 1, "told once, not at every log"
    assert "colour inversion (a to b)" in (tmp_path / "run" / "report.html").read_text()
