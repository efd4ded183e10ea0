"""Times our training step against the plain one, or against a checkout of the well-known code (`--against PATH`).

Without options for sizes it measures the rows that the aims name for the device; with any of them, one row of these.
"""

from __future__ import annotations

from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import ours
import plain
from against import Checkout
from case import Case
from machine import Ceilings
from measure import alternate, row
from report import Row, alternations_of, arguments, benchmark
from sides import Builder, sides

from ganstyle.base.errors import UserError

WARM_UP, QUICK_WARM_UP = 3, 1
CPU_CASES = [
    Case(64, compile=True),
    Case(64),
    Case(64, compile=True, average=True),
    Case(64, batch=4, compile=True),
    Case(128, compile=True),
]
_CUDA = Case(256, device="cuda", precision="bfloat16", compile=True)
CUDA_CASES = [
    _CUDA,
    replace(_CUDA, tf32=False),
    replace(_CUDA, cuda_graphs=True),
    replace(_CUDA, average=True),
    replace(_CUDA, batch=16),
    replace(_CUDA, batch=16, tf32=False),
]
QUICK_CASES = [Case(32, width=4, blocks=1)]


def arguments_of_a_case(parser: ArgumentParser) -> None:
    parser.add_argument("--px", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--width", type=int)
    parser.add_argument("--blocks", type=int)
    parser.add_argument("--precision", choices=("float32", "bfloat16"))
    parser.add_argument("--compile", action=BooleanOptionalAction)
    parser.add_argument("--cuda-graphs", action="store_true", default=None)
    parser.add_argument("--recompute", action="store_true", default=None)
    parser.add_argument("--average", action="store_true", default=None, help="ours keeps its moving average, too")
    parser.add_argument("--tf32", action=BooleanOptionalAction, help="of the plain side's convolutions")
    parser.add_argument("--rows", metavar="WORDS", help="only the rows whose name holds these words")
    parser.add_argument("--against", type=Path, metavar="PATH", help="a checkout of pytorch-CycleGAN-and-pix2pix")


CASE_KEYS = (
    "px", "batch", "width", "blocks", "precision", "compile", "cuda_graphs", "recompute", "average", "tf32"
)  # fmt: skip


def cases(parsed: Namespace) -> Sequence[Case]:
    """The rows to measure; `UserError` when there are none."""
    if parsed.quick:
        return [replace(case, device=parsed.device) for case in QUICK_CASES]
    given = {key: value for key, value in vars(parsed).items() if key in CASE_KEYS and value is not None}
    defaults = CUDA_CASES if parsed.device.startswith("cuda") else CPU_CASES
    if given:
        return [replace(defaults[0], device=parsed.device, **given)]
    chosen = [replace(case, device=parsed.device) for case in defaults if (parsed.rows or "") in case.name]
    if not chosen:
        names = "; ".join(case.name for case in defaults)
        raise UserError(f"--rows: got {parsed.rows!r}, expected words of one of: {names}")
    return chosen


def baseline(case: Case, against: Path | None) -> Builder:
    """The other side."""
    if against is None:
        return plain.Step(case)
    checkout = Checkout(against, case)
    checkout.check()
    return checkout


def measure(parsed: Namespace) -> Iterator[Row]:
    for case in cases(parsed):
        other = baseline(case, parsed.against)
        with sides(ours=ours.Step(case), baseline=other, ceiling=Ceilings(case.device, parsed.quick)) as opened:
            timings = alternate(
                *opened,
                device=case.device,
                warm_up=QUICK_WARM_UP if parsed.quick else WARM_UP,
                alternations=alternations_of(parsed),
            )
        words = "step against the well-known code" if parsed.against else "step"
        found = row(f"{words}, {case.name}", timings, gflop=plain.step_gflop(case), ceiling=case.ceiling)
        yield found | {"images_per_second": case.batch / found["median_s"]}


if __name__ == "__main__":
    parser = arguments(__doc__)
    arguments_of_a_case(parser)
    benchmark(parser, measure)
