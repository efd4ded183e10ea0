from __future__ import annotations

import pickle
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ganstyle.base.errors import UserError
from ganstyle.train import checkpoint
from ganstyle.train.checkpoint import Checkpoints, load_checkpoint, named_tensors, step_files
from ganstyle.train.guard import Diverged


class Counter:
    """State that is not a module."""

    def __init__(self, value: int = 0) -> None:
        self.value = value

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.value = state["value"]


class Parts:
    def __init__(self, folder: Path, *, keep: int = 3, fill: float = 0.0) -> None:
        self.layer, self.counter = nn.Linear(2, 2), Counter()
        self.fill(fill)
        self.checkpoints = Checkpoints(
            folder,
            {"networks": {"layer": self.layer}, "counter": self.counter},
            facts={"method": "test"},
            keep=keep,
        )

    def fill(self, value: float) -> None:
        with torch.no_grad():
            self.layer.weight.fill_(value)

    def restored(self) -> tuple[int, list[str]]:
        said: list[str] = []
        return self.checkpoints.restore_latest(said.append), said


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_everything_comes_back(tmp_path: Path) -> None:
    parts = Parts(tmp_path, fill=2.5)
    parts.counter.value = 11
    assert parts.checkpoints.save(7) == tmp_path / "step-00000007.pt"
    other = Parts(tmp_path)
    assert other.restored() == (7, [])
    assert torch.equal(other.layer.weight, parts.layer.weight)
    assert torch.equal(other.layer.bias, parts.layer.bias)
    assert other.counter.value == 11
    assert load_checkpoint(tmp_path / "step-00000007.pt")["facts"] == {"method": "test"}


def test_nothing_there_starts_at_zero(tmp_path: Path) -> None:
    assert Parts(tmp_path / "none").restored() == (0, [])


def test_the_last_few_and_the_named_ones_are_kept(tmp_path: Path) -> None:
    parts = Parts(tmp_path, keep=2)
    parts.checkpoints.save(1).rename(tmp_path / "best.pt")
    for step in (8, 9, 10, 100_000_000):
        parts.checkpoints.save(step)
    assert names(tmp_path) == ["best.pt", "step-00000010.pt", "step-100000000.pt"]
    assert parts.restored() == (100_000_000, [])


def test_steps_are_ordered_as_numbers(tmp_path: Path) -> None:
    for step in (99_999_999, 100_000_000, 5):
        (tmp_path / f"step-{step:08d}.pt").touch()
    for other in ("step-7.pt", "step-00000001.pt.tmp", "latest.pt"):
        (tmp_path / other).touch()
    assert [path.name for path in step_files(tmp_path)] == [
        "step-00000005.pt",
        "step-99999999.pt",
        "step-100000000.pt",
    ]


def test_an_error_while_writing_leaves_the_old_one_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = Parts(tmp_path, keep=1, fill=1.0)
    parts.checkpoints.save(1)

    def fails(_: Path, __: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fails)
        with pytest.raises(UserError, match="no space left on device: free some space and run again"):
            parts.checkpoints.save(2)
    assert names(tmp_path) == ["step-00000001.pt"]
    assert Parts(tmp_path).restored() == (1, [])


def test_an_interrupt_while_writing_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Parts(tmp_path, keep=1)
    parts.checkpoints.save(1)

    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            parts.checkpoints.save(2)
    assert names(tmp_path) == ["step-00000001.pt"]


def damage(path: Path, kind: str) -> None:
    whole = path.read_bytes()
    path.write_bytes(
        {"empty": b"", "truncated": whole[: len(whole) // 2], "foreign": b"hello", "zeros": bytes(900)}[kind]
    )


@pytest.mark.parametrize("kind", ["empty", "truncated", "foreign", "zeros"])
def test_a_damaged_newest_falls_back_to_the_one_before_and_says_so(tmp_path: Path, kind: str) -> None:
    parts = Parts(tmp_path, fill=1.0)
    parts.checkpoints.save(1)
    parts.fill(2.0)
    damage(parts.checkpoints.save(2), kind)
    other = Parts(tmp_path)
    step, said = other.restored()
    assert step == 1
    assert other.layer.weight[0, 0] == 1.0
    assert len(said) == 1
    assert "step-00000002.pt: not a checkpoint that can be read" in said[0]
    assert said[0].endswith("trying the one before")
    assert "\n" not in said[0]


def test_all_damaged_is_refused_and_nothing_is_touched(tmp_path: Path) -> None:
    parts = Parts(tmp_path)
    paths = [parts.checkpoints.save(step) for step in (1, 2)]
    for path in paths:
        damage(path, "truncated")
    with pytest.raises(UserError, match="none of its checkpoints can be read; take a fresh folder with --new"):
        Parts(tmp_path).restored()
    assert all(path.exists() for path in paths)


def test_a_damaged_newer_one_is_set_aside_and_pushes_no_good_one_out(tmp_path: Path) -> None:
    parts = Parts(tmp_path)
    parts.checkpoints.keep = 1
    good, bad = parts.checkpoints.save(1), parts.checkpoints.folder / "step-00000009.pt"
    bad.write_bytes(b"junk")
    again = Parts(tmp_path)
    again.checkpoints.keep = 1
    assert again.restored()[0] == 1
    assert not bad.exists()
    assert bad.with_name("step-00000009.pt.damaged").exists()
    new = again.checkpoints.save(2)
    assert new.exists()
    assert not good.exists()


@pytest.mark.parametrize("state", [[1], {"a": 1}, {"format": 99, "facts": {}, "step": 1}, {"format": 1, "step": 1}])
def test_foreign_files_of_torch_are_refused(tmp_path: Path, state: object) -> None:
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(UserError, match="not a checkpoint of ganstyle, or of another version"):
        load_checkpoint(tmp_path / "x.pt")


class Evil:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (Path("ran.txt"),)  # type: ignore[return-value]


@pytest.mark.parametrize("plain", [True, False])
def test_code_in_a_file_is_refused_and_never_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain: bool) -> None:
    monkeypatch.chdir(tmp_path)
    path, evil = tmp_path / "evil.pt", {"format": 1, "facts": {}, "step": 1, "x": Evil()}
    if plain:
        path.write_bytes(pickle.dumps(evil))
    else:
        torch.save(evil, path)
    with pytest.raises(UserError) as error:
        load_checkpoint(path)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "ran.txt").exists()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_non_finite_tensor_is_never_written(tmp_path: Path, bad: float) -> None:
    parts = Parts(tmp_path)
    parts.checkpoints.save(1)
    with torch.no_grad():
        parts.layer.weight[1, 1] = bad
    with pytest.raises(Diverged, match=r"step 2: networks\.layer\.weight is non-finite"):
        parts.checkpoints.save(2)
    assert names(tmp_path) == ["step-00000001.pt"]


def test_named_tensors_looks_everywhere() -> None:
    one, two = torch.ones(1), torch.zeros(1)
    assert [name for name, _ in named_tensors({"a": {1: [one, "x"]}, "b": (3, two)})] == ["a.1.0", "b.1"]


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import tests.train.test_checkpoint as here
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
parts = here.Parts(Path(sys.argv[1]), keep=1)
parts.checkpoints.save(1)
resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
try:
    parts.checkpoints.save(2)
except here.UserError as error:
    print(error)
    sys.exit(7)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="this system cannot limit the size of files")
def test_a_disk_that_takes_no_more_keeps_the_last_good_one(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "checkpoints")]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr
    assert "cannot write" in done.stdout
    assert done.stdout.count("\n") == 1
    assert names(tmp_path / "checkpoints") == ["step-00000001.pt"]
    assert Parts(tmp_path / "checkpoints").restored()[0] == 1


def test_what_is_restored_does_not_hang_on_the_file(tmp_path: Path) -> None:
    """A file that is mapped keeps its place on the disk after it was pruned."""
    Parts(tmp_path, fill=3.0).checkpoints.save(1)
    seen: list[bool] = []
    load = checkpoint.load_checkpoint

    def spied(path: Path, *, mapped: bool = True) -> dict[str, Any]:
        seen.append(mapped)
        return load(path, mapped=mapped)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "load_checkpoint", spied)
        Parts(tmp_path).restored()
    assert seen == [False]
