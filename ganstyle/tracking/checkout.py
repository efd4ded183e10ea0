"""Which state of ganstyle's own code runs: the commit, and whether anything was changed since."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import ganstyle
from ganstyle.tracking.apart import start_process

MOST_S = 10.0


def checkout_facts(package: Path | None = None) -> dict[str, str | bool]:
    """`commit` and `changed` where the package is tracked by git, else nothing.

    An installed package may lie in the environment of a project of its user's, whose commits are nobody's business.
    """
    package = package or Path(ganstyle.__file__).parent
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return {}
    commit, changes = _git(package, "rev-parse", "HEAD"), _git(package, "status", "--porcelain", "-uno")
    if commit is None or changes is None:
        return {}
    return {"commit": commit.strip(), "changed": bool(changes.strip())}


def _git(folder: Path, *words: str) -> str | None:
    """What git prints; None where there is no git, it fails or takes too long. Nothing is written or asked."""
    command = ["git", "-C", str(folder), "-c", "core.fsmonitor=false", *words]
    environment = os.environ | {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    try:
        process = start_process(command, env=environment, **pipes)
    except OSError:
        return None
    try:
        printed, _ = process.communicate(timeout=MOST_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return None
    return printed.decode(errors="replace") if process.returncode == 0 else None
