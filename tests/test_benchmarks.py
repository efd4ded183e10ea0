"""`scripts/benchmarks`: the statistics, the table, the plain sides, and that all of it runs."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ganstyle.base.draws import Draws
from ganstyle.base.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "scripts" / "benchmarks"
BENCHMARKS = (
    *("train_step", "inference", "onnx_inference", "loader", "memory", "tracking", "tiles", "folder", "stylize"),
    "recipes",
)
MODULES = ("case", "sides", "machine", "measure", "report", "plain", "ours", "against", "train_step", "table")


@pytest.fixture(autouse=True)
def tools(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The scripts' modules, which import each other from their own folder, as only a script does."""
    precision = torch.backends.cudnn.conv.fp32_precision  # type: ignore[attr-defined]
    benchmark = torch.backends.cudnn.benchmark
    monkeypatch.syspath_prepend(str(FOLDER))
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES})
    torch.backends.cudnn.conv.fp32_precision = precision  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = benchmark
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(FOLDER)):
            del sys.modules[name]


def tiny(case: ModuleType, **changes: Any) -> Any:
    return replace(case.Case(px=32, width=3, blocks=1), **changes)


def timings(measure: ModuleType, seed: int = 0, count: int = 20) -> Any:
    random = np.random.default_rng(seed)
    return measure.Timings(
        ours=list(random.uniform(1, 2, count)),
        baseline=list(random.uniform(2, 3, count)),
        ceilings=[{"float32": rate, "copy": 5.0} for rate in (100.0, 300.0, 200.0)],
    )


def middle(values: list[float]) -> float:
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def test_the_ratio_is_the_median_of_the_pairs_ratios(tools: SimpleNamespace) -> None:
    # The ratio of the medians would be 1.
    ratio, _ = tools.measure.paired_ratio([1.0, 2.0, 3.0], [3.0, 1.0, 2.0])
    assert ratio == pytest.approx(middle([3 / 1, 1 / 2, 2 / 3]))


def test_the_interval_holds_95_percent_of_resampled_medians(tools: SimpleNamespace) -> None:
    found = timings(tools.measure)
    _, (low, high) = tools.measure.paired_ratio(found.ours, found.baseline)
    ratios = [slow / fast for fast, slow in zip(found.ours, found.baseline, strict=True)]
    random = np.random.default_rng(1)
    medians = sorted(middle([ratios[random.integers(len(ratios))] for _ in ratios]) for _ in range(4000))
    assert low == pytest.approx(medians[100], rel=0.02)
    assert high == pytest.approx(medians[3900], rel=0.02)


def test_equal_pairs_leave_no_doubt(tools: SimpleNamespace) -> None:
    assert tools.measure.paired_ratio([1.0] * 5, [2.0] * 5) == (2.0, (2.0, 2.0))


def test_a_row_says_what_it_was_measured_by(tools: SimpleNamespace) -> None:
    found = timings(tools.measure)
    row = tools.measure.row("step", found, gflop=30.0, ceiling="float32")
    assert {"name", "ratio", "interval", "median_s", "baseline_s", "alternations", "gflop"} <= set(row)
    assert row["median_s"] == pytest.approx(middle(found.ours))
    assert row["share_of_ceiling"] == pytest.approx(30.0 / middle(found.ours) / 200.0)
    stamp = tools.report.stamped("cpu")
    assert {"hardware", "versions", "threads", "date", "command"} == set(stamp)
    assert {"ganstyle", "torch", "python"} <= set(stamp["versions"])
    assert json.loads(json.dumps(row | stamp))["name"] == "step"


class Recorded:
    """A side that notes when it was asked, in a list that all share."""

    def __init__(self, name: str, asked: list[str]) -> None:
        self.name, self.asked = name, asked

    def turn(self) -> Any:
        self.asked.append(self.name)
        return {"float32": 1.0} if self.name == "ceiling" else 1.0

    def ask(self, question: Callable[[], Any]) -> float:
        return 0.0


def test_sides_alternate_and_every_other_round_begins_with_the_other_one(
    tools: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools.measure, "PAUSE_S", 0)
    asked: list[str] = []
    ours, baseline = Recorded("ours", asked), Recorded("plain", asked)
    found = tools.measure.alternate(ours, baseline, device="cpu", warm_up=1, alternations=3)
    assert asked[:4] == ["plain", "plain", "ours", "ours"]
    assert asked[4:] == ["ours", "plain", "plain", "ours", "ours", "plain"]
    assert len(found.ours) == len(found.baseline) == 3


def test_a_failure_in_a_side_is_one_line(tools: SimpleNamespace, tmp_path: Path) -> None:
    checkout = tools.against.Checkout(tmp_path, tools.case.Case())
    with (
        tools.sides.sides(baseline=checkout) as (side,),
        pytest.raises(UserError, match=r"^baseline: --against .*") as told,
    ):
        side.turn()
    assert "\n" not in str(told.value)


def test_the_plain_step_has_the_losses_of_ours(tools: SimpleNamespace) -> None:
    case = tiny(tools.case, batch=2)
    theirs, trained = tools.plain.PlainStep(case.width, case.blocks, "cpu"), tools.ours.Trained.of(case)
    for name, network in trained.training.method.networks.items():
        copy_by_order(getattr(theirs, name), network)
    real_a, real_b = case.inputs()()
    expected = theirs(real_a, real_b)
    batch = tools.ours.ImageBatch(real_a, real_b, draws=Draws(0), first_sample=0)
    got = trained(batch)
    assert got.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(got[name], expected[name].detach(), rtol=1e-4, atol=1e-6)


@torch.no_grad()
def copy_by_order(source: nn.Module, target: nn.Module) -> None:
    """Weights drawn so large that a loss shows which is which."""
    for weight, other in zip(source.parameters(), target.parameters(), strict=True):
        weight.normal_(0, 0.2)
        other.copy_(weight)


def test_the_plain_pool_gives_old_fakes_half_of_the_time(tools: SimpleNamespace) -> None:
    pool = tools.plain.Pool(size=3)
    given = [int(pool.query(torch.full((1, 3, 1, 1), float(number)))[0, 0, 0, 0]) for number in range(403)]
    assert given[:3] == [0, 1, 2]
    old = sum(value != number for number, value in enumerate(given))
    assert 150 < old < 250
    assert len(pool.images) == 3


def test_arithmetic_counts_every_pass_both_ways(tools: SimpleNamespace) -> None:
    case = tiny(tools.case, width=64, blocks=9, px=256)
    forward = tools.plain.inference_gflop(case)
    assert forward == pytest.approx(2 * 49.6, rel=0.01)  # multiplications and additions of ResNet-9 at 256 px
    # Six passes through the generators, each one forward and two back; the discriminators add some.
    assert 18 * forward < tools.plain.step_gflop(case) < 21 * forward


def test_the_speed_of_a_side_is_that_of_one_step(tools: SimpleNamespace) -> None:
    turn = tools.plain.Inference(tiny(tools.case))()
    assert 0 < min(turn() for _ in range(3)) < 1
    rates = tools.machine.Ceilings("cpu", quick=True)()()
    assert set(rates) == {"float32", "bfloat16", "copy"}
    assert min(rates.values()) > 0


CHECKOUT = """
import torch
print("models speak while they are imported")

class Model:
    def __init__(self, opt):
        assert opt.model == "cycle_gan" and opt.isTrain and opt.gpu_ids == [] and opt.netG == "resnet_1blocks"
        self.netG_A, self.steps, self.ngf = torch.nn.Conv2d(3, opt.ngf, 1), 0, opt.ngf

    def set_input(self, images):
        self.real_A, self.real_B = images["A"], images["B"]

    def optimize_parameters(self):
        assert self.real_A.shape == self.real_B.shape == (1, 3, 32, 32)
        assert self.netG_A(self.real_A).shape[1] == self.ngf == 3
        self.steps += 1

def create_model(opt):
    return Model(opt)
"""


def test_against_a_checkout(tools: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "__init__.py").write_text(CHECKOUT, encoding="utf-8")
    build = tools.train_step.baseline(tiny(tools.case), tmp_path)
    with tools.sides.sides(baseline=build) as (side,):
        assert 0 < side.turn() < 1


def test_against_anything_else_is_refused(tools: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--against: got .*, expected a checkout of pytorch-CycleGAN-and-pix2pix"):
        tools.train_step.baseline(tiny(tools.case), tmp_path)


def parsed(**given: Any) -> Namespace:
    defaults = dict.fromkeys(("px", "batch", "compile", "rows")) | {"quick": False, "device": "cpu"}
    return Namespace(**(defaults | given))


def test_rows_are_chosen_by_words_or_made_of_options(tools: SimpleNamespace) -> None:
    chosen = tools.train_step.cases
    assert list(chosen(parsed())) == tools.train_step.CPU_CASES
    assert [case.px for case in chosen(parsed(rows="128 px"))] == [128]
    (own,) = chosen(parsed(px=96, compile=False))
    assert (own.px, own.compile, own.width) == (96, False, 64)
    with pytest.raises(UserError, match="--rows: got '96 px', expected"):
        chosen(parsed(rows="96 px"))


def test_names_of_rows_differ(tools: SimpleNamespace) -> None:
    for cases in (tools.train_step.CPU_CASES, tools.train_step.CUDA_CASES):
        assert len({case.name for case in cases}) == len(cases) > 1


@pytest.fixture
def results(tools: SimpleNamespace, tmp_path: Path) -> Path:
    """One result: the row of the first line, ratio 1.4."""
    row = tools.measure.row(tools.table.LINES[0].row, timings(tools.measure))
    row |= {"ratio": 1.4, "interval": [1.38, 1.42]} | tools.report.stamped("cpu")
    row |= {"date": "2026-01-02", "others_busy_cores": 0.1}
    (tmp_path / "train_step-cpu.json").write_text(json.dumps([row]), encoding="utf-8")
    return tmp_path


def test_the_table_says_what_was_measured_and_what_was_not(tools: SimpleNamespace, results: Path) -> None:
    lines = tools.table.table(results).splitlines()
    assert lines[2] == f"| {tools.table.LINES[0].what} | 1.35 times | 1.40 times (1.38-1.42) |"
    assert all("not measured yet" in line for line in lines[3 : 2 + len(tools.table.LINES)])
    assert "2026-01-02" in lines[-1]
    assert tools.table.BUSY not in lines[-1]


def test_the_table_says_that_others_used_the_machine(tools: SimpleNamespace, results: Path) -> None:
    file = results / "train_step-cpu.json"
    file.write_text(file.read_text(encoding="utf-8").replace('"others_busy_cores": 0.1', '"others_busy_cores": 1.2'))
    assert tools.table.table(results).endswith(tools.table.BUSY)


def test_every_line_of_the_table_has_a_row_that_is_measured(tools: SimpleNamespace) -> None:
    """A renamed row would read "not measured yet" for ever."""
    names = ("loader", "memory", "inference", "onnx_inference", "tracking", "tiles", "folder", "stylize")
    loader, memory, inference, onnx_inference, tracking, tiles, folder, stylize = map(importlib.import_module, names)
    step = tools.train_step
    rows = {
        "train_step-cpu": {f"step, {case.name}" for case in step.CPU_CASES},
        "train_step-cuda": {f"step, {case.name}" for case in step.CUDA_CASES},
        "inference-cpu": {f"inference, {case.name}" for case in inference.CASES},
        "onnx_inference-cpu": {onnx_inference.row_name(case) for case in onnx_inference.CASES},
        "memory-cpu": {f"memory, {case.name}" for case in memory.CPU_CASES},
        "memory-cuda": {f"memory, {case.name}" for case in memory.CUDA_CASES},
        "loader-cpu": {loader.speed_name(kind) for kind in loader.KINDS},
        "tracking-cpu": {
            name(case)
            for case in tracking.CPU_CASES
            for name in (tracking.telling_name, tracking.thread_name, tracking.processes_name)
        },
        "tiles-cpu": {tiles.row_name(way, megapixels) for way in tiles.WAYS for megapixels in tiles.MEGAPIXELS},
        "stylize-cpu": {
            *(stylize.row_name(what, stylize.SIZE_PX) for what in stylize.SPEEDS),
            *(
                stylize.row_name(stylize.memory_name(network, way), size_px)
                for network in stylize.LAYOUTS
                for way in stylize.TILES
                for size_px in stylize.MEMORY_PX
            ),
        },
        "folder-cpu": {folder.row_name(kind) for kind in folder.KINDS},
        "loader-cuda": {loader.waiting_name(kind) for kind in loader.KINDS},
    }
    assert [line.row for line in tools.table.LINES if line.row not in rows[line.result]] == []


def recipe_row(tools: SimpleNamespace, pictures: str, recipe: str, **more: Any) -> dict[str, Any]:
    kid = {"value": 1.234, "low": 1.0, "high": 1.5}
    content = {name: {"value": 0.5, "error": 0.021} for name in ("structure", "edges")}
    row = {"name": f"{pictures} {recipe}", "pictures": pictures, "recipe": recipe, "seed": 0, "steps": 2500}
    row |= {"kid": {"random network": kid, "light VGG-19": kid}, "content": content, "others_busy_cores": 0.0}
    return row | tools.report.stamped("cpu") | {"date": "2026-01-03", "threads": 1} | more


def test_each_set_of_pictures_has_a_table_of_recipes(tools: SimpleNamespace, results: Path) -> None:
    truth = {"psnr": {"value": 17.26, "error": 0.31}}
    rows = [recipe_row(tools, "ink", "cut-lite"), recipe_row(tools, "ink", "dcl-lite", steps=900)]
    rows += [recipe_row(tools, "drawn", "cut-lite", truth=truth)]
    (results / "recipes-cpu.json").write_text(json.dumps(rows), encoding="utf-8")
    text = tools.table.recipes(results)
    kid = "1.23 (1.00 to 1.50)"
    assert text.splitlines()[:5] == [
        "**ink**",
        "",
        "| recipe | steps | KID, random network | KID, light VGG-19 | structure | edges |",
        "|---|---|---|---|---|---|",
        f"| cut-lite | 2,500 | {kid} | {kid} | 0.50 ± 0.021 | 0.50 ± 0.021 |",
    ]
    assert f"| dcl-lite | 900 | {kid}" in text
    assert "| edges | PSNR to the truth |\n" in text
    assert "| 17.3 ± 0.31 |\n" in text
    assert "1 thread, PyTorch" in text.splitlines()[-1]
    assert "2026-01-03" not in tools.table.table(results)


def test_a_recipe_that_was_trained_several_times_shows_each_seed(tools: SimpleNamespace, results: Path) -> None:
    again = {"kid": {"random network": {"value": 2.0, "low": 1.9, "high": 2.1}}, "seed": 2, "steps": 2480}
    again["content"] = {name: {"value": 0.6, "error": 0.02} for name in ("structure", "edges")}
    first = {"kid": {"random network": {"value": 1.0, "low": 0.9, "high": 1.1}}}
    rows = [recipe_row(tools, "ink", "cut-lite", **again), recipe_row(tools, "ink", "dcl-lite", **first)]
    rows += [recipe_row(tools, "ink", "cut-lite", **first)]
    (results / "recipes-cpu.json").write_text(json.dumps(rows), encoding="utf-8")
    lines = tools.table.recipes(results).splitlines()
    assert lines[4] == "| cut-lite | 2,500, 2,480 | 1.50 (1.00, 2.00) | 0.55 (0.50, 0.60) | 0.55 (0.50, 0.60) |"
    assert lines[5].startswith("| dcl-lite | 2,500 | 1.00 (0.90 to 1.10) |")


def test_rows_of_an_earlier_run_are_kept(tools: SimpleNamespace, tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    earlier = [{"name": "one", "ratio": 1}, {"name": "two", "ratio": 2}]
    tools.report.keep([{"name": "two", "ratio": 3}], file, earlier)
    assert json.loads(file.read_text(encoding="utf-8")) == [{"name": "one", "ratio": 1}, {"name": "two", "ratio": 3}]


def test_the_page_is_written_and_checked(tools: SimpleNamespace, results: Path, tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    begin, end = "<!-- benchmarks -->", "<!-- /benchmarks -->"
    others = "<!-- recipes -->\nnone\n<!-- /recipes -->"
    page.write_text(f"before\n{begin}\nold\n{end}\nafter\n{others}\n", encoding="utf-8")
    words = [str(page), "--results", str(results)]
    assert tools.table.main([*words, "--check"]) == 1
    assert "old" in page.read_text(encoding="utf-8")
    assert tools.table.main(words) == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{begin}\n| what ")
    assert f"{end}\nafter\n" in text
    assert text.endswith(others.replace("none", tools.table.NOT_MEASURED) + "\n")
    assert tools.table.main([*words, "--check"]) == 0
    page.write_text("no markers", encoding="utf-8")
    assert tools.table.main(words) == 2


def test_the_run_script_refuses_what_it_does_not_know() -> None:
    assert os.access(FOLDER / "run", os.X_OK)
    told = subprocess.run([FOLDER / "run", "--fast"], capture_output=True, text=True, check=False)
    assert told.returncode == 2
    assert "--fast" in told.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_runs(name: str, tmp_path: Path) -> None:
    file = tmp_path / f"{name}-cpu.json"
    command = [sys.executable, str(FOLDER / f"{name}.py"), "--quick", "--device", "cpu", "--json", str(file)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    rows = json.loads(file.read_text(encoding="utf-8"))
    assert rows
    for row in rows:
        assert {"name", "hardware", "versions", "threads", "date", "command"} <= set(row)
        assert {"ratio", "kid"} & set(row) or row.get("peak_gb", 0) > 0 or 0 <= row["share"] < 1
