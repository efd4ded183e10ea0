from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from torch import nn

from ganstyle.base.errors import UserError
from ganstyle.data.tensors import is_out_of_memory
from ganstyle.train import hardware
from ganstyle.train.compiling import Judgement
from ganstyle.train.hardware import (
    Hardware,
    available_device,
    begin_step,
    check_cuda_graphs,
    compile_halves,
    decide,
    device_of_rank,
    memory_used,
)


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> dict[str, int | bool]:
    """What this machine pretends to have."""
    there: dict[str, int | bool] = {"cuda": 0, "mps": False, "bfloat16": True}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(there["cuda"]))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there["cuda"])
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: there["mps"])
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: there["bfloat16"])
    return there


def test_auto_takes_cuda_then_mps_then_the_cpu(devices: dict[str, int | bool]) -> None:
    assert available_device("auto").type == "cpu"
    devices["mps"] = True
    assert available_device("auto").type == "mps"
    devices["cuda"] = 1
    assert available_device("auto").type == "cuda"


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "mps"])
def test_a_missing_device_is_one_clear_line(devices: dict[str, int | bool], name: str) -> None:
    with pytest.raises(UserError) as error:
        available_device(name)
    assert str(error.value) == (f"device: {name} is not available here (available: cpu); use device=auto or device=cpu")


def test_a_missing_number_says_how_many_there_are(devices: dict[str, int | bool]) -> None:
    devices["cuda"] = 2
    assert available_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(UserError, match="cuda:2 is not there: this machine has 2 CUDA devices, counted from 0"):
        available_device("cuda:2")


def test_a_rank_takes_its_own_gpu_or_the_only_one_it_is_shown(
    devices: dict[str, int | bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLURM_LOCALID", raising=False)
    devices["cuda"] = 4
    assert [device_of_rank(rank) for rank in (0, 3)] == [torch.device("cuda:0"), torch.device("cuda:3")]
    with pytest.raises(UserError, match="cuda:4 is not there: this machine has 4"):
        device_of_rank(4)
    devices["cuda"] = 1
    with pytest.raises(UserError, match="cuda:3 is not there: this machine has 1"):
        device_of_rank(3)
    monkeypatch.setenv("SLURM_LOCALID", "3")  # srun --gpus-per-task=1 shows each task its own
    assert device_of_rank(3) == torch.device("cuda:0")


@pytest.mark.parametrize(
    ("device", "asked", "bfloat16", "precision"),
    [
        ("cpu", "auto", True, "float32"),
        ("cuda", "auto", True, "bfloat16"),
        ("cuda", "auto", False, "float32"),
        ("cuda", "float32", True, "float32"),
        ("cpu", "bfloat16", True, "bfloat16"),
    ],
)
def test_precision(devices: dict[str, int | bool], device: str, asked: str, bfloat16: bool, precision: str) -> None:
    devices["cuda"], devices["bfloat16"] = 1, bfloat16
    assert decide(device, asked, False, lambda _: None).precision == precision


def test_without_a_judge_auto_never_compiles_and_threads_are_noted() -> None:
    decided = decide("cpu", "auto", "auto", lambda _: None)
    assert decided == Hardware("cpu", "float32", compile=False, threads=torch.get_num_threads())


@pytest.mark.parametrize("pays", [True, False])
def test_auto_compiles_as_it_is_judged(monkeypatch: pytest.MonkeyPatch, pays: bool) -> None:
    asked: list[tuple[torch.device, str]] = []

    def judge(device: torch.device, precision: str) -> Judgement:
        asked.append((device, precision))
        return Judgement(pays, "because")

    monkeypatch.setattr(hardware, "_compiler_works", lambda *_: True)
    told: list[str] = []
    assert decide("cpu", "bfloat16", "auto", told.append, judge=judge).compile is pays
    assert asked == [(torch.device("cpu"), "bfloat16")]
    assert told == ["because"]


@pytest.mark.parametrize("choice", [True, False])
def test_a_choice_is_not_judged(monkeypatch: pytest.MonkeyPatch, choice: bool) -> None:
    def judge(*_: object) -> Judgement:
        raise AssertionError

    monkeypatch.setattr(hardware, "_compiler_works", lambda *_: True)
    assert decide("cpu", "auto", choice, lambda _: None, judge=judge).compile is choice


def test_cuda_graphs_need_a_cuda_device(devices: dict[str, int | bool]) -> None:
    with pytest.raises(UserError) as error:
        decide("cpu", "auto", True, lambda _: None, cuda_graphs=True)
    assert str(error.value) == "training.cuda_graphs: needs a CUDA device, got cpu; use training.cuda_graphs=false"
    check_cuda_graphs(torch.device("cuda:1"), True)
    check_cuda_graphs(torch.device("cpu"), False)


@pytest.mark.parametrize("works", [True, False])
def test_cuda_graphs_come_with_compiled_halves_only(
    devices: dict[str, int | bool], monkeypatch: pytest.MonkeyPatch, works: bool
) -> None:
    devices["cuda"] = 1
    monkeypatch.setattr(hardware, "_compiler_works", lambda *_: works)
    told: list[str] = []
    decided = decide("cuda", "float32", True, told.append, cuda_graphs=True)
    assert (decided.compile, decided.cuda_graphs) == (works, works)
    assert len(told) == (0 if works else 1)
    assert all(line.startswith("training.cuda_graphs: ") for line in told)
    assert decide("cuda", "float32", True, told.append).cuda_graphs is False


def test_graphs_are_a_mode_of_compilation(monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[object] = []
    half = nn.Linear(1, 1)
    monkeypatch.setattr(half, "compile", lambda **options: modes.append(options["mode"]))
    compile_halves([half])
    compile_halves([half], cuda_graphs=True)
    begin_step()  # harmless without CUDA
    assert modes == [None, "reduce-overhead"]


def test_a_missing_compiler_is_said_and_training_runs_eager(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_compiler(_: object) -> None:
        raise RuntimeError("no\nC++ compiler")

    monkeypatch.setattr(torch, "compile", no_compiler)
    told: list[str] = []
    assert decide("cpu", "auto", True, told.append).compile is False
    assert told == ["training.compile: no compiler that works here (no C++ compiler): training runs eager"]


def test_fabric_sets_the_recorded_threads() -> None:
    before = torch.get_num_threads()
    try:
        engine = Hardware("cpu", "float32", compile=False, threads=before + 1).fabric()
        assert torch.get_num_threads() == before + 1
        assert engine.device.type == "cpu"
    finally:
        torch.set_num_threads(before)


def test_bfloat16_keeps_weights_in_float32() -> None:
    engine = Hardware("cpu", "bfloat16", compile=False, threads=torch.get_num_threads()).fabric()
    layer = nn.Linear(2, 2)
    with engine.autocast():
        assert layer(torch.ones(1, 2)).dtype == torch.bfloat16
    assert layer.weight.dtype == torch.float32


def test_compiling_keeps_names_and_weights() -> None:
    half = nn.Sequential(nn.Linear(1, 1))
    before = {name: tensor.data_ptr() for name, tensor in half.state_dict().items()}
    compile_halves([half])
    assert {name: tensor.data_ptr() for name, tensor in half.state_dict().items()} == before


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (MemoryError(), True),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried"),
            True,
        ),
        (RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"), True),
        (RuntimeError("shapes do not match"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_out_of_memory_in_every_dialect(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_memory_of_this_process() -> None:
    used = memory_used(torch.device("cpu"))
    assert used is not None
    assert math.isfinite(used)
    assert 0.01 < used < 1000


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere a process's peak is its own")
def test_memory_is_not_that_of_the_process_that_started_this_one() -> None:
    held = bytearray(b"1") * 1_500_000_000
    code = "import torch; from ganstyle.train.hardware import memory_used; print(memory_used(torch.device('cpu')))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert len(held) / 1e9 > float(told) > 0.01


def test_warnings_of_the_compiler_stay_inside() -> None:
    import warnings

    with hardware._quiet_compiler():
        warnings.warn("noise", stacklevel=1)
    with pytest.warns(UserWarning, match="heard"):
        warnings.warn("heard", stacklevel=1)


@pytest.mark.parametrize("name", ["tpu", "cuda:x", "meta", "cpu:1", ""])
def test_what_is_no_device_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(UserError, match="expected auto, cpu, cuda, mps or cuda:N"):
        available_device(name)
