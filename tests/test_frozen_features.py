"""Runs whose discriminator looks through a frozen VGG, beside a PatchGAN, with augmentation: whole commands."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ganstyle.assemble import check_config, settle
from ganstyle.base.config import load_config
from ganstyle.base.errors import UserError
from ganstyle.methods.cyclegan import CycleGAN
from ganstyle.networks import frozen_vgg, weight_files
from ganstyle.networks.vgg_files import FEATURES
from ganstyle.tracking.jsonl import read_metrics
from ganstyle.train.checkpoint import load_checkpoint
from ganstyle.verbs.train import resume_run
from tests import tiny
from tests.networks.foreign_weights import light_weights

PATCH = "{name: patch, width: 2, layers: 1}"
STEPS = {"training.steps": "6", "training.decay_from": "3", "training.checkpoint_every": "2"}


def several(weights: str | Path, *, augmented: bool = False) -> dict[str, str]:
    """The words of a PatchGAN and a small discriminator on features."""
    patch = f"{{name: augmented, of: {PATCH}}}" if augmented else PATCH
    features = f"{{name: features, weights: {weights}, layers: [relu1_2, relu2_1], width: 2, weight: 0.5}}"
    return {"discriminator": f"{{name: several, members: [{patch}, {features}]}}"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Torch's cache of files, empty; no network; the published light VGG is the one of these tests."""

    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(weight_files.urllib.request, "urlopen", offline)
    light = vgg(tmp_path / "light.pth")
    digest = hashlib.sha256(light.read_bytes()).hexdigest()
    monkeypatch.setitem(FEATURES, "vgg19-light", replace(FEATURES["vgg19-light"], digest=digest))
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    yield tmp_path / "hub/checkpoints"
    frozen_vgg._read_once.cache_clear()
    torch.set_num_threads(before)


def vgg(path: Path, seed: int = 0) -> Path:
    torch.save(light_weights(seed), path)
    return path


def there(cache: Path) -> None:
    """The published file is in torch's cache; a file of its own name would have other bytes."""
    shutil.copy(cache.parents[1] / "light.pth", cache / "vgg19_light.pth")


def losses(run: Path) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in row.items() if not key.startswith(("speed/", "memory/"))}
        for row in read_metrics(run / "metrics.jsonl")
    ]


def interrupted(monkeypatch: pytest.MonkeyPatch, folder: Path, changes: dict[str, str], *, steps: int) -> None:
    """Train as far as so many steps, where the run breaks off without a word."""
    step, done = CycleGAN.training_step, []

    def breaks_off(*arguments: Any) -> Any:
        done.append(1)
        if len(done) > steps:
            raise KeyboardInterrupt
        return step(*arguments)

    monkeypatch.setattr(CycleGAN, "training_step", breaks_off)
    with pytest.raises(KeyboardInterrupt):
        tiny.train(folder, changes)
    monkeypatch.setattr(CycleGAN, "training_step", step)


def test_resumed_it_is_the_same_run_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = STEPS | several(tmp_path / "light.pth", augmented=True) | {"training.batch_size": "2"}
    tiny.train(tmp_path, changes, run="whole")
    interrupted(monkeypatch, tmp_path, changes, steps=3)
    said: list[str] = []
    tiny.train(tmp_path, changes, say=said.append)
    assert "going on from step 2" in said
    assert not [line for line in said if "bit for bit" in line]
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    found, wanted = (tiny.checkpoint_tensors(tmp_path / run, 6) for run in ("run", "whole"))
    assert [name for name in wanted if name.endswith("._u")]
    assert tiny.differing_tensors(found, wanted) == []


def test_the_vgg_is_in_no_checkpoint_and_each_part_of_the_judgement_acts(tmp_path: Path) -> None:
    tiny.train(tmp_path, several(tmp_path / "light.pth"), run="both")
    state = load_checkpoint(tmp_path / "both/checkpoints/step-00000004.pt")
    assert not [name for name in state["networks"]["discriminator_b"] if "vgg" in name]
    row = losses(tmp_path / "both")[-1]
    assert {"health/discriminator_loss_b", "health/discriminator_spread_a", "judged/b_fake"} <= set(row)
    tiny.train(tmp_path, several(tmp_path / "light.pth", augmented=True), run="augmented")
    tiny.train(tmp_path, {"discriminator": f"{{name: several, members: [{PATCH}]}}"}, run="patch")
    assert len({losses(tmp_path / run)[-1]["discriminator/b"] for run in ("both", "augmented", "patch")}) == 3


def test_a_member_alone_is_the_member(tmp_path: Path) -> None:
    """The same draws of weights and the same losses: `several` adds nothing of its own."""
    tiny.train(tmp_path, {"discriminator": PATCH}, run="plain")
    tiny.train(tmp_path, {"discriminator": f"{{name: several, members: [{PATCH}]}}"}, run="member")
    assert losses(tmp_path / "member") == losses(tmp_path / "plain")


def test_without_a_vgg_it_says_so_and_stays_so(tmp_path: Path, cache: Path) -> None:
    said: list[str] = []
    tiny.train(tmp_path, several("auto"), say=said.append)
    told = [line for line in said if line.startswith("trained by the PatchGAN alone")]
    assert len(told) == 1
    assert str(cache / "vgg19_light.pth") in told[0]
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["settled"]["discriminator"]["members"] == [{"name": "patch", "width": 2, "layers": 1}]
    assert "features" in (tmp_path / "run/config.yaml").read_text()
    tiny.train(tmp_path, {"discriminator": PATCH}, run="patch")
    assert losses(tmp_path / "run") == losses(tmp_path / "patch")

    there(cache)
    said.clear()
    resume_run(tmp_path / "run", ["training.steps=6"], say=said.append)
    assert not [line for line in said if "alone" in line]
    state = load_checkpoint(tmp_path / "run/checkpoints/step-00000006.pt")
    assert not [name for name in state["networks"]["discriminator_b"] if "heads" in name]


@pytest.mark.parametrize("name", ["ganstyle", "ganstyle-lite"])
def test_our_recipe_has_both_discriminators_or_the_patchgan_alone(name: str, cache: Path) -> None:
    config = check_config(load_config(name, ["data.a=x", "data.b=y"]))
    said: list[str] = []
    (left,) = settle(config, said.append).discriminator["members"]
    assert left["name"] == "patch"
    assert [line.split(":")[0] for line in said] == ["trained by the PatchGAN alone"]
    there(cache)
    patch, shifted = settle(config, said.append).discriminator["members"]
    assert patch == left
    assert shifted["of"]["weights"] == "vgg19-light"
    assert len(said) == 1


def test_what_is_there_when_a_run_begins_is_what_it_goes_on_with(tmp_path: Path, cache: Path) -> None:
    there(cache)
    tiny.train(tmp_path, several("auto"))
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["settled"]["discriminator"]["members"][1]["weights"] == "vgg19-light"
    (cache / "vgg19_light.pth").unlink()
    with pytest.raises(UserError, match=r"^discriminator: cannot download vgg19_light\.pth \(no network\): put https"):
        resume_run(tmp_path / "run", ["training.steps=6"])
    there(cache)
    assert resume_run(tmp_path / "run", ["training.steps=6"]).step == 6


def test_other_weights_are_refused_by_a_run_that_has_begun(tmp_path: Path) -> None:
    tiny.train(tmp_path, several(tmp_path / "light.pth"))
    vgg(tmp_path / "light.pth", seed=1)
    frozen_vgg._read_once.cache_clear()
    with pytest.raises(UserError, match=r"^discriminator: it was trained on a VGG with the fingerprint \w+, and the"):
        resume_run(tmp_path / "run", ["training.steps=6"])
    vgg(tmp_path / "light.pth")
    frozen_vgg._read_once.cache_clear()
    assert resume_run(tmp_path / "run", ["training.steps=6"]).step == 6


@pytest.mark.parametrize("words", [several("auto"), {"discriminator": "{name: features}"}])
def test_a_run_from_before_anything_was_settled_goes_on(tmp_path: Path, cache: Path, words: dict[str, str]) -> None:
    there(cache)
    tiny.train(tmp_path, words)
    file = tmp_path / "run/run.json"
    record = json.loads(file.read_text())
    del record["settled"]
    file.write_text(json.dumps(record))
    assert resume_run(tmp_path / "run", ["training.steps=6"]).step == 6


def test_a_damaged_record_of_what_was_settled_is_told(tmp_path: Path) -> None:
    tiny.train(tmp_path, several(tmp_path / "light.pth"))
    file = tmp_path / "run/run.json"
    record = json.loads(file.read_text())
    record["settled"]["discriminator"]["members"][0]["width"] = "x"
    file.write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"discriminator\.members\.0\.width: got 'x'"):
        resume_run(tmp_path / "run", ["training.steps=6"])


@pytest.mark.parametrize(
    "discriminator",
    [
        "{name: features}",
        f"{{name: several, members: [{PATCH}, {{name: features, weights: vgg19}}]}}",
        f"{{name: several, members: [{PATCH}, {{name: features, weights: nowhere.pth}}]}}",
    ],
)
def test_a_run_that_lacks_its_weights_does_not_begin(tmp_path: Path, discriminator: str) -> None:
    with pytest.raises(UserError, match=r"discriminator: (cannot download .* put https|there is no file of weights)"):
        tiny.train(tmp_path, {"discriminator": discriminator})
    assert not (tmp_path / "run").exists()


def test_crops_that_are_too_small_and_batch_norm_inside_are_found(tmp_path: Path) -> None:
    small = several(tmp_path / "light.pth") | {"data.crop_px": "8"}
    with pytest.raises(UserError, match=r"data\.crop_px: got 8, expected at least 16 for this discriminator"):
        tiny.train(tmp_path, small)
    batch = {"discriminator": "{name: several, members: [{name: patch, width: 2, layers: 1, norm: batch}]}"}
    with pytest.raises(UserError, match="norm: batch takes its statistics over the whole batch"):
        tiny.train(tmp_path, batch | {"training.batch_size": "2", "training.accumulate": "2"})


def test_augmentation_is_the_same_in_parts(tmp_path: Path) -> None:
    words = {"discriminator": f"{{name: augmented, of: {PATCH}}}", "training.batch_size": "4"}
    tiny.train(tmp_path, words, run="whole")
    tiny.train(tmp_path, words | {"training.accumulate": "2"}, run="parts")
    one, two = (losses(tmp_path / run) for run in ("whole", "parts"))
    for want, got in zip(one, two, strict=True):
        told = {key: value for key, value in want.items() if key.startswith(("generator/", "discriminator/"))}
        assert {key: got[key] for key in told} == pytest.approx(told, rel=1e-4)


def test_a_spec_is_shown(tmp_path: Path) -> None:
    words = several("auto")
    ended = tiny.ganstyle("config", "show", tiny.RECIPE, f"discriminator={words['discriminator']}")
    assert ended.code == 0, ended.err
    assert "relu2_1" in ended.out


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_ranks_are_as_good_as_one(tmp_path: Path) -> None:
    tiny.data(tmp_path)
    changes = several(tmp_path / "light.pth", augmented=True) | STEPS | {"training.batch_size": "2"}
    words = ["train", tiny.RECIPE, *tiny.words(tmp_path, changes | {"devices": "2"}), "--run", str(tmp_path / "two")]
    code, said = tiny.finish(words, tmp_path / "cache")
    assert code == 0, said
    tiny.train(tmp_path, changes, run="one")
    one, two = (losses(tmp_path / run) for run in ("one", "two"))
    assert len(one) == len(two) == 6
    for want, got in zip(one, two, strict=True):
        told = {key: value for key, value in want.items() if key.startswith(("generator/", "discriminator/"))}
        assert {key: got[key] for key in told} == pytest.approx(told, rel=1e-3, abs=1e-4)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_compiled_it_trains_alike(tmp_path: Path) -> None:
    changes = several(tmp_path / "light.pth", augmented=True)
    tiny.train(tmp_path, changes, run="eager")
    tiny.train(tmp_path, changes | {"training.compile": "true"}, run="compiled")
    one, two = (losses(tmp_path / run) for run in ("eager", "compiled"))
    for want, got in zip(one[:2], two[:2], strict=True):
        told = {key: value for key, value in want.items() if key.startswith(("generator/", "discriminator/"))}
        assert {key: got[key] for key in told} == pytest.approx(told, rel=1e-3)


def test_a_gradient_penalty_goes_through_the_vgg(tmp_path: Path) -> None:
    """By second derivatives of the VGG and of the heads' spectral norms."""
    words = several(tmp_path / "light.pth", augmented=True) | {"training.steps": "2", "training.decay_from": "1"}
    words |= {"method.adversarial": "wasserstein", "method.gradient_penalty": "10"}
    tiny.train(tmp_path, words)
    (row,) = [row for row in losses(tmp_path / "run") if row["step"] == 2]
    assert 0 < row["discriminator/penalty_b"] < 1000
    assert row["guard/skipped"] == 0
    assert "health/discriminator_loss_b" not in row


@pytest.mark.parametrize("recipe", ["cut-lite", "dcl-lite"])
def test_the_other_methods_are_judged_by_several_too(tmp_path: Path, recipe: str) -> None:
    words = several(tmp_path / "light.pth", augmented=True) | tiny.PATCHES
    tiny.train(tmp_path, words | {"training.steps": "2", "training.decay_from": "1"}, recipe=recipe)
    row = losses(tmp_path / "run")[-1]
    assert {"discriminator/b", "health/discriminator_loss_b"} <= set(row)
    assert row["guard/skipped"] == 0
