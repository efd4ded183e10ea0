from __future__ import annotations

from pathlib import Path

import pytest

from ganstyle.translate import memory
from ganstyle.translate.memory import free_host_memory


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One with 64 GB available, and no control groups yet."""
    for name in ("MEMINFO", "OWN_GROUPS", "GROUPS"):
        monkeypatch.setattr(memory, name, tmp_path / name)
    (tmp_path / "MEMINFO").write_text("MemTotal: 100000000 kB\nMemAvailable:   64000000 kB\n")
    return tmp_path


def group(folder: Path, names: tuple[str, str, str], *, limit: str, used: int, reclaimable: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {reclaimable}\n")


def test_what_the_machine_has(machine: Path) -> None:
    assert free_host_memory() == 64_000_000 * 1024
    (machine / "MEMINFO").unlink()
    assert free_host_memory() is None


@pytest.mark.parametrize(("version", "line"), [(0, "0::/job/step"), (1, "9:cpu,memory:/job/step")])
def test_a_container_or_a_job_has_less(machine: Path, version: int, line: str) -> None:
    root = machine / "GROUPS" / ("memory" if version else "")
    names = memory.GROUP_FILES[version]
    (machine / "OWN_GROUPS").write_text(f"3:devices:/elsewhere\n{line}\n")
    group(root / "job/step", names, limit="max", used=10, reclaimable=0)
    group(root / "job", names, limit="16000000000", used=5_000_000_000, reclaimable=1_000_000_000)
    assert free_host_memory() == 12_000_000_000
    group(root / "job", names, limit="1000", used=5000, reclaimable=0)
    assert free_host_memory() == 0


def test_the_root_group_is_asked(machine: Path) -> None:
    (machine / "OWN_GROUPS").write_text("0::/\n")
    group(machine / "GROUPS", memory.GROUP_FILES[0], limit="3000", used=1000, reclaimable=0)
    assert free_host_memory() == 2000


def test_this_machine() -> None:
    free = free_host_memory()
    assert free is None or free > 0
