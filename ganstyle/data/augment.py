"""Augmentation pipelines of albumentations, written as specs: `[{name: ColorJitter, p: 0.5}]`.

The only file that imports albumentations.
"""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ganstyle.base.errors import UserError, one_line
from ganstyle.base.tables import did_you_mean

Augment = Callable[[np.ndarray, int], np.ndarray]


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
        self.compose.set_random_seed(seed % 2**32)
        return self.compose(image=pixels)["image"]


def check_augment(specs: Sequence[Mapping[str, Any]], *, path: str = "data.augment") -> list[str]:
    """All mistakes of a pipeline's specs, each with its path."""
    if not specs:
        return []
    table = _table()
    return [line for number, spec in enumerate(specs) for line in _spec_mistakes(table, spec, f"{path}.{number}")]


def _spec_mistakes(table: Mapping[str, Any], spec: Any, path: str) -> list[str]:
    if not isinstance(spec, Mapping) or "name" not in spec:
        return [f"{path}: got {spec!r}, expected a transform such as {{name: ColorJitter, p: 0.5}}"]
    name = spec["name"]
    if name not in table:
        near = did_you_mean(name, table)
        return [f"{path}.name: unknown transform '{name}'{near if len(near) < 200 else near.split('(')[0].strip()}"]
    allowed = [key for key in inspect.signature(table[name]).parameters if key != "self"]
    mistakes = [
        f"{path}.{key}: unknown key of '{name}'{did_you_mean(key, allowed)}"
        for key in spec
        if key not in (*allowed, "name")
    ]
    inner = spec.get("transforms", [])
    for number, each in enumerate(inner if isinstance(inner, list) else [inner]):
        mistakes += _spec_mistakes(table, each, f"{path}.transforms.{number}")
    if mistakes:
        return mistakes
    try:
        _build(table, spec)
    except UserError as error:
        return [f"{path}: {error}"]
    return []


def _build(table: Mapping[str, Any], spec: Mapping[str, Any]) -> Any:
    arguments = {key: value for key, value in spec.items() if key != "name"}
    if "transforms" in arguments:
        arguments["transforms"] = [_build(table, inner) for inner in arguments["transforms"]]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return table[spec["name"]](**arguments)
    except (ValueError, TypeError, UserWarning) as error:
        raise UserError(f"'{spec['name']}' cannot be built: {one_line(error)}") from error
