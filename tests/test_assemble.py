from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from ganstyle.assemble import (
    METHODS,
    build_generator,
    build_method,
    check_config,
    full_generator_spec,
    model_facts,
    spec_mistakes,
)
from ganstyle.base.config import load_config
from ganstyle.base.errors import UserError
from ganstyle.base.recipes import recipe_names
from ganstyle.networks.generators import GENERATORS, ResNetGenerator


def values(**changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "generator": {"name": "resnet", "width": 2, "blocks": 1},
        "discriminator": {"name": "patch", "width": 2, "layers": 1},
        "data": {"load_px": 18, "crop_px": 16},
        "training": {"steps": 4},
    }
    return plain | changes


@pytest.mark.parametrize("recipe", recipe_names())
def test_every_recipe_can_be_built(recipe: str) -> None:
    config = check_config(load_config(recipe))
    with torch.device("meta"):
        method = build_method(config)
    assert "ab" in method.translators


def test_there_are_recipes() -> None:
    named = {"cyclegan", "cut", "fastcut", "dcl", "ganstyle"}
    assert named | {f"{name}-lite" for name in named} | {"demo"} <= set(recipe_names())


def test_all_mistakes_at_once_fixed_keys_and_specs() -> None:
    wrong = {
        "name": "x",
        "seeed": 3,
        "device": "gpu",
        "method": {"name": "cyclegan", "cycle_wieght": 3, "pool_size": -1, "adversarial": "hing"},
        "generator": {"name": "resnt"},
        "discriminator": {"name": "patch", "layers": 99},
        "data": {"augment": [{"name": "ColourJitter"}], "resize": "long_side"},
        "training": {"steps": "many"},
    }
    with pytest.raises(UserError) as error:
        check_config(wrong)
    lines = str(error.value).splitlines()
    assert lines[0] == f"the config has {len(lines) - 1} mistakes:"
    for path, what in {
        "seeed": "did you mean 'seed'?",
        "device": "got 'gpu'",
        "method.cycle_wieght": "did you mean 'cycle_weight'?",
        "method.pool_size": "at least 0",
        "method.adversarial": "unknown adversarial loss",
        "generator.name": "unknown generator 'resnt': did you mean 'resnet'?",
        "discriminator.layers": "at most 8",
        "data.augment.0.name": "unknown transform 'ColourJitter'",
        "data.resize": "got 'long_side'",
        "training.steps": "got 'many'",
    }.items():
        matching = [line for line in lines if line.strip().startswith(f"{path}:")]
        assert len(matching) == 1, (path, lines)
        assert what in matching[0]


@pytest.mark.parametrize("key", ["generator", "discriminator", "method"])
@pytest.mark.parametrize("spec", [{}, {"name": None}, {"name": 3}, {"name": ["resnet"]}, "resnet", None, []])
def test_specs_that_are_none(key: str, spec: Any) -> None:
    with pytest.raises(UserError, match=key):
        check_config(values(**{key: spec}))


def test_what_assemble_gives_cannot_be_given() -> None:
    lines = spec_mistakes(values(method={"name": "cyclegan", "generator": "x"}))
    assert len(lines) == 1
    assert lines[0].startswith("method.generator: unknown key of 'cyclegan'")


def test_a_crop_that_the_discriminator_cannot_judge() -> None:
    wrong = values(discriminator={"name": "patch", "layers": 5}, data={"load_px": 32, "crop_px": 32})
    with pytest.raises(UserError, match=r"data\.crop_px: got 32, expected at least \d+ for this discriminator"):
        check_config(wrong)
    (line,) = spec_mistakes(wrong)
    least = int(line.split("at least ")[1].split()[0])
    config = check_config(values(discriminator=wrong["discriminator"], data={"load_px": least, "crop_px": least}))
    method = build_method(config)
    assert method.networks["discriminator_a"](torch.zeros(1, 3, least, least)).numel() == 1


def test_a_mirrored_crop_must_fit_the_generator() -> None:
    wrong = values(method={"name": "cut", "flip_equivariance": True, "nce_layers": ["image"]},
                   data={"load_px": 20, "crop_px": 18})  # fmt: skip
    assert spec_mistakes(wrong)[0].startswith("data.crop_px: got 18, expected a multiple of 4 for flip_equivariance")
    assert spec_mistakes(wrong | {"data": {"load_px": 20, "crop_px": 20}}) == []


def test_wasserstein_needs_a_bound() -> None:
    method = {"name": "cyclegan", "adversarial": "wasserstein"}
    (line,) = spec_mistakes(values(method=method))
    assert line.startswith("method.adversarial: wasserstein needs a bound on the discriminator")
    spectral = {"name": "patch", "width": 2, "layers": 1, "spectral": True}
    assert spec_mistakes(values(method=method, discriminator=spectral)) == []
    assert spec_mistakes(values(method=method | {"gradient_penalty": 10})) == []
    mixed = {"name": "several", "members": [spectral, {"name": "augmented", "of": {"name": "pixel"}}]}
    assert len(spec_mistakes(values(method=method, discriminator=mixed))) == 1


def test_a_layer_is_compared_once() -> None:
    (line,) = spec_mistakes(values(method={"name": "cut", "nce_layers": ["down_1", "down_1"]}))
    assert line.startswith("method.nce_layers:")
    assert "each layer may be there once" in line


def weights(seed: int, **changes: Any) -> dict[str, torch.Tensor]:
    method = build_method(check_config(values(seed=seed, **changes)))
    return {
        f"{key}.{name}": parameter.detach()
        for key, network in method.networks.items()
        for name, parameter in network.named_parameters()
    }


def test_the_same_seed_gives_the_same_weights_whatever_was_drawn_before() -> None:
    torch.manual_seed(1)
    one = weights(5)
    torch.rand(100)
    torch.manual_seed(2)
    other = weights(5)
    assert all(torch.equal(one[name], other[name]) for name in one)
    changed = weights(6)
    assert not any(torch.equal(one[name], changed[name]) for name in one if name.endswith("weight"))


def test_every_network_has_weights_of_its_own() -> None:
    found = weights(5)
    assert not torch.equal(found["generator_ab.stem.conv.weight"], found["generator_ba.stem.conv.weight"])
    assert not torch.equal(found["discriminator_a.first.conv.weight"], found["discriminator_b.first.conv.weight"])


def test_one_network_does_not_depend_on_another() -> None:
    plain = weights(5)
    other = weights(5, generator={"name": "resnet", "width": 3, "blocks": 2})
    for name in plain:
        if name.startswith("discriminator"):
            assert torch.equal(plain[name], other[name])


def test_building_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(4)
    want = torch.rand(3)
    torch.manual_seed(4)
    weights(5)
    assert torch.equal(torch.rand(3), want)


def test_facts_are_enough_to_build_the_generator_again() -> None:
    config = check_config(values())
    method = build_method(config)
    facts = model_facts(config, method)
    assert facts["translators"] == {"ab": "generator_ab", "ba": "generator_ba"}
    assert facts["generator"]["halvings"] == 2, "defaults are written out"
    again = build_generator(facts["generator"])
    shapes = {name: tensor.shape for name, tensor in again.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in method.translators["ab"].state_dict().items()}
    assert all(parameter.is_meta for parameter in again.parameters())


def test_full_spec_of_a_generator() -> None:
    full = full_generator_spec({"name": "resnet", "blocks": 3})
    assert (full["blocks"], full["width"], full["norm"]) == (3, 64, "instance")
    assert full_generator_spec(full) == full


def test_a_new_generator_is_one_line_in_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    class Small(nn.Module):
        def __init__(self, *, depth: int = 1) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 3, 2 * depth + 1, padding=depth)

    monkeypatch.setitem(GENERATORS, "small", Small)
    method = build_method(check_config(values(generator={"name": "small", "depth": 2})))
    assert isinstance(method.networks["generator_ab"], Small)
    assert not isinstance(method.networks["generator_ab"], ResNetGenerator)


def test_a_new_method_is_one_line_in_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    def halves(generator: Any, discriminator: Any, *, weight: float = 1.0) -> Any:
        made.append((generator(), weight))
        return made[-1]

    monkeypatch.setitem(METHODS, "other", halves)
    build_method(check_config(values(method={"name": "other", "weight": 2.5})))
    assert isinstance(made[0][0], ResNetGenerator)
    assert made[0][1] == 2.5
