"""What every test shares: the ``--slow`` option, the reasons for skipping, and a cache of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", default=False, help="also run the tests marked slow")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    without_slow = pytest.mark.skip(reason="slow: run with --slow")
    without_cuda = pytest.mark.skip(reason="needs a CUDA device, and none is here")
    for item in items:
        if "slow" in item.keywords and not config.getoption("--slow"):
            item.add_marker(without_slow)
        if "gpu" in item.keywords and not torch.cuda.is_available():
            item.add_marker(without_cuda)


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or fills the cache of whoever runs it; returns the folder used instead."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("GANSTYLE_CACHE", str(folder))
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A running Chromium; tests that need it are skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium is installed")
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield running
        running.close()
