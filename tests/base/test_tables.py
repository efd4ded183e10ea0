from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from ganstyle.base.errors import UserError
from ganstyle.base.tables import build, check_spec, did_you_mean, full_spec, named_in, parameters, pick

NORMS = {"instance": 1, "batch": 2}


class ResNet:
    def __init__(
        self,
        width: Annotated[int, Field(ge=1, le=512)] = 64,
        *,
        norm: Annotated[str, named_in(NORMS, "norm")] = "instance",
        upsample: Literal["transposed", "resize"] = "resize",
        dropout: float = 0.0,
        bias: bool = True,
    ) -> None:
        self.given = (width, norm, upsample, dropout, bias)


class Needy:
    def __init__(self, generator: object, depth: int) -> None:
        self.given = (generator, depth)


TABLE: dict[str, Any] = {"resnet": ResNet, "needy": Needy}


def mistakes(spec: dict[str, Any], *given: str) -> list[str]:
    return check_spec(TABLE, spec, path="generator", given=given)


@pytest.mark.parametrize(
    ("name", "allowed", "text"),
    [
        ("resnt", ["resnet", "unet"], ": did you mean 'resnet'? (resnet, unet)"),
        ("RESNET", ["resnet", "unet"], ": did you mean 'resnet'? (resnet, unet)"),
        ("clahe", ["Blur", "CLAHE"], ": did you mean 'CLAHE'? (Blur, CLAHE)"),
        ("xyz", ["resnet", "unet"], ", expected one of: resnet, unet"),
        (3, ["resnet"], ", expected one of: resnet"),
    ],
)
def test_the_nearest_name(name: object, allowed: list[str], text: str) -> None:
    assert did_you_mean(name, allowed) == text


def test_pick() -> None:
    assert pick(TABLE, "generator", "needy") is Needy
    with pytest.raises(UserError, match=r"^unknown generator 'resnt': did you mean 'resnet'\? \(resnet, needy\)$"):
        pick(TABLE, "generator", "resnt")


def test_a_spec_without_mistakes_is_built() -> None:
    spec = {"name": "resnet", "width": 8, "norm": "batch", "upsample": "transposed", "dropout": 0, "bias": False}
    assert mistakes(spec) == []
    assert build(TABLE, spec, path="generator").given == (8, "batch", "transposed", 0, False)
    assert build(TABLE, {"name": "resnet"}, path="generator").given == (64, "instance", "resize", 0.0, True)


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ({}, "generator.name: generator needs a name, expected one of: resnet, needy"),
        ({"name": None}, "generator.name: generator needs a name, expected one of: resnet, needy"),
        ({"name": ["resnet"]}, "generator.name: unknown generator '['resnet']'"),
        ({"name": "resnt"}, "generator.name: unknown generator 'resnt': did you mean 'resnet'? (resnet, needy)"),
        ({"name": "resnet", "widht": 3}, "generator.widht: unknown key of 'resnet': did you mean 'width'? (width"),
        ({"name": "resnet", "width": 0}, "generator.width: got 0, expected at least 1"),
        ({"name": "resnet", "width": 513}, "generator.width: got 513, expected at most 512"),
        ({"name": "resnet", "width": "64"}, "generator.width: got '64', expected a whole number"),
        ({"name": "resnet", "width": True}, "generator.width: got True, expected a whole number"),
        ({"name": "resnet", "width": None}, "generator.width: got None, expected a whole number"),
        ({"name": "resnet", "dropout": "x"}, "generator.dropout: got 'x', expected a number"),
        ({"name": "resnet", "bias": "yes"}, "generator.bias: got 'yes', expected true or false"),
        ({"name": "resnet", "norm": "instanc"}, "unknown norm: did you mean 'instance'? (instance, batch)"),
        ({"name": "resnet", "upsample": "rezise"}, "got 'rezise': did you mean 'resize'? (transposed, resize)"),
        ({"name": "needy", "generator": 1}, "generator.depth: missing; 'needy' needs it"),
    ],
)
def test_each_mistake_says_where_what_and_what_is_allowed(spec: dict[str, Any], line: str) -> None:
    (found,) = mistakes(spec)
    assert line in found
    assert found.startswith("generator.")
    assert "\n" not in found


def test_all_mistakes_at_once() -> None:
    found = mistakes({"name": "resnet", "width": 0, "norm": "x", "depth": 3})
    assert [line.split(":")[0] for line in found] == ["generator.width", "generator.norm", "generator.depth"]
    with pytest.raises(UserError, match=r"generator\.width: .*; generator\.norm: .*; generator\.depth: "):
        build(TABLE, {"name": "resnet", "width": 0, "norm": "x", "depth": 3}, path="generator")


def test_what_the_caller_gives_is_not_for_the_spec() -> None:
    assert mistakes({"name": "needy", "depth": 3}, "generator") == []
    (line,) = mistakes({"name": "needy", "depth": 3, "generator": 1}, "generator")
    assert line == "generator.generator: unknown key of 'needy', expected one of: depth"
    assert build(TABLE, {"name": "needy", "depth": 3}, path="method", generator="handed in").given == ("handed in", 3)


def test_the_full_spec_builds_the_same_again() -> None:
    spec = {"name": "resnet", "width": 8}
    full = full_spec(TABLE, spec)
    assert full == {
        "name": "resnet",
        "width": 8,
        "norm": "instance",
        "upsample": "resize",
        "dropout": 0.0,
        "bias": True,
    }
    assert build(TABLE, full, path="g").given == build(TABLE, spec, path="g").given
    assert full_spec(TABLE, {"name": "needy", "depth": 2}, given=["generator"]) == {"name": "needy", "depth": 2}


def test_parameters_of_a_function_and_of_a_class() -> None:
    def loss(scale: float, bias: bool = True) -> float:
        return scale

    assert parameters(loss) == {"scale": float, "bias": bool}
    assert list(parameters(Needy, ["generator"])) == ["depth"]
