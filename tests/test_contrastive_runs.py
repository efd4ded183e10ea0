"""CUT, FastCUT and DCL as people run them: the same commands, curves, previews, scores and translations."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from ganstyle.tracking.jsonl import read_metrics
from tests import tiny

RECIPES = {"cut-lite": ["ab"], "fastcut-lite": ["ab"], "dcl-lite": ["ab", "ba"]}
LOSSES = {
    "cut-lite": {"adversarial_ab", "nce_a", "nce_b"},
    "fastcut-lite": {"adversarial_ab", "nce_a"},
    "dcl-lite": {"adversarial_ab", "adversarial_ba", "nce_a", "nce_b", "identity_a", "identity_b"},
}


def size_px(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_a_run_is_told_shown_scored_and_used(recipe: str, tmp_path: Path) -> None:
    changes = {**tiny.PATCHES, "training.preview_every": "2", "data.holdout": "0.3", "evaluate.every": "4"}
    run = tmp_path / "run"
    ended = tiny.ganstyle("train", recipe, *tiny.words(tiny.data(tmp_path), changes), "--run", run)
    assert ended.code == 0, ended.err
    assert "finished 4 steps" in ended.out + ended.err
    rows = read_metrics(run / "metrics.jsonl")
    names = {name for row in rows for name in row}
    assert {name.removeprefix("generator/") for name in names if name.startswith("generator/")} == LOSSES[recipe]
    ways = RECIPES[recipe]
    assert {name[-2:] for name in names if name.startswith("health/") and name[-3:] in ("_ab", "_ba")} == set(ways)
    assert {name for name in names if name.startswith("discriminator/")} == {f"discriminator/{way[1]}" for way in ways}
    assert {f"judged/{way[1]}_fake" for way in ways} <= names
    assert "scores/kid_ab" in names
    assert "gradient_norm/generator" in names
    assert len(list((run / "previews").iterdir())) == 2

    for way in ways:
        out = tmp_path / f"out_{way}"
        ended = tiny.ganstyle("translate", tmp_path / way[0], out, "--model", run, "--direction", way)
        assert ended.code == 0, ended.err
        made = sorted(out.glob("*.png"))
        assert [path.name for path in made] == sorted(path.name for path in (tmp_path / way[0]).iterdir())
        assert {size_px(path) for path in made} == {(24, 20)}


def test_a_generator_with_too_few_blocks_is_one_clear_line(tmp_path: Path) -> None:
    run = tmp_path / "run"
    ended = tiny.ganstyle("train", "cut-lite", *tiny.words(tiny.data(tmp_path)), "--run", run)
    assert ended.code == 2
    assert "error: method.nce_layers: unknown layer 'down_2': did you mean 'down_1'?" in ended.err
    assert len(ended.err.splitlines()) == 1
    assert not run.exists()


def test_a_batch_in_parts_teaches_the_discriminator_as_the_whole_does(tmp_path: Path) -> None:
    """The generator is then judged by one that has not learned yet, but for the last part."""
    changes = {**tiny.PATCHES, "training.steps": "1", "training.decay_from": "1", "training.batch_size": "4"}
    tiny.train(tmp_path, changes, run="whole", recipe="cut-lite")
    tiny.train(tmp_path, {**changes, "training.accumulate": "2"}, run="parts", recipe="cut-lite")
    whole, parts = (tiny.checkpoint_tensors(tmp_path / run, 1) for run in ("whole", "parts"))
    judging = [name for name in whole if name.startswith("networks.discriminator_b.")]
    assert len(judging) > 4
    for name in judging:
        if not name.endswith("middle.0.conv.bias"):  # dead before its norm: rounding noise
            torch.testing.assert_close(parts[name], whole[name], rtol=1e-4, atol=1e-5)
    made = [
        row["generator/adversarial_ab"]
        for run in ("whole", "parts")
        for row in read_metrics(tmp_path / run / "metrics.jsonl")
    ]
    assert made[0] != pytest.approx(made[1], rel=1e-6)
