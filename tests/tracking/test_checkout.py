from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from ganstyle.tracking import checkout
from ganstyle.tracking.checkout import checkout_facts

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not here")


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=someone", "-c", "user.email=someone@example.org"]
    command = ["git", "-C", str(folder), *identity, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package in a repository."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    folder = tmp_path / "project" / "ganstyle"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    git(tmp_path / "project", "init")
    return folder


def test_the_commit_and_whether_anything_was_changed(package: Path) -> None:
    git(package, "add", ".")
    git(package, "commit", "-m", "first")
    commit = git(package, "rev-parse", "HEAD")
    assert checkout_facts(package) == {"commit": commit, "changed": False}
    (package / "notes.txt").touch()  # not part of the project
    assert checkout_facts(package) == {"commit": commit, "changed": False}
    (package / "__init__.py").write_text("1")
    assert checkout_facts(package) == {"commit": commit, "changed": True}


def test_the_commits_of_somebody_else_are_nobody_s_business(package: Path) -> None:
    (package.parent / "theirs.py").touch()
    git(package, "add", "../theirs.py")
    git(package, "commit", "-m", "a project that has an environment with ganstyle inside")
    assert checkout_facts(package) == {}


def test_without_a_commit_a_repository_or_git_there_is_nothing(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(package, "add", ".")
    assert checkout_facts(package) == {}
    assert checkout_facts(tmp_path) == {}
    monkeypatch.setenv("PATH", str(tmp_path))
    assert checkout_facts(package) == {}


def test_a_git_that_hangs_is_left(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = tmp_path / "bin" / "git"
    stand_in.parent.mkdir()
    stand_in.write_text("#!/bin/sh\nexec sleep 30\n")
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stand_in.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(checkout, "MOST_S", 0.3)
    began = time.monotonic()
    assert checkout_facts(package) == {}
    assert time.monotonic() - began < 10


def test_of_this_package_it_is_a_whole_commit_or_nothing() -> None:
    facts = checkout_facts()
    assert facts == {} or len(str(facts["commit"])) >= 40
