"""Training that starts from weights that were trained before."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from ganstyle.base.errors import UserError
from ganstyle.translate.export import write_export
from ganstyle.verbs.models import load
from ganstyle.verbs.train import Outcome, resume_run, train_recipe
from tests import tiny
from tests.networks.foreign_generators import Plain, resnet, unet
from tests.verbs.test_foreign_models import saved

# What the foreign generators have, and the tiny recipe has not.
FOREIGN = {"generator.halvings": "2", "generator.blocks": "2", "generator.upsample": "transposed"}
CUT = "{name: cut, nce_layers: [down_1, block_1], patches: 4}"
ONLY_RESNET = "generator.blocks"
# Nothing is learned: what comes out is what went in.
STILL = {**FOREIGN, "training.learning_rate": "1e-30", "training.steps": "1", "training.decay_from": "1"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.data(tmp_path_factory.mktemp("init"))


@pytest.fixture(scope="module")
def models(place: Path) -> dict[str, Path]:
    """Two generators of other code that differ."""
    found = {}
    for way, letter in (("ab", "A"), ("ba", "B")):
        plain = resnet()
        for tensor in plain.state.values():
            tensor.mul_(0.1 if way == "ab" else 0.2)
        found[way] = saved(place / "theirs" / f"latest_net_G_{letter}.pth", plain)
    return found


def train(place: Path, changes: dict[str, str], init_from: Any, run: Path, **options: Any) -> Outcome:
    return train_recipe(tiny.RECIPE, tiny.words(place, changes), run=run, init_from=init_from, **options)


def weights(model: Path, **options: Any) -> dict[str, torch.Tensor]:
    return dict(load(model, device="cpu", **options).generator.state_dict())


def same(one: Path, other: Path, *, direction: str | None = None, **options: Any) -> bool:
    pairs = weights(one, direction=direction, **options), weights(other)
    return tiny.differing_tensors(*pairs) == []


@pytest.mark.parametrize("given", ["files", "named", "folder", "mapping"])
def test_both_directions_and_the_average_begin_with_them(
    given: str, place: Path, models: dict[str, Path], tmp_path: Path
) -> None:
    words: dict[str, Any] = {
        "files": [str(models["ba"]), str(models["ab"])],
        "named": [f"ab={models['ab']}", f"ba={models['ba']}"],
        "folder": [str(place / "theirs")],
        "mapping": models,
    }
    said: list[str] = []
    train(place, {**STILL, "training.ema_decay": "0.5"}, words[given], tmp_path / "run", say=said.append)
    for direction, model in models.items():
        for raw in (False, True):
            assert same(tmp_path / "run", model, direction=direction, raw=raw)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert set(record["initial"]) == {"ab", "ba"}
    assert sum("starts from" in line for line in said) == 2


def test_one_direction_alone(place: Path, models: dict[str, Path], tmp_path: Path) -> None:
    train(place, STILL, [str(models["ba"])], tmp_path / "run")
    assert same(tmp_path / "run", models["ba"], direction="ba", raw=True)
    assert not same(tmp_path / "run", models["ab"], direction="ab", raw=True)


def test_a_name_gives_way_to_what_is_asked(place: Path, models: dict[str, Path], tmp_path: Path) -> None:
    train(place, STILL, [f"ab={models['ba']}"], tmp_path / "run")
    assert same(tmp_path / "run", models["ba"], direction="ab", raw=True)


def test_a_method_of_one_direction_takes_that_of_a_folder(place: Path, models: dict[str, Path], tmp_path: Path) -> None:
    words = tiny.words(place, {**STILL, "method": CUT})
    train_recipe(tiny.RECIPE, words, run=tmp_path / "run", init_from=str(place / "theirs"))
    assert same(tmp_path / "run", models["ab"], raw=True)


def test_a_run_and_its_export(place: Path, tmp_path: Path) -> None:
    first, still = tmp_path / "first", {**STILL, "generator.halvings": "1"}
    train(place, {**FOREIGN, "generator.halvings": "1", "training.ema_decay": "0.9"}, [], first)
    train(place, still, [str(first)], tmp_path / "second")
    for direction in ("ab", "ba"):
        ours = weights(tmp_path / "second", direction=direction, raw=True)
        assert tiny.differing_tensors(ours, weights(first, direction=direction)) == [], "the average goes on"
    assert tiny.ganstyle("export", first, tmp_path / "ba.safetensors", "--direction", "ba").code == 0
    train(place, still, [str(tmp_path / "ba.safetensors")], tmp_path / "third")
    assert same(tmp_path / "third", tmp_path / "ba.safetensors", direction="ba", raw=True)


def test_the_same_command_goes_on_exactly(place: Path, models: dict[str, Path], tmp_path: Path) -> None:
    changes = {**FOREIGN, **tiny.EXACT, "evaluate.every": "0"}
    words, init_from = tiny.words(place, changes), [str(path) for path in models.values()]
    whole = train_recipe(tiny.RECIPE, words, run=tmp_path / "whole", init_from=init_from)
    fresh = train_recipe(tiny.RECIPE, words, run=tmp_path / "fresh")
    assert whole.step == fresh.step == 8
    tensors = [tiny.checkpoint_tensors(tmp_path / name, 8) for name in ("whole", "fresh")]
    assert len(tiny.differing_tensors(*tensors)) > 20
    broken = shutil.copytree(tmp_path / "whole", tmp_path / "broken")
    for step in (6, 8):
        (broken / "checkpoints" / f"step-{step:08d}.pt").unlink()
    train_recipe(tiny.RECIPE, words, run=broken, init_from=init_from)
    assert tiny.differing_tensors(tensors[0], tiny.checkpoint_tensors(broken, 8)) == []


@pytest.mark.parametrize("left", ["record", "no record"])
def test_without_a_checkpoint_it_begins_anew_without_the_files(
    left: str, place: Path, models: dict[str, Path], tmp_path: Path
) -> None:
    theirs = shutil.copytree(place / "theirs", tmp_path / "theirs")
    train(place, FOREIGN, [str(theirs)], tmp_path / "run")
    whole = tiny.checkpoint_tensors(tmp_path / "run", 4)
    shutil.rmtree(theirs)
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    if left == "no record":
        (tmp_path / "run" / "run.json").unlink()
    resume_run(tmp_path / "run")
    assert tiny.differing_tensors(whole, tiny.checkpoint_tensors(tmp_path / "run", 4)) == []
    assert set(json.loads((tmp_path / "run" / "run.json").read_text())["initial"]) == {"ab", "ba"}


def test_another_start_than_the_runs_is_refused(place: Path, models: dict[str, Path], tmp_path: Path) -> None:
    run, ab = tmp_path / "run", str(models["ab"])
    train(place, FOREIGN, [ab], run)
    train(place, FOREIGN, [f"ab={models['ab']}"], run)  # the same in other words
    cases: list[tuple[Sequence[str], str]] = [
        ([], "began from ab [0-9a-f]{16}, asked for fresh weights: to go on .* --resume .*--new"),
        ([ab, str(models["ba"])], "began from ab [0-9a-f]{16}, asked for ab [0-9a-f]{16}, ba"),
        ([f"ab={models['ba']}"], "began from ab .*, asked for ab"),
        ([str(place / "gone.pth")], "there is no model at .*gone.pth.* --resume"),
    ]
    for init_from, told in cases:
        with pytest.raises(UserError, match=told) as error:
            train(place, FOREIGN, init_from, run)
        assert "\n" not in str(error.value)


def test_what_does_not_fit_is_told_before_there_is_a_folder(
    place: Path, models: dict[str, Path], tmp_path: Path
) -> None:
    ab, run = str(models["ab"]), tmp_path / "run"
    cut = {"generator.upsample": "resize", "generator.width": "3"}
    unets = {"generator": "{name: unet, width: 2, halvings: 3}"}
    only_ab = {"method": CUT}
    dropped = str(saved(tmp_path / "dropped" / "latest_net_G_A.pth", resnet(dropout=True)))
    cases: list[tuple[dict[str, str], Sequence[str], str]] = [
        ({}, [ab], r"\(blocks 1, halvings 1, upsample resize\); to train it, add: generator.blocks=2 "),
        ({**FOREIGN, **cut}, [ab], r"add: generator.width=2 generator.upsample=transposed$"),
        ({**FOREIGN, **cut}, [dropped], r"generator.upsample=transposed generator.dropout=0.5$"),
        (unets, [ab], r"add: generator.name=resnet .*generator.blocks=2"),
        (FOREIGN, [ab, f"ab={ab}"], "ab is given twice"),
        (FOREIGN, [f"xx={ab}"], "got 'xx=', expected ab=FILE, ba=FILE or a file that is there"),
        (FOREIGN, ["ab="], "got 'ab=', expected"),
        (FOREIGN, [f"ba={place / 'gone.pth'}"], "there is no model at .*gone.pth"),
        (
            {**FOREIGN, **only_ab},
            [str(models["ba"])],
            r"it translates ba, this recipe trains ab; write --init-from ab=",
        ),
        ({**FOREIGN, **only_ab}, [f"ba={ab}"], "this recipe trains ab only"),
    ]
    for changes, init_from, told in cases:
        with pytest.raises(UserError, match=told) as error:
            train(place, changes, init_from, run)
        assert "\n" not in str(error.value)
        assert not run.exists()


@pytest.mark.parametrize("make", [resnet, lambda: unet(halvings=3, norm="instance")])
def test_the_words_to_add_do_fit(make: Callable[[], Plain], place: Path, tmp_path: Path) -> None:
    model = str(saved(tmp_path / "latest_net_G.pth", make()))
    with pytest.raises(UserError) as error:
        train(place, {}, [model], tmp_path / "run")
    added = str(error.value).partition("add: ")[2].split()
    said: list[str] = []
    words = [*tiny.words(place, {"training.steps": "1", "training.decay_from": "1"}), *added]
    words = [word for word in words if added[0] != "generator.name=unet" or not word.startswith(ONLY_RESNET)]
    train_recipe(tiny.RECIPE, words, run=tmp_path / "run", init_from=model, say=said.append)
    assert any("ab starts from" in line for line in said)


def test_a_damaged_start_is_told(place: Path, models: dict[str, Path], tmp_path: Path) -> None:
    train(place, FOREIGN, [str(models["ab"])], tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    other = load(models["ba"], device="cpu")
    file = tmp_path / "run" / "initial" / "ab.safetensors"
    write_export(file, other.generator, other.spec, other.facts)
    with pytest.raises(UserError, match="not what the run began from"):
        resume_run(tmp_path / "run")


def test_what_another_try_left_is_not_used(place: Path, models: dict[str, Path], tmp_path: Path) -> None:
    train(place, FOREIGN, [str(models["ab"])], tmp_path / "one")
    (tmp_path / "run").mkdir()
    shutil.copytree(tmp_path / "one" / "initial", tmp_path / "run" / "initial")
    train(place, FOREIGN, [], tmp_path / "run")
    train(place, FOREIGN, [], tmp_path / "fresh")
    tensors = [tiny.checkpoint_tensors(tmp_path / name, 4) for name in ("run", "fresh")]
    assert tiny.differing_tensors(*tensors) == []


def test_the_command_line(place: Path, models: dict[str, Path], tmp_path: Path) -> None:
    words = tiny.words(place, STILL)
    starts = [f"--init-from={models['ab']}", "--init-from", f"ba={models['ba']}"]
    ended = tiny.ganstyle("train", tiny.RECIPE, *words, "--run", tmp_path / "run", *starts)
    assert ended.code == 0, ended.err
    assert same(tmp_path / "run", models["ba"], direction="ba", raw=True)
    ended = tiny.ganstyle("train", "--resume", tmp_path / "run", *starts)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "leave out --init-from" in ended.err


def test_several_ranks_begin_with_the_same(place: Path, models: dict[str, Path], tmp_path: Path) -> None:
    changes = {**STILL, "devices": "2", "training.batch_size": "2"}
    words = ["train", tiny.RECIPE, *tiny.words(place, changes), "--run", str(tmp_path / "run")]
    code, said = tiny.finish([*words, "--init-from", str(models["ab"])], tmp_path / "cache")
    assert code == 0, said
    assert same(tmp_path / "run", models["ab"], direction="ab", raw=True)
    assert "ab starts from" in said
