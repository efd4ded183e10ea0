"""Times one translation by our generator, compiled and eager, against the plain eager one."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace

import ours
import plain
from case import Case
from machine import Ceilings
from measure import alternate, row
from report import Row, alternations_of, arguments, benchmark
from sides import sides

WARM_UP = 3
CASES = [Case(256, compile=True), Case(256)]
QUICK_CASES = [Case(32, width=4, blocks=1)]
PRECISIONS = {"cpu": "float32", "cuda": "bfloat16"}


def measure(parsed: Namespace) -> Iterator[Row]:
    precision = PRECISIONS[parsed.device.split(":")[0]]
    for each in QUICK_CASES if parsed.quick else CASES:
        case = replace(each, device=parsed.device, precision=precision)
        ceiling = Ceilings(case.device, parsed.quick)
        with sides(ours=ours.Inference(case), baseline=plain.Inference(case), ceiling=ceiling) as opened:
            timings = alternate(*opened, device=case.device, warm_up=WARM_UP, alternations=alternations_of(parsed))
        gflop = plain.inference_gflop(case)
        yield row(f"inference, {case.name}", timings, gflop=gflop, ceiling=case.ceiling)


if __name__ == "__main__":
    benchmark(arguments(__doc__), measure)
