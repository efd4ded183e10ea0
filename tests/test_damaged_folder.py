"""A folder of 2,000 damaged and hostile files beside good ones, translated by the command itself."""

from __future__ import annotations

import json
import random
import re
import shutil
import struct
import subprocess
import time
import zlib
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganstyle.data.images import encode_image, read_image
from tests import tiny
from tests.data.image_files import smooth, tiff

DAMAGED, GOOD = 2000, 60
LONGEST_S = 10.0  # that one file may take
MOST_BYTES = 2 * 2**30


def saved(format: str, **options: object) -> bytes:
    buffer = BytesIO()
    Image.fromarray(smooth()).save(buffer, format=format, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


@cache
def originals() -> dict[str, bytes]:
    """Good files of every kind, by suffix and kind."""
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = "a picture", 6
    found = {
        "plain.jpg": saved("jpeg", exif=exif.tobytes(), xmp=b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>", dpi=(72, 72)),
        "progressive.jpg": saved("jpeg", progressive=True, quality=60),
        "plain.png": saved("png", exif=exif.tobytes(), dpi=(72, 72)),
        "plain.webp": saved("webp", exif=exif.tobytes()),
        "lossless.webp": saved("webp", lossless=True),
        "plain.tif": saved("tiff", compression="tiff_lzw"),
        "deflate.tif": saved("tiff", compression="tiff_adobe_deflate"),
        "deep.tif": tiff(smooth().astype(np.uint16) * 257, photometric=2),
        "plain.bmp": saved("bmp"),
        "plain.gif": saved("gif"),
        "plain.avif": saved("avif"),
    }
    grey = BytesIO()
    Image.fromarray(smooth()[..., 0].astype(np.uint16) * 257).save(grey, format="png")
    if find_spec("pillow_heif"):
        found["plain.heic"] = encode_image(smooth(), "heic")
    return {**found, "deep.png": grey.getvalue()}


def truncated(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.randrange(len(data))]


def flipped(data: bytes, draw: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.choice((1, 2, 8, 64))):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def flipped_header(data: bytes, draw: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.choice((1, 2, 4))):
        changed[draw.randrange(min(len(changed), 64))] = draw.randrange(256)
    return bytes(changed)


def other_header(data: bytes, draw: random.Random) -> bytes:
    other, length = draw.choice(list(originals().values())), draw.choice((4, 16, 64))
    return other[:length] + data[length:]


def wrong_end(data: bytes, draw: random.Random) -> bytes:
    return data[: len(data) // 2] + draw.randbytes(len(data) // 2)


def longer(data: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(data))
    return data[:place] + draw.randbytes(draw.choice((1, 100, 70_000))) + data[place:]


def huge_number(data: bytes, draw: random.Random) -> bytes:
    """Lengths and sizes that cannot be, somewhere near the start."""
    place = draw.randrange(4, min(len(data) - 4, 200))
    return (
        data[:place] + draw.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x00")) + data[place + 4 :]
    )


MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    truncated, flipped, flipped_header, other_header, wrong_end, longer, huge_number,
)  # fmt: skip


def png_of(width: int, height: int, rows: int) -> bytes:
    """A PNG that says it is so large, with so many rows of zeros in it."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(bytes(3 * width + 1)) for _ in range(rows)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def bombs() -> dict[str, bytes]:
    """Small files that would become very large."""
    text = b"\0" * 50_000_000
    flooded = png_of(8, 8, 8)
    packed = zlib.compress(text, 9)
    content = b"Comment\0\0" + packed
    chunk = struct.pack(">I", len(content)) + b"zTXt" + content + struct.pack(">I", zlib.crc32(b"zTXt" + content))
    return {
        "pixels.png": png_of(100_000, 100_000, 4),
        "wide.png": png_of(2**31 - 1, 1, 0),
        "cut.png": png_of(12_000, 12_000, 10)[:-30],
        "text.png": flooded[:33] + chunk * 4 + flooded[33:],
        "sizes.gif": b"GIF89a" + struct.pack("<HH", 65535, 65535) + bytes(20),
        "sizes.bmp": b"BM" + bytes(12) + struct.pack("<IiiHHI", 40, 2**30, 2**30, 1, 24, 0) + bytes(30),
    }


def readable(path: Path) -> bool:
    try:
        read_image(path)
    except Exception:  # whatever it is, it is not readable
        return False
    return True


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny.train(folder)
    ended = tiny.ganstyle("export", folder / "run", folder / "tiny.safetensors")
    assert ended.code == 0, ended.err
    return folder / "tiny.safetensors"


def fill(folder: Path) -> list[str]:
    """Damaged files of fixed seeds, bombs, and good ones between them, whose names are given back."""
    folder.mkdir()
    kinds = list(originals().items())
    for number in range(DAMAGED):
        draw = random.Random(number)
        name, data = kinds[number % len(kinds)]
        mutate = MUTATIONS[(number // len(kinds)) % len(MUTATIONS)]
        (folder / f"{number:04d}-{mutate.__name__}-{name}").write_bytes(mutate(data, draw))
    for name, data in bombs().items():
        (folder / f"bomb-{name}").write_bytes(data)
    good = []
    for number in range(GOOD):
        name, data = kinds[number % len(kinds)]
        good.append(f"{number * DAMAGED // GOOD:04d}-good-{name}")
        (folder / good[-1]).write_bytes(data)
    return good


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_damaged_files_stop_nothing(model: Path, tmp_path: Path) -> None:
    good = fill(tmp_path / "photos")
    words = ["translate", tmp_path / "photos", tmp_path / "out", "--model", model, "--device", "cpu"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            tiny.command([str(word) for word in words]),
            env=tiny.environment(tmp_path / "cache"),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        longest, most = watch(process, tmp_path / "out" / "ganstyle-ledger.jsonl")
    said = (tmp_path / "log").read_text(encoding="utf-8")
    assert process.returncode == 1, said[-2000:]  # some failed
    assert "Traceback" not in said
    assert "Warning" not in said
    assert longest < LONGEST_S
    assert 0 < most < MOST_BYTES
    rows = ledger_rows(tmp_path / "out" / "ganstyle-ledger.jsonl")
    assert len(rows) == DAMAGED + GOOD + len(bombs())
    done = {name for name, row in rows.items() if row["status"] == "done"}
    assert done >= set(good)
    assert len(done) < DAMAGED  # many are damaged beyond reading
    assert all(readable(tmp_path / "out" / name) for name in done)
    assert all("\n" not in row["reason"] and row["reason"] for row in rows.values() if row["status"] == "failed")
    there = {path.name for path in (tmp_path / "out").iterdir()}
    assert there == {*done, "ganstyle-ledger.jsonl"}  # nothing half written
    shutil.rmtree(tmp_path / "out")


def watch(process: subprocess.Popen[bytes], ledger: Path) -> tuple[float, int]:
    """Until the process ends: the longest time in seconds between two lines of the ledger, and its memory's peak."""
    longest, most, size, since = 0.0, 0, -1, time.monotonic()
    while process.poll() is None:
        time.sleep(0.2)
        most = max(most, peak_bytes(process.pid))
        now = ledger.stat().st_size if ledger.is_file() else -1
        if now != size:
            longest, size, since = max(longest, time.monotonic() - since if size > 0 else 0.0), now, time.monotonic()
    return longest, most


def peak_bytes(pid: int) -> int:
    """The most memory a process had, as Linux tells; `ru_maxrss` counts what the process that started it had, too."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) * 1024 if found else 0  # one that has ended tells of none


def ledger_rows(path: Path) -> dict[str, dict[str, str]]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {row["file"]: row for row in rows if "file" in row}
