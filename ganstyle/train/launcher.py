"""Starts one process for each device of this machine, and tells how they ended."""

from __future__ import annotations

import logging
import os
import signal
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from ganstyle.base.errors import RunFailed, ToldElsewhere

# Set for the ranks that are started here: what ends them is told once, by this process.
LAUNCHED = "GANSTYLE_LAUNCHED"
# How long ranks may take to finish their step and save.
STOP_SECONDS = 600


def launch(count: int, arguments: Sequence[str]) -> signal.Signals | None:
    """Run `ganstyle` with these arguments in `count` processes that train together; returns the signal that ended it.

    Raises:
        RunFailed: a rank was killed; the others have been stopped.
        ToldElsewhere: a rank ended by itself and has said why.
    """
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        shutdown_timeout=STOP_SECONDS,
    )
    try:
        with _environment(count):
            elastic_launch(config, sys.executable)("-m", "ganstyle", *arguments)
    except SignalException as stopped:
        return signal.Signals(stopped.sigval)
    except ChildFailedError as failed:
        raise _told(list(failed.failures.values())) from failed
    return None


def was_launched() -> bool:
    """Whether this process is one of several that `launch` started."""
    return LAUNCHED in os.environ


def _told(failures: Sequence[ProcessFailure]) -> RunFailed:
    # The agent ends those that are left by SIGTERM, so that says nothing where another one ended otherwise.
    causes = [failure for failure in failures if failure.exitcode != -signal.SIGTERM] or failures
    killed = [failure for failure in causes if failure.exitcode < 0]
    if killed:
        first = min(killed, key=lambda failure: failure.timestamp)
        return RunFailed(f"rank {first.local_rank} (process {first.pid}) was killed by {first.signal_name()}")
    return ToldElsewhere(max(failure.exitcode for failure in causes))


@contextmanager
def _environment(count: int) -> Iterator[None]:
    """Variables for the ranks; the elastic agent's own messages are left out, for they say in many lines what we do."""
    before = dict(os.environ)
    loggers = [logging.getLogger(name) for name in ("torch.distributed.elastic", "torch.distributed.run")]
    levels = [logger.level for logger in loggers]
    os.environ[LAUNCHED] = "1"
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, torch.get_num_threads() // count)))
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
