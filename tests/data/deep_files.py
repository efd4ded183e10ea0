"""Pictures of 16 bits a channel for the tests, and TIFF files of all kinds, built from the specification."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
import pytest

from ganstyle.data.deep import Deep, read_deep
from ganstyle.data.pixels import Unreadable


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 65536, shape, dtype=np.uint16)


def read(data: bytes) -> Deep:
    found = read_deep(BytesIO(data))
    assert found is not None
    for array in (found.values, found.alpha):
        assert array is None or (array.dtype == np.uint16 and array.flags.c_contiguous and array.flags.writeable)
    return found


def refusal(data: bytes) -> str:
    with pytest.raises(Unreadable) as caught:
        read_deep(BytesIO(data))
    text = str(caught.value)
    assert "\n" not in text
    return text


def same(found: Deep, values: np.ndarray, alpha: np.ndarray | None = None) -> bool:
    if found.alpha is None or alpha is None:
        return found.alpha is alpha and np.array_equal(found.values, values)
    return np.array_equal(found.values, values) and np.array_equal(found.alpha, alpha)


def parts(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """(H, W, 1..4) as values and alpha."""
    values = pixels[..., 0] if pixels.shape[2] < 3 else pixels[..., :3]
    return values, pixels[..., -1] if pixels.shape[2] in (2, 4) else None


def tiff_file(
    pixels: np.ndarray,
    *,
    order: str = "<",
    big: bool = False,
    separate: bool = False,
    pack: Any = bytes,
    **options: Any,
) -> bytes:
    """(H, W, C) values in strips of 4 rows, or in `tile`s of (height, width); `pack` makes bytes of such a piece."""
    height, width, channels = pixels.shape
    rows, columns = tile = options.pop("tile", (4, width))
    tiled = tile != (4, width)
    planes = [pixels[..., i : i + 1] for i in range(channels)] if separate else [pixels]
    pieces = []
    for plane in planes:
        for top in range(0, height, rows):
            for left in range(0, width, columns):
                piece = plane[top : top + rows, left : left + columns]
                if tiled:
                    piece = np.pad(piece, [(0, rows - len(piece)), (0, columns - piece.shape[1]), (0, 0)])
                pieces.append(pack(piece.astype(f"{order}u2")))
    fields: dict[int, tuple[str, Sequence[int]]] = {
        256: ("I", [width]),
        257: ("I", [height]),
        258: ("H", [16] * channels),
        259: ("H", [options.pop("compression", 1)]),
        262: ("H", [options.pop("photometric", 2 if channels > 2 else 1)]),
        277: ("H", [channels]),
        284: ("H", [2 if separate else 1]),
        317: ("H", [options.pop("predictor", 1)]),
        (324 if tiled else 273): ("I", [0] * len(pieces)),
        (325 if tiled else 279): ("I", [len(piece) for piece in pieces]),
    }
    fields |= {322: ("I", [columns]), 323: ("I", [rows])} if tiled else {278: ("I", [rows])}
    if "extra" in options:
        fields[338] = ("H", [options.pop("extra")])
    assert not options
    return _assembled(fields, pieces, order, big)


def _assembled(fields: dict[int, tuple[str, Sequence[int]]], pieces: list[bytes], order: str, big: bool) -> bytes:
    pointer, counter, header, entry = ("Q", "Q", 16, 20) if big else ("I", "H", 8, 12)
    outside = header + struct.calcsize(order + counter) + entry * len(fields) + struct.calcsize(order + pointer)
    body, entries, fits = b"", b"", struct.calcsize(order + pointer)

    def size(field: tuple[str, Sequence[int]]) -> int:
        length = struct.calcsize(f"{order}{len(field[1])}{field[0]}")
        return 0 if length <= fits else length

    start = outside + sum(map(size, fields.values()))
    offsets = next(number for number in (273, 324) if number in fields)
    fields[offsets] = ("I", [start + sum(map(len, pieces[:i])) for i in range(len(pieces))])
    for number, field in sorted(fields.items()):
        packed = struct.pack(f"{order}{len(field[1])}{field[0]}", *field[1])
        place = struct.pack(order + pointer, outside + len(body)) if size(field) else packed.ljust(fits, b"\0")
        body += packed if size(field) else b""
        entries += struct.pack(f"{order}HH{pointer}", number, {"H": 3, "I": 4}[field[0]], len(field[1])) + place
    mark = b"II" if order == "<" else b"MM"
    mark += struct.pack(f"{order}HHHQ", 43, 8, 0, 16) if big else struct.pack(f"{order}HI", 42, 8)
    directory = struct.pack(order + counter, len(fields)) + entries + bytes(fits)
    return mark + directory + body + b"".join(pieces)
