from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch

from ganstyle.base.tables import build
from ganstyle.networks import weight_files
from ganstyle.networks.augmented import Augmented
from ganstyle.networks.discriminators import (
    DISCRIMINATORS,
    Discriminator,
    all_specs,
    discriminator_mistakes,
    settled,
    without_paths,
)
from ganstyle.networks.feature_discriminator import FeatureDiscriminator
from ganstyle.networks.frozen_vgg import NoWeights
from ganstyle.networks.patch_discriminator import PatchDiscriminator
from ganstyle.networks.several import Several
from tests.networks.foreign_weights import light_weights

PATCH = {"name": "patch", "width": 2, "layers": 1}


@pytest.fixture
def light(tmp_path: Path) -> Path:
    torch.save(light_weights(), tmp_path / "light.pth")
    return tmp_path / "light.pth"


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in torch's cache and no network."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(weight_files.urllib.request, "urlopen", refuse)


def both(light: Path, **changes: Any) -> dict[str, Any]:
    features = {"name": "features", "weights": str(light), "width": 2, "weight": 0.5} | changes
    return {"name": "several", "members": [PATCH, features]}


def made(spec: dict[str, Any]) -> Any:
    assert discriminator_mistakes(spec) == []
    return build(DISCRIMINATORS, spec, path="discriminator")


@pytest.mark.parametrize("name", sorted(set(DISCRIMINATORS) - {"several", "augmented", "features"}))
def test_every_single_one_judges_its_smallest_image(name: str) -> None:
    network = made({"name": name})
    assert isinstance(cast("object", network), Discriminator)
    scores = network.eval()(torch.zeros(1, 3, network.minimum_px, network.minimum_px))
    assert all(each.numel() for _, each in ([(1, scores)] if isinstance(scores, torch.Tensor) else scores))


def test_several_of_all_kinds(light: Path) -> None:
    spec = both(light)
    spec["members"].append({"name": "augmented", "of": {**PATCH, "width": 3}, "policy": ["cutout"], "weight": 2})
    network = made(spec)
    assert isinstance(network, Several)
    assert [type(member) for member in network.members] == [PatchDiscriminator, FeatureDiscriminator, Augmented]
    weights = [weight for weight, _ in network(torch.zeros(1, 3, 32, 32))]
    assert weights == [1.0, *[0.5 / 4] * 4, 2.0]
    assert network.get_parameter("members.2.discriminator.first.conv.weight").shape[0] == 3
    assert network.minimum_px == 16


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ({"name": "severel"}, "discriminator.name: unknown discriminator 'severel': did you mean 'several'?"),
        ({"name": "several"}, "discriminator.members: missing; 'several' needs it"),
        ({"name": "several", "members": []}, "discriminator.members: got [], expected at least 1 of them"),
        ({"name": "several", "members": "patch"}, "discriminator.members: got 'patch', expected a list"),
        ({"name": "several", "members": ["patch"]}, "discriminator.members: got 'patch', expected keys and values"),
        (
            {"name": "several", "members": [PATCH, {"name": "pach"}]},
            "discriminator.members.1.name: unknown discriminator.members.1 'pach': did you mean 'patch'?",
        ),
        (
            {"name": "several", "members": [PATCH, {**PATCH, "width": 0}]},
            "discriminator.members.1.width: got 0, expected at least 1",
        ),
        (
            {"name": "several", "members": [{**PATCH, "weight": 0}]},
            "discriminator.members.0.weight: got 0, expected more than 0",
        ),
        (
            {"name": "several", "members": [{**PATCH, "weight": "1"}]},
            "discriminator.members.0.weight: got '1', expected a number",
        ),
        (
            {"name": "several", "members": [{**PATCH, "wieght": 1}]},
            "discriminator.members.0.wieght: unknown key of 'patch'",
        ),
        ({**PATCH, "weight": 1}, "discriminator.weight: unknown key of 'patch'"),
        (
            {"name": "augmented", "of": {"name": "several", "members": [{"name": "augmented", "of": {"name": 3}}]}},
            "discriminator.of.members.0.of.name: unknown discriminator.of.members.0.of '3'",
        ),
        (
            {"name": "augmented", "of": PATCH, "policy": ["color"]},
            "discriminator.policy: got 'color': unknown transform",
        ),
        ({"name": "augmented", "of": PATCH, "policy": ["colour", "colour"]}, "each transform may be there once"),
        ({"name": "features", "layers": ["relu9_9"]}, "discriminator.layers: got 'relu9_9': unknown layer"),
        ({"name": "features", "layers": ["relu1_1"] * 2}, "each layer may be there once"),
        ({"name": "features", "weights": 3}, "discriminator.weights: got 3, expected text"),
    ],
)
def test_mistakes_have_their_full_path(spec: dict[str, Any], line: str) -> None:
    (mistake,) = discriminator_mistakes(spec)
    assert line in mistake


def test_all_mistakes_at_once() -> None:
    members = [{"name": "patch", "width": 0}, {"name": "x"}, {"name": "augmented", "of": {"name": "y"}, "weight": -1}]
    assert len(discriminator_mistakes({"name": "several", "members": members})) == 4


def test_all_specs_however_deep() -> None:
    deep = {"name": "several", "members": [{"name": "augmented", "of": {"name": "patch", "norm": "batch"}}]}
    assert [spec.get("norm") for spec in all_specs(deep)] == [None, None, "batch"]


def test_without_frozen_weights_nothing_is_left_to_the_machine() -> None:
    said: list[str] = []
    for spec in (PATCH, {"name": "several", "members": [PATCH]}, {"name": "augmented", "of": PATCH}):
        assert settled(spec, said.append) == spec
    assert said == []


def test_a_path_is_settled_wherever_it_is_used_from(light: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(light.parent)
    spec = {"name": "augmented", "of": both(Path(light.name))}
    once = settled(spec, print)
    assert once == {"name": "augmented", "of": both(light)}
    monkeypatch.chdir("/")
    assert settled(once, print) == once


@pytest.mark.usefixtures("offline")
def test_without_a_vgg_the_others_go_on_alone_and_say_so() -> None:
    members = [{**PATCH, "weight": 3}, {"name": "features"}, {"name": "augmented", "of": {"name": "features"}}]
    said: list[str] = []
    found = settled({"name": "several", "members": members}, said.append)
    assert found == {"name": "several", "members": members[:1]}
    assert len(said) == 1
    assert said[0].startswith(
        "trained by the PatchGAN alone: the discriminator that looks through a VGG has no weights ("
    )
    assert "no network" in said[0]
    assert "\n" not in said[0]
    assert settled(found, said.append) == found
    assert len(said) == 1, "settled once"


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    "spec",
    [
        {"name": "features"},
        {"name": "several", "members": [{"name": "features"}]},
        {"name": "augmented", "of": {"name": "features"}},
        {"name": "several", "members": [PATCH, {"name": "features", "weights": "vgg19-light"}]},
        {"name": "several", "members": [PATCH, {"name": "features", "weights": "nowhere.pth"}]},
    ],
)
def test_what_cannot_be_done_without_is_an_error(spec: dict[str, Any]) -> None:
    said: list[str] = []
    with pytest.raises(weight_files.UserError) as error:
        settled(spec, said.append)
    assert isinstance(error.value, NoWeights) is ("auto" not in str(spec) and "weights" not in str(spec))
    assert said == []


def test_a_shown_spec_has_no_path(light: Path) -> None:
    spec = {"name": "augmented", "of": both(light)}
    shown = without_paths(spec)
    assert str(light) not in str(shown)
    assert shown["of"]["members"][1] == {"name": "features", "weights": "a file", "width": 2, "weight": 0.5}
    for weights in ("auto", "vgg19"):
        assert without_paths(both(Path(weights))) == both(Path(weights))
