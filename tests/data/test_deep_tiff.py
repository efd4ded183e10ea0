from __future__ import annotations

import struct
import tracemalloc
import zlib
from contextlib import suppress
from io import BytesIO
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from ganstyle.data.deep import read_deep
from ganstyle.data.pixels import Unreadable
from tests.data.deep_files import noise, parts, read, refusal, same, tiff_file
from tests.data.image_files import tiff


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("tile", [None, (16, 32)])
@pytest.mark.parametrize("separate", [False, True])
def test_tiff(channels: int, order: str, big: bool, tile: tuple[int, int] | None, separate: bool) -> None:
    pixels = noise(21, 37, channels)
    options: dict[str, Any] = {"tile": tile} if tile else {}
    data = tiff_file(pixels, order=order, big=big, separate=separate, **options)
    assert same(read(data), *parts(pixels))


def differences(piece: np.ndarray) -> bytes:
    native = piece.astype(np.uint16)
    native[:, 1:] -= piece[:, :-1].astype(np.uint16)
    return zlib.compress(native.astype(piece.dtype).tobytes())


def by_libtiff(compression: str) -> Any:
    """Packs a piece as Pillow packs a picture of the same bytes."""

    def pack(piece: np.ndarray) -> bytes:
        file = BytesIO()
        Image.fromarray(piece.view(np.uint8).reshape(len(piece), -1)).save(
            file, "tiff", compression=compression, strip_size=1 << 20
        )
        with Image.open(file) as image:
            (start,), (length,) = image.tag_v2[273], image.tag_v2[279]  # type: ignore[attr-defined]
        return file.getvalue()[start : start + length]

    return pack


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("tile", [None, (16, 32)])
@pytest.mark.parametrize(
    "packing",
    [
        {"compression": 8, "pack": zlib.compress},
        {"compression": 32946, "pack": zlib.compress},
        {"compression": 8, "predictor": 2, "pack": differences},
        {"compression": 5, "pack": by_libtiff("tiff_lzw")},
        {"compression": 32773, "pack": by_libtiff("packbits")},
        {"compression": 50000, "pack": by_libtiff("zstd")},
    ],
)
def test_packed_tiff(order: str, separate: bool, tile: tuple[int, int] | None, packing: dict[str, Any]) -> None:
    pixels = noise(21, 37, 3) // 64
    options = packing | ({"tile": tile} if tile else {})
    assert same(read(tiff_file(pixels, order=order, separate=separate, **options)), pixels)


@pytest.mark.parametrize("compression", [1, 5, 8])
def test_tiff_of_opencv(compression: int) -> None:
    pixels = noise(21, 37, 3)
    written, data = cv2.imencode(".tif", pixels[..., ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, compression])
    assert written
    assert same(read(data.tobytes()), pixels)


def test_white_is_zero() -> None:
    pixels = noise(5, 7, 1)
    assert same(read(tiff_file(pixels, photometric=0)), 65535 - pixels[..., 0])


def test_alpha_of_tiff() -> None:
    straight, alpha = noise(6, 7, 3), noise(6, 7)[..., None]
    alpha[0] = 0
    associated = np.rint(straight * (alpha / 65535)).astype(np.uint16)
    data = np.concatenate([associated, alpha], axis=-1)
    found = read(tiff_file(data, extra=1))
    expected = np.divide(associated * 65535.0, alpha, out=np.zeros(straight.shape), where=alpha > 0)
    assert found.alpha is not None
    assert (found.alpha == alpha[..., 0]).all()
    assert np.abs(found.values - np.minimum(expected, 65535)).max() <= 0.5
    assert same(read(tiff_file(data, extra=2)), data[..., :3], data[..., 3])
    assert same(read(tiff_file(data, extra=0)), data[..., :3])  # something, but not alpha


@pytest.mark.parametrize("width", [6, 5])
@pytest.mark.parametrize("channels", [1, 3])
def test_12_bits(width: int, channels: int) -> None:
    values = noise(4, width, channels) >> 4
    values[0, 0] = 4095
    rows = []
    for row in values.reshape(4, -1):
        bits = "".join(f"{value:012b}" for value in row)
        bits = bits.ljust(-(-len(bits) // 8) * 8, "0")
        rows.append([int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)])
    packed = np.array(rows, np.uint8)[..., None]
    data = tiff(packed, photometric=2 if channels == 3 else 1, bits=12, t256=width)
    data = data if channels == 1 else _as_rgb(data)
    found = np.atleast_3d(read(data).values)
    assert np.abs(found - values * (65535 / 4095)).max() < 1
    assert (found[0, 0] == 65535).all()


def _as_rgb(data: bytes) -> bytes:
    """The number of channels changed from one to three."""
    entry = struct.pack("<HHIH", 277, 3, 1, 1)
    assert data.count(entry) == 1
    return data.replace(entry, struct.pack("<HHIH", 277, 3, 1, 3))


def test_other_kinds_of_tiff_are_not_read() -> None:
    assert read_deep(BytesIO(tiff(np.zeros((4, 5, 3), np.float32), photometric=2))) is None
    assert read_deep(BytesIO(tiff(np.zeros((4, 5, 1), np.int16), photometric=1))) is None
    assert read_deep(BytesIO(tiff(np.zeros((4, 5, 3), np.uint32), photometric=2))) is None
    assert read_deep(BytesIO(tiff(np.zeros((4, 5, 4), np.uint16), photometric=5))) is None  # CMYK
    assert read_deep(BytesIO(tiff(np.zeros((4, 5, 3), np.uint16), photometric=8))) is None  # CIELAB
    assert read_deep(BytesIO(tiff(np.zeros((4, 5, 5), np.uint16), photometric=2, extra=[0, 0]))) is None


@pytest.mark.parametrize(("compression", "pack"), [(1, bytes), (8, zlib.compress), (8, differences)])
def test_damaged_tiff(capfd: pytest.CaptureFixture[str], compression: int, pack: Any) -> None:
    pixels = noise(9, 17, 3)
    whole = tiff_file(pixels, compression=compression, pack=pack, predictor=1 + (pack is differences))
    assert refusal(whole[:-30]) == "truncated: the file ends within its pixels"
    for end in range(4, len(whole) - 1, 11):
        cut, flipped = whole[:end], whole[:end] + bytes([whole[end] ^ 0x55]) + whole[end + 1 :]
        for data in (cut, flipped):
            with suppress(Unreadable):  # or a header that is no longer ours, or other pixels, for want of checksums
                read_deep(BytesIO(data))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("side_px", "across"), [(1, 17_000), (16, 1063)])
def test_a_small_file_of_very_many_tiles(side_px: int, across: int) -> None:
    small = tiff_file(noise(32, 32, 1), tile=(side_px, side_px))
    side = struct.pack("<HHII", 256, 4, 1, 32), struct.pack("<HHII", 257, 4, 1, 32)
    for entry in side:
        assert small.count(entry) == 1
        small = small.replace(entry, entry[:-4] + struct.pack("<I", 17_000))
    tracemalloc.start()
    try:
        assert refusal(small) == f"damaged: {(32 // side_px) ** 2} of {across**2} strips or tiles are there"
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_a_small_picture_of_a_very_large_tile() -> None:
    small = tiff_file(noise(8, 8, 1), tile=(16, 16), compression=8, pack=zlib.compress)
    for tag in (322, 323):
        entry = struct.pack("<HHII", tag, 4, 1, 16)
        assert small.count(entry) == 1
        small = small.replace(entry, entry[:-4] + struct.pack("<I", 160_000))
    assert refusal(small) == "damaged: 8 x 8 px in strips or tiles of 160000 x 160000"


def test_a_strip_that_holds_too_little() -> None:
    short = tiff_file(noise(9, 17, 3), compression=8, pack=lambda piece: zlib.compress(piece.tobytes()[:-7]))
    assert refusal(short) == "damaged: a strip or tile holds too few pixels"
