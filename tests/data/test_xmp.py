from __future__ import annotations

import struct
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from ganstyle.data.encode import FORMATS
from ganstyle.data.metadata import HOLDS
from ganstyle.data.photos import Keeping, read_photo, read_provenance, write_photo
from ganstyle.data.xmp import BrokenXmp, Packet
from tests.data.image_files import (
    saved,
    smooth,
)
from tests.data.photo_files import NOTE, placed_photo, xmp_of


def test_xmp_is_kept_and_made_true(tmp_path: Path) -> None:
    photo = read_photo(placed_photo(tmp_path / "a.jpg", orientation=6))
    for name in [name for name in HOLDS if "XMP" in HOLDS[name]]:
        target = tmp_path / f"b{FORMATS[name]}"
        write_photo(target, photo, photo.pixels)
        xmp = (read_photo(target).source.xmp or b"").decode()
        assert 'xmp:Rating="4"' in xmp, name
        assert "<rdf:li>Somebody</rdf:li>" in xmp
        assert '<rdf:li xml:lang="x-default">A title</rdf:li>' in xmp
        assert 'tiff:Orientation="1"' in xmp or name == "heic"  # its library takes the tag out
        assert f"<exif:PixelXDimension>{photo.pixels.shape[1]}<" in xmp


BOMB = b"""<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaaaaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">
<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;">]><x:xmpmeta xmlns:x="adobe:ns:meta/">&c;</x:xmpmeta>"""
OUTSIDE = b"""<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]><x>&a;</x>"""


@pytest.mark.parametrize(
    "xmp",
    [BOMB, OUTSIDE, b"<no", b"\xff\xfe\0", b"<a/>", b"<a>" * 5000, xmp_of(elements="<dc:a>" * 200 + "</dc:a>" * 200)],
)
def test_hostile_xmp_is_left_out_with_a_line(tmp_path: Path, xmp: bytes) -> None:
    photo = read_photo(saved(tmp_path / "a.jpg", Image.fromarray(smooth()), xmp=xmp))
    (line,) = write_photo(tmp_path / "b.jpg", photo, photo.pixels, keeping=Keeping(provenance=NOTE))
    assert line.startswith("its XMP data is left out: ")
    assert read_provenance(tmp_path / "b.jpg") == NOTE


def test_huge_xmp_is_left_out_with_a_line(tmp_path: Path) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", xmp_of(elements=f"<dc:title>{'x' * 3_000_000}</dc:title>").decode())
    photo = read_photo(saved(tmp_path / "a.png", Image.fromarray(smooth()), pnginfo=texts))
    (line,) = write_photo(tmp_path / "b.png", photo, photo.pixels)
    assert line == "its XMP data is left out: it has 3 MB"


def test_xmp_too_long_for_a_jpeg_leaves_the_note(tmp_path: Path) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", xmp_of(elements=f"<dc:title>{'x' * 70_000}</dc:title>").decode())
    photo = read_photo(saved(tmp_path / "a.png", Image.fromarray(smooth()), pnginfo=texts))
    (line,) = write_photo(tmp_path / "b.jpg", photo, photo.pixels, keeping=Keeping(provenance=NOTE))
    assert line == "its XMP data is left out: 71 kB do not fit into a JPEG"
    assert read_provenance(tmp_path / "b.jpg") == NOTE
    assert write_photo(tmp_path / "b.png", photo, photo.pixels, keeping=Keeping(provenance=NOTE)) == []


def test_gain_maps_and_thumbnails_are_spoken_of_no_more(tmp_path: Path) -> None:
    xmp = xmp_of(
        'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0" '
        'xmlns:GPano="http://ns.google.com/photos/1.0/panorama/" GPano:ProjectionType="equirectangular" '
        'xmlns:GCamera="http://ns.google.com/photos/1.0/camera/" GCamera:MotionPhoto="1"',
        "<xmp:Thumbnails><rdf:Alt><rdf:li>AAAA</rdf:li></rdf:Alt></xmp:Thumbnails>",
    )
    photo = read_photo(saved(tmp_path / "a.jpg", Image.fromarray(smooth()), xmp=xmp))
    (line,) = write_photo(tmp_path / "b.jpg", photo, photo.pixels)
    assert "gain map" in line
    data = (tmp_path / "b.jpg").read_bytes()
    assert b"hdrgm:Version" not in data
    assert b"MotionPhoto" not in data
    assert b"equirectangular" in data
    assert b"AAAA" not in data


def test_extended_xmp_is_told(tmp_path: Path) -> None:
    data = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 40 + b"48.137154"
    marker = b"\xff\xe1" + struct.pack(">H", len(data) + 2) + data
    photo = read_photo(saved(tmp_path / "a.jpg", Image.fromarray(smooth()), extra=marker))
    (line,) = write_photo(tmp_path / "b.jpg", photo, photo.pixels)
    assert "beyond one JPEG marker" in line
    assert b"48.137154" not in (tmp_path / "b.jpg").read_bytes()


def test_the_note_survives_any_key_and_value() -> None:
    packet = Packet()
    packet.put_note({"1st": "a\nb", "é": "\0", "_x000041": "]]>", "": "empty"})
    assert Packet(packet.to_bytes()).note() == {"1st": "a b", "é": " ", "_x000041": "]]>", "_": "empty"}
    with pytest.raises(BrokenXmp):
        Packet(b"<x/>")
