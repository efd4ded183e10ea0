from __future__ import annotations

import random
import threading
import time
import weakref
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganstyle.translate.pipeline import STAGES, Limits, Passed, Stages, run_pipeline

WAIT_S = 10  # for something that must happen; a test that waits so long has failed


@dataclass(frozen=True)
class Photo:
    pixels: np.ndarray


def photo(side: int = 2, dtype: type = np.uint8) -> Photo:
    return Photo(np.zeros((side, side, 3), dtype))


class Work:
    """Stages that note what happens; a task is a number, and its photo's side is given by `side`."""

    def __init__(self, faults: dict[tuple[str, int], BaseException] | None = None, slow: bool = False) -> None:
        self.faults, self.slow = faults or {}, slow
        self.batches: list[list[int]] = []
        self.read_order: list[int] = []
        self.passed: list[Passed[int]] = []
        self.written: list[int] = []
        self.random = random.Random(0)

    def side(self, task: int) -> int:
        return 2

    def happen(self, stage: str, task: int) -> None:
        if self.slow:
            time.sleep(self.random.random() / 500)
        if (stage, task) in self.faults:
            raise self.faults[stage, task]

    def read(self, task: int) -> Photo:
        self.read_order.append(task)
        self.happen("read", task)
        return photo(self.side(task))

    def compute(self, photos: Sequence[tuple[int, Photo]]) -> list[np.ndarray]:
        self.batches.append([task for task, _ in photos])
        for task, _ in photos:
            self.happen("compute", task)
        return [each.pixels + task % 256 for task, each in photos]

    def write(self, task: int, each: Photo, pixels: np.ndarray) -> list[str]:
        self.happen("write", task)
        assert (pixels == task % 256).all()
        self.written.append(task)
        return [f"note {task}"] if task % 2 else []

    def run(self, tasks: Sequence[int], limits: Limits, **options: object) -> None:
        stages = Stages(self.read, self.compute, self.write)
        run_pipeline(tasks, stages, limits, passed=self.passed.append, **options)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> object:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("limits", [Limits(), Limits(readers=1, writers=1), Limits(batch=4, readers=6, writers=5)])
def test_every_task_goes_through_once(limits: Limits) -> None:
    work = Work(slow=True)
    work.run(range(50), limits)
    assert sorted(work.written) == list(range(50))
    assert sorted(each.task for each in work.passed) == list(range(50))
    assert all(each.error is None and each.pixels == 4 for each in work.passed)
    assert {each.task: list(each.notes) for each in work.passed}[7] == ["note 7"]
    assert [task for batch in work.batches for task in batch] == list(range(50)), "computed in order"


def test_nothing_to_do() -> None:
    work = Work()
    work.run([], Limits())
    assert work.passed == []


def test_reading_starts_in_the_order_of_the_tasks() -> None:
    work = Work()
    work.run(range(30), Limits(readers=1))
    assert work.read_order == list(range(30))


def test_the_next_is_read_and_the_last_written_while_one_is_computed() -> None:
    read, written = threading.Event(), threading.Event()

    class Overlapping(Work):
        def read(self, task: int) -> Photo:
            if task == 1:
                read.set()
            return photo()

        def compute(self, photos: Sequence[tuple[int, Photo]]) -> list[np.ndarray]:
            assert photos[0][0] != 0 or read.wait(WAIT_S)
            assert photos[0][0] != 1 or written.wait(WAIT_S)
            return super().compute(photos)

        def write(self, task: int, each: Photo, pixels: np.ndarray) -> list[str]:
            written.set()
            return super().write(task, each, pixels)

    work = Overlapping()
    work.run(range(3), Limits())
    assert [each.error for each in work.passed] == [None] * 3


class Measured(Work):
    """Counts the bytes that are on their way: photos from their reading, results from their computing."""

    def __init__(self, sides: Sequence[int]) -> None:
        super().__init__(slow=True)
        self.sides, self.lock = sides, threading.Lock()
        self.bytes = self.most = 0

    def side(self, task: int) -> int:
        return self.sides[task]

    def add(self, number: int) -> None:
        with self.lock:
            self.bytes += number
            self.most = max(self.most, self.bytes)

    def read(self, task: int) -> Photo:
        each = super().read(task)
        self.add(each.pixels.nbytes)
        return each

    def compute(self, photos: Sequence[tuple[int, Photo]]) -> list[np.ndarray]:
        for _, each in photos:
            self.add(each.pixels.nbytes)
        return super().compute(photos)

    def write(self, task: int, each: Photo, pixels: np.ndarray) -> list[str]:
        super().write(task, each, pixels)
        self.add(-each.pixels.nbytes - pixels.nbytes)
        return []


def test_what_is_on_its_way_is_bounded_by_its_bytes() -> None:
    sides = [random.Random(task).randint(1, 30) for task in range(60)]
    work = Measured(sides)
    budget = 6 * 30 * 30 + 100
    work.run(range(60), Limits(bytes_in_flight=budget, readers=4, writers=4), pixels_of=lambda task: sides[task] ** 2)
    assert len(work.written) == 60
    assert 0 < work.most <= budget


def test_without_headers_the_bound_holds_but_for_what_is_being_read() -> None:
    work = Measured([20] * 60)
    work.run(range(60), Limits(bytes_in_flight=6 * 400 * 3, readers=2, writers=1))
    assert len(work.written) == 60
    assert work.most <= 6 * 400 * 3 + 2 * 6 * 400 * (2 + 2)


def test_a_photo_beyond_all_bounds_goes_through_alone() -> None:
    sides = [3, 3, 90, 3, 90, 3]
    work = Measured(sides)
    work.run(range(6), Limits(bytes_in_flight=100, readers=3), pixels_of=lambda task: sides[task] ** 2)
    assert sorted(work.written) == list(range(6))
    assert work.most == 6 * 90 * 90


class Sized(Work):
    def __init__(self, kinds: Sequence[tuple[int, type]], **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self.kinds = kinds

    def read(self, task: int) -> Photo:
        return photo(*self.kinds[task])


def test_photos_of_one_size_and_kind_are_computed_together() -> None:
    a, b, deep = (4, np.uint8), (5, np.uint8), (4, np.uint16)
    work = Sized([a, a, b, a, a, deep, b, deep])
    work.run(range(8), Limits(batch=3, readers=2))
    assert work.batches == [[0, 1, 3], [2, 6], [4], [5, 7]]


def test_a_batch_is_bounded_by_its_pixels_too() -> None:
    work = Sized([(4, np.uint8)] * 7 + [(40, np.uint8)] * 2)
    work.run(range(9), Limits(batch=5, batch_pixels=3 * 16 + 1))
    assert work.batches == [[0, 1, 2], [3, 4, 5], [6], [7], [8]]


def test_a_batch_that_fails_is_computed_one_by_one() -> None:
    work = Work({("compute", 2): RuntimeError("odd")})
    work.run(range(4), Limits(batch=4))
    assert work.batches == [[0, 1, 2, 3], [0], [1], [2], [3]]
    assert {each.task: str(each.error) for each in work.passed if each.error} == {2: "odd"}


def test_what_a_batch_that_failed_had_in_memory_is_free_again() -> None:
    class Scarce(Work):
        def __init__(self) -> None:
            super().__init__()
            self.held: list[weakref.ref[np.ndarray]] = []

        def compute(self, photos: Sequence[tuple[int, Photo]]) -> list[np.ndarray]:
            assert all(each() is None for each in self.held)
            buffer = np.zeros(1000)
            self.held.append(weakref.ref(buffer))
            if len(photos) > 1:
                raise MemoryError
            return super().compute(photos)

    work = Scarce()
    work.run(range(4), Limits(batch=4))
    assert [each.error for each in work.passed] == [None] * 4
    assert len(work.held) == 5


def test_as_many_results_as_photos_are_wanted() -> None:
    class Short(Work):
        def compute(self, photos: Sequence[tuple[int, Photo]]) -> list[np.ndarray]:
            return []

    work = Short()
    work.run(range(2), Limits())
    assert all("0 results for 1 photos" in str(each.error) for each in work.passed)


@pytest.mark.parametrize("stage", STAGES)
def test_one_files_failure_is_its_alone(stage: str) -> None:
    work = Work({(stage, task): ValueError(f"bad {task}") for task in (0, 3, 9)})
    work.run(range(10), Limits(batch=2))
    assert sorted(work.written) == [1, 2, 4, 5, 6, 7, 8]
    failed = {each.task: (each.stage, str(each.error)) for each in work.passed if each.error}
    assert failed == {task: (stage, f"bad {task}") for task in (0, 3, 9)}


def test_an_error_that_stops_ends_all_and_tells_of_what_is_in_place() -> None:
    others = threading.Barrier(2, timeout=WAIT_S)

    class Full(Work):
        def write(self, task: int, each: Photo, pixels: np.ndarray) -> list[str]:
            if task in (2, 3):
                others.wait()
            if task == 3:
                time.sleep(0.05)  # it is being written when the other fails
            return super().write(task, each, pixels)

    work = Full({("write", 2): OSError("full")})
    with pytest.raises(OSError, match="full"):
        work.run(range(1000), Limits(), stops=lambda error: "full" in str(error))
    assert {0, 1, 3} <= set(work.written)
    assert len(work.written) < 20
    assert sorted(each.task for each in work.passed) == sorted(work.written)


def test_only_writing_stops_all() -> None:
    work = Work({("read", 1): OSError("full"), ("compute", 2): OSError("full")})
    work.run(range(4), Limits(), stops=lambda _: True)
    assert sorted(work.written) == [0, 3]


@pytest.mark.parametrize("end", [KeyboardInterrupt(), SystemExit(143)])
def test_an_interruption_finishes_what_is_being_written_and_nothing_else(end: BaseException) -> None:
    begun = threading.Event()

    class Interrupted(Work):
        def compute(self, photos: Sequence[tuple[int, Photo]]) -> list[np.ndarray]:
            if photos[0][0] == 1:
                assert begun.wait(WAIT_S)
                raise end
            return super().compute(photos)

        def write(self, task: int, each: Photo, pixels: np.ndarray) -> list[str]:
            begun.set()
            time.sleep(0.05)
            return super().write(task, each, pixels)

    work = Interrupted()
    with pytest.raises(type(end)):
        work.run(range(1000), Limits())
    assert work.written == [0]
    assert [each.task for each in work.passed] == [0]
    assert len(work.read_order) < 20


def test_a_callback_that_fails_leaves_no_thread() -> None:
    def broken(_: Passed[int]) -> None:
        raise ZeroDivisionError

    work = Work(slow=True)
    with pytest.raises(ZeroDivisionError):
        run_pipeline(range(100), Stages(work.read, work.compute, work.write), Limits(), passed=broken)


FAULTS = st.dictionaries(
    st.tuples(st.sampled_from(STAGES), st.integers(0, 39)),
    st.sampled_from([ValueError("x"), MemoryError(), OSError("y")]),
    max_size=30,
)


@settings(max_examples=60, deadline=None, database=None)
@given(FAULTS, st.integers(1, 8), st.integers(1, 8), st.integers(1, 5), st.integers(0, 300))
def test_whatever_fails_nothing_hangs_and_nothing_is_lost(
    faults: dict[tuple[str, int], BaseException], readers: int, writers: int, batch: int, budget: int
) -> None:
    work = Work(faults)
    limits = Limits(bytes_in_flight=budget, readers=readers, writers=writers, batch=batch)
    work.run(range(40), limits, pixels_of=lambda _: 4)
    assert Counter(each.task for each in work.passed) == Counter(range(40))
    failed = {task for _, task in faults}
    assert sorted(work.written) == sorted(set(range(40)) - failed)
    assert {each.task for each in work.passed if each.error} == failed


def test_times_of_the_stages() -> None:
    class Slow(Work):
        def read(self, task: int) -> Photo:
            time.sleep(0.02)
            return super().read(task)

    work = Slow()
    times = run_pipeline(range(4), Stages(work.read, work.compute, work.write), Limits(), passed=work.passed.append)
    assert set(times.busy_s) == set(STAGES)
    assert times.busy_s["read"] >= 4 * 0.02
    assert times.wall_s >= 2 * 0.02
    assert times.cpu_s >= 0
