"""Tables of named classes, and specs that pick from them: `{name: resnet, width: 64}`.

A spec's keys are checked against the constructor's own signature, so a default and a bound are written once, there.
"""

from __future__ import annotations

import difflib
import inspect
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeVar

from pydantic import AfterValidator, ConfigDict, TypeAdapter, ValidationError

from ganstyle.base.errors import UserError

Built = TypeVar("Built")
FINITE = ConfigDict(allow_inf_nan=False)


def did_you_mean(name: object, allowed: Iterable[str]) -> str:
    """`: did you mean 'resnet'? (resnet, unet)`, or only what is allowed when nothing is near."""
    names = {str(each).lower(): str(each) for each in allowed}
    near = difflib.get_close_matches(str(name).lower(), names, n=1, cutoff=0.5)
    everything = ", ".join(names.values())
    return f": did you mean '{names[near[0]]}'? ({everything})" if near else f", expected one of: {everything}"


def pick(table: Mapping[str, Built], kind: str, name: str) -> Built:
    """The entry of that name; `UserError` with the nearest name when there is none."""
    if name not in table:
        raise UserError(f"unknown {kind} '{name}'{did_you_mean(name, table)}")
    return table[name]


def named_in(table: Mapping[str, Any], kind: str) -> AfterValidator:
    """For an annotation of a constructor's parameter: the value must be a name of that table."""

    def check(name: str) -> str:
        if name not in table:
            raise ValueError(f"unknown {kind}{did_you_mean(name, table)}")
        return name

    return AfterValidator(check)


def each_once(noun: str) -> AfterValidator:
    """For an annotation of a constructor's parameter: a list that holds nothing twice."""

    def check(values: list[Any]) -> list[Any]:
        if any(values.count(value) > 1 for value in values):
            raise ValueError(f"each {noun} may be there once")
        return values

    return AfterValidator(check)


def parameters(constructor: Callable[..., Any], given: Collection[str] = ()) -> dict[str, Any]:
    """The constructor's parameters and their annotations, bounds included, without those that the caller gives."""
    init = constructor.__init__ if inspect.isclass(constructor) else constructor
    hints = typing.get_type_hints(init, include_extras=True)
    names = [name for name in inspect.signature(constructor).parameters if name not in given]
    return {name: hints.get(name, Any) for name in names}


def full_spec(table: Mapping[str, Callable[..., Any]], spec: Mapping[str, Any], given: Collection[str] = ()) -> dict:
    """The spec with the constructor's defaults written out: what is stored with a model to build it again."""
    signature = inspect.signature(table[spec["name"]])
    defaults = {n: p.default for n, p in signature.parameters.items() if p.default is not p.empty and n not in given}
    return {**defaults, **spec}


def check_spec(
    table: Mapping[str, Callable[..., Any]], spec: Mapping[str, Any], *, path: str, given: Collection[str] = ()
) -> list[str]:
    """All mistakes of a spec, each with its path; an empty list when it can be built."""
    name = spec.get("name")
    if not isinstance(name, str) or name not in table:
        got = f"unknown {path} '{name}'" if name is not None else f"{path} needs a name"
        return [f"{path}.name: {got}{did_you_mean(name, table)}"]
    expected = parameters(table[name], given)
    mistakes = []
    for key, value in spec.items():
        if key == "name":
            continue
        if key not in expected:
            mistakes.append(f"{path}.{key}: unknown key of '{name}'{did_you_mean(key, expected)}")
        else:
            mistakes += value_mistakes(expected[key], value, path=f"{path}.{key}")
    signature = inspect.signature(table[name])
    missing = [key for key in expected if signature.parameters[key].default is inspect.Parameter.empty]
    return mistakes + [f"{path}.{key}: missing; '{name}' needs it" for key in missing if key not in spec]


def value_mistakes(annotation: Any, value: Any, *, path: str) -> list[str]:
    """The mistakes of one value against an annotation with bounds, in plain words."""
    try:
        TypeAdapter(annotation, config=FINITE).validate_python(value, strict=True)
    except ValidationError as error:
        return [mistake_line(path, each) for each in error.errors()]
    return []


def build(table: Mapping[str, Callable[..., Built]], spec: Mapping[str, Any], *, path: str, **given: Any) -> Built:
    """Check a spec and call its constructor with the spec's keys and what the caller gives beside them."""
    mistakes = check_spec(table, spec, path=path, given=given)
    if mistakes:
        raise UserError("; ".join(mistakes))
    return table[spec["name"]](**{key: value for key, value in spec.items() if key != "name"}, **given)


def mistake_line(path: str, error: Mapping[str, Any]) -> str:
    """One line for one pydantic error: the path, what was got and what is allowed."""
    got, context = error.get("input"), error.get("ctx", {})
    kind = error["type"]
    if kind == "missing":
        return f"{path}: missing"
    if kind == "literal_error":
        allowed = [word.strip().strip("'") for word in context["expected"].replace(" or ", ", ").split(",")]
        return f"{path}: got {got!r}{did_you_mean(got, allowed)}"
    expected = EXPECTED.get(kind)
    if expected is not None:
        return f"{path}: got {got!r}, expected {expected.format(**context)}"
    reason = error["msg"].removeprefix("Value error, ")
    return f"{path}: got {got!r}: {reason[:1].lower()}{reason[1:]}"


# What each kind of pydantic error means to a person; the braces take the error's own context.
EXPECTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "keys and values",
    "model_type": "keys and values",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "too_short": "at least {min_length} of them",
    "too_long": "at most {max_length} of them",
}
