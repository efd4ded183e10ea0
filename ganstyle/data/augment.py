"""Augmentation pipelines of albumentations, written as specs: `[{name: ColorJitter, p: 0.5}]`.

The only file that imports albumentations.
"""

from __future__ import annotations

import inspect
import os
import random
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field, ValidationError

from ganstyle.base.errors import UserError, one_line
from ganstyle.base.tables import did_you_mean, mistake_line, value_mistakes

Augment = Callable[[np.ndarray, int], np.ndarray]
Chance = Annotated[float, Field(ge=0, le=1)]


def _library() -> Any:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # or importing it asks the package index for its version
    import albumentations  # noqa: PLC0415 - takes a second, and many runs need none of it

    return albumentations


def _table() -> dict[str, Any]:
    library = _library()
    kinds = (library.BasicTransform, library.BaseCompose)
    return {
        name: entry
        for name, entry in vars(library).items()
        if inspect.isclass(entry) and issubclass(entry, kinds) and not inspect.isabstract(entry)
    }


def build_augment(specs: Sequence[Mapping[str, Any]], *, path: str = "data.augment") -> Augment | None:
    """A function (uint8 image (H, W, 3), seed) -> uint8 image of any size, or None for no pipeline.

    The same image and seed give the same result, in any process. Raises `UserError` with all mistakes of the specs.
    """
    if not specs:
        return None
    table = _table()
    mistakes = check_augment(specs, path=path)
    if mistakes:
        raise UserError("; ".join(mistakes))
    return _Pipeline(_library().Compose([_build(table, spec) for spec in specs]))


class _Pipeline:
    def __init__(self, compose: Any) -> None:
        self.compose = compose

    def __call__(self, pixels: np.ndarray, seed: int) -> np.ndarray:
        # One pair of generators for all: set_random_seed would seed each transform alike, and then a horizontal and a
        # vertical flip always come together.
        self.compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
        try:
            return self.compose(image=pixels)["image"]
        except Exception as error:  # transforms look at an image only now, and raise what they like
            raise UserError(f"data.augment: {one_line(error)}") from error


def check_augment(specs: Sequence[Mapping[str, Any]], *, path: str = "data.augment") -> list[str]:
    """All mistakes of a pipeline's specs, each with its path."""
    if not specs:
        return []
    table = _table()
    return [line for number, spec in enumerate(specs) for line in _spec_mistakes(table, spec, f"{path}.{number}")]


def _spec_mistakes(table: Mapping[str, Any], spec: Any, path: str) -> list[str]:
    name = spec.get("name") if isinstance(spec, Mapping) else None
    if not isinstance(name, str):
        return [f"{path}: got {spec!r}, expected a transform such as {{name: ColorJitter, p: 0.5}}"]
    if name not in table:
        near = did_you_mean(name, table).partition(" (")[0]  # the whole list would fill the screen
        return [
            f"{path}.name: unknown transform '{name}'{near if len(near) < 100 else ', expected one of albumentations'}"
        ]
    allowed = [key for key in inspect.signature(table[name]).parameters if key != "self"]
    mistakes = [
        f"{path}.{key}: unknown key of '{name}'{did_you_mean(key, allowed)}"
        for key in spec
        if key not in (*allowed, "name")
    ]
    mistakes += value_mistakes(Chance, spec["p"], path=f"{path}.p") if "p" in spec else []
    if "transforms" in spec and "transforms" in allowed:
        mistakes += _inner_mistakes(table, spec["transforms"], f"{path}.transforms")
    return mistakes or _build_mistakes(table, spec, path)


def _inner_mistakes(table: Mapping[str, Any], specs: Any, path: str) -> list[str]:
    if not isinstance(specs, list) or not specs:
        return [f"{path}: got {specs!r}, expected a list of transforms"]
    return [line for number, spec in enumerate(specs) for line in _spec_mistakes(table, spec, f"{path}.{number}")]


def _build_mistakes(table: Mapping[str, Any], spec: Mapping[str, Any], path: str) -> list[str]:
    try:
        _build(table, spec)
    except Exception as error:  # constructors raise what they like
        if isinstance(error.__cause__, ValidationError):
            # Only the key: after it, pydantic tells the branches of unions.
            found = error.__cause__.errors()
            return list(dict.fromkeys(mistake_line(f"{path}.{each['loc'][0]}", each) for each in found))
        return [f"{path}: '{spec['name']}' cannot be built: {one_line(error)}"]
    return []


def _build(table: Mapping[str, Any], spec: Mapping[str, Any]) -> Any:
    arguments = {key: value for key, value in spec.items() if key != "name"}
    if "transforms" in arguments:
        arguments["transforms"] = [_build(table, inner) for inner in arguments["transforms"]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it warns of arguments that it then does not use
        return table[spec["name"]](**arguments)
