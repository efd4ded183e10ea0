from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from ganstyle.base.errors import ToldElsewhere, UserError
from ganstyle.train import launcher, ranks
from ganstyle.train.ranks import LostRank, Ranks, SpreadMemories, joined, started_together
from tests.train.together import BATCH, SmallRun, saved, together

# Long enough for every pool to be exchanged many times.
STEPS = 200
EARLY, LATER = 100, 120


def assert_same(got: dict[str, Tensor], want: dict[str, Tensor]) -> None:
    assert got.keys() == want.keys()
    assert len(want) > 100
    for name, tensor in want.items():
        different = (got[name] - tensor).abs().max().item()
        assert different < 1e-6 + 1e-5 * tensor.abs().max().item(), name


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Steps of the whole batch in this process."""
    folder = tmp_path_factory.mktemp("alone")
    run = SmallRun(folder, Ranks())
    for start, stop in pairwise((0, EARLY, LATER, STEPS)):
        run.train(start, stop)
    return SimpleNamespace(folder=folder, losses=run.losses)


def test_two_ranks_train_as_one_process_does(alone: SimpleNamespace, tmp_path: Path) -> None:
    told = together(2, tmp_path, 0, STEPS)
    assert sorted(told) == [0, 1]
    assert told[0] == told[1], "every rank knows the means over all"
    for step, losses in alone.losses.items():
        assert told[0][step] == pytest.approx(losses, rel=1e-4, abs=1e-5)
    state = saved(tmp_path, STEPS)
    assert_same(state, saved(alone.folder, STEPS))
    pools = [name for name in state if name.startswith("memories.")]
    assert sorted(pools) == [f"memories.pool_{side}.{slot}" for side in "ab" for slot in range(BATCH)]


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_ranks(alone: SimpleNamespace, tmp_path: Path) -> None:
    """Four ranks of one slot, from a checkpoint of one process: whole slots move, and nothing else changes."""
    early = f"step-{EARLY:08d}.pt"
    (tmp_path / early).write_bytes((alone.folder / early).read_bytes())
    together(4, tmp_path, EARLY, LATER)
    assert_same(saved(tmp_path, LATER), saved(alone.folder, LATER))


@pytest.mark.parametrize("parts", [2, 4])
def test_parts_of_a_batch_are_the_whole_batch(alone: SimpleNamespace, tmp_path: Path, parts: int) -> None:
    run = SmallRun(tmp_path, Ranks(), parts)
    run.train(0, EARLY)
    assert_same(saved(tmp_path, EARLY), saved(alone.folder, EARLY))


def test_slots_are_spread_evenly_and_in_order() -> None:
    assert [Ranks(rank, 3).slots(6) for rank in range(3)] == [range(2), range(2, 4), range(4, 6)]
    assert Ranks().slots(5) == range(5)
    for count, batch_size, parts in ((2, 3, 1), (1, 3, 2), (2, 4, 4)):
        with pytest.raises(UserError, match=f"batch_size: got {batch_size}, expected a multiple of {count * parts}"):
            Ranks(0, count).slots(batch_size, parts)


def test_alone_nothing_is_sent() -> None:
    one, tensor = Ranks(), torch.tensor([1.0, 2.0])
    one.average([tensor])
    assert one.mean(tensor) is tensor
    assert one.earliest(tensor) is tensor
    assert (one.any(True), one.any(False)) == (True, False)
    assert one.share("x") == "x"
    assert one.gather("x") == ["x"]
    one.refuse_difference("x", "images")
    with joined(None, "cpu") as ranks:
        assert ranks.count == 1


class Memory:
    def __init__(self) -> None:
        self.state: dict[int, Any] = {}

    def state_dict(self) -> dict[int, Any]:
        return self.state

    def load_state_dict(self, state: dict[int, Any]) -> None:
        self.state = dict(state)


def test_each_rank_takes_its_own_slots_of_what_was_saved() -> None:
    everything = {slot: torch.tensor(slot) for slot in range(4)}
    for rank, own in ((0, [0, 1]), (1, [2, 3])):
        spread = SpreadMemories(Memory(), Ranks(rank, 2), 4)
        spread.load_state_dict(everything)
        assert sorted(spread.memory.state) == own
        assert not spread.refilled


@pytest.mark.parametrize("count", [2, 8])
def test_a_batch_of_another_size_begins_with_empty_pools(count: int) -> None:
    spread = SpreadMemories(Memory(), Ranks(), 4)
    spread.load_state_dict({slot: torch.tensor(slot) for slot in range(count)})
    assert spread.memory.state == {}
    assert spread.refilled
    spread.load_state_dict({})
    assert not spread.refilled, "a run without pools has none to fill again"


def test_difference_between_ranks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    several = Ranks(0, 2)
    monkeypatch.setattr(several, "gather", lambda value: [value, "other"])
    monkeypatch.setattr(several, "share", lambda value: value)
    with pytest.raises(UserError, match="the images differ between the 2 ranks"):
        several.refuse_difference("one", "the images")


def test_a_lost_peer_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("[/build/gloo/tcp/pair.cc:561] Connection closed by peer [127.0.0.1]:52439. This\nmeans")

    monkeypatch.setattr(ranks.dist, "all_reduce", fails)
    with pytest.raises(LostRank, match=r"^lost contact with another rank \(Connection closed by peer") as error:
        Ranks(0, 2).average([torch.ones(1)])
    assert "\n" not in str(error.value)
    assert "pair.cc" not in str(error.value)


SLURM = {
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_NTASKS": "4",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_JOB_ID": "70123",
    "SLURM_JOB_NAME": "style",
    "SLURM_NODELIST": "node[07-08]",
}


def test_srun_and_torchrun_are_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT", *SLURM):
        monkeypatch.delenv(name, raising=False)
    assert started_together() is None
    with monkeypatch.context() as slurm:
        for name, value in SLURM.items():
            slurm.setenv(name, value)
        found = started_together()
        assert found is not None
        assert (found.global_rank(), found.world_size(), found.local_rank()) == (3, 4, 1)
        assert (found.main_address, found.main_port) == ("node07", 15123)
        slurm.delenv("SLURM_STEP_NUM_TASKS")  # the script of a batch job, outside srun
        assert started_together() is None
    with monkeypatch.context() as torchrun:
        for name, value in {"TORCHELASTIC_RUN_ID": "x", "RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
            torchrun.setenv(name, value)
        found = started_together()
        assert found is not None
        assert (found.global_rank(), found.world_size(), found.local_rank()) == (1, 2, 1)
        torchrun.setenv("WORLD_SIZE", "1")
        assert started_together() is None


def test_a_killed_rank_is_named_and_others_have_told_already() -> None:
    pids = {0: 100, 1: 101, 2: 102}
    told = launcher._told({0: ranks.LOST, 1: -9, 2: -15}, pids)
    assert str(told) == "rank 1 (process 101) was killed by SIGKILL"
    ended = launcher._told({1: ranks.LOST, 0: 2}, pids)
    assert isinstance(ended, ToldElsewhere)
    assert ended.code == 2
    assert str(launcher._told({1: ranks.LOST, 0: ranks.LOST}, pids)) == "the processes lost contact with each other"


def test_an_error_that_is_no_loss_of_contact_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(ranks.dist, "all_reduce", fails)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        Ranks(0, 2).average([torch.ones(1)])
