from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganstyle.data import exif as exifs
from ganstyle.data.photos import read_photo, write_photo
from tests.data.image_files import (
    saved,
    smooth,
    tiff,
    written,
)
from tests.data.photo_files import exif_of, real_exif


def test_values_of_exif_stay_byte_for_byte(tmp_path: Path) -> None:
    order = ">"
    strange = exifs.Exif(order)
    strange.main[0x010E] = exifs.Value(exifs.ASCII, b"no end \xff\xfe")
    strange.main[0x9C9B] = exifs.Value(1, "тест".encode("utf-16-le"))
    strange.photo[0x9204] = exifs.Value(10, struct.pack(">ii", -1, 3))
    strange.photo[0x9999] = exifs.Value(12, struct.pack(">d", 1.5))
    strange.photo[0xA300] = exifs.Value(7, b"\3")
    for suffix in (".jpg", ".png", ".webp", ".tif"):
        source = saved(tmp_path / "a.jpg", Image.fromarray(smooth()), exif=exifs.PREFIX + exifs.serialise(strange))
        photo = read_photo(source)
        assert write_photo(tmp_path / f"b{suffix}", photo, photo.pixels) == []
        again = exifs.reordered(exif_of(tmp_path / f"b{suffix}"), order)
        assert again.main[0x010E] == strange.main[0x010E]
        assert again.main[0x9C9B] == strange.main[0x9C9B]
        for tag in (0x9204, 0x9999, 0xA300):
            assert again.photo[tag] == strange.photo[tag], (suffix, hex(tag))


def test_the_description_of_a_tiff_stays_and_its_layout_does_not(tmp_path: Path) -> None:
    source = written(tmp_path / "a.tif", tiff(smooth(), photometric=2, t284=1, t34735=7, t18246=3))
    photo = read_photo(source)
    write_photo(tmp_path / "b.jpg", photo, photo.pixels)
    found = exif_of(tmp_path / "b.jpg").main
    assert set(found) == {18246}
    write_photo(tmp_path / "b.tif", photo, photo.pixels)
    assert (read_photo(tmp_path / "b.tif").pixels == smooth()).all()
    assert 34735 not in exif_of(tmp_path / "b.tif").main


def test_the_thumbnail_is_left_out(tmp_path: Path) -> None:
    whole = bytearray(exifs.serialise(exifs.reordered(exifs.parse(real_exif().tobytes()), "<")))
    thumbnail = b"\xff\xd8old thumbnail"
    (count,) = struct.unpack_from("<H", whole, 8)
    struct.pack_into("<I", whole, 10 + 12 * count, len(whole))  # the next directory
    start = len(whole) + 2 + 2 * 12 + 4
    whole += struct.pack("<HHHIIHHII", 2, 513, 4, 1, start, 514, 4, 1, len(thumbnail)) + bytes(4) + thumbnail
    photo = read_photo(saved(tmp_path / "a.jpg", Image.fromarray(smooth()), exif=exifs.PREFIX + bytes(whole)))
    assert b"old thumbnail" in (tmp_path / "a.jpg").read_bytes()
    assert write_photo(tmp_path / "b.jpg", photo, photo.pixels) == []
    assert b"old thumbnail" not in (tmp_path / "b.jpg").read_bytes()
    assert exif_of(tmp_path / "b.jpg").main[0x0110].data == b"Model X\0"


def hostile_exif() -> Iterator[tuple[str, bytes]]:
    good = exifs.serialise(exifs.reordered(exifs.parse(real_exif().tobytes()), "<"))
    yield "nothing", b"x" * 40
    yield "cut", good[: len(good) // 2]
    yield "only its start", good[:9]
    yield "far away", b"II*\0" + struct.pack("<I", 2**31)
    yield "a directory in itself", good[:8] + struct.pack("<HHHIII", 1, 0x8769, 4, 1, 8, 0)
    overlap = struct.pack("<H", 2000) + b"".join(struct.pack("<HHII", tag, 7, 40000, 8) for tag in range(2000))
    yield "values over each other", b"II*\0\x08\0\0\0" + overlap + bytes(40000)
    yield "a count of billions", b"II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, 0x010E, 5, 2**32 - 1, 8, 0)
    draw = np.random.default_rng(5)
    for _ in range(60):
        data = bytearray(good)
        for place in draw.integers(0, len(data), 8):
            data[place] = draw.integers(0, 256)
        yield "random", bytes(data)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_broken_exif_never_stops_a_photo(tmp_path: Path, suffix: str) -> None:
    told = 0
    for what, exif in hostile_exif():
        source = saved(tmp_path / "a.png", Image.fromarray(smooth()), exif=exif)
        photo = read_photo(source)
        lines = write_photo(tmp_path / f"b{suffix}", photo, photo.pixels)
        told += any("EXIF" in line for line in lines)
        assert read_photo(tmp_path / f"b{suffix}").pixels.shape == photo.pixels.shape, what
        assert b"48.137154" not in (tmp_path / f"b{suffix}").read_bytes() or what == "random"
    assert told >= 5


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_goes_through_unchanged(order: str) -> None:
    first = exifs.reordered(exifs.parse(real_exif().tobytes()), order)
    data = exifs.serialise(first)
    assert exifs.parse(data) == first
    assert exifs.serialise(exifs.parse(data)) == data
    other = Image.Exif()
    other.load(data)
    assert other[0x0110] == "Model X"
    assert other.get_ifd(0x8769)[0xA434] == "Lens"
    assert [float(each) for each in other.get_ifd(0x8825)[4]] == [11, 34, 31.5]


def test_the_exif_of_a_big_tiff() -> None:
    photo = struct.pack("<QHHQQQ", 1, 0xA002, 3, 1, 4000, 0)
    words = b"a long description\0"
    main = struct.pack("<QHHQQHHQQQ", 2, 0x010E, 2, len(words), 72, 0x8769, 13, 1, 72 + len(words), 0)
    found = exifs.parse(b"II+\0" + struct.pack("<HHQ", 8, 0, 16) + main + words + photo)
    assert found.main == {0x010E: exifs.Value(exifs.ASCII, words)}
    assert found.photo == {0xA002: exifs.Value(exifs.SHORT, b"\xa0\x0f")}
    assert found.lost == 0
