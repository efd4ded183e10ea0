"""Sharing a folder between machines: which of n shards this process is, and which files are its own."""

from __future__ import annotations

import heapq
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ganstyle.base.errors import UserError

T = TypeVar("T")

EXPLICIT = re.compile(r"(\d+)/(\d+)", re.ASCII)
AUTOMATIC = re.compile(r"auto(?:/(\d+))?", re.ASCII)


@dataclass(frozen=True)
class Shard:
    """One of `count` parts; `index` counts from 1."""

    index: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise UserError(f"there is no shard {self.index}/{self.count}: of eight, the first is 1/8 and the last 8/8")

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


WHOLE = Shard()


def shard_named(text: str, environment: Mapping[str, str] = os.environ) -> Shard:
    """The shard that `2/8` names, or that `auto` or `auto/8` finds in what a launcher tells this process.

    `auto` knows torchrun, SLURM arrays, SLURM tasks (srun), both of these together, and indexed jobs, in this order;
    `auto/8` says how many there are where the launcher does not, and is checked where it does.

    Raises:
        UserError: a text of another form, no launcher, or one that leaves open which shard this is.
    """
    if explicit := EXPLICIT.fullmatch(text):
        return Shard(int(explicit[1]), int(explicit[2]))
    automatic = AUTOMATIC.fullmatch(text)
    if automatic is None:
        raise UserError(f"unknown shard '{text}': give i/n (2/8 is the second of eight), auto or auto/n")
    wanted = int(automatic[1]) if automatic[1] else None
    for launcher in LAUNCHERS:
        place = launcher(_Variables(environment))
        if place is not None:
            return place.shard(wanted)
    raise UserError(
        f"--shard {text}: no launcher told this process its place (looked for RANK, SLURM_ARRAY_TASK_ID, SLURM_PROCID "
        "and JOB_COMPLETION_INDEX): give --shard i/n"
    )


def share(items: Sequence[T], sizes: Sequence[float], shard: Shard) -> list[T]:
    """The items of one shard, in their order: all shards together have every item once, and about equal sizes.

    The largest goes first, always to the shard that has least so far, and by number where that is equal: no two
    shards differ by more than one item's size. It depends on items and sizes alone, so that every machine finds the
    same; a file that comes or goes between the starts of two shards moves others, and the same commands again make
    what was left out.

    Args:
        items: all of them.
        sizes: of each, such as its megapixels; 0 where it is unknown.
        shard: whose items are wanted.
    """
    largest_first = sorted(range(len(items)), key=lambda position: (-sizes[position], position))
    loads = [(0.0, 0, index) for index in range(1, shard.count + 1)]
    own = []
    for position in largest_first:
        size, number, index = loads[0]
        heapq.heapreplace(loads, (size + sizes[position], number + 1, index))
        if index == shard.index:
            own.append(position)
    return [items[position] for position in sorted(own)]


class _Variables:
    """Whole numbers from the environment; UserError for anything else."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def __contains__(self, name: str) -> bool:
        return bool(self._environment.get(name))

    def number(self, name: str) -> int:
        text = self._environment.get(name, "")
        if not re.fullmatch(r"\d+", text, re.ASCII):
            raise UserError(f"--shard auto: {name} is '{text}', not a whole number: give --shard i/n")
        return int(text)

    def maybe(self, name: str) -> int | None:
        return self.number(name) if name in self else None


@dataclass(frozen=True)
class _Place:
    """Where a launcher put this process: `index` counts from 0."""

    launcher: str
    index: int
    count: int | None

    def shard(self, wanted: int | None) -> Shard:
        if self.count is None and wanted is None:
            raise UserError(f"--shard auto: {self.launcher} does not say how many there are: give --shard auto/n")
        if None not in (self.count, wanted) and self.count != wanted:
            raise UserError(
                f"--shard auto/{wanted}: {self.launcher} says that there are {self.count}: give --shard auto or i/n"
            )
        count = wanted or self.count or 0
        if self.index >= count:
            raise UserError(
                f"--shard auto: {self.launcher} put this process at place {self.index}, counted from 0, of {count}: "
                "give --shard i/n"
            )
        return Shard(self.index + 1, count)


def _torchrun(variables: _Variables) -> _Place | None:
    if "RANK" not in variables or "WORLD_SIZE" not in variables:
        return None
    return _Place("torchrun", variables.number("RANK"), variables.number("WORLD_SIZE"))


def _slurm_array(variables: _Variables) -> _Place | None:
    if "SLURM_ARRAY_TASK_ID" not in variables:
        return None
    index, count = _array_place(variables)
    tasks = _slurm_tasks(variables)
    if tasks is None or count is None or tasks.count is None or tasks.count == 1:
        return _Place("the SLURM array", index, count)
    return _Place("the SLURM array and its tasks", index * tasks.count + tasks.index, count * tasks.count)


def _array_place(variables: _Variables) -> tuple[int, int | None]:
    """The place in a SLURM array, from 0, and its length; arrays with gaps are refused."""
    number, first, last = (variables.maybe(f"SLURM_ARRAY_TASK_{name}") for name in ("ID", "MIN", "MAX"))
    count, step = variables.maybe("SLURM_ARRAY_TASK_COUNT"), variables.maybe("SLURM_ARRAY_TASK_STEP") or 1
    assert number is not None
    if first is None:
        raise UserError("--shard auto: SLURM_ARRAY_TASK_MIN is missing beside SLURM_ARRAY_TASK_ID: give --shard i/n")
    even = 0 if last is None else (last - first) // step + 1
    if number < first or (number - first) % step or (last is not None and count not in (None, even)):
        raise UserError("--shard auto: the numbers of the SLURM array have gaps: give --shard i/n")
    return (number - first) // step, even if count is None and last is not None else count


def _slurm_tasks(variables: _Variables) -> _Place | None:
    if "SLURM_PROCID" not in variables:
        return None
    count = variables.maybe("SLURM_STEP_NUM_TASKS") or variables.maybe("SLURM_NTASKS")
    in_batch_script = "SLURM_JOB_ID" in variables and not ("SLURM_STEP_ID" in variables or "SLURM_STEPID" in variables)
    if in_batch_script and count is not None and count > 1:
        # Here every other task's files would be left out in silence.
        raise UserError(
            f"--shard auto: this runs once, in the batch script, and not in each of the {count} SLURM tasks: "
            "start it with srun, or give --shard i/n"
        )
    return _Place("SLURM", variables.number("SLURM_PROCID"), count)


def _indexed_job(variables: _Variables) -> _Place | None:
    if "JOB_COMPLETION_INDEX" not in variables:
        return None
    return _Place("the indexed job", variables.number("JOB_COMPLETION_INDEX"), variables.maybe("JOB_COMPLETIONS"))


# The first that applies counts: a launcher within another knows the places of all its processes.
LAUNCHERS: tuple[Callable[[_Variables], _Place | None], ...] = (_torchrun, _slurm_array, _slurm_tasks, _indexed_job)
