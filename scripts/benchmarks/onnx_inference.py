"""Times one translation by our generator in ONNX Runtime against the plain eager one."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import ours
import plain
from case import Case
from machine import Ceilings
from measure import alternate, row
from report import Row, alternations_of, arguments, benchmark
from sides import Work, sides, timed

from ganstyle.assemble import build_method
from ganstyle.translate.onnx_export import write_onnx
from ganstyle.translate.onnx_runtime import OnnxTranslator, read_onnx
from ganstyle.translate.translator import ModelFacts

WARM_UP = 3
CASES = [Case(256), Case(512)]
QUICK_CASES = [Case(32, width=4, blocks=1)]
VERIFY_PX = ((64, 64),)


def row_name(case: Case) -> str:
    return f"ONNX Runtime, {case.name.removesuffix(', eager')}"


@dataclass(frozen=True)
class Inference:
    """Builds the side that translates in ONNX Runtime."""

    case: Case

    def __call__(self) -> Work:
        translator, pairs = exported(self.case), self.case.inputs()
        return timed(lambda: translator.run(pairs()[0].cpu().numpy()), self.case.device)


def exported(case: Case) -> OnnxTranslator:
    """Our generator, by way of a file."""
    config = ours.config_of(case)
    generator = build_method(config).translators["ab"]
    with TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        write_onnx(file, generator, config.generator, ModelFacts("ab", 0, averaged=False), verify_px=VERIFY_PX)
        return read_onnx(file, device=case.device)


def measure(parsed: Namespace) -> Iterator[Row]:
    for each in QUICK_CASES if parsed.quick else CASES:
        case = replace(each, device=parsed.device)
        ceiling = Ceilings(case.device, parsed.quick)
        with sides(ours=Inference(case), baseline=plain.Inference(case), ceiling=ceiling) as opened:
            timings = alternate(*opened, device=case.device, warm_up=WARM_UP, alternations=alternations_of(parsed))
        yield row(row_name(case), timings, gflop=plain.inference_gflop(case), ceiling=case.ceiling)


if __name__ == "__main__":
    benchmark(arguments(__doc__), measure)
