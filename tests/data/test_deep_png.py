from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL.PngImagePlugin import putchunk

from tests.data.deep_files import noise, parts, read, refusal, same

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png(
    pixels: np.ndarray, *before: tuple[bytes, bytes], rows: list[bytes] | None = None, interlaced: int = 0
) -> bytes:
    """(H, W, C) uint16 as a PNG file, its rows unfiltered, with chunks in front of the pixels."""
    height, width, channels = pixels.shape
    file = BytesIO()
    file.write(PNG_SIGNATURE)
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    putchunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, interlaced))
    for name, data in before:
        putchunk(file, name, data)
    rows = [b"\0" + row.astype(">u2").tobytes() for row in pixels] if rows is None else rows
    putchunk(file, b"IDAT", zlib.compress(b"".join(rows)))
    putchunk(file, b"IEND", b"")
    return file.getvalue()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png(channels: int) -> None:
    pixels = noise(5, 7, channels)
    assert same(read(png(pixels)), *parts(pixels))


def test_interlaced_png() -> None:
    pixels = noise(8, 8, 3)
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    rows = [b"\0" + row.astype(">u2").tobytes() for y, x, dy, dx in passes for row in pixels[y::dy, x::dx]]
    assert same(read(png(pixels, rows=rows, interlaced=1)), pixels)


def test_transparent_colour_of_png() -> None:
    pixels = noise(5, 7, 3)
    pixels[2, 3] = pixels[4, 4] = (1000, 2000, 3000)
    pixels[1, 1] = (1000, 2000, 3001)
    expected = np.full((5, 7), 65535, np.uint16)
    expected[2, 3] = expected[4, 4] = 0
    assert same(read(png(pixels, (b"tRNS", struct.pack(">3H", 1000, 2000, 3000)))), pixels, expected)
    grey = pixels[..., :1].copy()
    expected[1, 1] = 0
    assert same(read(png(grey, (b"tRNS", struct.pack(">H", 1000)))), grey[..., 0], expected)


def test_other_chunks_of_png_change_nothing() -> None:
    pixels = noise(5, 7, 3)
    orientation = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0" + bytes(4)
    chunks = [
        (b"gAMA", struct.pack(">I", 100000)),
        (b"sBIT", bytes([12, 12, 12])),
        (b"eXIf", orientation),
        (b"bKGD", bytes(6)),
        (b"acTL", struct.pack(">II", 1, 0)),
    ]
    assert same(read(png(pixels, *chunks)), pixels)


def test_damaged_png(capfd: pytest.CaptureFixture[str]) -> None:
    pixels = noise(9, 7, 3)
    whole = png(pixels)
    assert refusal(whole[: len(whole) // 2]) == "truncated: the file ends within its pixels"
    ends = range(60, len(whole) - 20, 7)
    for end in ends:
        refusal(whole[:end])
        refusal(whole[:end] + bytes([whole[end] ^ 1]) + whole[end + 1 :])
    assert len(ends) > 30
    assert same(read(whole[:-12]), pixels)  # the end mark alone is missing
    assert capfd.readouterr() == ("", "")
    assert refusal(png(pixels, rows=[b"\0" * 43] * 4)).startswith("damaged")
