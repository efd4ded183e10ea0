"""Image files for the tests; kinds that no library here writes are built byte by byte from their specifications."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

# Columns are the primaries' XYZ under D50, as ICC profiles hold them.
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
ADOBE_RGB = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])
ADOBE_GAMMA = 563 / 256
D50 = np.array([0.9642, 1.0, 0.8249])


def smooth(height: int = 24, width: int = 32) -> np.ndarray:
    """A picture that every lossy format keeps well."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([columns * 200 // width, rows * 200 // height, 255 - columns * 100 // width], -1).astype(np.uint8)


def saved(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def tiff(
    values: np.ndarray, *, photometric: int, bits: int | None = None, extra: Sequence[int] = (), **tags: int
) -> bytes:
    """An uncompressed little-endian TIFF of (H, W, C) values in their own type; tags by number as `t274=6`."""
    height, width, channels = values.shape
    data = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
    bits = bits or values.dtype.itemsize * 8
    sample_format = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    fields: dict[int, tuple[str, list[int]]] = {
        256: ("I", [width]),
        257: ("I", [height]),
        258: ("H", [bits] * channels),
        259: ("H", [1]),
        262: ("H", [photometric]),
        273: ("I", [0]),
        277: ("H", [channels]),
        278: ("I", [height]),
        279: ("I", [len(data)]),
        339: ("H", [sample_format] * channels),
    }
    if extra:
        fields[338] = ("H", list(extra))
    fields |= {int(name[1:]): ("H", [value]) for name, value in tags.items()}
    start = 8 + 2 + 12 * len(fields) + 4
    longer = sum(len(numbers) * struct.calcsize(kind) for kind, numbers in fields.values() if _is_long(kind, numbers))
    fields[273] = ("I", [start + longer])
    entries, outside = b"", b""
    for number, (kind, numbers) in sorted(fields.items()):
        packed = struct.pack(f"<{len(numbers)}{kind}", *numbers)
        place = struct.pack("<I", start + len(outside)) if _is_long(kind, numbers) else packed.ljust(4, b"\0")
        outside += packed if _is_long(kind, numbers) else b""
        entries += struct.pack("<HHI", number, {"H": 3, "I": 4}[kind], len(numbers)) + place
    return b"II*\0" + struct.pack("<IH", 8, len(fields)) + entries + bytes(4) + outside + data


def _is_long(kind: str, numbers: list[int]) -> bool:
    return len(numbers) * struct.calcsize(kind) > 4


def rgb_profile(primaries: np.ndarray, gamma: float) -> bytes:
    """A matrix and gamma ICC profile (version 2)."""
    tags = {name: _xyz(primaries[:, column]) for column, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    tags |= {name: _curve(gamma) for name in (b"rTRC", b"gTRC", b"bTRC")}
    return _profile(b"mntr", b"RGB ", b"XYZ ", tags | {b"wtpt": _xyz(D50)})


def grey_profile(gamma: float) -> bytes:
    return _profile(b"mntr", b"GRAY", b"XYZ ", {b"wtpt": _xyz(D50), b"kTRC": _curve(gamma)})


def cmyk_profile(cyan_lab: Sequence[float]) -> bytes:
    """A printer of which full cyan is this CIELAB colour, any black is black, and everything else is white."""
    grid = np.zeros((2, 2, 2, 2, 3))
    grid[..., 0, 0] = 100
    grid[1, 0, 0, 0] = cyan_lab
    encoded = np.stack([grid[..., 0] * 2.55, grid[..., 1] + 128, grid[..., 2] + 128], axis=-1)
    table = np.arange(256, dtype=np.uint8).tobytes()
    identity = struct.pack(">9i", *(65536 if i % 4 == 0 else 0 for i in range(9)))
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity
    lut += table * 4 + np.rint(encoded).astype(np.uint8).tobytes() + table * 3
    return _profile(b"prtr", b"CMYK", b"Lab ", {b"wtpt": _xyz(D50), b"A2B0": lut, b"A2B1": lut})


def lab_to_srgb(lab: Sequence[float]) -> np.ndarray:
    """CIELAB (D50) to sRGB 0..255 by the textbook."""
    fy = (lab[0] + 16) / 116
    ratios = np.array([fy + lab[1] / 500, fy, fy - lab[2] / 200])
    xyz = D50 * np.where(ratios > 6 / 29, ratios**3, 3 * (6 / 29) ** 2 * (ratios - 4 / 29))
    return srgb_levels(np.linalg.solve(SRGB, xyz))


def srgb_levels(linear: np.ndarray) -> np.ndarray:
    linear = np.clip(linear, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _xyz(values: np.ndarray) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in values))


def _curve(gamma: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)


def _profile(kind: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    tags = tags | {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78 + 3),
        b"cprt": b"text" + bytes(4) + b"none\0\0\0\0",
    }
    tags = {name: data + bytes(-len(data) % 4) for name, data in tags.items()}
    offset, index, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        index += name + struct.pack(">II", offset + len(body), len(data))
        body += data
    header = struct.pack(">I4sI4s4s4s12x4s", offset + len(body), b"lcms", 0x02400000, kind, space, connection, b"acsp")
    header += bytes(28) + struct.pack(">3i", *(round(value * 65536) for value in D50))
    return header.ljust(128, b"\0") + index + body
