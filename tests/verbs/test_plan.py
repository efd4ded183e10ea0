from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ganstyle.assemble import check_config
from ganstyle.base.config import Config, load_config
from ganstyle.base.errors import UserError
from ganstyle.data.domains import Domain
from ganstyle.train import hardware
from ganstyle.train.compiling import Judgement
from ganstyle.train.run_folder import Record
from ganstyle.verbs import plan
from ganstyle.verbs.plan import check_start, open_domains, plan_run
from tests.tiny import RECIPE, data, words


class Judging:
    """Stands for the estimate: decides as told, and notes what it was asked."""

    def __init__(self, pays: bool) -> None:
        self.pays = pays
        self.asked: list[dict[str, Any]] = []

    def __call__(self, method: Any, device: torch.device, precision: str, **sizes: int) -> Judgement:
        on_meta = all(weight.is_meta for network in method.networks.values() for weight in network.parameters())
        self.asked.append({"device": str(device), "precision": precision, "meta": on_meta, **sizes})
        return Judgement(self.pays, f"judged {self.pays}")


@pytest.fixture
def judging(monkeypatch: pytest.MonkeyPatch) -> Judging:
    found = Judging(pays=True)
    monkeypatch.setattr(plan, "judge_compilation", found)
    monkeypatch.setattr(hardware, "_compiler_works", lambda *_: True)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return data(tmp_path)


def config(folder: Path, changes: Mapping[str, str] | None = None) -> Config:
    return check_config(load_config(RECIPE, words(folder, changes)))


def domains(folder: Path) -> dict[str, Domain]:
    return open_domains(config(folder), lambda _: None)


def test_auto_is_judged_by_the_whole_run_and_said(folder: Path, judging: Judging) -> None:
    told: list[str] = []
    changes = {"training.batch_size": "4", "training.steps": "77"}
    decided = plan_run(config(folder, changes), domains(folder), None, say=told.append, ranks=2)
    sizes = {"steps": 77, "batch_size": 2, "crop_px": 16}
    assert judging.asked == [{"device": "cpu", "precision": "float32", "meta": True, **sizes}]
    assert decided.hardware.compile
    assert "judged True" in told
    assert "compiled" in told[-1]


@pytest.mark.parametrize("choice", ["true", "false"])
def test_a_choice_is_taken_without_an_estimate(folder: Path, judging: Judging, choice: str) -> None:
    decided = plan_run(config(folder, {"training.compile": choice}), domains(folder), None, say=lambda _: None)
    assert decided.hardware.compile is (choice == "true")
    assert judging.asked == []


@pytest.mark.parametrize("was", [True, False])
def test_the_decision_is_kept_over_a_resume(folder: Path, judging: Judging, was: bool) -> None:
    judging.pays = was
    first = plan_run(config(folder), domains(folder), None, say=lambda _: None)
    record = Record(first.hardware, first.data_facts(), {})
    judging.pays = not was
    longer = config(folder, {"training.steps": "100000", "training.precision": "bfloat16"})
    for asked in ((), ("training.steps",), ("training.steps", "training.precision")):
        again = plan_run(longer, domains(folder), record, asked=asked, say=lambda _: None)
        assert again.hardware.compile is was
    assert len(judging.asked) == 1
    anew = plan_run(longer, domains(folder), record, asked=["training.compile"], say=lambda _: None)
    assert anew.hardware.compile is not was


def test_graphs_asked_for_later_compile_a_run_that_was_not(
    folder: Path, judging: Judging, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = plan_run(config(folder, {"training.compile": "false"}), domains(folder), None, say=lambda _: None)
    record = Record(replace(begun.hardware, device="cuda"), begun.data_facts(), {})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    changed = config(folder, {"training.cuda_graphs": "true", "training.compile": "true"})
    again = plan_run(changed, domains(folder), record, asked=["training.cuda_graphs"], say=lambda _: None)
    assert (again.hardware.compile, again.hardware.cuda_graphs) == (True, True)


def test_graphs_on_the_cpu_are_refused_before_a_run_begins(folder: Path) -> None:
    with pytest.raises(UserError, match=r"^training\.cuda_graphs: needs a CUDA device, got cpu; use"):
        check_start(config(folder, {"training.cuda_graphs": "true"}))
