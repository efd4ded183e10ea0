"""Recipes as files: how they and `key=value` words are read, merged and written.

Only this file reads or writes YAML. The fixed keys are checked in `keys`, specs (method, generator, discriminator,
augmentation) where their tables are known; what both find goes into one list of mistakes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ganstyle.base.errors import UserError, one_line
from ganstyle.base.keys import Config, config_mistakes
from ganstyle.base.recipes import recipe_path

# The sections that name what is built of them.
SPECS = ("method", "generator", "discriminator")
# What reading YAML raises; ValueError comes from numbers of thousands of digits and from bytes that are not UTF-8.
NOT_YAML = (yaml.YAMLError, OmegaConfBaseException, ValueError, RecursionError)


def load_config(recipe: str, words: Sequence[str] = ()) -> dict[str, Any]:
    """The plain values of a recipe, found by name or by path, with `key=value` words laid over it; not checked yet."""
    values = merge(read_yaml(recipe_path(recipe)), parse_words(words))
    values.setdefault("name", Path(recipe).stem)
    return values


def read_yaml(path: Path) -> dict[str, Any]:
    """The plain values of one YAML file; `UserError` says what is wrong and in which line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        root = _composed(text)
        if root is not None and not isinstance(root, yaml.MappingNode):
            got = "a list" if isinstance(root, yaml.SequenceNode) else "a single value"
            raise UserError(f"{path}: expected keys and values, got {got}")
        return _text_keys(OmegaConf.to_container(OmegaConf.load(StringIO(text)), resolve=True))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or one_line(error)}") from error
    except NOT_YAML as error:
        raise UserError(f"{path}: not a YAML file that can be used: {_yaml_reason(error)}") from error


def _composed(text: str) -> yaml.Node | None:
    """The first look at YAML, in Python: nesting without end is a RecursionError here, and a crash in C afterwards."""
    return yaml.compose(text, yaml.SafeLoader)


def _yaml_reason(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem and error.problem_mark:
        return f"line {error.problem_mark.line + 1}: {' '.join(error.problem.split())}"
    return one_line(error)


def _text_keys(value: Any) -> Any:
    """YAML reads a key 2024 as a number; ours are all words."""
    if isinstance(value, dict):
        return {str(key): _text_keys(inner) for key, inner in value.items()}
    return [_text_keys(inner) for inner in value] if isinstance(value, list) else value


def write_yaml(values: Mapping[str, Any]) -> str:
    """Values as YAML text that `read_yaml` reads back as they are."""
    # OmegaConf's own writer quotes the texts that its reader would take for numbers, such as '2e-4'.
    try:
        return OmegaConf.to_yaml(OmegaConf.create(_escaped(values)))
    except UnicodeEncodeError as error:
        raise UserError(f"the config has a name that is not UTF-8 ({error.object!a}): rename that folder") from error


def _escaped(value: Any) -> Any:
    """Texts with `${` in them marked as plain texts: nothing is to be put in its place."""
    if isinstance(value, Mapping):
        return {key: _escaped(inner) for key, inner in value.items()}
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", r"\1\1\\${", value)
    return [_escaped(inner) for inner in value] if isinstance(value, list | tuple) else value


def parse_words(words: Iterable[str]) -> dict[str, Any]:
    """`training.steps=8` words as nested values; the value is read as YAML, or taken as text where that fails."""
    values: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not re.fullmatch(r"\w+(\.\w+)*", key):
            raise UserError(f"'{word}' is not key=value: expected a word such as training.steps=2000")
        *parents, last = key.split(".")
        section = values
        for parent in parents:
            inner = section.setdefault(parent, {})
            if not isinstance(inner, dict):
                raise UserError(f"'{word}': {parent} was given a value already")
            section = inner
        section[last] = _word_value(text)
    return values


def _word_value(text: str) -> Any:
    """A list, a mapping, quoted text, a number, true, false or null as YAML has it; else text, with `${...}` filled in.

    A folder may be called `photos #1`, `a: b` or `007`: what YAML would cut, change or take apart is text as it stands.
    """
    try:
        _composed(text)
        value = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"]), resolve=True)["value"]
        if text.lstrip().startswith(("[", "{", "'", '"')) or _is_plain(text, value):
            return _text_keys(value)
        return OmegaConf.to_container(OmegaConf.create({"value": text}), resolve=True)["value"]
    except NOT_YAML:
        return text


def _is_plain(text: str, value: Any) -> bool:
    if value is None:
        return text.strip() in ("", "~", "null")
    return isinstance(value, bool | int | float) and not re.search(r"\S[\s#:_]|^\s*[-+]?0\d", text)


def merge(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one config over another.

    What belongs together is replaced together: a new length of training drops the old one, and its decay with it; a
    spec with another name drops the old name's parameters. Numbers reach into a list: `members.0.layers=2`.

    Raises:
        UserError: a list has no item of that number.
    """
    result = dict(lower)
    for key, value in upper.items():
        below = result.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            dropped = _outdated(key, below, value)
            result[key] = merge({name: each for name, each in below.items() if name not in dropped}, value)
        elif isinstance(value, Mapping) and isinstance(below, list) and all(map(str.isdecimal, value)):
            result[key] = _merged_list(key, below, value)
        else:
            result[key] = value
    return result


def _merged_list(name: str, lower: Sequence[Any], upper: Mapping[str, Any]) -> list[Any]:
    """A list with some of its items, told by their numbers from 0, changed as in `merge`; of specs as of a section."""
    items = list(lower)
    for number, value in upper.items():
        if int(number) >= len(items):
            raise UserError(f"{name}.{number}: {name} has {len(items)} items, the first is 0")
        [items[int(number)]] = merge({"generator": items[int(number)]}, {"generator": value}).values()
    return items


def _outdated(section: str, below: Mapping[str, Any], above: Mapping[str, Any]) -> set[str]:
    """The keys of the lower section that mean nothing any more."""
    if section in SPECS:
        return set(below) if "name" in below and above.get("name", below["name"]) != below["name"] else set()
    if section != "training":
        return set()
    if {"steps", "epochs"} & set(above):
        return {"steps", "epochs", "decay_from", "decay_from_epoch"}
    return {"decay_from", "decay_from_epoch"} if {"decay_from", "decay_from_epoch"} & set(above) else set()


def parse_config(values: Mapping[str, Any], spec_mistakes: Sequence[str] = ()) -> Config:
    """The typed config; `UserError` lists all mistakes of the fixed keys, and those found in the specs after them."""
    raise_mistakes([*config_mistakes(values), *spec_mistakes])
    return Config.model_validate(dict(values))


def raise_mistakes(mistakes: Sequence[str]) -> None:
    """Raise all mistakes of a config at once, a line each."""
    if mistakes:
        count = "one mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        raise UserError(f"the config has {count}:" + "".join(f"\n  {line}" for line in mistakes))


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values as `training.steps: 8` pairs; lists stay whole."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def differing_keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The keys on which two configs differ, with both values; a key that one lacks counts as None there."""
    flat_old, flat_new = flatten(old), flatten(new)
    keys = dict.fromkeys([*flat_old, *flat_new])
    pairs = {key: (flat_old.get(key), flat_new.get(key)) for key in keys}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
