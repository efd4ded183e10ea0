"""The fixed keys of a recipe: their types, bounds and defaults, and what is wrong with given ones."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ganstyle.base.tables import did_you_mean, mistake_line

DEVICE_PATTERN = re.compile(r"auto|cpu|mps|cuda(:\d+)?")
NAME_PATTERN = re.compile(r"[\w][\w .+=@-]{0,99}")


def _whole(value: Any) -> Any:
    """YAML reads 1e5 as a float; a float without a fraction is the whole number that was meant."""
    return int(value) if isinstance(value, float) and math.isfinite(value) and value == int(value) else value


def _text(value: Any) -> Any:
    """A folder or run called 2024 is read as a number."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _texts(value: Any) -> Any:
    """One folder or several; always a list inside."""
    return None if value is None else [_text(each) for each in (value if isinstance(value, list) else [value])]


def _run_name(value: Any) -> Any:
    value = _text(value)
    if isinstance(value, str) and not NAME_PATTERN.fullmatch(value):
        raise ValueError("expected a plain folder name of letters, digits, spaces and . _ - + = @")
    return value


def _device(value: Any) -> Any:
    if isinstance(value, str) and not DEVICE_PATTERN.fullmatch(value):
        raise ValueError("expected auto, cpu, cuda, mps or cuda:N")
    return value


def _precision(value: Any) -> Any:
    return {"bf16": "bfloat16", "fp32": "float32"}.get(value, value) if isinstance(value, str) else value


Whole = Annotated[int, BeforeValidator(_whole)]
Folders = Annotated[list[str] | None, BeforeValidator(_texts)]
Spec = dict[str, Any]


class Section(BaseModel):
    """A part of the config: unknown keys and wrong types are mistakes, and nothing changes after it was read."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class DataConfig(Section):
    """Where the two domains are and how their images become crops."""

    a: Folders = None
    b: Folders = None
    root: Annotated[str | None, BeforeValidator(_text)] = None
    test_a: Folders = None
    test_b: Folders = None
    holdout: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    load_px: Annotated[Whole, Field(ge=8, le=8192)] = 286
    crop_px: Annotated[Whole, Field(ge=8, le=8192)] = 256
    resize: Literal["square", "short_side"] = "short_side"
    flip: bool = True
    augment: list[Spec] = []
    background: Annotated[list[Annotated[Whole, Field(ge=0, le=255)]], Field(min_length=3, max_length=3)] = [255] * 3
    workers: Annotated[Whole, Field(ge=0, le=256)] = 2
    cache: bool = True
    crop_on: Literal["auto", "cpu", "device"] = "auto"
    strict: bool = False


class TrainingConfig(Section):
    """How long, how fast and how often."""

    steps: Annotated[Whole, Field(ge=1)] | None = None
    epochs: Annotated[float, Field(gt=0)] | None = None
    decay_from: Annotated[Whole, Field(ge=0)] | None = None
    decay_from_epoch: Annotated[float, Field(ge=0)] | None = None
    batch_size: Annotated[Whole, Field(ge=1, le=4096)] = 1
    accumulate: Annotated[Whole, Field(ge=1, le=4096)] = 1
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 2e-4
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    precision: Annotated[Literal["auto", "float32", "bfloat16"], BeforeValidator(_precision)] = "auto"
    compile: Literal["auto", True, False] = "auto"
    cuda_graphs: bool = False
    recompute: bool = False
    log_every: Annotated[Whole, Field(ge=1)] = 100
    preview_every: Annotated[Whole, Field(ge=1)] = 1000
    checkpoint_every: Annotated[Whole, Field(ge=1)] = 1000
    keep_checkpoints: Annotated[Whole, Field(ge=1, le=1000)] = 3
    most_skips: Annotated[Whole, Field(ge=1)] = 10
    most_rollbacks: Annotated[Whole, Field(ge=0, le=100)] = 3
    rollback_rate: Annotated[float, Field(gt=0, le=1)] = 0.5


class EvaluateConfig(Section):
    """How often the held-out images are translated and scored, on which features, and which weights are the best."""

    every: Annotated[Whole, Field(ge=0)] = 0
    weights: Annotated[str, BeforeValidator(_text)] = "auto"
    best: Literal["kid", "kid_ab", "kid_ba", "fid", "fid_ab", "fid_ba", "content", "content_ab", "content_ba"] = "kid"
    least_content: Annotated[float, Field(ge=-1, le=1)] = -1.0
    patience: Annotated[Whole, Field(ge=0)] = 0


class WandbConfig(Section):
    """Weights & Biases: off unless asked for."""

    mode: Literal["online", "offline", "disabled"] = "disabled"
    project: str = "ganstyle"
    entity: str | None = None
    name: str | None = None
    group: str | None = None
    tags: list[str] = []
    images: bool = True
    log_model: bool = False
    host: bool = False


class TrackingConfig(Section):
    """Who watches the run; `metrics.jsonl`, `events.jsonl` and the previews are always written."""

    wandb: WandbConfig = WandbConfig()
    tensorboard: bool = False
    page: bool = True


class Config(Section):
    """Everything that a run is made from; stored whole with the run."""

    name: Annotated[str, BeforeValidator(_run_name)] = "run"
    seed: Annotated[Whole, Field(ge=0, lt=2**63)] = 0
    device: Annotated[str, BeforeValidator(_device)] = "auto"
    devices: Annotated[Whole, Field(ge=1, le=1024)] = 1
    method: Spec = {"name": "cyclegan"}
    generator: Spec = {"name": "resnet"}
    discriminator: Spec = {"name": "patch"}
    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    tracking: TrackingConfig = TrackingConfig()


def config_mistakes(values: Mapping[str, Any]) -> list[str]:
    """Everything that is wrong with the fixed keys, a line each."""
    mistakes = _impossible(values)
    try:
        Config.model_validate(dict(values))
    except ValidationError as error:
        mistakes += [_mistake_line(each) for each in error.errors()]
    return mistakes


def _impossible(values: Mapping[str, Any]) -> list[str]:
    """Values that are each allowed and not together; types are not certain yet, as all mistakes are told at once."""
    data, training, evaluate = (_section(values, key) for key in ("data", "training", "evaluate"))
    mistakes = []
    load_px = _whole(data.get("load_px", DataConfig.model_fields["load_px"].default))
    crop_px = _whole(data.get("crop_px", DataConfig.model_fields["crop_px"].default))
    if isinstance(load_px, int) and isinstance(crop_px, int) and load_px < crop_px:
        mistakes.append(f"data.load_px: got {load_px}, expected at least data.crop_px ({crop_px})")
    if data.get("root") is not None and not data.get("a") is data.get("b") is None:
        mistakes.append(
            "data.root: stands for the folders trainA and trainB; give either data.root or data.a and data.b"
        )
    if data.get("crop_on") == "device" and (data.get("augment") or data.get("cache") is False):
        in_the_way = "data.augment" if data.get("augment") else "data.cache=false"
        mistakes.append(f"data.crop_on: got device, which does not go with {in_the_way}; use data.crop_on=auto")
    if _whole(evaluate.get("every", 0)) != 0 and data.get("holdout", 1) == 0:
        mistakes.append(
            "evaluate.every: scores need images that are held out; use data.holdout=0.05 or evaluate.every=0"
        )
    lengths = [key for key in ("steps", "epochs") if training.get(key) is not None]
    if len(lengths) != 1:
        mistakes.append(f"training.steps: {' and '.join(lengths) or 'nothing'} given; give one of steps and epochs")
    if training.get("cuda_graphs") is True and training.get("compile") is False:
        mistakes.append("training.cuda_graphs: graphs are made of compiled halves; use training.compile=true")
    if training.get("cuda_graphs") is True and _whole(training.get("accumulate", 1)) != 1:
        mistakes.append("training.cuda_graphs: does not go with training.accumulate; use training.accumulate=1")
    if training.get("decay_from") is not None and training.get("decay_from_epoch") is not None:
        mistakes.append("training.decay_from_epoch: stands in place of training.decay_from; give one of them")
    return mistakes


def _section(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    section = values.get(key)
    return section if isinstance(section, Mapping) else {}


def _mistake_line(error: Mapping[str, Any]) -> str:
    # Pydantic adds the branch of a union to the path; people do not know it.
    location = [
        str(part) for part in error["loc"] if not str(part).startswith(("function-", "constrained-", "literal["))
    ]
    path = ".".join(location)
    if error["type"] == "extra_forbidden":
        return f"{path}: unknown key{did_you_mean(location[-1], _allowed_keys(location[:-1]))}"
    return mistake_line(path, error)


def _allowed_keys(location: Sequence[str]) -> list[str]:
    section: type[BaseModel] = Config
    for part in location:
        section = section.model_fields[part].annotation  # type: ignore[assignment]
    return list(section.model_fields)
