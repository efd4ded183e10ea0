"""The same command again goes on bit for bit, whenever and however the run was ended."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from ganstyle.tracking.jsonl import read_metrics
from ganstyle.verbs.train import resume_run, train_recipe
from tests import tiny

STEPS = 8

# A process of its own that ends itself, by a real signal, when a chosen step is logged. A terminal sends Ctrl-C to
# loader workers too; SIGKILL hits the main process alone.
AT_A_STEP = """
import os, signal, sys
number, times, step = int(sys.argv.pop(1)), int(sys.argv.pop(1)), int(sys.argv.pop(1))
from ganstyle.tracking.console import ConsoleTracker
from ganstyle.cli import main
log = ConsoleTracker.log
def log_and_signal(self, done, scalars):
    log(self, done, scalars)
    for _ in range(times * (done == step)):
        os.kill(os.getpid() if number == signal.SIGKILL else 0, number)
ConsoleTracker.log = log_and_signal
main()
"""

# The same, by SIGKILL at the n-th moment of all those at which a file is being flushed or renamed.
WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
moment = int(sys.argv.pop(1))
seen = 0
def counted(function):
    def call(*arguments, **named):
        global seen
        seen += 1
        if seen == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*arguments, **named)
        seen += 1
        if seen == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return call
os.fsync, Path.replace, Path.unlink = counted(os.fsync), counted(Path.replace), counted(Path.unlink)
from ganstyle.cli import main
try:
    main()
finally:
    print("moments", seen, file=sys.stderr)
"""

# A disk that takes no more than a little from a chosen step on.
FULL_DISK = """
import resource, sys
step = int(sys.argv.pop(1))
from ganstyle.tracking.console import ConsoleTracker
from ganstyle.cli import main
log = ConsoleTracker.log
def log_and_fill(self, done, scalars):
    log(self, done, scalars)
    if done == step:
        resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))
ConsoleTracker.log = log_and_fill
main()
"""

# And at any moment at all: SIGKILL from a timer that starts with the first step.
AT_A_TIME = """
import os, signal, sys
seconds = float(sys.argv.pop(1))
from ganstyle.train.stop import StopRequest
from ganstyle.cli import main
enter = StopRequest.__enter__
def enter_and_wait(self):
    signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    return enter(self)
StopRequest.__enter__ = enter_and_wait
main()
"""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums depend on the number of threads, and the processes of these tests have one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass(frozen=True)
class Whole:
    """A run that was never interrupted, and the pictures that it was trained on."""

    recipe: str
    pictures: Path
    tensors: dict[str, torch.Tensor]
    rows: list[dict[str, Any]]

    def words(self, **changes: str) -> list[str]:
        return tiny.words(self.pictures, tiny.EXACT_OF[self.recipe] | changes)


def trained_whole(recipe: str, folder: Path) -> Whole:
    tiny.data(folder)
    torch.set_num_threads(1)
    train_recipe(recipe, tiny.words(folder, tiny.EXACT_OF[recipe]), run=folder / "run")
    return Whole(recipe, folder, tiny.checkpoint_tensors(folder / "run", STEPS), losses(folder / "run"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return trained_whole(tiny.RECIPE, tmp_path_factory.mktemp("whole"))


def losses(run: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl without what depends on the clock."""
    return [
        {key: value for key, value in row.items() if not key.startswith(("speed/", "memory/"))}
        for row in read_metrics(run / "metrics.jsonl")
    ]


def ended(
    script: str, arguments: list[object], words: list[str], run: Path, recipe: str = tiny.RECIPE
) -> subprocess.CompletedProcess[str]:
    """Train in a process of its own under one of the scripts."""
    command = [sys.executable, "-c", script, *map(str, arguments), "train", recipe, *words, "--run", str(run)]
    return subprocess.run(
        command,
        env=tiny.environment(run.parent / "cache"),
        cwd=Path(__file__).resolve().parents[1],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        start_new_session=True,
    )


def saved(run: Path) -> list[int]:
    return sorted(int(path.stem.split("-")[1]) for path in (run / "checkpoints").glob("step-*.pt"))


def steps_told(rows: list[dict[str, Any]]) -> list[int]:
    """Scores are rows of their own, beside the losses of their step."""
    return list(dict.fromkeys(row["step"] for row in rows))


def assert_equal(run: Path, whole: Whole) -> None:
    assert losses(run) == whole.rows
    assert steps_told(whole.rows) == list(range(1, STEPS + 1))
    assert tiny.differing_tensors(tiny.checkpoint_tensors(run, STEPS), whole.tensors) == []


def test_the_whole_run_has_everything_that_could_differ(whole: Whole) -> None:
    names = list(whole.tensors)
    for part in ("networks.generator_ab.", "networks.discriminator_b.", "ema.ba.", "memories.pool_a.1"):
        assert any(name.startswith(part) for name in names), part
    assert any("exp_avg_sq" in name for name in names)
    assert len(whole.tensors["memories.pool_a.0"]) == len(whole.tensors["memories.pool_a.1"]) == 2
    assert len([row for row in whole.rows if "scores/kid_ab" in row]) == STEPS // 2
    rates = [row["learning_rate"] for row in whole.rows if "learning_rate" in row]
    assert rates[3] == rates[0] > rates[5] > rates[7]


def test_dropout_augmentation_and_pool_do_act(whole: Whole, tmp_path: Path) -> None:
    """Without each of them the run is another one: they are not switched off."""
    for key, value in {"generator.dropout": "0", "data.augment": "[]", "method.pool_size": "1"}.items():
        run = tmp_path / key
        train_recipe(tiny.RECIPE, whole.words(**{key: value}), run=run)
        assert losses(run) != whole.rows, key


def test_killed_at_step_5_and_resumed(whole: Whole, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = ended(AT_A_STEP, [9, 1, 5], whole.words(), run)
    assert process.returncode == -9, process.stderr
    assert saved(run) == [3]
    assert steps_told(losses(run)) == [1, 2, 3, 4, 5]
    said: list[str] = []
    train_recipe(tiny.RECIPE, whole.words(), run=run, say=said.append)
    assert "going on from step 3" in said
    assert not any("bit for bit" in line for line in said)
    assert_equal(run, whole)


# What each of the other methods has beside CycleGAN's: heads, with an Adam of their own in DCL, and places drawn anew.
OTHERS = {
    "cut-lite": ("networks.heads.", "ema.ab."),
    "fastcut-lite": ("networks.heads.", "ema.ab."),
    "dcl-lite": ("networks.heads_b.", "ema.ba."),
}


def test_all_methods_are_here() -> None:
    assert {tiny.RECIPE, *OTHERS} == set(tiny.EXACT_OF)


@pytest.mark.parametrize(
    "recipe", ["cut-lite", *(pytest.param(each, marks=pytest.mark.slow) for each in list(OTHERS)[1:])]
)
def test_another_method_killed_at_step_5_and_resumed(recipe: str, tmp_path: Path) -> None:
    whole, run = trained_whole(recipe, tmp_path / "whole"), tmp_path / "run"
    for part in OTHERS[recipe]:
        assert any(name.startswith(part) for name in whole.tensors), part
    assert [name for name in whole.tensors if "exp_avg_sq" in name]
    process = ended(AT_A_STEP, [9, 1, 5], whole.words(), run, recipe)
    assert process.returncode == -9, process.stderr
    assert saved(run) == [3]
    train_recipe(recipe, whole.words(), run=run)
    assert_equal(run, whole)


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize("resumed_in", ["a process", "here"])
def test_killed_with_and_without_workers(whole: Whole, tmp_path: Path, workers: str, resumed_in: str) -> None:
    """The reference was made without workers, so their number does not matter either."""
    run = tmp_path / "run"
    words = whole.words(**{"data.workers": workers, "data.cache": "true"})
    assert ended(AT_A_STEP, [9, 1, 4], words, run).returncode == -9
    assert saved(run) == [3]
    if resumed_in == "here":
        resume_run(run)
    else:
        code, said = tiny.finish(["train", "--resume", str(run)], tmp_path / "cache")
        assert code == 0, said
        assert "going on from step 3" in said
    assert_equal(run, whole)


@pytest.mark.slow
def test_killed_before_the_first_checkpoint_starts_at_zero(whole: Whole, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert ended(AT_A_STEP, [9, 1, 2], whole.words(), run).returncode == -9
    assert saved(run) == []
    train_recipe(tiny.RECIPE, whole.words(), run=run)
    assert_equal(run, whole)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(15, 143), (2, 130)])
def test_a_signal_finishes_the_step_saves_and_says_how_to_go_on(
    whole: Whole, tmp_path: Path, number: int, code: int
) -> None:
    run = tmp_path / "run"
    process = ended(AT_A_STEP, [number, 1, 5], whole.words(**{"data.workers": "2"}), run)
    assert process.returncode == code, process.stderr
    assert saved(run) == [3, 5]
    assert "stopping after this step and saving; Ctrl-C again stops at once" in process.stderr
    assert f"stopped at step 5 of 8, saved; to go on: ganstyle train --resume {run}" in process.stderr
    assert "Traceback" not in process.stderr
    resume_run(run)
    assert_equal(run, whole)


@pytest.mark.slow
def test_a_second_ctrl_c_stops_at_once(whole: Whole, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = ended(AT_A_STEP, [2, 2, 5], whole.words(), run)
    assert process.returncode == 130, process.stderr
    assert saved(run) == [3], "not even this step is saved"
    assert "Traceback" not in process.stderr
    resume_run(run)
    assert_equal(run, whole)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="this system cannot limit the size of files")
def test_a_full_disk_is_one_line_and_the_run_goes_on_later(whole: Whole, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = ended(FULL_DISK, [4], whole.words(), run)
    assert process.returncode == 2, process.stderr
    errors = [line for line in process.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert f"cannot write {run / 'checkpoints' / 'step-00000006.pt'}: " in errors[0]
    assert process.stderr.count("training goes on without it") == 1
    assert "Traceback" not in process.stderr
    assert saved(run) == [3]
    assert not list(run.rglob(".*.tmp"))
    resume_run(run)
    assert_equal(run, whole)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_at_random_moments_while_a_file_is_written(whole: Whole, tmp_path: Path) -> None:
    words = whole.words(**{"training.checkpoint_every": "1", "training.keep_checkpoints": "1"})
    process = ended(WHILE_WRITING, [0], words, tmp_path / "count")
    moments = int(process.stderr.split("moments ")[1])
    assert moments > 40
    draw = random.Random(7)
    for moment in sorted(draw.sample(range(1, moments), 10)):
        run = tmp_path / f"at-{moment}"
        process = ended(WHILE_WRITING, [moment], words, run)
        assert process.returncode == -9, (moment, process.stderr)
        train_recipe(tiny.RECIPE, words, run=run)
        assert_equal(run, whole)
        assert saved(run) in ([STEPS], [STEPS - 1, STEPS]), "a kill before the pruning leaves one more"
        assert not list(run.rglob("*.tmp")), "nor is anything half-written left"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_at_random_times_again_and_again(whole: Whole, tmp_path: Path) -> None:
    words = whole.words(**{"training.checkpoint_every": "1", "data.workers": "2"})
    draw, run, kills = random.Random(11), tmp_path / "run", 0
    for _ in range(6):
        process = ended(AT_A_TIME, [draw.uniform(0.05, 0.5)], words, run)
        # The alarm ends a finished process by itself once Python has begun to exit.
        if process.returncode in (0, -signal.SIGALRM):
            break
        assert process.returncode == -9, process.stderr
        kills += 1
    assert kills > 0
    train_recipe(tiny.RECIPE, words, run=run)
    assert_equal(run, whole)


@pytest.mark.slow
@pytest.mark.timeout(1500)  # three processes that each compile
@pytest.mark.parametrize("recipe", list(tiny.EXACT_OF))
def test_compiled(recipe: str, tmp_path: Path) -> None:
    words = tiny.words(tiny.data(tmp_path / "pictures"), {**tiny.EXACT_OF[recipe], "training.compile": "true"})
    process = ended(AT_A_STEP, [9, 1, 99], words, tmp_path / "whole", recipe)
    assert process.returncode == 0, process.stderr
    if "no compiler that works here" in process.stderr:
        pytest.skip("no compiler that works here")
    assert "compiled" in process.stderr
    assert ended(AT_A_STEP, [9, 1, 5], words, tmp_path / "killed", recipe).returncode == -9
    assert saved(tmp_path / "killed") == [3]
    code, said = tiny.finish(["train", "--resume", str(tmp_path / "killed")], tmp_path / "cache")
    assert code == 0, said
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    both = [tiny.checkpoint_tensors(tmp_path / name, STEPS) for name in ("whole", "killed")]
    assert tiny.differing_tensors(*both) == []
