from __future__ import annotations

import hashlib
import itertools
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ganstyle.base import draws
from ganstyle.base.draws import Draws, stream_seed


def slow_seed(*parts: int | str) -> int:
    text = ""
    for number, part in enumerate(parts):
        text += ("\x1f" if number else "") + ("int:" if isinstance(part, int) else "str:") + str(part)
    digest = hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest()
    return sum(byte << (8 * place) for place, byte in enumerate(digest)) // 2


@pytest.mark.parametrize("parts", [(), (0,), ("0",), (0, 1, 2, "crop_a", 3), (-1, "é"), (2**63, "")])
def test_seeds_follow_their_definition(parts: tuple[int | str, ...]) -> None:
    assert stream_seed(*parts) == slow_seed(*parts)
    assert 0 <= stream_seed(*parts) < 2**63


def test_streams_follow_their_definition() -> None:
    here = Draws(5, 7, 2).stream("crop_a", 11).random(4)
    there = np.random.Generator(np.random.PCG64(slow_seed(5, 7, 2, "crop_a", 11))).random(4)
    assert np.array_equal(here, there)


def test_every_part_and_their_order_matter() -> None:
    ways = [
        Draws(1, 2, 3).key("crop", 4),
        Draws(9, 2, 3).key("crop", 4),
        Draws(1, 9, 3).key("crop", 4),
        Draws(1, 2, 9).key("crop", 4),
        Draws(1, 2, 3).key("flip", 4),
        Draws(1, 2, 3).key("crop", 9),
        Draws(2, 1, 3).key("crop", 4),
        Draws(1, 3, 2).key("crop", 4),
        stream_seed("1", 2, 3, "crop", 4),
        stream_seed(12, 3, "crop", 4),
        stream_seed(1, 2, 3, "crop4"),
        stream_seed(1, 2, 3, "cro", "p", 4),
    ]
    assert len(set(ways)) == len(ways)


def test_no_two_streams_of_a_small_run_meet() -> None:
    keys = [
        Draws(seed).at(step).key(purpose, sample)
        for seed, step, purpose, sample in itertools.product(range(5), range(40), ("crop_a", "crop_b"), range(40))
    ]
    assert len(set(keys)) == len(keys)


def test_a_stream_does_not_depend_on_the_calls_before_it() -> None:
    draws = Draws(3)
    first = draws.at(8).stream("pool", 1).random(5)
    draws.at(8).stream("pool", 0).random(100)
    draws.at(2).stream("pool", 1).random(100)
    assert np.array_equal(draws.at(8).stream("pool", 1).random(5), first)
    assert draws.step == 0


def test_another_step_keeps_seed_and_rollbacks() -> None:
    assert Draws(3, 4, 5).at(6) == Draws(3, 6, 5)


def test_it_travels_to_workers() -> None:
    draws = Draws(1, 2, 3)
    assert pickle.loads(pickle.dumps(draws)).key("crop", 4) == draws.key("crop", 4)


def test_another_process_draws_the_same() -> None:
    code = "from ganstyle.base.draws import Draws; print(Draws(1, 2).key('crop_a', 3))"
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    root = Path(draws.__file__).parents[2]
    result = subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, check=True)
    assert int(result.stdout) == Draws(1, 2).key("crop_a", 3)


@pytest.mark.parametrize("part", [np.int64(3), 1.0, True, None, "a\x1fint:3"])
def test_parts_that_would_draw_another_stream_in_silence_are_refused(part: object) -> None:
    with pytest.raises(AssertionError):
        stream_seed(0, part)  # type: ignore[arg-type]
