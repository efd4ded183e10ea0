"""The machine's memory, as every runtime asks for it, and the advice where it does not suffice; no torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

MEMORY_ADVICE = "make the image smaller or use a machine with more memory"

MEMINFO, OWN_GROUPS, GROUPS = Path("/proc/meminfo"), Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
# Names of a control group's files, versions 2 and 1: its limit, what it uses, and what of that can be given back.
GROUP_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def free_host_memory() -> int | None:
    """Bytes of memory that can still be taken, within the limits of a container or a job; None where no one says."""
    return min([*_machine(), *_groups()], default=None)


def _machine() -> Iterator[int]:
    if MEMINFO.is_file():
        lines = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines())
        if "MemAvailable" in lines:
            yield int(lines["MemAvailable"].split()[0]) * 1024


def _groups() -> Iterator[int]:
    """What each control group leaves to this process: its own and those above it."""
    for folder in _group_folders():
        for limit, used, reclaimable in GROUP_FILES:
            with suppress(OSError, ValueError):  # no such file, or "max"
                statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                taken = int((folder / used).read_text()) - int(statistics.get(reclaimable, 0))
                yield max(0, int((folder / limit).read_text()) - taken)


def _group_folders() -> Iterator[Path]:
    with suppress(OSError, ValueError):
        for line in OWN_GROUPS.read_text().splitlines():
            _, controllers, place = line.split(":", 2)
            if controllers and "memory" not in controllers.split(","):
                continue
            root = GROUPS / "memory" if controllers else GROUPS
            own = root / place.lstrip("/")
            yield from (folder for folder in (own, *own.parents) if folder == root or root in folder.parents)
