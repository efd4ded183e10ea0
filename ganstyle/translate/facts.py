"""What is known of a model beside its weights, and how its file says it; no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ganstyle import __version__
from ganstyle.base.errors import UserError, one_line, printable

DIRECTIONS = ("ab", "ba")
LONGEST_ORIGIN = 100


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a translator beside its weights."""

    direction: str
    step: int
    averaged: bool
    checkpoint: str = field(default="", compare=False)  # as it was asked for; a file does not know it
    origin: str = ""  # of weights that other people's code has trained: which network of theirs

    def __str__(self) -> str:
        kind = "EMA" if self.averaged else "raw"
        text = f"direction {self.direction}, step {self.step}, {kind} weights"
        if self.origin:
            text = f"direction {self.direction}, {self.origin}"
        return f"{self.checkpoint} checkpoint: {text}" if self.checkpoint else text


def description(format: str, spec: Mapping[str, Any], facts: ModelFacts) -> dict[str, str]:
    """What a model's file says of itself."""
    origin = {"origin": facts.origin} if facts.origin else {}
    return {
        "format": format,
        "ganstyle": __version__,
        "generator": json.dumps(dict(spec)),
        "direction": facts.direction,
        "step": str(facts.step),
        "averaged": json.dumps(facts.averaged),
        **origin,
    }


def described(path: Path, metadata: Mapping[str, str]) -> tuple[dict[str, Any], ModelFacts]:
    """The spec and the facts that a file's description holds; `UserError` when it is damaged."""
    try:
        spec = json.loads(metadata["generator"])
        origin = printable(metadata.get("origin", ""))[:LONGEST_ORIGIN]
        averaged = bool(json.loads(metadata["averaged"]))
        facts = ModelFacts(metadata["direction"], int(metadata["step"]), averaged, origin=origin)
    except (KeyError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: its description is damaged ({printable(one_line(error))[:100]})") from error
    if not isinstance(spec, dict) or facts.direction not in DIRECTIONS:
        raise UserError(f"{path}: its description is damaged (its generator or its direction)")
    return spec, facts
