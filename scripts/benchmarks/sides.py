"""The contestants: each in a process of its own, so that allocator, threads and compiled code are nobody else's.

While one is timed, the others block on a pipe.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from ganstyle.base.errors import UserError, one_line
from ganstyle.train.hardware import memory_used

Work = Callable[[], Any]  # one turn; what it gives is what the builder says
Builder = Callable[[], Work]  # picklable; called in the side's own process

# A short step is repeated within one turn, so that the clock and the waiting for the device do not matter.
SHORTEST_TURN_S = 0.2


class Side:
    """One contestant; a turn runs what its builder built.

    Raises:
        UserError: the builder or a turn failed there, or the process died.
    """

    def __init__(self, name: str, build: Builder) -> None:
        context = multiprocessing.get_context("spawn")
        self.name = name
        self._pipe, theirs = context.Pipe()
        # Not a daemon: those may not have loader workers of their own.
        self._process = context.Process(target=_serve, args=(theirs, build))
        self._process.start()
        theirs.close()

    def turn(self) -> Any:
        """Run the work once; gives what it gives."""
        return self.ask(None)

    def ask(self, question: Callable[[], Any] | None) -> Any:
        """Call a picklable function of no arguments in the side's process; None is its work, built when first asked."""
        try:
            self._pipe.send(question)
            good, answer = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise UserError(f"{self.name}: its process died; if memory ran out, use smaller sizes") from error
        if not good:
            raise UserError(f"{self.name}: {answer}")
        return answer

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join()


@contextlib.contextmanager
def sides(**builders: Builder) -> Iterator[list[Side]]:
    """Sides by name for a while."""
    with contextlib.ExitStack() as stack:
        opened = [Side(name, build) for name, build in builders.items()]
        for side in opened:
            stack.callback(side.close)
        yield opened


def _serve(pipe: Connection, build: Builder) -> None:
    """Answer until the other end closes; a failure is answered too, and ends the process."""
    with contextlib.suppress(EOFError, BrokenPipeError):
        work: Work | None = None
        question = pipe.recv()
        while True:
            try:
                if question is None:
                    question = work = work or build()
                answer = question()
            except Exception as error:
                pipe.send((False, one_line(error) or type(error).__name__))
                if not isinstance(error, UserError):
                    raise
                return
            pipe.send((True, answer))
            question = pipe.recv()


def timed(step: Callable[[], object], device: str) -> Work:
    """Makes a turn of a step: it gives the seconds that one step takes, the device waited for."""
    repeats = 1

    def turn() -> float:
        nonlocal repeats
        synchronise(device)
        start = time.perf_counter()
        for _ in range(repeats):
            step()
        synchronise(device)
        seconds = (time.perf_counter() - start) / repeats
        repeats = max(1, round(SHORTEST_TURN_S / seconds))
        return seconds

    return turn


def synchronise(device: str) -> None:
    """Wait for all that the device was asked for."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def reset_peak(device: str) -> None:
    """Forget the most memory that was in use, where the system can."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_gb(device: str) -> float:
    """Gigabytes: the most that tensors took on CUDA, else the process's resident peak."""
    return memory_used(torch.device(device)) or 0.0
