"""An object in a process of its own: it may hang, die or print as it likes, and is ended when it does not answer."""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO, Protocol, cast

from ganstyle.base.errors import one_line

# The other process finds modules where this one does, whatever the folder that it starts in.
BOOT = (
    "import os, pickle, sys; messages = os.fdopen(os.dup(0), 'rb'); sys.path[:] = pickle.load(messages); "
    "from ganstyle.tracking.apart import answer; answer(messages)"
)
ENDING_S = 10.0  # from the last answer to the end of the process
ORPHAN_S = 90.0  # what the object may take to end by itself once nobody asks any more


_leaving = threading.Event()
_forking = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_forking.acquire, after_in_parent=_forking.release, after_in_child=_forking.release)


class Refused(Exception):
    """The object raised: the call did nothing, the next one may work."""


class Lost(Exception):
    """The process died, or did not answer in time and was killed, or the object lost what it works with."""


class Served(Protocol):
    """What the object must have."""

    def orphaned(self) -> None:
        """Nobody asks any more, without a word of farewell: end."""


def start_process(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """A process that is started while nobody forks.

    A loader's worker that is forked in that moment by another thread would keep the new pipes open for as long as it
    lives, and whoever reads from them would wait for it.
    """
    with _forking:
        return subprocess.Popen(command, **options)


class Apart:
    """Starts the process, which builds the object; then calls functions of it there.

    Args:
        build: makes the object; importable by its name, as all functions that are asked for.
        environment: the environment variables of the process.
    """

    def __init__(self, build: Callable[[], Served], environment: Mapping[str, str]) -> None:
        # Its own session: Ctrl-C is for this process, which then says how the other one ends.
        options: dict[str, Any] = {"start_new_session": True}
        if os.name == "nt":
            options = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}  # type: ignore[attr-defined]
        self._process = start_process(
            [sys.executable, "-c", BOOT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(environment),
            **options,
        )
        atexit.register(self._leave)
        self._answers: queue.SimpleQueue[tuple[type[Exception] | None, Any]] = queue.SimpleQueue()
        threading.Thread(target=self._listen, name="answers", daemon=True).start()
        self._send(sys.path)
        self._send(build)

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def ask(self, function: Callable[..., Any], *arguments: Any, timeout_s: float) -> Any:
        """What `function(object, *arguments)` gives there.

        Raises:
            Refused: the function raised.
            Lost: there will be no more answers.
        """
        self._send((function, arguments))
        try:
            failure, value = self._answers.get(timeout=timeout_s)
        except queue.Empty:
            self.kill()
            raise Lost(f"it did not answer for {timeout_s:.0f} s") from None
        if failure is not None:
            if _leaving.is_set():
                raise SystemExit  # this thread's only: the whole program ends, and there is nobody to tell
            if failure is Lost:
                self._answers.put((failure, value))  # for whoever asks again
            raise failure(value)
        return value

    def close(self) -> None:
        """Let the process end, and end it where it does not."""
        # In words: the pipe's end is not noticed while workers that were forked meanwhile still hold it.
        with contextlib.suppress(Lost):
            self._send(None)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(ENDING_S)
        self.kill()

    def kill(self) -> None:
        """End the process now."""
        atexit.unregister(self._leave)
        with contextlib.suppress(OSError):
            self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(ENDING_S)
        with contextlib.suppress(OSError, ValueError):
            self._pipe.close()

    def _leave(self) -> None:
        """This program ends, and nobody has closed the other process: it hangs, or there was no time."""
        _leaving.set()
        self.kill()

    @property
    def _pipe(self) -> BinaryIO:
        assert self._process.stdin is not None
        return cast(BinaryIO, self._process.stdin)

    def _send(self, message: Any) -> None:
        data = pickle.dumps(message)  # first: half a message would spoil all that follow
        try:
            self._pipe.write(data)
            self._pipe.flush()
        except (OSError, ValueError):
            raise Lost("its process has ended") from None

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as pipe, contextlib.suppress(EOFError, OSError, pickle.UnpicklingError):
            while True:
                self._answers.put(pickle.load(pipe))
        self._answers.put((Lost, "its process has ended"))


def answer(messages: BinaryIO) -> None:
    """The other process: answer until nobody asks any more."""
    answers = _answers()
    target: Served = pickle.load(messages)()
    asked: queue.SimpleQueue[tuple[Callable[..., Any], tuple] | None] = queue.SimpleQueue()
    threading.Thread(target=_hear, args=(messages, asked), daemon=True).start()
    while (message := asked.get()) is not None:
        function, arguments = message
        answers.write(pickle.dumps(_called(function, target, arguments)))
        answers.flush()
    with contextlib.suppress(Exception):
        target.orphaned()


def _called(function: Callable[..., Any], target: Served, arguments: tuple) -> tuple[type[Exception] | None, Any]:
    try:
        return None, function(target, *arguments)
    except ConnectionError as error:
        return Lost, one_line(error)
    except Exception as error:
        return Refused, one_line(error)


def _hear(messages: BinaryIO, asked: queue.SimpleQueue) -> None:
    """Take messages as they come, so that the end of the other side is noticed even while the object hangs."""
    with contextlib.suppress(EOFError, OSError, pickle.UnpicklingError):
        while True:
            asked.put(pickle.load(messages))
    asked.put(None)
    time.sleep(ORPHAN_S)
    os._exit(1)


def _answers() -> BinaryIO:
    """Standard output for answers alone; what else is read or printed, here or by children, is nothing."""
    answers = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    return answers
