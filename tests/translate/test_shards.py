from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganstyle.base.errors import UserError
from ganstyle.translate.shards import Shard, shard_named, share

SIZES = st.lists(st.one_of(st.just(0.0), st.floats(0, 300)), max_size=60)


def parts(sizes: list[float], count: int) -> list[list[int]]:
    return [share(range(len(sizes)), sizes, Shard(index, count)) for index in range(1, count + 1)]


@settings(max_examples=300, deadline=None, database=None)
@given(SIZES, st.integers(1, 9))
def test_together_the_shards_have_every_file_once_and_in_order(sizes: list[float], count: int) -> None:
    shards = parts(sizes, count)
    assert sorted(position for shard in shards for position in shard) == list(range(len(sizes)))
    assert all(shard == sorted(shard) for shard in shards)
    assert shards == parts(sizes, count)


@settings(max_examples=300, deadline=None, database=None)
@given(SIZES, st.integers(1, 9))
def test_no_two_shards_differ_by_more_than_one_file(sizes: list[float], count: int) -> None:
    loads = [sum(sizes[position] for position in shard) for shard in parts(sizes, count)]
    assert max(loads) - min(loads) <= max(sizes, default=0) + 1e-6


@given(st.integers(0, 40), st.integers(1, 9))
def test_files_of_unknown_size_are_shared_by_their_number(files: int, count: int) -> None:
    numbers = [len(shard) for shard in parts([0.0] * files, count)]
    assert max(numbers) - min(numbers) <= 1


def test_large_and_small_photos_are_balanced() -> None:
    draw = random.Random(1)
    sizes = [draw.choice([0.3, 2, 12, 48]) for _ in range(1000)]
    loads = [sum(sizes[position] for position in shard) for shard in parts(sizes, 8)]
    assert max(loads) / min(loads) < 1.01


def test_explicit_shards() -> None:
    assert shard_named("2/8", {}) == Shard(2, 8)
    assert shard_named("1/1", {}) == Shard()
    assert str(Shard(2, 8)) == "2/8"


@pytest.mark.parametrize("text", ["0/8", "9/8", "1/0", "x", "2", "2/8/9", "-1/8", "auto/", "auto/x", "", "２/8"])
def test_what_is_no_shard(text: str) -> None:
    with pytest.raises(UserError) as error:
        shard_named(text, {"RANK": "0", "WORLD_SIZE": "2"})
    assert "\n" not in str(error.value)


def slurm_array(number: int, first: int, last: int, count: int, step: int = 1, **more: str) -> dict[str, str]:
    names = {"ID": number, "MIN": first, "MAX": last, "COUNT": count, "STEP": step}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in names.items()} | more


@pytest.mark.parametrize(
    ("text", "environment", "shard"),
    [
        ("auto", {"RANK": "3", "WORLD_SIZE": "8"}, Shard(4, 8)),
        ("auto/8", {"RANK": "3", "WORLD_SIZE": "8"}, Shard(4, 8)),
        ("auto", slurm_array(1, 1, 8, 8), Shard(1, 8)),
        ("auto", slurm_array(7, 0, 7, 8), Shard(8, 8)),
        ("auto", slurm_array(14, 10, 20, 6, 2), Shard(3, 6)),
        (
            "auto",
            {f"SLURM_ARRAY_TASK_{name}": "4" for name in ("ID", "MAX")} | {"SLURM_ARRAY_TASK_MIN": "1"},
            Shard(4, 4),
        ),
        ("auto/9", {"SLURM_ARRAY_TASK_ID": "4", "SLURM_ARRAY_TASK_MIN": "1"}, Shard(4, 9)),
        ("auto", {"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, Shard(1, 4)),
        ("auto", {"SLURM_PROCID": "1", "SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "2"}, Shard(2, 2)),
        ("auto", {"SLURM_PROCID": "1", "SLURM_NTASKS": "4", "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0"}, Shard(2, 4)),
        ("auto", slurm_array(2, 1, 3, 3, SLURM_PROCID="1", SLURM_NTASKS="2"), Shard(4, 6)),
        ("auto", slurm_array(2, 1, 3, 3, SLURM_PROCID="0", SLURM_NTASKS="1", SLURM_JOB_ID="5"), Shard(2, 3)),
        ("auto/5", {"JOB_COMPLETION_INDEX": "4"}, Shard(5, 5)),
        ("auto", {"JOB_COMPLETION_INDEX": "4", "JOB_COMPLETIONS": "6"}, Shard(5, 6)),
        ("auto", {"RANK": "0", "WORLD_SIZE": "2", "JOB_COMPLETION_INDEX": "4"}, Shard(1, 2)),
    ],
)
def test_what_launchers_say(text: str, environment: dict[str, str], shard: Shard) -> None:
    assert shard_named(text, environment) == shard


@pytest.mark.parametrize(
    ("text", "environment", "message"),
    [
        ("auto", {}, "no launcher"),
        ("auto/8", {}, "no launcher"),
        ("auto", {"RANK": "", "WORLD_SIZE": ""}, "no launcher"),
        ("auto", {"RANK": "x", "WORLD_SIZE": "2"}, "RANK is 'x'"),
        ("auto", {"RANK": "2", "WORLD_SIZE": "2"}, "place 2, counted from 0, of 2"),
        ("auto/4", {"RANK": "1", "WORLD_SIZE": "2"}, "says that there are 2"),
        ("auto", {"JOB_COMPLETION_INDEX": "4"}, "give --shard auto/n"),
        ("auto/4", {"JOB_COMPLETION_INDEX": "4"}, "place 4"),
        ("auto", slurm_array(7, 1, 7, 3), "have gaps"),
        ("auto", {"SLURM_ARRAY_TASK_ID": "7"}, "SLURM_ARRAY_TASK_MIN is missing"),
        ("auto/8", slurm_array(3, 3, 3, 1), "says that there are 1"),
        ("auto", {"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_JOB_ID": "7"}, "start it with srun"),
    ],
)
def test_what_is_left_open_is_refused(text: str, environment: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        shard_named(text, environment)
    assert "give --shard" in str(error.value)
    assert "\n" not in str(error.value)
