"""The machine's memory, and the advice where it does not suffice; no torch."""

from __future__ import annotations

from pathlib import Path

MEMORY_ADVICE = "make the image smaller or use a machine with more memory"


def free_host_memory() -> int | None:
    """Bytes of memory that can still be taken; None where the system does not say."""
    meminfo = Path("/proc/meminfo")
    if not meminfo.is_file():
        return None
    lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in lines else None
