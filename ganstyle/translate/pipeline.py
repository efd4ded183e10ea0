"""Files through three stages at once: read in threads, computed in the calling thread, written in threads.

How many are on their way is bounded by their bytes. One file's failure is that file's alone; what would befall every
further file, such as a full disk, ends all. No thread outlives the call, and a file that is being written when the
end comes is finished first.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

# How often a wait lets Python look for Ctrl-C; only some systems interrupt a wait without an end.
GLANCE_S = 0.5
STAGES = ("read", "compute", "write")
NICENESS = 10  # of the threads that read and write, beside the network's


class HasPixels(Protocol):
    """A photo in memory."""

    @property
    def pixels(self) -> np.ndarray:
        """(H, W, 3), uint8 or uint16."""
        ...


T = TypeVar("T")
P = TypeVar("P", bound=HasPixels)


@dataclass(frozen=True)
class Stages(Generic[T, P]):
    """What is done with each task.

    Attributes:
        read: called in several threads at once.
        compute: called in the thread that runs the pipeline, with one photo or more of one size and kind; gives back
            as many arrays, in their order.
        write: called in several threads at once; gives lines on what could not be kept.
    """

    read: Callable[[T], P]
    compute: Callable[[Sequence[tuple[T, P]]], Sequence[np.ndarray]]
    write: Callable[[T, P, np.ndarray], list[str]]


def default_threads() -> int:
    """Two for reading and two for writing; one each where there is one core."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(2, cores)


@dataclass(frozen=True)
class Limits:
    """How much is on its way at once.

    Attributes:
        bytes_in_flight: of pixels read and results not yet written; a photo beyond it goes through alone.
        batch: the most photos that are computed together.
        batch_pixels: the most pixels that are computed together; one photo may have more.
        readers: threads that read.
        writers: threads that write.
    """

    bytes_in_flight: int = 512 * 2**20
    batch: int = 1
    batch_pixels: int = 2**22
    readers: int = field(default_factory=default_threads)
    writers: int = field(default_factory=default_threads)


USUAL_LIMITS = Limits()


@dataclass(frozen=True)
class Passed(Generic[T]):
    """What became of one task: `error` is None when its file is in place, else what went wrong in which `stage`."""

    task: T
    stage: str  # one of STAGES
    error: Exception | None = None
    notes: Sequence[str] = ()
    pixels: int = 0


@dataclass
class StageTimes:
    """Seconds of a run.

    Attributes:
        busy_s: how long each stage was at work, summed over its threads.
        wall_s: how long all took.
        cpu_s: the processor time of the whole process, all threads together.
    """

    busy_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    wall_s: float = 0
    cpu_s: float = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @contextmanager
    def busy(self, stage: str) -> Iterator[None]:
        """Count the seconds of the block as those of a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.busy_s[stage] += time.perf_counter() - start


def run_pipeline(
    tasks: Sequence[T],
    stages: Stages[T, P],
    limits: Limits,
    *,
    passed: Callable[[Passed[T]], None],
    stops: Callable[[Exception], bool] = lambda _: False,
    pixels_of: Callable[[T], int] = lambda _: 0,
) -> StageTimes:
    """Take every task through the stages; reading starts in the order of the tasks.

    Args:
        tasks: what to do.
        stages: how.
        limits: how much at once.
        passed: called in this thread for each task, once, when its file is in place or has failed.
        stops: whether an error of writing ends everything; it is then raised, and `passed` does not see it.
        pixels_of: how many pixels a task will have when it is read, as far as its header tells.

    Raises:
        Exception: an error that `stops`; files that were being written then are in place, and told.
    """
    times = StageTimes()
    wall, cpu = time.perf_counter(), time.process_time()
    flow = _Flow(tasks, stages, limits, times=times, passed=passed, stops=stops, pixels_of=pixels_of)
    try:
        flow.run()
    finally:
        flow.end()
        times.wall_s, times.cpu_s = time.perf_counter() - wall, time.process_time() - cpu
    return times


@dataclass(eq=False)
class _Moving(Generic[T, P]):
    """A task between its reading and its end."""

    task: T
    bytes: int  # what it is counted as: foretold from the header, then known
    reading: Future[P]
    pixels: int = 0


class _Flow(Generic[T, P]):
    def __init__(
        self,
        tasks: Sequence[T],
        stages: Stages[T, P],
        limits: Limits,
        *,
        times: StageTimes,
        passed: Callable[[Passed[T]], None],
        stops: Callable[[Exception], bool],
        pixels_of: Callable[[T], int],
    ) -> None:
        self.tasks, self.position = tasks, 0
        self.stages, self.limits, self.times = stages, limits, times
        self.passed, self.stops, self.pixels_of = passed, stops, pixels_of
        self.readers = ThreadPoolExecutor(limits.readers, thread_name_prefix="read", initializer=_step_back)
        self.writers = ThreadPoolExecutor(limits.writers, thread_name_prefix="write", initializer=_step_back)
        self.window: list[_Moving[T, P]] = []  # read or being read, in order
        self.writing: dict[Future[list[str]], _Moving[T, P]] = {}
        self.files = self.bytes = 0  # on their way
        # Enough that the next batch is being read while one is computed, and few enough that Ctrl-C loses little.
        self.most_read = 2 * limits.batch + limits.readers
        self.most_written = 2 * limits.batch + limits.writers

    def run(self) -> None:
        while True:
            self.collect()
            self.start_reading()
            if self.window:
                self.compute(self.next_batch())
            elif not self.writing:
                return  # reading starts whenever nothing is on its way, so nothing is left
            while len(self.writing) > (self.most_written if self.window else 0):
                _wait(self.writing)
                self.collect()
                self.start_reading()

    def start_reading(self) -> None:
        """Begin with the next tasks, as far as there is room; at least one where nothing is on its way."""
        while self.position < len(self.tasks) and len(self.window) < self.most_read:
            task = self.tasks[self.position]
            foretold = 6 * self.pixels_of(task)  # three bytes a pixel of the photo, as many of the result
            if self.bytes + foretold > self.limits.bytes_in_flight and self.files:
                return
            self.position += 1
            self.files += 1
            self.bytes += foretold
            self.window.append(_Moving(task, foretold, self.readers.submit(self.read, task)))

    def next_batch(self) -> list[tuple[_Moving[T, P], P]]:
        """The first photo that can be read, and those of its size and kind among the next."""
        batch: list[tuple[_Moving[T, P], P]] = []
        for moving in list(self.window):
            photo = self.photo(moving)
            if photo is None or not self.joins(batch, photo.pixels):
                continue
            self.window.remove(moving)
            batch.append((moving, photo))
            if len(batch) >= self.limits.batch or not self.joins(batch, photo.pixels):
                break
        return batch

    def joins(self, batch: Sequence[tuple[_Moving[T, P], P]], pixels: np.ndarray) -> bool:
        """Whether one more such photo may be computed together with these."""
        if not batch:
            return True
        first = batch[0][1].pixels
        alike = (first.shape, first.dtype) == (pixels.shape, pixels.dtype)
        return alike and (len(batch) + 1) * first.shape[0] * first.shape[1] <= self.limits.batch_pixels

    def photo(self, moving: _Moving[T, P]) -> P | None:
        """What was read, waited for; None, and told, when it could not be."""
        _wait([moving.reading])
        error = moving.reading.exception()
        if error is not None:
            self.window.remove(moving)
            self.fail(moving, "read", error)
            return None
        photo = moving.reading.result()
        moving.pixels = photo.pixels.shape[0] * photo.pixels.shape[1]
        self.bytes += 2 * photo.pixels.nbytes - moving.bytes
        moving.bytes = 2 * photo.pixels.nbytes
        return photo

    def compute(self, batch: Sequence[tuple[_Moving[T, P], P]]) -> None:
        """Compute together; when that fails, one by one, so that the failure is one photo's."""
        if not batch:
            return
        self.start_reading()  # the next ones are read meanwhile
        results: Sequence[np.ndarray] | None = None
        try:
            results = self.results([(moving.task, photo) for moving, photo in batch])
        except Exception as error:
            if len(batch) == 1:
                self.fail(batch[0][0], "compute", error)
                return
        if results is None:  # outside of the handler: the error holds on to the memory that may have been short
            for each in batch:
                self.compute([each])
            return
        for (moving, photo), result in zip(batch, results, strict=True):
            self.writing[self.writers.submit(self.write, moving.task, photo, result)] = moving

    def results(self, photos: Sequence[tuple[T, P]]) -> Sequence[np.ndarray]:
        with self.times.busy("compute"):
            results = self.stages.compute(photos)
        assert len(results) == len(photos), f"{len(results)} results for {len(photos)} photos"
        return results

    def read(self, task: T) -> P:
        with self.times.busy("read"):
            return self.stages.read(task)

    def write(self, task: T, photo: P, pixels: np.ndarray) -> list[str]:
        with self.times.busy("write"):
            return self.stages.write(task, photo, pixels)

    def collect(self) -> None:
        """Tell of what has been written."""
        for future in [future for future in self.writing if future.done()]:
            moving = self.writing.pop(future)
            error = future.exception()
            if error is not None:
                self.fail(moving, "write", error)
                continue
            self.release(moving)
            self.passed(Passed(moving.task, "write", None, future.result(), moving.pixels))

    def fail(self, moving: _Moving[T, P], stage: str, error: BaseException) -> None:
        self.release(moving)
        if not isinstance(error, Exception) or (stage == "write" and self.stops(error)):
            raise error
        self.passed(Passed(moving.task, stage, error, (), moving.pixels))

    def release(self, moving: _Moving[T, P]) -> None:
        self.files -= 1
        self.bytes -= moving.bytes

    def end(self) -> None:
        """Drop what has not begun, finish what has, and tell of it."""
        for pool in (self.readers, self.writers):
            pool.shutdown(wait=False, cancel_futures=True)
        for pool in (self.readers, self.writers):
            pool.shutdown(wait=True)
        for future, moving in self.writing.items():
            if not future.cancelled() and future.exception() is None:
                self.passed(Passed(moving.task, "write", None, future.result(), moving.pixels))


def _wait(futures: Any) -> None:
    """Until one of them is done."""
    while not wait(futures, timeout=GLANCE_S, return_when=FIRST_COMPLETED).done:
        pass


def _step_back() -> None:
    """Let the network's threads go first: each of its operations takes as long as the slowest of them."""
    if sys.platform == "linux":  # elsewhere it would be the whole process
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
