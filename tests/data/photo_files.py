"""Photos that say much about themselves, and what they look like, for the tests."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from ganstyle.data import exif as exifs
from ganstyle.data.metadata import HOLDS
from ganstyle.data.photos import read_photo
from ganstyle.data.xmp import RDF
from tests.data.image_files import (
    ADOBE_GAMMA,
    ADOBE_RGB,
    SRGB,
    saved,
    smooth,
    srgb_levels,
    written,
)

DISPLAY_P3 = np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])
WIDE = {"Adobe RGB": (ADOBE_RGB, ADOBE_GAMMA), "Display P3": (DISPLAY_P3, 2.2)}
ORIENTATION = 0x0112
MIDDLES = np.s_[8::16, 8::16]  # of the squares of `patches`
EXIF_FORMATS = sorted(name for name in HOLDS if "EXIF" in HOLDS[name])
NOTE = {"model": "ink", "model_sha256": "ab12", "strength": "0.5", "a key/with: everything_x0000": 'é "<&'}


def rendered(path: Path, primaries: np.ndarray, gamma: float) -> np.ndarray:
    """What a file of a matrix profile looks like, in sRGB, by the textbook."""
    with Image.open(path) as image:
        values = np.asarray(image.convert("RGB"))
    linear = (values / 255.0) ** (round(gamma * 256) / 256)
    return srgb_levels(linear @ (np.linalg.inv(SRGB) @ primaries).T)


def muted(height: int = 24, width: int = 32) -> np.ndarray:
    """Colours that every profile here can hold."""
    return (smooth(height, width) // 2 + 60).astype(np.uint8)


def patches() -> np.ndarray:
    """Six colours in squares of 16 px, so that JPEG's own noise is small."""
    colours = [[60, 90, 150], [150, 90, 95], [90, 150, 100], [190, 180, 120], [128, 128, 128], [220, 200, 190]]
    return np.repeat(np.repeat(np.array(colours, np.uint8).reshape(2, 3, 3), 16, axis=0), 16, axis=1)


def near(got: np.ndarray, expected: Any, tolerance: float) -> bool:
    return float(np.abs(got.astype(float) - np.asarray(expected, float)).max()) <= tolerance


def deep_png(path: Path, values: np.ndarray, *, kind: int) -> Path:
    """A PNG of (H, W, C) 16-bit values by hand: the colour type is 0 grey, 2 RGB, 4 grey and alpha, 6 RGBA."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    buffer = io.BytesIO(b"\x89PNG\r\n\x1a\n")
    buffer.seek(8)
    PngImagePlugin.putchunk(buffer, b"IHDR", struct.pack(">IIBBBBB", *values.shape[1::-1], 16, kind, 0, 0, 0))
    PngImagePlugin.putchunk(buffer, b"IDAT", zlib.compress(rows))
    PngImagePlugin.putchunk(buffer, b"IEND", b"")
    return written(path, buffer.getvalue())


def real_exif(orientation: int = 1, **more: Any) -> Image.Exif:
    """What a camera writes, a place in it."""
    exif = Image.Exif()
    exif[0x010E], exif[0x010F], exif[0x0110] = "a described photo", "Maker", "Model X"
    exif[0x0112], exif[0x011A], exif[0x011B], exif[0x0128] = orientation, 300.0, 300.0, 2
    exif[0x0131], exif[0x8298] = "CameraOS 1.2", "Somebody"
    exif[0x8769] = {
        0x829A: 0.005,
        0x9003: "2020:01:02 03:04:05",
        0x9286: b"ASCII\0\0\0a comment",
        0x927C: b"MAKER\0\0\0 place 48.137154",
        0xA001: 65535,
        0xA002: 4000,
        0xA003: 3000,
        0xA432: (24.0, 70.0, 2.8, 4.0),
        0xA434: "Lens",
    } | more
    exif[0x8825] = {1: "N", 2: (48.0, 8.0, 13.75), 3: "E", 4: (11.0, 34.0, 31.5), 27: b"ASCII\0\0\x0048.137154"}
    return exif


def xmp_of(attributes: str = "", elements: str = "") -> bytes:
    return f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF}"><rdf:Description rdf:about=""
 xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"
 xmlns:drone-dji="http://www.dji.com/drone-dji/1.0/" {attributes}>{elements}</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>""".encode()


PLACED = xmp_of(
    'exif:GPSLatitude="48,8.137154N" drone-dji:GpsLongtitude="48.137154" '
    'drone-dji:LRFTargetLat="48.137154" drone-dji:LRFTargetAbsAlt="48.137154" '
    'tiff:Orientation="6" photoshop:City="Munich" xmp:Rating="4"',
    "<exif:GPSLongitude>48.137154E</exif:GPSLongitude><drone-dji:RelativeAltitude>48.137154</drone-dji:RelativeAltitude>"
    '<dc:title><rdf:Alt><rdf:li xml:lang="x-default">A title</rdf:li></rdf:Alt></dc:title>'
    "<dc:creator><rdf:Seq><rdf:li>Somebody</rdf:li></rdf:Seq></dc:creator><exif:PixelXDimension>4000</exif:PixelXDimension>"
    '<xmp:Place rdf:parseType="Resource"><exif:GPSAltitude>48.137154</exif:GPSAltitude></xmp:Place><!-- 48.137154 -->',
)


def placed_photo(path: Path, *, orientation: int = 1) -> Path:
    """A JPEG that tells where it was taken in every way at once."""
    return saved(
        path, Image.fromarray(smooth()), exif=real_exif(orientation), xmp=PLACED, dpi=(300, 300), comment=b"said"
    )


def exif_of(path: Path) -> exifs.Exif:
    found = read_photo(path).source.exif
    assert found is not None
    return exifs.parse(found)
