"""Writes the README's tables of measurements from the results that are kept; `--check README.md` only compares."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import folder
import inference
import memory
import onnx_inference
import recipe_table
import stylize
import tiles
import tracking
import train_step
from case import Case
from machine import BUSY_CORES

from ganstyle.base.errors import UserError

RESULTS = Path(__file__).parent / "results"
RECIPES = "recipes-cpu"
NOT_MEASURED = "not measured yet"
LARGEST_WHOLE_MP = 24  # 100 MP take 128 GB
RATIOS = "; ratios with their 95 % intervals"
BUSY = "Others used the machine meanwhile."
Row = Mapping[str, Any]


def times(row: Row) -> str:
    low, high = row["interval"]
    return f"{row['ratio']:.2f} times ({low:.2f}-{high:.2f})"


def share_of_ceiling(row: Row) -> str:
    return f"{row['share_of_ceiling']:.0%}"


def share(row: Row) -> str:
    return f"{row['share']:.1%}"


def said(row: Row) -> str:
    return str(row["said"])


def part_of_baseline(row: Row) -> str:
    return f"{row['median_gb'] / row['baseline_gb']:.2f} ({row['median_gb']:.1f} against {row['baseline_gb']:.1f} GB)"


@dataclass(frozen=True)
class Line:
    """One line of the table: what is measured, what is aimed at, and which row of which result says it."""

    what: str
    aim: str
    result: str
    row: str
    said: Callable[[Row], str] = times


def step(case: Case) -> str:
    return f"step, {case.name}"


_CPU64, _CPU64_EAGER, _CPU64_AVERAGE, _CPU64_BATCH, _CPU128 = train_step.CPU_CASES
_H1, _H1_NO_TF32, _H1_GRAPHS, _, _H16, _ = train_step.CUDA_CASES
_ONNX_256, _ONNX_512 = onnx_inference.CASES
_ONNX = "Inference in ONNX Runtime against plain eager, CPU"
_STEP = "Training step against the plain eager step"
LINES = [
    Line(f"{_STEP}, CPU, 64 px, compiled", "1.35 times", "train_step-cpu", step(_CPU64)),
    Line(f"{_STEP}, CPU, 64 px, not compiled", "not slower", "train_step-cpu", step(_CPU64_EAGER)),
    Line(f"{_STEP}, CPU, 64 px, compiled, ours with EMA", "", "train_step-cpu", step(_CPU64_AVERAGE)),
    Line(f"{_STEP}, CPU, 64 px, batch 4, compiled", "", "train_step-cpu", step(_CPU64_BATCH)),
    Line(f"{_STEP}, CPU, 128 px, compiled", "1.2 times", "train_step-cpu", step(_CPU128)),
    Line(
        "Compiled inference, CPU, 256 px: share of the float32 matrix product",
        "85 %",
        "inference-cpu",
        f"inference, {replace(inference.CASES[0], precision='float32').name}",
        share_of_ceiling,
    ),
    Line(f"{_ONNX}, 256 px", "1.27 times", "onnx_inference-cpu", onnx_inference.row_name(_ONNX_256)),
    Line(f"{_ONNX}, 512 px", "", "onnx_inference-cpu", onnx_inference.row_name(_ONNX_512)),
    Line("Loader with the cache against decoding, 12 MP JPEGs", "10 times", "loader-cpu", "loader, 12 MP photos"),
    Line("Loader with the cache against decoding, 256 px JPEGs", "", "loader-cpu", "loader, 256 px files"),
    Line("Memory of a step at 128 px, CPU, part of the plain step's", "", "memory-cpu",
         f"memory, {memory.CPU_CASES[0].name}", part_of_baseline),
    Line("The same, recomputing activations", "", "memory-cpu",
         f"memory, {memory.CPU_CASES[1].name}", part_of_baseline),
    *(
        Line(f"Translating {megapixels:g} MP, CPU, {how}", "", "tiles-cpu", tiles.row_name(way, megapixels), said)
        for megapixels in tiles.MEGAPIXELS
        for way, how in {"whole": "whole", "exact": "exact tiles", "thumbnail": "a thumbnail's statistics"}.items()
        if way != "whole" or megapixels <= LARGEST_WHOLE_MP
    ),
    *(
        Line(f"Translating a folder in three stages against one file after the other, CPU, {kind.name}",
             "", "folder-cpu", folder.row_name(kind))
        for kind in folder.KINDS
    ),
    Line("One photo in the look of one picture, light VGG-19, CPU, 512 px", "under 30 s", "stylize-cpu",
         stylize.row_name("VGG, default", stylize.SIZE_PX), said),
    Line("The same against one scale alone by L-BFGS", "4 times", "stylize-cpu",
         stylize.row_name("VGG, against one scale", stylize.SIZE_PX), said),
    Line("One photo in the look of one picture, sparse, CPU, 512 px", "under 15 s", "stylize-cpu",
         stylize.row_name("sparse, default", stylize.SIZE_PX), said),
    *(
        Line(f"Two iterations of {network} at {size_px} px, CPU, {way}", aims.get((network, way, size_px), ""),
             "stylize-cpu", stylize.row_name(stylize.memory_name(network, way), size_px), said)
        for aims in [{("light VGG-19", "tiles", 2048): "under 3 GB", ("VGG-19", "tiles", 2048): "under 6 GB"}]
        for network in stylize.LAYOUTS
        for size_px in stylize.MEMORY_PX
        for way in stylize.TILES
    ),
    Line("Telling W&B, page and files at every log, CPU, 64 px, part of the steps' time", "under 1 %", "tracking-cpu",
         tracking.thread_name(tracking.CPU_CASES[0]), share),
    Line("The same in other processes", "", "tracking-cpu", tracking.processes_name(tracking.CPU_CASES[0]), share),
    Line(f"{_STEP}, H200, 256 px, batch 1", "6 times", "train_step-cuda", step(_H1)),
    Line(f"{_STEP} with TF32 off, H200, 256 px, batch 1", "", "train_step-cuda", step(_H1_NO_TF32)),
    Line(f"{_STEP}, H200, 256 px, batch 1, CUDA graphs", "", "train_step-cuda", step(_H1_GRAPHS)),
    Line(f"{_STEP}, H200, 256 px, batch 16", "10 times", "train_step-cuda", step(_H16)),
    Line("Share of the bf16 matrix product, H200, batch 16", "35 %", "train_step-cuda", step(_H16), share_of_ceiling),
    Line("Memory at batch 1, 256 px, H200, part of the plain step's", "half", "memory-cuda",
         f"memory, {memory.CUDA_CASES[0].name}", part_of_baseline),
    Line("Waiting for data, H200, 12 MP photos and the cache", "under 2 %", "loader-cuda", "waiting, 12 MP photos",
         share),
]  # fmt: skip


def table(results: Path) -> str:
    """What is fast, in Markdown, and under it where the numbers are from."""
    found = {stem: rows for stem, rows in _found(results).items() if stem != RECIPES}
    lines = ["| what | aim | measured |", "|---|---|---|"]
    lines += [f"| {line.what} | {line.aim} | {_measured(line, found)} |" for line in LINES]
    return _with_origins("\n".join(lines), [row for rows in found.values() for row in rows], RATIOS)


def recipes(results: Path) -> str:
    """What the recipes make in the same time, in Markdown, and under it where the numbers are from."""
    rows = _found(results).get(RECIPES, [])
    return _with_origins(recipe_table.tables(rows) or NOT_MEASURED, rows, "")


# What stands on the page between `<!-- NAME -->` and `<!-- /NAME -->`.
BLOCKS = {"benchmarks": table, "recipes": recipes}


def _found(results: Path) -> dict[str, list[Row]]:
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(results.glob("*.json"))}


def _with_origins(text: str, rows: Iterable[Row], what: str) -> str:
    origins = dict.fromkeys(_origin(row, what) for row in rows)
    return "\n".join([text, *(part for origin in origins for part in ("", origin))])


def _measured(line: Line, found: Mapping[str, list[Row]]) -> str:
    rows = [row for row in found.get(line.result, []) if row["name"] == line.row]
    return line.said(rows[0]) if rows else NOT_MEASURED


def _origin(row: Row, what: str) -> str:
    hardware, versions = row["hardware"], row["versions"]
    threads = row["threads"]
    machine = hardware.get("gpu", f"{hardware['cpu']}, {threads} thread{'s' if threads > 1 else ''}")
    return (
        f"Measured on {row['date']} on {machine}, PyTorch {versions['torch']}, Python {versions['python']}"
        f"{what}.{' ' + BUSY if (row['others_busy_cores'] or 0) > BUSY_CORES else ''}"
    )


def with_block(text: str, name: str, new: str) -> str:
    """A page with what is between a block's two markers replaced; `UserError` where they are not there."""
    first, last = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, begin, rest = text.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise UserError(f"got a page without {first} and {last}, expected both, around the table")
    return f"{before}{first}\n{new}\n{last}{after}"


def main(words: Iterable[str] | None = None) -> int:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path, nargs="?", default=Path("README.md"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--check", action="store_true", help="change nothing; fail when the page differs")
    parsed = parser.parse_args(None if words is None else list(words))
    try:
        text = parsed.page.read_text(encoding="utf-8")
        new = text
        for name, write in BLOCKS.items():
            new = with_block(new, name, write(parsed.results))
    except (OSError, UserError) as error:
        print(f"error: {parsed.page}: {error}", file=sys.stderr)
        return 2
    if parsed.check and new != text:
        print(
            f"error: a table in {parsed.page} differs from the results: run scripts/benchmarks/table.py",
            file=sys.stderr,
        )
        return 1
    if not parsed.check:
        parsed.page.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
