"""The folder of a run as training leaves it, written in a moment: numbers, events and previews, no weights."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ganstyle.data.grids import encode_grid
from ganstyle.train.hardware import Hardware
from ganstyle.train.run_folder import Record, RunFolder

CROP_PX = 16
CONFIG: dict[str, Any] = {
    "name": "told",
    "data": {"a": ["photos"], "b": ["paintings"], "crop_px": CROP_PX},
    "training": {"steps": 2000, "learning_rate": 2e-4},
}
EVALUATION = {"name": "random network", "fingerprint": "f00d", "statement": "compares only within this project"}


def write_run(
    path: Path,
    *,
    steps: int = 1000,
    log_every: int = 10,
    evaluate_every: int = 250,
    inverted: bool = False,
    config: Mapping[str, Any] | None = None,
    evaluation: Mapping[str, str] | None = None,
) -> Path:
    """A run at step `steps` of 2000; its best score is at step 500."""
    path.mkdir(parents=True)
    folder = RunFolder(path)
    folder.write_config({**CONFIG, **(config or {})})
    data = {"images_a": 7, "images_b": 5, "steps": 2000, "decay_from": 1000}
    hardware = Hardware("cpu", "float32", compile=False, threads=2)
    folder.write_record(Record(hardware, data, {"torch": "2.15"}, EVALUATION if evaluation is None else evaluation))
    rows = [row(step, inverted=inverted) for step in range(log_every, steps + 1, log_every)]
    rows += [scores(step) for step in range(evaluate_every, steps + 1, evaluate_every)]
    append(path / "metrics.jsonl", sorted(rows, key=lambda each: each["step"]))
    for step in range(evaluate_every, steps + 1, evaluate_every):
        write_preview(path, step)
    return path


def row(step: int, *, inverted: bool = False) -> dict[str, float]:
    """The numbers of one log of a healthy run, or of one that exchanges light and dark from a to b."""
    wave = math.sin(step)
    return {
        "step": step,
        "generator/adversarial_ab": 0.3 + 0.05 * wave,
        "generator/cycle_a": 2 * math.exp(-step / 500) + 0.1 * wave,
        "discriminator/b": 0.2 + 0.02 * wave,
        "judged/b_real": 0.7 + 0.1 * wave,
        "judged/b_fake": 0.3 + 0.1 * wave,
        "gradient_norm/generator": 3.0 + wave,
        "learning_rate": 2e-4,
        "health/luminance_correlation_ab": -0.5 if inverted else 0.8,
        "health/change_ab": 0.2,
        "health/change_ba": 0.3,
        "speed/seconds_per_step": 0.25,
        "speed/images_per_second": 4.0,
        "speed/waiting_for_data": 0.01,
        "memory/gigabytes": 1.5,
        "guard/skipped": 0,
        "guard/rollbacks": 0,
    }


def scores(step: int) -> dict[str, float]:
    """The scores of one evaluation: KID falls until step 500 and rises again."""
    kid = 0.5 + abs(step - 500) / 1000
    return {
        "step": step,
        "scores/kid_ab": kid,
        "scores/kid_deviation_ab": 0.05,
        "scores/kid": kid,
        "scores/content_ab": 0.75,
        "best/step": min(step, 500),
        "best/value": max(0.5, kid) if step < 500 else 0.5,
    }


def event(step: int, title: str, level: str = "info", text: str = "told so") -> dict[str, Any]:
    return {"step": step, "time": "2026-11-22T14:10:00+00:00", "level": level, "title": title, "text": text}


def append(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(json.dumps(each) + "\n" for each in rows))


def write_preview(run: Path, step: int, *, rows: int = 8) -> Path:
    """A grid of flat colours, another one for each step."""
    (run / "previews").mkdir(exist_ok=True)
    image = np.full((CROP_PX, CROP_PX, 3), (step % 251, 100, 200), dtype=np.uint8)
    path = run / "previews" / f"step-{step:08d}.jpg"
    path.write_bytes(encode_grid([[image] * 4] * rows))
    return path
