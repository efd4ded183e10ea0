"""Whole commands in several processes: that they agree, stop together, and end in one line when one of them dies."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from ganstyle.tracking.jsonl import read_metrics
from ganstyle.train.checkpoint import load_checkpoint, step_files
from tests import tiny

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="kills by POSIX signals"),
]

TWO = {"training.batch_size": "2", "training.checkpoint_every": "10", "training.log_every": "2"}
LONG = {**TWO, "training.steps": "100000", "training.log_every": "1000"}


def arguments(folder: Path, changes: Mapping[str, str], recipe: str = tiny.RECIPE) -> list[str]:
    return ["train", recipe, *tiny.words(folder, changes)]


def ranks_below(process: int) -> list[int]:
    """The processes of the ranks: children, by their command line, of this process."""
    found = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=2) for line in found.splitlines()[1:]]
    return [int(pid) for pid, parent, words in rows if int(parent) == process and "ganstyle train" in words]


def wait_until(ready: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    while not ready():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, "two minutes and no checkpoint"
        time.sleep(0.05)


def alive(processes: list[int]) -> list[int]:
    """Those of them that have not ended."""
    found = subprocess.run(["ps", "-eo", "pid,stat"], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in found.splitlines()[1:]]
    return [int(pid) for pid, state in rows if int(pid) in processes and not state.startswith("Z")]


def saved(run: Path) -> int:
    files = step_files(run / "checkpoints")
    return int(files[-1].stem.split("-")[1]) if files else 0


def torchrun(folder: Path, changes: Mapping[str, str], restarts: int) -> subprocess.Popen[str]:
    options = ["--standalone", "--nproc-per-node", "2", "--max-restarts", str(restarts), "-m", "ganstyle"]
    command = [sys.executable, "-m", "torch.distributed.run", *options, *arguments(folder, changes)]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=tiny.environment(folder / "cache"),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


@pytest.mark.parametrize("recipe", list(tiny.EXACT_OF))
def test_devices_2_is_one_process_with_the_whole_batch(recipe: str, tmp_path: Path) -> None:
    scored = {"data.holdout": "0.4", "evaluate.every": "6"}
    own = {key: value for key, value in tiny.EXACT_OF[recipe].items() if key.startswith("method.")}
    # Where no score has reached the hinge yet, the gradient of the last bias is rounding noise alone.
    own["method.adversarial"] = "least_squares"
    changes = {**TWO, **scored, **own, "training.steps": "12", "training.learning_rate": "2e-4"}
    tiny.data(tmp_path)
    code, said = tiny.finish(
        [*arguments(tmp_path, {**changes, "devices": "2"}, recipe), "--run", str(tmp_path / "two")], tmp_path / "cache"
    )
    assert code == 0, said
    assert said.count("finished 12 steps") == 1, "one rank speaks"
    assert "2 processes, each on cpu" in said
    tiny.train(tmp_path, changes, run="one", recipe=recipe)
    one, two = (read_metrics(tmp_path / run / "metrics.jsonl") for run in ("one", "two"))
    assert [row["step"] for row in two] == [2, 4, 6, 6, 8, 10, 12, 12], "scores are rows of their own"
    assert [row["step"] for row in two if "scores/kid" in row] == [6, 12]
    best = [load_checkpoint(tmp_path / run / "checkpoints" / "best.pt")["step"] for run in ("one", "two")]
    assert best[0] == best[1]
    for want, got in zip(one, two, strict=True):
        # Health is measured on pixels of whole grey levels, where a rounding may go either way, and in the norm of the
        # gradients is the rounding noise of biases that cannot act.
        rough = {key: value for key, value in want.items() if key.startswith(("health/", "gradient_norm/"))}
        assert {key: got[key] for key in rough} == pytest.approx(rough, rel=0.02, abs=0.01)
        losses = {key: want[key] for key in want if key not in rough and not key.startswith(("speed/", "memory/"))}
        assert len(losses) > 6
        assert {key: got[key] for key in losses} == pytest.approx(losses, rel=1e-3, abs=1e-4)


def test_a_killed_rank_ends_the_run_in_one_line_and_the_same_command_goes_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    tiny.data(tmp_path)
    words = [*arguments(tmp_path, {**LONG, "devices": "2"}), "--run", str(run)]
    process = tiny.start(words, tmp_path / "cache")
    wait_until(lambda: saved(run) >= 20, process)
    victim = ranks_below(process.pid)[-1]
    os.kill(victim, signal.SIGKILL)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 1, said
    told = [line for line in said.splitlines() if "error" in line.lower()]
    assert len(told) == 1, said
    assert ranks_below(process.pid) == []
    assert re.search(
        rf"rank \d \(process {victim}\) was killed by SIGKILL; the last good checkpoint is step {saved(run)} in .*; "
        "the same command goes on",
        told[0],
    )
    assert "Traceback" not in said
    before = saved(run)

    process = tiny.start(words, tmp_path / "cache")
    wait_until(lambda: saved(run) > before, process)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=120)
    assert f"going on from step {before}" in said
    assert process.returncode == 128 + signal.SIGTERM, said
    assert re.search(r"stopped at step \d+ of 100000, saved", said)
    assert "Traceback" not in said


def test_a_second_interrupt_ends_all_at_once(tmp_path: Path) -> None:
    tiny.data(tmp_path)
    words = [*arguments(tmp_path, {**LONG, "devices": "2"}), "--run", str(tmp_path / "run")]
    process = tiny.start(words, tmp_path / "cache")
    wait_until(lambda: saved(tmp_path / "run") >= 10, process)
    ranks = ranks_below(process.pid)
    for rank in ranks:
        os.kill(rank, signal.SIGSTOP)  # as if they waited for a device that never answers
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert alive(ranks) == []


def test_ranks_whose_launcher_was_killed_save_and_stop(tmp_path: Path) -> None:
    tiny.data(tmp_path)
    words = [*arguments(tmp_path, {**LONG, "training.checkpoint_every": "1000"}), "--run", str(tmp_path / "run")]
    process = tiny.start([*words, "devices=2"], tmp_path / "cache")
    wait_until((tmp_path / "run" / "lock").exists, process)
    ranks = ranks_below(process.pid)
    process.kill()
    process.communicate(timeout=60)
    end = time.monotonic() + 60
    while alive(ranks) and time.monotonic() < end:
        time.sleep(0.1)
    assert alive(ranks) == []
    assert saved(tmp_path / "run") > 0


def test_torchrun_restarts_and_the_run_resumes_by_itself(tmp_path: Path) -> None:
    tiny.data(tmp_path)
    changes = {**TWO, "training.steps": "400", "training.checkpoint_every": "50"}
    process = torchrun(tmp_path, changes, restarts=1)
    run = tmp_path / "runs" / "tiny"
    wait_until(lambda: saved(run) >= 100, process)
    os.kill(ranks_below(process.pid)[-1], signal.SIGKILL)
    said, _ = process.communicate(timeout=180)
    assert process.returncode == 0, said
    assert re.search(r"error: lost contact with another rank \(.*\); the last good checkpoint is step \d+", said)
    assert re.search(r"going on from step \d+", said)
    assert "finished 400 steps" in said
    rows = [row["step"] for row in read_metrics(run / "metrics.jsonl")]
    assert rows == list(range(2, 401, 2)), "every step once, as if nothing had happened"


def test_another_number_of_ranks_and_another_batch_are_said(tmp_path: Path) -> None:
    run = tmp_path / "run"
    tiny.train(tmp_path, {**TWO, "training.steps": "10", "training.learning_rate": "2e-4"}, run="run")
    resume = ["train", "--resume", str(run)]
    code, said = tiny.finish([*resume, "training.steps=14", "devices=2"], tmp_path / "cache")
    assert code == 0, said
    assert "ranks was 1 and is 2" in said
    assert "pools start empty" not in said
    code, said = tiny.finish([*resume, "training.steps=18", "training.batch_size=4"], tmp_path / "cache")
    assert code == 0, said
    assert "training.batch_size was changed" in said
    assert "the image pools start empty: the size of the batch has changed" in said
    code, said = tiny.finish([*resume, "training.steps=22", "training.batch_size=3"], tmp_path / "cache")
    assert code == 2
    assert "batch_size: got 3, expected a multiple of 2" in said


def test_a_mistake_is_said_once(tmp_path: Path) -> None:
    tiny.data(tmp_path)
    (tmp_path / "a" / "0.png").write_bytes(b"no image")
    words = [*arguments(tmp_path, {**TWO, "devices": "2", "data.strict": "true"}), "--run", str(tmp_path / "run")]
    code, said = tiny.finish(words, tmp_path / "cache")
    assert code == 2, said
    assert said.count("error") == said.count("data.strict is on") == 1, said
    assert "Traceback" not in said
