"""`scripts/sweep.yaml`: what the agent makes of it is a command that ganstyle takes."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from ganstyle.assemble import check_config
from ganstyle.base.config import Config, load_config

FILE = Path(__file__).resolve().parents[1] / "scripts" / "sweep.yaml"
RATES = [5e-05, 0.00012345678901234567, 0.001]  # as a sweep draws them; the first is written as 5e-05


@pytest.fixture
def sweep() -> dict[str, Any]:
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))


def drawn(sweep: dict[str, Any]) -> list[dict[str, Any]]:
    """Values for every parameter, as the service hands them out."""
    parameters = sweep["parameters"]
    choices = [parameters[name].get("values", RATES) for name in parameters]
    return [dict(zip(parameters, values, strict=True)) for values in product(*choices)]


def expanded(sweep: dict[str, Any], values: dict[str, Any]) -> list[str]:
    """The words that the agent starts, by the library's own functions."""
    utils = pytest.importorskip("wandb.sdk.launch.sweeps.utils")
    macros = utils.create_sweep_command_args({"args": {name: {"value": value} for name, value in values.items()}})
    words: list[str] = []
    for chunk in utils.create_sweep_command(list(sweep["command"])):
        words += macros[chunk[2:-1]] if chunk.startswith("${") and chunk.endswith("}") else [chunk]
    return words


def config_of(words: list[str]) -> Config:
    assert words[:4] == ["ganstyle", "train", "cyclegan-lite", "--new"]
    return check_config(load_config(words[2], words[4:]))


def test_every_draw_is_a_command_that_ganstyle_takes(sweep: dict[str, Any]) -> None:
    draws = drawn(sweep)
    assert len(draws) == 3 * 3 * 3
    for values in draws:
        config = config_of(expanded(sweep, values))
        assert config.training.learning_rate == values["training.learning_rate"]
        assert config.method["identity_weight"] == values["method.identity_weight"]
        assert config.seed == values["seed"]
        assert config.tracking.wandb.mode == "online"
        assert config.data.root == "pictures"


def test_the_score_is_there_to_be_minimised(sweep: dict[str, Any]) -> None:
    assert sweep["metric"] == {"name": "scores/kid", "goal": "minimize"}
    config = config_of(expanded(sweep, drawn(sweep)[0]))
    assert 0 < config.evaluate.every < (config.training.steps or 0)


def test_the_library_finds_nothing_wrong(sweep: dict[str, Any]) -> None:
    public = pytest.importorskip("wandb.apis.public.sweeps")
    filled = public._validate_config_and_fill_distribution(sweep)
    assert filled["parameters"]["training.learning_rate"]["distribution"] == "log_uniform_values"
    assert filled["method"] in ("random", "grid", "bayes")


def test_its_own_words_say_how_it_is_started() -> None:
    head = FILE.read_text(encoding="utf-8").split("program:")[0]
    assert "wandb sweep --project ganstyle scripts/sweep.yaml" in head
    assert re.search(r"wandb agent .*ID", head)
