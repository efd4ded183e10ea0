from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from ganstyle.data import exif as exifs
from ganstyle.data.images import read_image
from ganstyle.data.lenience import LARGEST_PACKED_BYTES, lenient_pillow
from ganstyle.data.photos import Unreadable, read_photo, read_provenance, write_photo
from ganstyle.data.png_blocks import XMP_PREFIX, png_info
from tests.data.image_files import ADOBE_GAMMA, ADOBE_RGB, rgb_profile, saved, smooth, written
from tests.data.photo_files import NOTE, PLACED, deep_png, real_exif, xmp_of

IPTC = b"\x1c\x02\x78\0\x09a caption"
RESOURCES = (
    b"8BIM" + struct.pack(">H4sI", 0x03ED, b"\x03res", 3) + b"abc\0"
    + b"8BIM" + struct.pack(">HHI", 0x0404, 0, len(IPTC)) + IPTC + bytes(len(IPTC) % 2)
)  # fmt: skip


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def with_chunks(path: Path, *chunks: tuple[bytes, bytes], behind: bool = True) -> Path:
    """More chunks in front of the pixels of a PNG, or behind them."""
    data = path.read_bytes()
    place = len(data) - 12 if behind else 33
    return written(path, data[:place] + b"".join(chunk(*each) for each in chunks) + data[place:])


def said(name: str, data: bytes) -> tuple[bytes, bytes]:
    """A text of a raw profile, as ImageMagick writes it."""
    digits = data.hex()
    lines = [digits[start : start + 72] for start in range(0, len(digits), 72)]
    words = f"\n{name}\n{len(data):8d}\n" + "\n".join(lines) + "\n"
    return b"zTXt", f"Raw profile type {name}".encode() + b"\0\0" + zlib.compress(words.encode())


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("behind", [False, True])
def test_what_stands_behind_the_pixels_is_kept(tmp_path: Path, deep: bool, behind: bool) -> None:
    values = smooth().astype(np.uint16) * 257
    source = (
        deep_png(tmp_path / "a.png", values, kind=2) if deep else saved(tmp_path / "a.png", Image.fromarray(smooth()))
    )
    chunks = [
        (b"tEXt", b"Title\0a title"),
        (b"zTXt", b"Author\0\0" + zlib.compress(b"Somebody")),
        (b"iTXt", b"Words\0\1\0de\0\0" + zlib.compress("Größe".encode())),
        (b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + PLACED),
        (b"eXIf", real_exif().tobytes().removeprefix(exifs.PREFIX)),
    ]
    photo = read_photo(with_chunks(source, *chunks, behind=behind))
    assert photo.source.bits == (16 if deep else 8)
    assert dict(photo.source.texts) == {"Title": "a title", "Author": "Somebody", "Words": "Größe"}
    assert photo.source.xmp == PLACED
    assert exifs.parse(photo.source.exif or b"").main[0x010E] == exifs.text("a described photo")
    assert photo.source.lost == ()
    assert write_photo(tmp_path / "b.png", photo, photo.pixels) == []
    again = read_photo(tmp_path / "b.png")
    assert dict(again.source.texts) == dict(photo.source.texts)
    assert b"A title" in (again.source.xmp or b"")


def test_a_note_behind_the_pixels_is_found(tmp_path: Path) -> None:
    photo = read_photo(saved(tmp_path / "a.png", Image.fromarray(smooth())))
    source = saved(tmp_path / "b.png", Image.fromarray(smooth()))
    with_chunks(source, (b"tEXt", b'ganstyle\0{"model": "ink"}'))
    assert read_provenance(source) == {"model": "ink"}
    assert photo.source.texts == ()
    assert NOTE["model"] == "ink"


def test_texts_behind_16_bit_pixels_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    source = deep_png(tmp_path / "a.png", smooth().astype(np.uint16) * 257, kind=2)
    bomb = b"Comment\0\0" + zlib.compress(bytes(LARGEST_PACKED_BYTES + 1), 9)
    photo = read_photo(with_chunks(source, (b"tEXt", b"Title\0a title"), *[(b"zTXt", bomb)] * 40))
    assert dict(photo.source.texts) == {"Title": "a title"}
    assert photo.source.lost == ("some of its texts cannot be read: left out",)


def test_a_text_that_is_called_exif_is_a_text_and_no_more(tmp_path: Path) -> None:
    source = deep_png(tmp_path / "a.png", smooth().astype(np.uint16) * 257, kind=2)
    photo = read_photo(with_chunks(source, (b"zTXt", b"exif\0\0" + zlib.compress(b"no EXIF"))))
    assert write_photo(tmp_path / "b.png", photo, photo.pixels) == ["its EXIF data is damaged: left out"]


@pytest.mark.parametrize(
    "data", [b"", b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n" + b"\xff" * 40, b"\x89PNG\r\n\x1a\n\xff\xff\xff\xfftEXt"]
)
def test_the_end_of_a_damaged_file_is_the_end(data: bytes) -> None:
    assert png_info(io.BytesIO(data))[0] == {}


def test_blocks_in_disguise_are_read_as_what_they_are(tmp_path: Path) -> None:
    exif, xmp = real_exif().tobytes(), xmp_of('xmp:Rating="4"')
    for texts in (
        [said("exif", exif), said("xmp", xmp), said("iptc", RESOURCES)],
        [said("APP1", exif), said("XMP", xmp), said("8bim", b"Photoshop 3.0\0" + RESOURCES)],
        [said("exif", exif.removeprefix(exifs.PREFIX)), said("APP1", XMP_PREFIX + xmp), said("iptc", IPTC)],
    ):
        source = with_chunks(saved(tmp_path / "a.png", Image.fromarray(smooth())), *texts, behind=False)
        photo = read_photo(source)
        assert photo.source.xmp == xmp
        assert photo.source.iptc == IPTC
        assert exifs.parse(photo.source.exif or b"").main[0x010E] == exifs.text("a described photo")
        assert photo.source.texts == ()
        assert photo.source.lost == ()
        assert write_photo(tmp_path / "b.tif", photo, photo.pixels) == []
        assert read_photo(tmp_path / "b.tif").source.iptc == IPTC
        assert write_photo(tmp_path / "b.png", photo, photo.pixels) == ["its IPTC data is left out: png cannot hold it"]


def test_disguises_that_are_not_known_are_told(tmp_path: Path) -> None:
    source = saved(tmp_path / "a.png", Image.fromarray(smooth()))
    photo = read_photo(with_chunks(source, said("icm", b"a profile"), (b"tEXt", b"xmp notes\0kept"), behind=False))
    assert photo.source.texts == (("xmp notes", "kept"),)
    assert photo.source.lost == ("its raw profile 'icm' is left out: of a kind that is not known",)


@pytest.mark.parametrize("data", [b"", b"8BIM", b"8BIM\4\4", b"8BIM\4\4\0\0\0\0\0", b"Photoshop 3.0\0", RESOURCES[:30]])
def test_cut_resources_hold_nothing(tmp_path: Path, data: bytes) -> None:
    source = with_chunks(saved(tmp_path / "a.png", Image.fromarray(smooth())), said("iptc", data))
    assert read_photo(source).source.iptc is None


@pytest.mark.parametrize("deep", [False, True])
def test_large_profiles_and_texts_are_read(tmp_path: Path, deep: bool) -> None:
    noise = np.random.default_rng(0).integers(0, 256, 3_000_000, dtype=np.uint8).tobytes()
    profile = rgb_profile(ADOBE_RGB, ADOBE_GAMMA)
    profile = struct.pack(">I", len(profile) + len(noise)) + profile[4:] + noise
    values = smooth().astype(np.uint16) * 257
    source = (
        deep_png(tmp_path / "a.png", values, kind=2) if deep else saved(tmp_path / "a.png", Image.fromarray(smooth()))
    )
    text = "words " * 400_000
    chunks = (b"iCCP", b"profile\0\0" + zlib.compress(profile)), (b"zTXt", b"Long\0\0" + zlib.compress(text.encode()))
    photo = read_photo(with_chunks(source, *chunks, behind=False))
    assert photo.source.icc == profile
    assert photo.source.icc_converted
    assert dict(photo.source.texts) == {"Long": text}
    assert read_image(source).metadata.icc_converted
    assert write_photo(tmp_path / "b.png", photo, photo.pixels) == []
    assert read_photo(tmp_path / "b.png").source.icc == profile


def test_packed_bombs_stay_refused(tmp_path: Path) -> None:
    bomb = zlib.compress(bytes(LARGEST_PACKED_BYTES + 1), 9)
    most = zlib.compress(bytes(LARGEST_PACKED_BYTES - 1), 9)
    for number, chunks in enumerate(
        ([(b"zTXt", b"a\0\0" + bomb)], [(b"iCCP", b"a\0\0" + bomb)], [(b"zTXt", b"a\0\0" + most)] * 50)
    ):
        source = saved(tmp_path / f"{number}.png", Image.fromarray(smooth()))
        with_chunks(source, *chunks, behind=False)
        tracemalloc.start()
        try:
            with pytest.raises(Unreadable, match=r"large|memory"):
                read_photo(source)
            assert tracemalloc.get_traced_memory()[1] < 200_000_000
        finally:
            tracemalloc.stop()


def test_pillows_limit_is_as_before_afterwards() -> None:
    before = PngImagePlugin.MAX_TEXT_CHUNK
    with lenient_pillow(1), lenient_pillow(2):
        assert PngImagePlugin.MAX_TEXT_CHUNK == LARGEST_PACKED_BYTES
    assert before == PngImagePlugin.MAX_TEXT_CHUNK < LARGEST_PACKED_BYTES
