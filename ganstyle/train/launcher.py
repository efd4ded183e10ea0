"""Starts one process for each device of this machine, passes signals on, and tells how they ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

import torch

from ganstyle.base.errors import LAUNCHER, RunFailed, ToldElsewhere
from ganstyle.train.ranks import LOST
from ganstyle.train.stop import StopRequest

POLL_S = 0.1
# After one rank has ended the others find out by themselves; those that wait for a device may not.
PATIENCE_S = 30.0


def launch(count: int, arguments: Sequence[str], *, stop: StopRequest) -> None:
    """Run `ganstyle` with these arguments in `count` processes that train together, until all have ended.

    A signal that `stop` notes is passed on: the ranks finish their step and save. What interrupts this function, such
    as a second Ctrl-C, ends them at once.

    Raises:
        RunFailed: a rank was killed; the others have been stopped.
        ToldElsewhere: a rank ended by itself and has said why.
    """
    environment = _environment(count)
    command = [sys.executable, "-m", "ganstyle", *arguments]
    processes = [
        # Sessions of their own: a terminal's Ctrl-C reaches them once, through this process.
        subprocess.Popen(
            command, env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)}, start_new_session=True
        )
        for rank in range(count)
    ]
    try:
        _wait(processes, stop)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _wait(processes: Sequence[subprocess.Popen], stop: StopRequest) -> None:
    passed_on = False
    ended: dict[int, int] = {}  # rank -> exit code, in the order of ending
    deadline = float("inf")
    while len(ended) < len(processes) and time.monotonic() < deadline:
        if stop.signal is not None and not passed_on:
            passed_on = True
            for process in processes:
                process.terminate()
        for rank, process in enumerate(processes):
            if rank not in ended and process.poll() is not None:
                ended[rank] = process.returncode
                if process.returncode and not passed_on:
                    deadline = min(deadline, time.monotonic() + PATIENCE_S)
        time.sleep(POLL_S)
    failures = {rank: code for rank, code in ended.items() if code != 0}
    if failures and not passed_on:
        raise _told(failures, {rank: process.pid for rank, process in enumerate(processes)})


def _told(failures: Mapping[int, int], pids: Mapping[int, int]) -> RunFailed:
    """What to say of the exit codes by rank, in the order of ending; below 0 they are signals."""
    causes = [(rank, code) for rank, code in failures.items() if code != LOST]
    if not causes:
        return RunFailed("the processes lost contact with each other")
    rank, code = causes[0]
    if code > 0:
        return ToldElsewhere(code)
    return RunFailed(f"rank {rank} (process {pids[rank]}) was killed by {signal.Signals(-code).name}")


def _environment(count: int) -> dict[str, str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, torch.get_num_threads() // count)))
    return {
        **os.environ,
        LAUNCHER: str(os.getpid()),
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": threads,
    }
