from __future__ import annotations

import dataclasses
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from ganstyle import __version__
from ganstyle.data import exif as exifs
from ganstyle.data.encode import FORMATS
from ganstyle.data.metadata import HOLDS
from ganstyle.data.photos import Keeping, Photo, read_photo, read_provenance, write_photo
from ganstyle.data.xmp import TRAINED
from tests.data.image_files import (
    ADOBE_RGB,
    rgb_profile,
    saved,
    smooth,
)
from tests.data.photo_files import EXIF_FORMATS, NOTE, exif_of, placed_photo, real_exif


def numbers(value: exifs.Value, order: str) -> tuple[int, ...]:
    kind = {exifs.SHORT: "H", exifs.LONG: "I"}[value.kind]
    return struct.unpack(f"{order}{len(value.data) // struct.calcsize(kind)}{kind}", value.data)


@pytest.mark.parametrize("name", EXIF_FORMATS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_is_kept_and_made_true(tmp_path: Path, name: str, orientation: int) -> None:
    photo = read_photo(placed_photo(tmp_path / "a.jpg", orientation=orientation))
    target = tmp_path / f"b{FORMATS[name]}"
    write_photo(target, photo, photo.pixels)
    with Image.open(target) as image:  # Pillow as another program that reads it
        exif = image.getexif()
        inner, gps = exif.get_ifd(0x8769), exif.get_ifd(0x8825)
        assert exif.get(0x0112, 1) == 1
        assert (exif[0x010E], exif[0x0110], exif[0x8298]) == ("a described photo", "Model X", "Somebody")
        assert exif[0x011A] == 300
        assert (inner[0xA002], inner[0xA003]) == image.size == photo.pixels.shape[1::-1]
        assert inner[0x829A] == pytest.approx(0.005)
        assert inner[0x9286] == b"ASCII\0\0\0a comment"
        assert [float(each) for each in inner[0xA432]] == pytest.approx([24, 70, 2.8, 4])
        assert inner[0xA001] == 1
        assert 0x927C not in inner
        assert not gps
    again = read_photo(target)
    assert again.pixels.shape == photo.pixels.shape
    assert again.source.size == photo.source.size


@pytest.mark.parametrize("name", sorted(FORMATS))
@pytest.mark.parametrize("stripped", [False, True])
def test_no_place_is_left_in_any_format(tmp_path: Path, name: str, stripped: bool) -> None:
    source = placed_photo(tmp_path / "a.jpg")
    assert b"48.137154" in source.read_bytes()
    photo = read_photo(source)
    target = tmp_path / f"b{FORMATS[name]}"
    write_photo(target, photo, photo.pixels, keeping=Keeping(metadata=not stripped, provenance=NOTE))
    data = target.read_bytes()
    assert b"48.137154" not in data
    assert b"GPS" not in data
    packed = struct.pack("<6I", 48, 1, 8, 1, 1375, 100), struct.pack(">6I", 48, 1, 8, 1, 1375, 100)
    assert not any(each in data for each in packed)
    assert (b"Munich" in data) == (not stripped and "XMP" in HOLDS[name])


@pytest.mark.parametrize("name", EXIF_FORMATS)
def test_places_stay_when_they_are_asked_for(tmp_path: Path, name: str) -> None:
    photo = read_photo(placed_photo(tmp_path / "a.jpg"))
    target = tmp_path / f"b{FORMATS[name]}"
    write_photo(target, photo, photo.pixels, keeping=Keeping(gps=True))
    with Image.open(target) as image:
        gps = image.getexif().get_ifd(0x8825)
        assert [float(each) for each in gps[2]] == [48, 8, 13.75]
    xmp = read_photo(target).source.xmp
    assert xmp is not None
    assert xmp.count(b"48.137154") == 7


def test_colour_space_follows_the_profile(tmp_path: Path) -> None:
    profile = rgb_profile(ADOBE_RGB, 2.2)
    source = saved(tmp_path / "a.jpg", Image.fromarray(smooth()), exif=real_exif(), icc_profile=profile)
    photo = read_photo(source)
    for name, expected in ((".jpg", 65535), (".tif", 65535)):
        write_photo(tmp_path / f"b{name}", photo, photo.pixels)
        found = exif_of(tmp_path / f"b{name}")
        assert numbers(found.photo[0xA001], found.order) == (expected,)


@pytest.mark.parametrize(
    ("suffix", "kept"), [(".jpg", True), (".png", True), (".tif", True), (".bmp", True), (".gif", False)]
)
def test_resolution(tmp_path: Path, suffix: str, kept: bool) -> None:
    source = saved(tmp_path / "a.jpg", Image.fromarray(smooth()), dpi=(300, 200))
    photo = read_photo(source)
    lines = write_photo(tmp_path / f"b{suffix}", photo, photo.pixels)
    with Image.open(tmp_path / f"b{suffix}") as image:
        assert kept == (np.round(np.array(image.info.get("dpi", (0, 0)), float)).tolist() == [300, 200])
    assert any("resolution" in line for line in lines) != kept


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_comments_and_texts(tmp_path: Path, suffix: str) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Title", "Ö, a title")
    texts.add_text("exif:GPSLatitude", "48.137154")
    texts.add_text("Raw profile type iptc", "\niptc\n 3\n484848")
    source = saved(tmp_path / "a.png", Image.fromarray(smooth()), pnginfo=texts)
    photo = read_photo(source)
    lines = write_photo(tmp_path / f"b{suffix}", photo, photo.pixels)
    with Image.open(tmp_path / f"b{suffix}") as image:
        image.load()
        assert (image.info.get("Title") == "Ö, a title") == (suffix == ".png")
        assert not any("GPS" in str(name) or "Raw" in str(name) for name in image.info)
    assert lines == ([] if suffix == ".png" else ["its texts are left out: jpeg cannot hold them"])
    photo = read_photo(placed_photo(tmp_path / "c.jpg"))
    lines = write_photo(tmp_path / f"d{suffix}", photo, photo.pixels)
    assert read_photo(tmp_path / f"d{suffix}").source.comment == (b"said" if suffix == ".jpg" else None)
    assert lines == ([] if suffix == ".jpg" else ["its comment data is left out: png cannot hold it"])


def test_iptc_captions_stay_where_a_format_holds_them(tmp_path: Path) -> None:
    caption = b"\x1c\x02\x78\0\x09a caption"
    resource = b"Photoshop 3.0\0" + b"8BIM" + struct.pack(">HHI", 0x0404, 0, len(caption)) + caption
    resource += b"8BIM" + struct.pack(">HHI", 0x040C, 0, 4) + b"thum"
    marker = b"\xff\xed" + struct.pack(">H", len(resource) + 2) + resource
    source = saved(tmp_path / "a.jpg", Image.fromarray(smooth()), extra=marker)
    photo = read_photo(source)
    assert photo.source.iptc == caption
    for suffix in (".jpg", ".tif"):
        assert write_photo(tmp_path / f"b{suffix}", photo, photo.pixels) == []
        assert (read_photo(tmp_path / f"b{suffix}").source.iptc or b"")[: len(caption)] == caption
        assert b"thum" not in (tmp_path / f"b{suffix}").read_bytes()
    (line,) = write_photo(tmp_path / "b.png", photo, photo.pixels)
    assert line == "its IPTC data is left out: png cannot hold it"


def deep_photo(path: Path, **blocks: Any) -> Photo:
    """A photo of 16 bits with what other files said."""
    photo = read_photo(saved(path, Image.fromarray(smooth())))
    source = dataclasses.replace(photo.source, bits=16, **blocks)
    return Photo(photo.pixels.astype(np.uint16) * 257, None, source)


def test_iptc_captions_of_16_bit_files_are_kept(tmp_path: Path) -> None:
    photo = deep_photo(tmp_path / "a.jpg", iptc=b"\x1c\x02\x78\0\x02ab")
    assert write_photo(tmp_path / "b.tif", photo, photo.pixels) == []
    again = read_photo(tmp_path / "b.tif")
    assert again.source.iptc == photo.source.iptc
    assert (again.pixels == photo.pixels).all()
    assert write_photo(tmp_path / "b.png", photo, photo.pixels) == ["its IPTC data is left out: png cannot hold it"]


def test_exif_of_16_bit_files_is_kept_byte_for_byte(tmp_path: Path) -> None:
    exif = exifs.Exif()
    exif.main[0x010E] = exifs.text("Zoë im Café")
    exif.main[0x8298] = exifs.Value(exifs.ASCII, b"one\0two\0")  # photographer and editor
    exif.photo[0x9286] = exifs.Value(exifs.UNDEFINED, b"UNICODE\0\x42\x30")
    photo = deep_photo(tmp_path / "a.jpg", exif=exifs.serialise(exif))
    for suffix in (".tif", ".png"):
        assert write_photo(tmp_path / f"b{suffix}", photo, photo.pixels) == []
        found = exif_of(tmp_path / f"b{suffix}")
        assert found.main[0x010E] == exif.main[0x010E]
        assert found.main[0x8298] == exif.main[0x8298]
        assert found.photo[0x9286] == exif.photo[0x9286]


@pytest.mark.parametrize("name", ["webp", "avif", "heic"])
@pytest.mark.parametrize("with_exif", [False, True])
def test_resolution_goes_into_exif_where_there_is_no_other_place(tmp_path: Path, name: str, with_exif: bool) -> None:
    exif = Image.Exif()
    if with_exif:
        exif[0x010E] = "described"
    source = saved(tmp_path / "a.png", Image.fromarray(smooth()), dpi=(300, 72.5), exif=exif)
    photo = read_photo(source)
    assert write_photo(tmp_path / f"b{FORMATS[name]}", photo, photo.pixels) == []
    with Image.open(tmp_path / f"b{FORMATS[name]}") as image:
        found = image.getexif()
        assert (float(found[0x011A]), float(found[0x011B])) == pytest.approx((300, 72.5), abs=0.02)
        assert found[0x0128] == 2
        assert found.get(0x010E) == ("described" if with_exif else None)
    write_photo(tmp_path / f"c{FORMATS[name]}", photo, photo.pixels, keeping=Keeping(metadata=False))
    assert read_photo(tmp_path / f"c{FORMATS[name]}").source.exif is None


def test_what_exif_says_of_the_resolution_stays(tmp_path: Path) -> None:
    photo = read_photo(placed_photo(tmp_path / "a.jpg"))
    photo = dataclasses.replace(photo, source=dataclasses.replace(photo.source, dpi=(72, 72)))
    write_photo(tmp_path / "b.webp", photo, photo.pixels)
    with Image.open(tmp_path / "b.webp") as image:
        assert image.getexif()[0x011A] == 300


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_the_note_is_found_again(tmp_path: Path, name: str) -> None:
    photo = read_photo(placed_photo(tmp_path / "a.jpg"))
    for number, metadata in enumerate((True, False)):
        target = tmp_path / f"b{number}{FORMATS[name]}"
        lines = write_photo(target, photo, photo.pixels, keeping=Keeping(metadata=metadata, provenance=NOTE))
        expected: dict[str, str] | None = NOTE | ({"source_software": "CameraOS 1.2"} if metadata else {})
        if "XMP" not in HOLDS[name]:
            expected = None
            assert f"the note of how it was made is left out: {name} cannot hold it" in lines
        assert read_provenance(target) == expected
        if expected:
            assert TRAINED.encode() in target.read_bytes()
            assert exif_of(target).main[0x0131].data == f"ganstyle {__version__}\0".encode()
            assert set(exif_of(target).main) & {0x010E, 0x8298} == ({0x010E, 0x8298} if metadata else set())
    assert read_provenance(tmp_path / "a.jpg") is None


def test_a_new_note_takes_the_place_of_the_old(tmp_path: Path) -> None:
    photo = read_photo(placed_photo(tmp_path / "a.jpg"))
    write_photo(tmp_path / "b.png", photo, photo.pixels, keeping=Keeping(provenance={"model": "old", "only": "old"}))
    photo = read_photo(tmp_path / "b.png")
    write_photo(tmp_path / "c.png", photo, photo.pixels, keeping=Keeping(provenance={"model": "new"}))
    assert read_provenance(tmp_path / "c.png") == {"model": "new"}
    with Image.open(tmp_path / "c.png") as image:
        assert '"new"' in image.info["ganstyle"]
    assert (tmp_path / "c.png").read_bytes().count(TRAINED.encode()) == 1


def test_without_a_note_the_program_stays(tmp_path: Path) -> None:
    photo = read_photo(placed_photo(tmp_path / "a.jpg"))
    write_photo(tmp_path / "b.jpg", photo, photo.pixels)
    assert exif_of(tmp_path / "b.jpg").main[0x0131].data == b"CameraOS 1.2\0"
    write_photo(tmp_path / "c.jpg", photo, photo.pixels, keeping=Keeping(metadata=False))
    assert read_photo(tmp_path / "c.jpg").source.exif is None
    assert read_photo(tmp_path / "c.jpg").source.xmp is None
    assert read_photo(tmp_path / "c.jpg").source.comment is None
