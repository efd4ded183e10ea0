from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tests
from ganstyle.tracking import apart
from ganstyle.tracking.apart import Apart, Lost, Refused


class Counter:
    """What is served in the tests; it lives in the other process."""

    def __init__(self) -> None:
        self.total = 0
        self.folder: Path | None = None

    def add(self, number: int) -> int:
        self.total += number
        return self.total

    def fail(self, kind: type[Exception]) -> None:
        raise kind("it broke\nin two lines")

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def shout(self) -> str:
        sys.stdout.write("to standard output\n")
        subprocess.run([sys.executable, "-c", "print('of a child')"], check=True)
        return sys.stdin.read()

    def watch(self, folder: Path) -> tuple[str, int]:
        self.folder = folder
        return os.environ["COLOUR"], os.getpid()

    def end(self) -> None:
        os._exit(3)

    def orphaned(self) -> None:
        if self.folder is not None:
            (self.folder / "orphaned").write_text(str(self.total))


def refuse() -> Counter:
    raise ValueError("cannot be built")


@pytest.fixture
def started() -> Iterator[Callable[..., Apart]]:
    made: list[Apart] = []

    def start(build: Callable[[], Any] = Counter) -> Apart:
        made.append(Apart(build, os.environ | {"COLOUR": "green"}))
        return made[-1]

    yield start
    for each in made:
        each.kill()


def ask(process: Apart, function: Callable[..., Any], *arguments: Any) -> Any:
    return process.ask(function, *arguments, timeout_s=30)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def until(done: Callable[[], bool]) -> bool:
    end = time.monotonic() + 20
    while not done() and time.monotonic() < end:
        time.sleep(0.02)
    return done()


def test_an_object_lives_there_and_answers(started: Callable[..., Apart], tmp_path: Path) -> None:
    process = started()
    assert [ask(process, Counter.add, number) for number in (1, 2, 3)] == [1, 3, 6]
    colour, pid = ask(process, Counter.watch, tmp_path)
    assert (colour, pid) == ("green", process.pid)
    assert pid != os.getpid()
    process.close()
    assert not alive(pid)
    assert (tmp_path / "orphaned").read_text() == "6"
    with pytest.raises(Lost):
        ask(process, Counter.add, 1)
    process.close()


def test_closing_does_not_wait_for_others_who_hold_the_pipe(started: Callable[..., Apart]) -> None:
    """As workers do that were forked after it was started."""
    process = started()
    ask(process, Counter.add, 1)
    held = os.dup(process._pipe.fileno())
    began = time.monotonic()
    process.close()
    os.close(held)
    assert time.monotonic() - began < apart.ENDING_S / 2


def test_what_it_prints_disturbs_nobody(started: Callable[..., Apart], capfd: pytest.CaptureFixture[str]) -> None:
    process = started()
    assert ask(process, Counter.shout) == ""
    assert ask(process, Counter.add, 1) == 1
    process.close()
    assert capfd.readouterr() == ("", "")


def test_a_failure_is_told_and_the_next_call_works(started: Callable[..., Apart]) -> None:
    process = started()
    with pytest.raises(Refused, match=r"^it broke in two lines$"):
        ask(process, Counter.fail, ValueError)
    assert ask(process, Counter.add, 1) == 1
    with pytest.raises(Lost, match=r"^it broke in two lines$"):  # what it works with is gone
        ask(process, Counter.fail, ConnectionResetError)


@pytest.mark.parametrize("build", [refuse, Counter])
def test_a_process_that_dies_is_lost(started: Callable[..., Apart], build: Callable[[], Any]) -> None:
    process = started(build)
    for _ in range(2):
        with pytest.raises(Lost, match="its process has ended"):
            ask(process, Counter.end)


def test_a_process_that_hangs_is_lost_and_killed(started: Callable[..., Apart]) -> None:
    process = started()
    ask(process, Counter.add, 1)
    began = time.monotonic()
    with pytest.raises(Lost, match="it did not answer for 0 s"):
        process.ask(Counter.sleep, 60, timeout_s=0.2)
    assert time.monotonic() - began < 10
    assert not alive(process.pid)


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="this system cannot stop a process")
def test_a_process_that_is_stopped_is_ended(started: Callable[..., Apart], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "ENDING_S", 0.2)
    process = started()
    ask(process, Counter.add, 1)
    os.kill(process.pid, signal.SIGSTOP)
    process.close()
    assert until(lambda: not alive(process.pid))


@pytest.mark.skipif(not hasattr(os, "register_at_fork"), reason="this system does not fork")
def test_nobody_forks_while_a_process_is_started() -> None:
    """A worker that is forked in that moment would hold the new pipes open."""
    code = (
        "import os, subprocess, threading, time\n"
        "from ganstyle.tracking import apart\n"
        "events, begun, real = [], threading.Event(), subprocess.Popen\n"
        "def slow(command, **options):\n"
        "    begun.set()\n"
        "    time.sleep(0.3)\n"
        "    events.append('started')\n"
        "    return real(command, **options)\n"
        "apart.subprocess.Popen = slow\n"
        "thread = threading.Thread(target=lambda: apart.start_process(['true']).wait())\n"
        "thread.start()\n"
        "begun.wait()\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    os._exit(0 if apart._forking.acquire(timeout=5) else 1)\n"
        "events.append('forked')\n"
        "thread.join()\n"
        "assert os.waitpid(pid, 0)[1] == 0, 'the fork cannot start anything'\n"
        "assert events == ['started', 'forked'], events\n"
    )
    root = Path(tests.__file__).resolve().parents[1]
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True, timeout=60)


PARENT = """
import os, sys, time
from pathlib import Path
from ganstyle.tracking.apart import Apart
from tests.tracking.test_apart import Counter
process = Apart(Counter, os.environ | {"COLOUR": "red"})
process.ask(Counter.add, 5, timeout_s=30)
process.ask(Counter.watch, Path(sys.argv[1]), timeout_s=30)
print(process.pid, flush=True)
"""


def parent(tmp_path: Path, end: str) -> subprocess.CompletedProcess[str]:
    root = Path(tests.__file__).resolve().parents[1]
    command = [sys.executable, "-W", "error", "-c", PARENT + end, str(tmp_path)]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=False)


def test_a_parent_that_is_killed_leaves_a_process_that_ends_well(tmp_path: Path) -> None:
    ended = parent(tmp_path, "os.kill(os.getpid(), 9)")
    assert ended.returncode == -9, ended.stderr
    assert until((tmp_path / "orphaned").is_file)
    assert until(lambda: not alive(int(ended.stdout)))
    assert (tmp_path / "orphaned").read_text() == "5"


def test_a_parent_that_ends_while_it_hangs_takes_it_along_and_says_nothing(tmp_path: Path) -> None:
    end = (
        "import threading\n"
        "hang = lambda: process.ask(Counter.sleep, 60, timeout_s=60)\n"
        "threading.Thread(target=hang, daemon=True).start()\n"
        "time.sleep(0.3)\n"
    )
    began = time.monotonic()
    ended = parent(tmp_path, end)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert time.monotonic() - began < 30
    assert not alive(int(ended.stdout))
