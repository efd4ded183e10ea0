"""What the benchmarks share at their edges: arguments, the table that is shown, the JSON that is kept."""

from __future__ import annotations

import json
import shlex
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from machine import BUSY_CORES, busy_cores, facts

from ganstyle.base.errors import UserError
from ganstyle.train.hardware import available_device

Row = dict[str, Any]
ALTERNATIONS, QUICK_ALTERNATIONS = 24, 2


def arguments(description: str | None) -> ArgumentParser:
    """The arguments that every benchmark takes."""
    parser = ArgumentParser(description=(description or "").split("\n", 1)[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    parser.add_argument("--add", action="store_true", help="keep FILE's rows of other names, from earlier runs")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
    parser.add_argument("--alternations", type=int, help=f"turns of each side ({ALTERNATIONS})")
    parser.add_argument("--quick", action="store_true", help="tiny sizes and few turns: to see that it runs")
    return parser


def alternations_of(parsed: Namespace) -> int:
    """How many turns each side has."""
    default = QUICK_ALTERNATIONS if parsed.quick else ALTERNATIONS
    return default if parsed.alternations is None else max(1, parsed.alternations)


def benchmark(parser: ArgumentParser, measure: Callable[[Namespace], Iterable[Row]]) -> None:
    """Measure, show each row as it comes, and keep it with where, when and how it was measured.

    A person's mistake is one line, and exit code 2; the rows before it are kept.
    """
    parsed = parser.parse_args()
    rows: list[Row] = []
    earlier = json.loads(parsed.json.read_text(encoding="utf-8")) if parsed.add and parsed.json.exists() else []
    try:
        available_device(parsed.device)
        stamp, busy = stamped(parsed.device), told_if_busy("at the start")
        print(HEADER, flush=True)
        for row in measure(parsed):
            print(shown(row), flush=True)
            rows.append(row | stamp | {"others_busy_cores": busy})
            keep(rows, parsed.json, earlier)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    after = told_if_busy("at the end")
    most = None if busy is None or after is None else max(busy, after)
    keep([row | {"others_busy_cores": most} for row in rows], parsed.json, earlier)


def keep(rows: list[Row], file: Path | None, earlier: Sequence[Row] = ()) -> None:
    """Write what there is, so that a long run that is stopped leaves its first rows."""
    if file is not None:
        names = {row["name"] for row in rows}
        file.parent.mkdir(parents=True, exist_ok=True)
        kept = [row for row in earlier if row["name"] not in names]
        file.write_text(json.dumps(kept + rows, indent=1) + "\n", encoding="utf-8")


def stamped(device: str) -> Row:
    """Hardware, versions, threads, date and command."""
    command = shlex.join(["python", f"scripts/benchmarks/{Path(sys.argv[0]).name}", *map(_from_here, sys.argv[1:])])
    return {**facts(device), "date": datetime.now(UTC).date().isoformat(), "command": command}


def told_if_busy(when: str) -> float | None:
    """How many cores others use now, with a line of warning when the machine is not quiet."""
    busy = busy_cores()
    if busy is not None and busy > BUSY_CORES:
        print(f"warning: others used {busy:.1f} cores {when}: these numbers are not to be trusted", file=sys.stderr)
    return busy


HEADER = f"{'':60} {'ours':>12} {'baseline':>12} {'ratio':>7} {'95 %':>15} {'of ceiling':>11}"


def shown(row: Mapping[str, Any]) -> str:
    """One line of the table."""
    if "said" in row:  # by a benchmark whose rows have other columns
        return f"{row['name']:60} {row['said']}"
    if "ratio" not in row:
        return f"{row['name']:60} {row['share']:>12.1%}"
    unit, ours, baseline = (
        ("GB", row["median_gb"], row["baseline_gb"])
        if "median_gb" in row
        else ("ms", row["median_s"] * 1e3, row["baseline_s"] * 1e3)
    )
    low, high = row["interval"]
    share = f"{row['share_of_ceiling']:.1%}" if "share_of_ceiling" in row else ""
    amounts = f"{ours:>9.2f} {unit} {baseline:>9.2f} {unit}"
    return f"{row['name']:60} {amounts} {row['ratio']:>7.3f} {low:>7.3f}-{high:<7.3f} {share:>11}"


def _from_here(word: str) -> str:
    """A path below this folder as one types it here: results say nothing of the machine's folders."""
    path = Path(word)
    return path.relative_to(Path.cwd()).as_posix() if path.is_relative_to(Path.cwd()) else word
